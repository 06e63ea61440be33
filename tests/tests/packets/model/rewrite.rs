//! A packet as its receiver must see it.

use std::net::IpAddr;

use super::read::{Packet, TCP, UDP};
use super::sum;

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// One hop less for the packet at `l3`.
pub(super) fn one_hop(frame: &mut [u8], l3: usize) {
    if frame[l3] >> 4 == 6 {
        frame[l3 + 7] -= 1;
        return;
    }
    let old = [frame[l3 + 8], frame[l3 + 9]];
    frame[l3 + 8] -= 1;
    let new = [frame[l3 + 8], frame[l3 + 9]];
    sum::update(frame, l3 + 10, &old, &new);
}

/// Where the addresses are in the header at `l3`, and how long they are.
fn addresses(frame: &[u8], l3: usize) -> (usize, usize, usize) {
    if frame[l3] >> 4 == 6 {
        (l3 + 8, l3 + 24, 16)
    } else {
        (l3 + 12, l3 + 16, 4)
    }
}

/// Another source address, with the checksum of IPv4.
pub(super) fn source_address(frame: &mut [u8], l3: usize, address: IpAddr) {
    let (at, _, length) = addresses(frame, l3);
    address_at(frame, l3, at, length, address);
}

/// Another destination address, with the checksum of IPv4.
pub(super) fn destination_address(frame: &mut [u8], l3: usize, address: IpAddr) {
    let (_, at, length) = addresses(frame, l3);
    address_at(frame, l3, at, length, address);
}

fn address_at(frame: &mut [u8], l3: usize, at: usize, length: usize, address: IpAddr) {
    let old = frame[at..at + length].to_vec();
    let new = octets(address);
    frame[at..at + length].copy_from_slice(&new);
    if length == 4 {
        sum::update(frame, l3 + 10, &old, &new);
    }
}

/// To another address and port, one hop further.
pub(super) fn destination(frame: &mut [u8], packet: &Packet, address: IpAddr, port: u16) {
    let old = octets(packet.ip.destination);
    one_hop(frame, packet.ip.l3);
    destination_address(frame, packet.ip.l3, address);
    transport(frame, packet, 2, (&old, &octets(address)), port);
}

/// From another address and port, one hop further.
pub(super) fn source(frame: &mut [u8], packet: &Packet, address: IpAddr, port: u16) {
    let old = octets(packet.ip.source);
    one_hop(frame, packet.ip.l3);
    source_address(frame, packet.ip.l3, address);
    transport(frame, packet, 0, (&old, &octets(address)), port);
}

fn transport(
    frame: &mut [u8],
    packet: &Packet,
    offset: usize,
    (old, new): (&[u8], &[u8]),
    port: u16,
) {
    if packet.is_headless() {
        return;
    }
    let end = frame.len();
    port_at(
        frame,
        (packet.protocol, packet.l4, end),
        offset,
        (old, new),
        port,
    );
}

/// Another port at `offset` of the header at `l4`, and its checksum for that and for the
/// address, if that is there before `end`.
pub(super) fn port_at(
    frame: &mut [u8],
    (protocol, l4, end): (u8, usize, usize),
    offset: usize,
    (old, new): (&[u8], &[u8]),
    port: u16,
) {
    let at = l4 + offset;
    let old = [old, &frame[at..at + 2]].concat();
    let new = [new, &port.to_be_bytes()].concat();
    frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
    let at = l4 + if protocol == TCP { 16 } else { 6 };
    if at + 2 > end.min(frame.len()) {
        return;
    }
    let is_udp = protocol == UDP;
    // RFC 768: zero is none; one that computes to zero is sent as all ones.
    if is_udp && frame[at..at + 2] == [0, 0] {
        return;
    }
    sum::update(frame, at, &old, &new);
    if is_udp && frame[at..at + 2] == [0, 0] {
        frame[at..at + 2].fill(0xff);
    }
}
