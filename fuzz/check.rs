//! What must be so whatever the bytes of a frame are: nothing that is read lies outside the
//! packet, etherparse reads the same where it reads anything, and what is rewritten stays
//! what it was elsewhere.
//!
//! The fuzz target and the packet tests both run it.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use failover_common::{Address, Be16, FragmentKey};
use failover_ebpf::carried;
use failover_ebpf::extended::{self, Extended};
use failover_ebpf::icmp;
use failover_ebpf::parse::{self, Family, Packet, TCP};
use failover_ebpf::quote::{self, Report, Side};
use failover_ebpf::reply;

/// Panics if something is not so.
pub(crate) fn check(frame: &[u8]) {
    plain(frame);
    rare(frame);
    control(frame);
    tunnelled(frame);
}

fn plain(frame: &[u8]) {
    let Ok(packet) = parse::parse(frame) else {
        return;
    };
    is_inside(frame, &packet);
    assert!(!packet.headless);
    agrees(frame, &packet);
}

fn rare(frame: &[u8]) {
    let mut found = Extended {
        packet: NOTHING,
        is_fragment: false,
        key: FragmentKey::new(NOBODY, NOBODY, [0; 4], 0),
    };
    if extended::parse(frame, &mut found).is_err() {
        return;
    }
    let Extended {
        packet,
        is_fragment,
        key,
    } = found;
    is_inside(frame, &packet);
    assert!(is_fragment || !packet.headless, "{packet:?}");
    assert_eq!(
        [key.source, key.destination],
        [packet.source, packet.destination]
    );
    // It reads the simple ones too, and alike.
    if let Ok(plain) = parse::parse(frame) {
        assert_eq!(plain, packet);
    }
    if !is_fragment {
        agrees(frame, &packet);
    }
}

/// ICMP errors and echo, and what is made of them.
fn control(frame: &[u8]) {
    let _no_panic = icmp::parse(frame);
    let mut report = Report {
        message: NOTHING,
        protocol: 0,
        l3: 0,
        l4: 0,
        source: NOBODY,
        destination: NOBODY,
        source_port: Be16::ZERO,
        destination_port: Be16::ZERO,
    };
    if quote::parse(frame, &mut report).is_some() {
        let message = &report.message;
        is_inside(frame, message);
        let end = message.l3 + usize::from(message.total_length);
        assert!(message.l4 + 8 <= report.l3 && report.l3 < report.l4 && report.l4 + 8 <= end);
        for side in [Side::ToBackend, Side::ToClient] {
            let mut out = frame.to_vec();
            let port = Be16::new(4242);
            let done = quote::translate(&mut out[..], &report, side, &somebody(message), port);
            assert!(done.is_some(), "{report:?}");
            let ethernet_and_padding =
                |frame: &[u8]| [&frame[..message.l3], &frame[end..]].concat();
            assert_eq!(ethernet_and_padding(&out), ethernet_and_padding(frame));
            assert_eq!(out[report.l4 + side_of(side)..][..2], port.0);
        }
    }
    if let Ok(packet) = parse::header(frame)
        && reply::is_echo(frame, &packet)
    {
        let mut out = frame.to_vec();
        assert!(reply::echo(&mut out[..], &packet).is_some(), "{packet:?}");
        let back = parse::header(&out[..]).expect("a packet as before");
        assert_eq!(
            [back.source, back.destination],
            [packet.destination, packet.source]
        );
        assert!(!reply::is_echo(&out[..], &back), "a reply to a reply");
    }
}

/// Where the port that is translated lies in the quoted header.
fn side_of(side: Side) -> usize {
    match side {
        Side::ToBackend => 0,
        Side::ToClient => 2,
    }
}

/// The end of a tunnel.
fn tunnelled(frame: &[u8]) {
    let Some(found) = carried::find(frame) else {
        return;
    };
    let Ok(carried) = found.carried else {
        return;
    };
    let mut out = frame.to_vec();
    if carried.receive(&mut out[..]).is_ok() {
        let at = carried.at();
        assert!(at < frame.len());
        assert_eq!(out[..at], frame[..at], "what is in front changed");
    }
}

/// Whether everything that was read is part of the packet, and that of the frame.
fn is_inside(frame: &[u8], packet: &Packet) {
    let end = packet.l3 + usize::from(packet.total_length);
    assert!(
        [14, 18, 22].contains(&packet.l3) && end <= frame.len(),
        "{packet:?}"
    );
    assert!(
        packet.l4 >= packet.l3 + packet.family.header(),
        "{packet:?}"
    );
    if !packet.headless {
        let header = if packet.protocol == TCP { 20 } else { 8 };
        assert!(packet.l4 + header <= end, "{packet:?}");
    }
}

/// Whether etherparse reads the same, where it reads TCP or UDP.
fn agrees(frame: &[u8], packet: &Packet) {
    let Ok(sliced) = SlicedPacket::from_ethernet(frame) else {
        return;
    };
    let ports = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => [tcp.source_port(), tcp.destination_port()],
        Some(TransportSlice::Udp(udp)) => [udp.source_port(), udp.destination_port()],
        _ => return,
    };
    let (ends, hop_limit) = match sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header();
            (
                [ip.source(), ip.destination()].map(Address::from_v4),
                ip.ttl(),
            )
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header();
            (
                [ip.source(), ip.destination()].map(Address::from_bytes),
                ip.hop_limit(),
            )
        }
        _ => return,
    };
    assert_eq!(ends, [packet.source, packet.destination]);
    assert_eq!(
        ports,
        [packet.source_port.get(), packet.destination_port.get()]
    );
    assert_eq!(hop_limit, packet.hop_limit);
}

/// An address of the family of `packet`.
fn somebody(packet: &Packet) -> Address {
    match packet.family {
        Family::V4 => Address::from_v4([10, 0, 0, 1]),
        Family::V6 => Address::from_bytes([7; 16]),
    }
}

const NOBODY: Address = Address::from_bytes([0; 16]);

const NOTHING: Packet = Packet {
    family: Family::V4,
    protocol: 0,
    tos: 0,
    hop_limit: 0,
    total_length: 0,
    l3: 0,
    l4: 0,
    source: NOBODY,
    destination: NOBODY,
    source_port: Be16::ZERO,
    destination_port: Be16::ZERO,
    flags: 0,
    headless: true,
};
