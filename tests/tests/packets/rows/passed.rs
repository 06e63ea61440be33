//! What is not ours, or nobody's: not a byte of it changes.

use etherparse::PacketBuilder;
use failover_common::Verdict;
use lab::Family;

use super::{Row, client, kinds, request};
use crate::frame::{Frame, Protocol};
use crate::network::{BACK, FRONT, at};
use crate::services::Port;
use crate::world::{PRIMARY, STANDBY};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        rows.extend(no_service(family, protocol));
        rows.extend(no_backend(family, protocol));
    }
    for vlan in [None, Some(5)] {
        rows.extend(not_ip(vlan));
        rows.extend(bad_v4(vlan));
        rows.extend(bad_v6(vlan));
    }
    rows.extend(other_protocols());
    rows
}

fn no_service(family: Family, protocol: Protocol) -> Vec<Row> {
    let other = Frame::new(protocol, client(family), at(family, 1, 1, 22));
    let unknown_port = at(family, PRIMARY.net, PRIMARY.host, 2001);
    let swapped = at(family, PRIMARY.net, PRIMARY.host, 2000);
    [
        ("a port without a service", request(family, protocol, 1999)),
        ("port 0 of that VIP", request(family, protocol, 0)),
        ("to the director itself", other.clone()),
        (
            "from an unknown port of a backend",
            other.clone().from(unknown_port),
        ),
        ("to the backend itself", other.to(swapped)),
    ]
    .into_iter()
    .map(|(what, frame)| {
        let description = format!("{what}: {family:?} {protocol:?}");
        Row::unchanged(description, FRONT, frame.bytes(), Verdict::NoService)
    })
    .collect()
}

fn no_backend(family: Family, protocol: Protocol) -> Vec<Row> {
    [
        (Port::Empty, Verdict::NoBackend),
        (Port::BeyondMap, Verdict::NoBackend),
        (Port::Unresolved, Verdict::BackendUnresolved),
    ]
    .into_iter()
    .map(|(port, verdict)| {
        let frame = request(family, protocol, port as u16);
        let description = format!("{port:?}: {family:?} {protocol:?}");
        Row::unchanged(description, FRONT, frame.bytes(), verdict)
    })
    .collect()
}

/// A frame of an ordinary service with bytes replaced: offset behind the
/// Ethernet header and its tag, byte.
fn with(frame: &Frame, bytes: &[(usize, u8)]) -> Vec<u8> {
    let mut out = frame.bytes();
    for (at, byte) in bytes {
        out[frame.l3() + at] = *byte;
    }
    out
}

fn tagged(family: Family, protocol: Protocol, vlan: Option<u16>) -> Frame {
    Frame {
        vlan,
        ..request(family, protocol, Port::Nat as u16)
    }
}

fn not_ip(vlan: Option<u16>) -> Vec<Row> {
    let frame = tagged(Family::V4, Protocol::Udp, vlan);
    let mut ethertypes: Vec<(&str, [u8; 2])> = vec![
        ("ARP", [0x08, 0x06]),
        ("LLDP", [0x88, 0xcc]),
        ("a length, not a type", [0x00, 0x20]),
        ("a service tag", [0x88, 0xa8]),
    ];
    if vlan.is_some() {
        ethertypes.push(("a second tag", [0x81, 0x00]));
    }
    ethertypes
        .into_iter()
        .map(|(what, ethertype)| {
            let mut bytes = frame.bytes();
            let at = frame.l3() - 2;
            bytes[at..at + 2].copy_from_slice(&ethertype);
            Row::unchanged(
                format!("{what}: tag {vlan:?}"),
                FRONT,
                bytes,
                Verdict::NotIp,
            )
        })
        .collect()
}

fn bad_v4(vlan: Option<u16>) -> Vec<Row> {
    let udp = tagged(Family::V4, Protocol::Udp, vlan);
    let tcp = tagged(Family::V4, Protocol::Tcp, vlan);
    // 20 bytes of IPv4, 8 of UDP or 20 of TCP, 15 of payload.
    [
        (
            "version 6 in IPv4",
            with(&udp, &[(0, 0x65)]),
            Verdict::Malformed,
        ),
        ("version 0", with(&udp, &[(0, 0x05)]), Verdict::Malformed),
        (
            "header of four words",
            with(&udp, &[(0, 0x44)]),
            Verdict::Malformed,
        ),
        (
            "header of no words",
            with(&udp, &[(0, 0x40)]),
            Verdict::Malformed,
        ),
        (
            "header longer than the packet",
            with(&udp, &[(0, 0x4f)]),
            Verdict::Malformed,
        ),
        (
            "total length without UDP",
            with(&udp, &[(3, 27)]),
            Verdict::Malformed,
        ),
        (
            "total length without TCP",
            with(&tcp, &[(3, 39)]),
            Verdict::Malformed,
        ),
        ("total length 0", with(&udp, &[(3, 0)]), Verdict::Malformed),
        (
            "total length beyond the frame",
            with(&udp, &[(3, 44)]),
            Verdict::Truncated,
        ),
        (
            "total length 65535",
            with(&udp, &[(2, 255), (3, 255)]),
            Verdict::Truncated,
        ),
        (
            "the last fragment",
            with(&udp, &[(7, 0x01)]),
            Verdict::Fragment,
        ),
        (
            "a late fragment",
            with(&tcp, &[(6, 0x1f)]),
            Verdict::Fragment,
        ),
    ]
    .into_iter()
    .map(|(what, bytes, verdict)| {
        Row::unchanged(format!("{what}: tag {vlan:?}"), FRONT, bytes, verdict)
    })
    .collect()
}

fn bad_v6(vlan: Option<u16>) -> Vec<Row> {
    let udp = tagged(Family::V6, Protocol::Udp, vlan);
    let tcp = tagged(Family::V6, Protocol::Tcp, vlan);
    [
        (
            "version 4 in IPv6",
            with(&udp, &[(0, 0x40)]),
            Verdict::Malformed,
        ),
        (
            "payload length without UDP",
            with(&udp, &[(5, 7)]),
            Verdict::Malformed,
        ),
        (
            "payload length without TCP",
            with(&tcp, &[(5, 19)]),
            Verdict::Malformed,
        ),
        // RFC 2675: 0 is a jumbogram.
        (
            "payload length 0",
            with(&tcp, &[(5, 0)]),
            Verdict::Malformed,
        ),
        (
            "payload length beyond the frame",
            with(&udp, &[(5, 24)]),
            Verdict::Truncated,
        ),
        (
            "payload length 65535",
            with(&udp, &[(4, 255), (5, 255)]),
            Verdict::Truncated,
        ),
        (
            "a late fragment over IPv6",
            with(&udp, &[(6, 44)]),
            Verdict::Fragment,
        ),
        (
            "hop-by-hop options beyond the packet",
            with(&udp, &[(6, 0)]),
            Verdict::Malformed,
        ),
    ]
    .into_iter()
    .map(|(what, bytes, verdict)| {
        Row::unchanged(format!("{what}: tag {vlan:?}"), FRONT, bytes, verdict)
    })
    .collect()
}

fn other_protocols() -> Vec<Row> {
    let link = || PacketBuilder::ethernet2([6; 6], [8; 6]);
    let mut v4 = Vec::new();
    link()
        .ipv4([10, 1, 0, 9], [10, 1, 0, 1], 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut v4, b"ping")
        .expect("a frame that can be built");
    let mut v6 = Vec::new();
    let [from, to] = [9, 1].map(|host| {
        let mut address = [0; 16];
        (address[0], address[3], address[15]) = (0xfd, 1, host);
        address
    });
    link()
        .ipv6(from, to, 64)
        .icmpv6_echo_request(1, 2)
        .write(&mut v6, b"ping")
        .expect("a frame that can be built");
    let udp = request(Family::V4, Protocol::Udp, Port::Nat as u16);
    let answer = request(Family::V4, Protocol::Udp, 40_000).from(at(
        Family::V4,
        STANDBY.net,
        STANDBY.host,
        7,
    ));
    [
        ("ping to the director over IPv4", FRONT, v4),
        ("ping to the director over IPv6", FRONT, v6),
        ("SCTP", FRONT, with(&udp, &[(9, 132)])),
        ("UDP-Lite", FRONT, with(&udp, &[(9, 136)])),
        ("SCTP from a backend", BACK, with(&answer, &[(9, 132)])),
    ]
    .into_iter()
    .map(|(what, ingress, bytes)| Row::unchanged(what, ingress, bytes, Verdict::OtherProtocol))
    .collect()
}
