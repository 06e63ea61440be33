//! From clients to backends, inside other packets.

use failover_common::Verdict;
use lab::Family;

use super::{Row, further, kinds, request};
use crate::before::{Before, Earlier};
use crate::control::Control;
use crate::frame::{ACK, Frame, PSH, Protocol};
use crate::network::{CLIENT, FRONT, at};
use crate::pieces::{DESTINATION_OPTIONS, fragments, options, with_headers};
use crate::services::{Port, VIP};
use crate::tunnel::Tunnel;
use crate::world::{HAIRPIN, NARROW, PRIMARY, Server};

/// Every tunnel that packets of `family` fit into, with the service that has it.
pub(super) fn tunnels(family: Family) -> [(Port, Tunnel); 8] {
    let tunnel = |family, gue, server: Server| Tunnel {
        family,
        gue,
        server,
    };
    let other = family.other();
    [
        (Port::Ipip, tunnel(family, false, PRIMARY)),
        (Port::IpipOther, tunnel(other, false, PRIMARY)),
        (Port::Gue, tunnel(family, true, PRIMARY)),
        (Port::GueOther, tunnel(other, true, PRIMARY)),
        (Port::IpipNarrow, tunnel(family, false, NARROW)),
        (Port::IpipNarrowOther, tunnel(other, false, NARROW)),
        (Port::GueNarrow, tunnel(family, true, NARROW)),
        (Port::GueNarrowOther, tunnel(other, true, NARROW)),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        for (port, tunnel) in tunnels(family) {
            for (what, frame) in shapes(family, protocol, port, tunnel) {
                rows.push(row(what, &frame, tunnel, Verdict::ForwardedRedirect));
            }
        }
        let tunnel = Tunnel {
            family,
            gue: false,
            server: HAIRPIN,
        };
        let frame = request(family, protocol, Port::IpipHairpin as u16);
        rows.push(row("hairpin", &frame, tunnel, Verdict::ForwardedTx));
        rows.extend(unresolved(family, protocol));
    }
    for (number, family) in (0..).zip(Family::ALL) {
        for (id, (port, tunnel)) in (2000 + number * 100..).zip(tunnels(family)) {
            rows.extend(checksums(family, port, tunnel));
            rows.extend(pieces(family, port, tunnel, id));
            rows.extend(errors(family, port, tunnel));
        }
    }
    rows.extend(extension_headers());
    rows
}

pub(super) fn row(what: &str, input: &Frame, tunnel: Tunnel, verdict: Verdict) -> Row {
    let (family, protocol) = (input.source.is_ipv4(), input.protocol);
    let Tunnel {
        family: outer,
        gue,
        server,
    } = tunnel;
    let input_bytes = input.bytes();
    Row {
        output: tunnel.carry(input),
        backend: Some(server.index(outer)),
        ..Row::unchanged(
            format!(
                "{what}: {protocol:?}, IPv4 {family}, in {outer:?}, GUE {gue}, MTU {}",
                server.mtu
            ),
            FRONT,
            input_bytes,
            verdict,
        )
    }
}

/// Frames that are laid out in many ways, and just fit.
fn shapes(
    family: Family,
    protocol: Protocol,
    port: Port,
    tunnel: Tunnel,
) -> Vec<(&'static str, Frame)> {
    let plain = request(family, protocol, port as u16);
    let longest = usize::try_from(tunnel.server.mtu).expect("a length") - tunnel.overhead();
    let mut frames = vec![("exactly as long as fits", plain.clone().sized(longest))];
    if tunnel.server.mtu == NARROW.mtu {
        return frames;
    }
    frames.extend([
        ("plain", plain.clone()),
        (
            "tagged, exactly as long as fits",
            Frame {
                vlan: Some(5),
                ..plain.clone().sized(longest)
            },
        ),
        ("an even length", plain.clone().sized(200)),
        ("an odd length", plain.clone().sized(201)),
        (
            "tagged",
            Frame {
                vlan: Some(5),
                ..plain.clone()
            },
        ),
        (
            "two tags",
            Frame {
                vlan: Some(5),
                outer_vlan: Some(6),
                ..plain.clone()
            },
        ),
        (
            "padding",
            Frame {
                payload: vec![],
                padding: vec![0xee; 18],
                ..plain.clone()
            },
        ),
        (
            "congestion experienced",
            Frame {
                tos: 0x2b,
                ..plain.clone()
            },
        ),
        (
            "the last hop but one: ours is the last",
            Frame {
                hop_limit: 2,
                ..plain.clone()
            },
        ),
    ]);
    if family == Family::V4 {
        frames.push((
            "may be fragmented",
            Frame {
                dont_fragment: false,
                ..plain.clone()
            },
        ));
        frames.push((
            "IPv4 options",
            Frame {
                ip_options: vec![1; 40],
                ..plain.clone()
            },
        ));
    }
    if protocol == Protocol::Tcp {
        let mut data = plain;
        data.tcp.flags = ACK | PSH;
        frames.push(("data of TCP", data));
    }
    frames
}

/// UDP that has no checksum: then the tunnel over IPv6 has none either.
fn checksums(family: Family, port: Port, tunnel: Tunnel) -> Vec<Row> {
    let plain = request(family, Protocol::Udp, port as u16);
    let not_made = Frame {
        checksum: false,
        ..plain
    };
    vec![row(
        "UDP checksum not made",
        &not_made,
        tunnel,
        Verdict::ForwardedRedirect,
    )]
}

/// Pieces of a datagram: all of one flow.
fn pieces(family: Family, port: Port, tunnel: Tunnel, id: u32) -> Vec<Row> {
    let input = request(family, Protocol::Udp, port as u16).sized(1000);
    let sent = fragments(&further(input.clone()), id, &[400]);
    let came = fragments(&input, id, &[400]);
    (0..came.len())
        .map(|piece| {
            let earlier = came[..piece]
                .iter()
                .map(|first| Earlier::Frame(FRONT, first.clone(), Verdict::ForwardedRedirect));
            Row {
                before: Before {
                    earlier: earlier.collect(),
                    ..Before::default()
                },
                output: tunnel.carry_odd(&input, &sent[piece][input.l3()..]),
                backend: Some(tunnel.server.index(tunnel.family)),
                ..Row::unchanged(
                    format!("piece {piece}: {family:?} {port:?}"),
                    FRONT,
                    came[piece].clone(),
                    Verdict::ForwardedRedirect,
                )
            }
        })
        .collect()
}

/// About what a backend has sent to a client: as it is, to who serves now.
fn errors(family: Family, port: Port, tunnel: Tunnel) -> Vec<Row> {
    let client = at(family, 1, CLIENT, 40_000);
    let answer = Frame::new(Protocol::Udp, at(family, 1, VIP, port as u16), client);
    let too_big = Control {
        kind: match family {
            Family::V4 => (3, 4),
            Family::V6 => (2, 0),
        },
        word: [0, 0, 5, 0x14],
        ..Control::unreachable(
            Frame::new(Protocol::Udp, client, at(family, 1, VIP, 0)),
            &answer,
        )
    };
    vec![Row {
        output: tunnel.carry_message(&too_big),
        backend: Some(tunnel.server.index(tunnel.family)),
        ..Row::unchanged(
            format!("an ICMP error: {family:?} {port:?}"),
            FRONT,
            too_big.bytes(),
            Verdict::ForwardedRedirect,
        )
    }]
}

fn extension_headers() -> Vec<Row> {
    let family = Family::V6;
    let headers = [options(DESTINATION_OPTIONS, 1)];
    tunnels(family)
        .into_iter()
        .map(|(port, tunnel)| {
            let input = request(family, Protocol::Tcp, port as u16);
            let sent = with_headers(&further(input.clone()), &headers);
            Row {
                output: tunnel.carry_odd(&input, &sent[input.l3()..]),
                backend: Some(tunnel.server.index(tunnel.family)),
                ..Row::unchanged(
                    format!("an extension header: {port:?}"),
                    FRONT,
                    with_headers(&input, &headers),
                    Verdict::ForwardedRedirect,
                )
            }
        })
        .collect()
}

fn unresolved(family: Family, protocol: Protocol) -> Vec<Row> {
    [Port::IpipSourceless, Port::IpipUnresolved]
        .into_iter()
        .map(|port| {
            let frame = request(family, protocol, port as u16);
            let what = format!("{port:?}: {family:?} {protocol:?}");
            Row::unchanged(what, FRONT, frame.bytes(), Verdict::BackendUnresolved)
        })
        .collect()
}
