//! From clients to backends.

use etherparse::TcpOptionElement;
use failover_common::Verdict;
use lab::Family;

use super::{Row, client, kinds, request, towards};
use crate::frame::{Frame, Protocol, identification_for_zero, payload_for_zero};
use crate::network::{FRONT, at};
use crate::services::{OWN_PORT, Port, VIP_EVERY_PORT};
use crate::world::{HAIRPIN, HELD_BETWEEN, HELD_LAST, PRIMARY, STANDBY, Server};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        for vlan in [None, Some(5)] {
            rows.extend(every_service(family, protocol, vlan));
        }
        rows.extend(shapes(family, protocol));
    }
    rows.extend(Family::ALL.map(udp_checksum_becomes_all_ones));
    rows.extend(Family::ALL.map(udp_checksum_not_made));
    rows.extend([
        tcp_checksum_becomes_zero(),
        header_checksum_becomes_zero(),
        from_a_backend(),
    ]);
    rows
}

/// `input` to `server`, by `nat` to `port` or, without one, by `dsr`.
fn row(description: impl Into<String>, input: &Frame, server: Server, port: Option<u16>) -> Row {
    let family = if input.source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let destination = match port {
        Some(port) => at(family, server.net, server.host, port),
        None => input.destination,
    };
    let verdict = if server.net == 1 {
        Verdict::ForwardedTx
    } else {
        Verdict::ForwardedRedirect
    };
    let output = towards(server, input.clone().to(destination));
    let index = server.index(family);
    Row::sent(description, FRONT, input, verdict, &output, index)
}

fn every_service(family: Family, protocol: Protocol, vlan: Option<u16>) -> Vec<Row> {
    let to_vip = |port: Port| Frame {
        vlan,
        ..request(family, protocol, port as u16)
    };
    let to_every_port = |port| Frame {
        vlan,
        ..Frame::new(
            protocol,
            client(family),
            at(family, 1, VIP_EVERY_PORT, port),
        )
    };
    [
        ("nat", to_vip(Port::Nat), PRIMARY, Some(2000)),
        ("nat, same port", to_vip(Port::NatKept), PRIMARY, Some(1001)),
        ("nat, hairpin", to_vip(Port::Hairpin), HAIRPIN, Some(2002)),
        ("dsr", to_vip(Port::Dsr), PRIMARY, None),
        ("dsr, hairpin", to_vip(Port::DsrHairpin), HAIRPIN, None),
        (
            "first is held",
            to_vip(Port::FirstHeld),
            PRIMARY,
            Some(2005),
        ),
        ("all are held", to_vip(Port::AllHeld), HELD_LAST, Some(2006)),
        (
            "all held at once",
            to_vip(Port::HeldAtOnce),
            HELD_BETWEEN,
            Some(2007),
        ),
        (
            "first is beyond the map",
            to_vip(Port::BeyondMapFirst),
            PRIMARY,
            Some(2011),
        ),
        ("every port", to_every_port(7), STANDBY, Some(7)),
        (
            "every port, the last",
            to_every_port(65535),
            STANDBY,
            Some(65535),
        ),
        ("every port, port 0", to_every_port(0), STANDBY, Some(0)),
        (
            "a port of its own",
            to_every_port(OWN_PORT),
            PRIMARY,
            Some(OWN_PORT),
        ),
    ]
    .into_iter()
    .map(|(what, input, server, port)| {
        let description = format!("{what}: {family:?} {protocol:?} tag {vlan:?}");
        row(description, &input, server, port)
    })
    .collect()
}

/// Frames that are laid out in other ways.
fn shapes(family: Family, protocol: Protocol) -> Vec<Row> {
    let plain = request(family, protocol, Port::Nat as u16);
    let mut frames = vec![
        (
            "no payload",
            Frame {
                payload: vec![],
                ..plain.clone()
            },
        ),
        (
            "a long payload",
            Frame {
                payload: (0..=255).cycle().take(1400).collect(),
                ..plain.clone()
            },
        ),
        (
            "padding",
            Frame {
                payload: vec![0xff],
                padding: vec![0xee; 18],
                ..plain.clone()
            },
        ),
    ];
    if family == Family::V4 {
        for (what, length) in [("one word of options", 4), ("options to the full", 40)] {
            // RFC 791, section 3.1: option 1 is "no operation".
            let ip_options = vec![1; length];
            let vlan = (length == 40).then_some(5);
            frames.push((
                what,
                Frame {
                    vlan,
                    ip_options,
                    ..plain.clone()
                },
            ));
        }
    }
    if protocol == Protocol::Tcp {
        let tcp_options = vec![
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::Timestamp(1, 2),
        ];
        frames.push((
            "options of TCP",
            Frame {
                tcp_options,
                ..plain
            },
        ));
    }
    frames
        .into_iter()
        .map(|(what, input)| {
            let description = format!("{what}: {family:?} {protocol:?}");
            row(description, &input, PRIMARY, Some(2000))
        })
        .collect()
}

/// RFC 768: zero means that there is none, and stays; so it does over IPv6,
/// where only tunnels may do so (RFC 6935).
fn udp_checksum_not_made(family: Family) -> Row {
    let input = Frame {
        checksum: false,
        ..request(family, Protocol::Udp, Port::Nat as u16)
    };
    let description = format!("UDP checksum not made: {family:?}");
    row(description, &input, PRIMARY, Some(2000))
}

/// RFC 768: one that computes to zero is sent as all ones.
fn udp_checksum_becomes_all_ones(family: Family) -> Row {
    let mut input = request(family, Protocol::Udp, Port::Nat as u16);
    let sent = input
        .clone()
        .to(at(family, PRIMARY.net, PRIMARY.host, 2000));
    input.payload = payload_for_zero(&sent);
    let row = row(
        format!("UDP checksum computes to zero: {family:?}"),
        &input,
        PRIMARY,
        Some(2000),
    );
    let at = input.l4_checksum();
    assert_eq!(row.output[at..at + 2], [0xff, 0xff]);
    row
}

/// RFC 9293 gives zero no meaning.
fn tcp_checksum_becomes_zero() -> Row {
    let mut input = request(Family::V4, Protocol::Tcp, Port::Nat as u16);
    let sent = input
        .clone()
        .to(at(Family::V4, PRIMARY.net, PRIMARY.host, 2000));
    input.payload = payload_for_zero(&sent);
    let row = row("TCP checksum computes to zero", &input, PRIMARY, Some(2000));
    let at = input.l4_checksum();
    assert_eq!(row.output[at..at + 2], [0, 0]);
    row
}

fn header_checksum_becomes_zero() -> Row {
    let mut input = request(Family::V4, Protocol::Udp, Port::Nat as u16);
    let sent = input
        .clone()
        .to(at(Family::V4, PRIMARY.net, PRIMARY.host, 2000));
    input.identification = identification_for_zero(&towards(PRIMARY, sent));
    let row = row(
        "IPv4 header checksum computes to zero",
        &input,
        PRIMARY,
        Some(2000),
    );
    assert_eq!(row.output[24..26], [0, 0]);
    row
}

/// A backend that is a client of a service: a request, though its source has a
/// reverse entry.
fn from_a_backend() -> Row {
    let input = request(Family::V4, Protocol::Udp, Port::Nat as u16).from(at(
        Family::V4,
        STANDBY.net,
        STANDBY.host,
        5000,
    ));
    row("a backend asks a service", &input, PRIMARY, Some(2000))
}
