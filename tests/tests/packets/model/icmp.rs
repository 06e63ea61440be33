//! ICMP: what is about a service, and what we say ourselves (RFC 792, RFC 4443, RFC 1812,
//! RFC 5508).

use std::net::IpAddr;

use failover_common::Verdict;

use super::read::{ICMP, ICMPV6, Ip, Packet, TCP, UDP, chain, header_at, u16_at};
use super::rewrite::{self, octets};
use super::sum;

/// The packet that an error is about.
pub(super) struct Quote {
    pub(super) ip: Ip,
    pub(super) protocol: u8,
    l4: usize,
    pub(super) ports: [u16; 2],
}

/// Whether whoever sent a packet can be answered: both ends are single hosts.
pub(super) fn is_answerable(frame: &[u8], packet: &Packet) -> bool {
    let is_host = match packet.ip.source {
        IpAddr::V4(source) => !matches!(source.octets()[0], 0 | 127 | 224..),
        // ::/8 has the unspecified address, loopback and mapped IPv4.
        IpAddr::V6(source) => !matches!(source.octets()[0], 0 | 0xff),
    };
    let is_group = (frame[0] | frame[6]) & 1 != 0;
    is_host && !is_group && packet.ip.source != packet.ip.destination
}

/// The reply to an echo request without IP options.
pub(super) fn echo(frame: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    let Ip { v6, l3, .. } = packet.ip;
    let l4 = packet.l4;
    let header = if v6 { 40 } else { 20 };
    let (request, reply) = if v6 { (128, 129) } else { (8, 0) };
    let is_echo = packet.ip.header == header
        && packet.total() >= header + 8
        && frame.get(l4..l4 + 2) == Some(&[request, 0]);
    if !is_echo || !is_answerable(frame, packet) {
        return None;
    }
    let mut out = frame.to_vec();
    out[..6].copy_from_slice(&frame[6..12]);
    out[6..12].copy_from_slice(&frame[..6]);
    let (at, length) = if v6 { (l3 + 8, 16) } else { (l3 + 12, 4) };
    out[at..at + length].copy_from_slice(&octets(packet.ip.destination));
    out[at + length..at + 2 * length].copy_from_slice(&octets(packet.ip.source));
    if v6 {
        out[l3 + 7] = 64;
    } else {
        out[l3 + 8] = 64;
        let protocol = packet.protocol;
        sum::update(
            &mut out,
            l3 + 10,
            &[packet.ip.hop_limit, protocol],
            &[64, protocol],
        );
    }
    out[l4] = reply;
    sum::update(&mut out, l4 + 2, &[request, 0], &[reply, 0]);
    Some(out)
}

/// The TCP or UDP packet of which an error tells its sender.
pub(super) fn quote(frame: &[u8], packet: &Packet) -> Option<Quote> {
    let kind = *frame.get(packet.l4..packet.l4 + 2)?.first()?;
    let errors: &[u8] = if packet.ip.v6 {
        &[1, 2, 3, 4]
    } else {
        &[3, 11, 12]
    };
    let ip = header_at(frame, packet.l4 + 8)?;
    if !errors.contains(&kind) || ip.v6 != packet.ip.v6 {
        return None;
    }
    let (protocol, l4, is_later) = if ip.v6 {
        let chain = chain(frame, &ip, packet.ip.end).ok()?;
        (chain.protocol, chain.l4, chain.is_later)
    } else {
        (ip.protocol, ip.l3 + ip.header, ip.offset() != 0)
    };
    // RFC 792: at least 64 bits of it are there.
    let is_ours = matches!(protocol, TCP | UDP)
        && !is_later
        && l4 + 8 <= packet.ip.end
        && ip.source == packet.ip.destination;
    is_ours.then_some(Quote {
        ip,
        protocol,
        l4,
        ports: [u16_at(frame, l4)?, u16_at(frame, l4 + 2)?],
    })
}

/// An error for the VIP as one for the backend, about a packet from there.
pub(super) fn to_backend(
    frame: &[u8],
    packet: &Packet,
    quote: &Quote,
    address: IpAddr,
    port: u16,
) -> Vec<u8> {
    let mut out = frame.to_vec();
    rewrite::one_hop(&mut out, packet.ip.l3);
    rewrite::destination_address(&mut out, packet.ip.l3, address);
    rewrite::source_address(&mut out, quote.ip.l3, address);
    quoted(&mut out, packet, quote, 0, (quote.ip.source, address), port);
    message(frame, out, packet, (packet.ip.destination, address))
}

/// An error from a backend, or from behind it, as one from the VIP.
pub(super) fn to_client(
    frame: &[u8],
    packet: &Packet,
    quote: &Quote,
    address: IpAddr,
    port: u16,
) -> Vec<u8> {
    let mut out = frame.to_vec();
    rewrite::one_hop(&mut out, packet.ip.l3);
    rewrite::source_address(&mut out, packet.ip.l3, address);
    rewrite::destination_address(&mut out, quote.ip.l3, address);
    quoted(
        &mut out,
        packet,
        quote,
        2,
        (quote.ip.destination, address),
        port,
    );
    message(frame, out, packet, (packet.ip.source, address))
}

fn quoted(
    out: &mut [u8],
    packet: &Packet,
    quote: &Quote,
    offset: usize,
    (old, new): (IpAddr, IpAddr),
    port: u16,
) {
    let header = (quote.protocol, quote.l4, packet.ip.end);
    rewrite::port_at(out, header, offset, (&octets(old), &octets(new)), port);
}

/// `out` with the checksum of the message for what has changed in it since `frame`, and in
/// the pseudo header of IPv6.
fn message(frame: &[u8], mut out: Vec<u8>, packet: &Packet, ends: (IpAddr, IpAddr)) -> Vec<u8> {
    let from = packet.l4 + 4;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for at in (from..frame.len() - 1).step_by(2) {
        if frame[at..at + 2] != out[at..at + 2] {
            old.extend(&frame[at..at + 2]);
            new.extend(&out[at..at + 2]);
        }
    }
    if packet.ip.v6 {
        old.extend(octets(ends.0));
        new.extend(octets(ends.1));
    }
    sum::update(&mut out, packet.l4 + 2, &old, &new);
    out
}

/// "Time exceeded" about a packet for a VIP, from there; none to fragments of IPv4.
pub(super) fn time_exceeded(frame: &[u8], packet: &Packet) -> Option<(Verdict, Vec<u8>)> {
    let is_fragment = packet.fragment.is_some() && !packet.ip.v6;
    if is_fragment || !is_answerable(frame, packet) {
        return None;
    }
    // All of it within 576 bytes (RFC 1812, section 4.3.2.3) or 1280 (RFC 4443).
    let most = if packet.ip.v6 { 1280 - 48 } else { 576 - 28 };
    let length = (packet.total() / 4 * 4).min(most);
    let kind = if packet.ip.v6 { 3 } else { 11 };
    let out = error(frame, packet, [kind, 0], 0xc0, [0; 4], length);
    Some((Verdict::HopLimitAnswered, out))
}

/// "Fragmentation needed" or "packet too big" about a packet for a tunnel with so much
/// room.
pub(super) fn too_big(frame: &[u8], packet: &Packet, room: u32) -> Option<(Verdict, Vec<u8>)> {
    let may = if packet.ip.v6 {
        // RFC 8200, section 5: whoever is told less sends fragments.
        room >= 1280
    } else {
        !packet.ip.may_be_cut() && !packet.is_headless()
    };
    // RFC 4443, section 2.4 (e): never about an error.
    let is_error = packet.is_control();
    if !may || is_error || packet.total() < 512 || !is_answerable(frame, packet) {
        return None;
    }
    let (kind, tos) = if packet.ip.v6 {
        ([2, 0], 0)
    } else {
        ([3, 4], 0xc0)
    };
    let out = error(frame, packet, kind, tos, room.to_be_bytes(), 512);
    Some((Verdict::TunnelTooBigAnswered, out))
}

/// An ICMP error that quotes `length` bytes of a packet, back to whoever sent it.
fn error(
    frame: &[u8],
    packet: &Packet,
    kind: [u8; 2],
    tos: u8,
    word: [u8; 4],
    length: usize,
) -> Vec<u8> {
    let l3 = packet.ip.l3;
    let ends = [octets(packet.ip.destination), octets(packet.ip.source)].concat();
    let behind = u16::try_from(8 + length).expect("short").to_be_bytes();
    let mut message = [&kind[..], &[0, 0], &word, &frame[l3..l3 + length]].concat();
    let ip = if packet.ip.v6 {
        let pseudo = [&ends[..], &[0, 0], &behind, &[0, 0, 0, ICMPV6]].concat();
        let checksum = sum::checksum(&[&pseudo, &message]);
        message[2..4].copy_from_slice(&checksum);
        let first = (6 << 28 | u32::from(tos) << 20).to_be_bytes();
        [&first[..], &behind, &[ICMPV6, 64], &ends].concat()
    } else {
        let checksum = sum::checksum(&[&message]);
        message[2..4].copy_from_slice(&checksum);
        let total = u16::try_from(28 + length).expect("short").to_be_bytes();
        let mut ip = [
            &[0x45, tos],
            &total[..],
            &[0, 0, 0x40, 0, 64, ICMP, 0, 0],
            &ends,
        ]
        .concat();
        let checksum = sum::checksum(&[&ip]);
        ip[10..12].copy_from_slice(&checksum);
        ip
    };
    [&frame[6..12], &frame[..6], &frame[12..l3], &ip, &message].concat()
}
