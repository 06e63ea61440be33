//! What the tests of other balancers cover and what their users ran into, as rows of ours:
//! some end otherwise here, since we do what those leave to others or drop.
//!
//! Katran: the numbered cases of `katran/lib/testing/fixtures/Katran*TestFixtures.h`.
//! Cilium: the files in `bpf/tests`. A number behind a name is an issue of theirs.

use etherparse::{PacketBuilder, TcpOptionElement};
use failover_common::Verdict;
use lab::Family;

use super::control::{answer, message, told};
use super::too_big::answered;
use super::{Row, client, kinds, request, to_client, towards, tunnel};
use crate::before::{Before, Earlier};
use crate::control::quote;
use crate::frame::{ACK, Frame, PSH, Protocol};
use crate::mortals::{FIRST, LEASED, SECOND};
use crate::network::{BACK, FRONT, at, ip, mac};
use crate::pieces::fragments;
use crate::services::{Port, VIP, VIP_EVERY_PORT};
use crate::state::Entry;
use crate::tunnel::Tunnel;
use crate::world::{HAIRPIN, PRIMARY, STANDBY, Server};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, (family, protocol)) in (0..).zip(kinds()) {
        rows.extend(in_tunnels(family, protocol));
        rows.extend(by_nat(family, protocol));
        rows.extend(in_pieces(family, protocol, 9000 + number * 10));
        rows.extend(errors(family, protocol));
        rows.extend(nowhere_to_go(family, protocol));
    }
    for family in Family::ALL {
        rows.extend(full_size(family));
        rows.extend(truncated_errors(family));
        rows.extend(tunnels_of_others(family));
        rows.extend(not_ours(family));
        rows.push(stale_flow(family));
    }
    rows.push(arp());
    rows
}

fn tunnel_to(family: Family, gue: bool) -> Tunnel {
    Tunnel {
        family,
        gue,
        server: PRIMARY,
    }
}

/// What Katran does with every packet, here by the services that ask for it.
fn in_tunnels(family: Family, protocol: Protocol) -> Vec<Row> {
    let other = family.other();
    let tunnels = [
        ("Base 1, 2, 6", Port::Ipip, tunnel_to(family, false)),
        ("Base 5", Port::IpipOther, tunnel_to(other, false)),
        ("Gue 1, 2, 5", Port::Gue, tunnel_to(family, true)),
        ("Gue 4", Port::GueOther, tunnel_to(other, true)),
    ];
    let mut rows = Vec::new();
    for (number, port, tunnel) in tunnels {
        let mut add = |what: &str, frame: &Frame| {
            let what = format!("Katran {number}, {what}");
            rows.push(tunnel::row(
                &what,
                frame,
                tunnel,
                Verdict::ForwardedRedirect,
            ));
        };
        let plain = request(family, protocol, port as u16);
        add("plain", &plain);
        // The class of the packet is that of the tunnel: Base 3, 7; Gue 31, 32.
        let tos = Frame {
            tos: 0x8c,
            ..plain.clone()
        };
        add("ToS or traffic class", &tos);
        if protocol == Protocol::Udp {
            for (what, first) in QUIC {
                let mut quic = plain.clone();
                quic.payload[..first.len()].copy_from_slice(first);
                add(what, &quic);
            }
        } else {
            // A flow that is known is where it was: Base 18, Gue 16.
            let mut data = plain.clone();
            data.tcp.flags = ACK | PSH;
            add("the flow goes on", &data);
        }
        if family == Family::V4 {
            // Base 12 and Gue 10 drop it.
            let ip_options = vec![1; 8];
            let options = Frame {
                ip_options,
                ..plain
            };
            add("IPv4 options", &options);
        }
    }
    rows
}

/// First bytes of QUIC (RFC 9000, section 17): Base 24 to 36, Gue 22 to 34. To us it is UDP
/// like any other, whichever backend a connection id may name.
const QUIC: [(&str, &[u8]); 3] = [
    ("QUIC, Initial", &[0xc3, 0, 0, 0, 1, 8, 0x40, 0x04]),
    ("QUIC, Retry", &[0xf0, 0, 0, 0, 1, 0, 8, 0x40]),
    ("QUIC, a short header", &[0x41, 0x40, 0x04, 0x44]),
];

fn nat(what: &str, input: &Frame, server: Server, port: u16) -> Row {
    let family = if input.source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let verdict = if server.net == 1 {
        Verdict::ForwardedTx
    } else {
        Verdict::ForwardedRedirect
    };
    let sent = input.clone().to(at(family, server.net, server.host, port));
    let protocol = input.protocol;
    Row::sent(
        format!("{what}: {family:?} {protocol:?}"),
        FRONT,
        input,
        verdict,
        &towards(server, sent),
        server.index(family),
    )
}

fn by_nat(family: Family, protocol: Protocol) -> Vec<Row> {
    let plain = request(family, protocol, Port::Nat as u16);
    let every_port = Frame::new(
        protocol,
        client(family),
        at(family, 1, VIP_EVERY_PORT, 4242),
    );
    let hairpin = request(family, protocol, Port::Hairpin as u16);
    let back = Frame::new(
        protocol,
        at(family, HAIRPIN.net, HAIRPIN.host, 2002),
        client(family),
    );
    let as_vip = back.clone().from(at(family, 1, VIP, Port::Hairpin as u16));
    let mut rows = vec![
        nat("Cilium xdp_nodeport_lb4_test", &plain, PRIMARY, 2000),
        nat("Katran Base 4, any port", &every_port, STANDBY, 4242),
        nat("Cilium hairpin_flow", &hairpin, HAIRPIN, 2002),
        Row::sent(
            format!("Cilium hairpin_flow, the way back: {family:?} {protocol:?}"),
            FRONT,
            &back,
            Verdict::ReturnedTx,
            &to_client(1, as_vip),
            HAIRPIN.index(family),
        ),
    ];
    if protocol == Protocol::Tcp {
        // TPR 10, 13 and 16 look for one of their own among them; Base 12 is about IP's.
        let mut full = plain.clone();
        full.tcp_options = vec![
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(7, 0),
            TcpOptionElement::SelectiveAcknowledgement((1, 2), [Some((3, 4)), None, None]),
            TcpOptionElement::WindowScale(7),
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
        ];
        rows.push(nat("Katran TPR 13, as many options", &full, PRIMARY, 2000));
    }
    rows
}

/// Cilium `ipfrag`: a first one, one in the middle and the last. Katran drops them (Base 13,
/// 14; Gue 11, 12).
fn in_pieces(family: Family, protocol: Protocol, id: u32) -> Vec<Row> {
    let whole = request(family, protocol, Port::Nat as u16).sized(1200);
    let to = at(family, PRIMARY.net, PRIMARY.host, 2000);
    let sent = towards(PRIMARY, whole.clone().to(to));
    let [input, output] = [&whole, &sent].map(|frame| fragments(frame, id, &[256, 512]));
    let verdict = Verdict::ForwardedRedirect;
    let earlier = |piece: usize| {
        let frames = input[..piece].iter();
        frames.map(|frame| Earlier::Frame(FRONT, frame.clone(), verdict))
    };
    (0..input.len())
        .map(|piece| Row {
            output: output[piece].clone(),
            backend: Some(PRIMARY.index(family)),
            before: Before {
                earlier: earlier(piece).collect(),
                ..Before::default()
            },
            ..Row::unchanged(
                format!("Cilium ipfrag, {piece}: {family:?} {protocol:?}"),
                FRONT,
                input[piece].clone(),
                verdict,
            )
        })
        .collect()
}

/// The message that a packet was too big.
fn too_big(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    }
}

/// Path MTU discovery of the backends.
fn errors(family: Family, protocol: Protocol) -> Vec<Row> {
    let error = |port: Port, length: Option<usize>| {
        let mut body = quote(&answer(family, protocol, port));
        body.truncate(length.unwrap_or(body.len()));
        message(family, VIP, too_big(family), [0, 0, 5, 0x14], body)
    };
    let header = if family == Family::V4 { 20 } else { 40 };
    let sent = |length: Option<usize>| {
        let backend = at(family, PRIMARY.net, PRIMARY.host, 2000);
        let mut body = quote(&answer(family, protocol, Port::Nat).from(backend));
        body.truncate(length.unwrap_or(body.len()));
        body
    };
    let mut rows = Vec::new();
    for (what, length) in [
        ("Cilium icmp_error_revnat", None),
        // With eight bytes of TCP it was taken for malformed.
        ("Katran 159, eight bytes are quoted", Some(header + 8)),
    ] {
        let input = error(Port::Nat, length);
        let bodies = (input.body.clone(), sent(length));
        let what = format!("{what}, {protocol:?}");
        rows.push(told(&what, &input, (PRIMARY, Some(2000)), bodies));
    }
    // It went round and round on the host: here it goes on with one hop less, and ends.
    let mut looping = error(Port::Nat, None);
    looping.frame.hop_limit = 1;
    rows.push(Row::unchanged(
        format!("Cilium 34380, an error ends: {family:?} {protocol:?}"),
        FRONT,
        looping.bytes(),
        Verdict::HopLimitDropped,
    ));
    for (number, port, gue) in [
        ("Base 10, 11", Port::Ipip, false),
        ("Gue 8, 9", Port::Gue, true),
    ] {
        let input = error(port, None);
        rows.push(Row {
            output: tunnel_to(family, gue).carry_message(&input),
            backend: Some(PRIMARY.index(family)),
            ..Row::unchanged(
                format!("Katran {number}: {family:?} {protocol:?}"),
                FRONT,
                input.bytes(),
                Verdict::ForwardedRedirect,
            )
        });
    }
    rows
}

fn nowhere_to_go(family: Family, protocol: Protocol) -> Vec<Row> {
    [
        (
            "Katran Gue 35, 36; Cilium tc_nodeport_lb4_no_backend",
            Port::Empty,
            Verdict::NoBackend,
        ),
        (
            "Cilium fib_tests, no neighbour",
            Port::Unresolved,
            Verdict::BackendUnresolved,
        ),
    ]
    .into_iter()
    .map(|(what, port, verdict)| {
        let frame = request(family, protocol, port as u16).bytes();
        Row::unchanged(
            format!("{what}: {family:?} {protocol:?}"),
            FRONT,
            frame,
            verdict,
        )
    })
    .collect()
}

/// Packets as long as the MTU: a tunnel has no room for them, and whoever sends them is told;
/// `dsr` adds nothing, tag or not.
fn full_size(family: Family) -> Vec<Row> {
    let long = |port: Port| request(family, Protocol::Udp, port as u16).sized(1500);
    let header = if family == Family::V4 { 20 } else { 40 };
    let mut rows = vec![
        answered(
            format!("Katran 82, 206; Base 33, IcmpTooBig 1, 2: {family:?}"),
            &long(Port::Ipip),
            1500 - header,
        ),
        answered(
            format!("Katran IcmpTooBig 3, 4: {family:?}"),
            &long(Port::Gue),
            1500 - header - 8,
        ),
    ];
    for vlan in [None, Some(5)] {
        let input = Frame {
            vlan,
            ..long(Port::Dsr)
        };
        rows.push(Row::sent(
            format!("Cilium 32601, 39690; tc_nodeport_lb4_dsr_lb, tag {vlan:?}: {family:?}"),
            FRONT,
            &input,
            Verdict::ForwardedRedirect,
            &towards(PRIMARY, input.clone()),
            PRIMARY.index(family),
        ));
    }
    rows
}

/// Errors that end within what they quote, or in the middle of their own header.
fn truncated_errors(family: Family) -> Vec<Row> {
    let body = quote(&answer(family, Protocol::Tcp, Port::Nat));
    let header = if family == Family::V4 { 20 } else { 40 };
    [0, 1, header - 1, header, header + 7]
        .into_iter()
        .map(|length| {
            let input = message(
                family,
                VIP,
                too_big(family),
                [0; 4],
                body[..length].to_vec(),
            );
            let description = format!("an error with {length} bytes of a packet: {family:?}");
            Row::unchanged(description, FRONT, input.bytes(), Verdict::OtherProtocol)
        })
        .collect()
}

/// Packets in tunnels, which Katran opens itself: Base 21 to 23, Gue 19 to 21, `DecapStats`,
/// `XPopDecap`. Here it takes `failover decap`, and the director lets them pass.
fn tunnels_of_others(family: Family) -> Vec<Row> {
    [(Port::Ipip, false), (Port::Gue, true)]
        .into_iter()
        .map(|(port, gue)| {
            let inner = request(family, Protocol::Tcp, port as u16);
            let input = tunnel_to(family, gue).carry(&inner);
            let verdict = if gue {
                Verdict::NoService
            } else {
                Verdict::OtherProtocol
            };
            let description = format!("Katran Base 21 to 23, GUE {gue}: {family:?}");
            Row::unchanged(description, BACK, input, verdict)
        })
        .collect()
}

/// Katran Base 15, 16; Cilium `hairpin_sctp_flow`, `hostfw_igmp`.
fn not_ours(family: Family) -> Vec<Row> {
    let elsewhere = Frame::new(Protocol::Tcp, client(family), at(family, 1, 200, 80));
    let mut rows = vec![Row::unchanged(
        format!("Katran Base 15, 16, no VIP: {family:?}"),
        FRONT,
        elsewhere.bytes(),
        Verdict::NoService,
    )];
    let (protocol_at, seen) = match family {
        Family::V4 => (14 + 9, vec![("hairpin_sctp_flow", 132), ("hostfw_igmp", 2)]),
        Family::V6 => (14 + 6, vec![("hairpin_sctp_flow", 132)]),
    };
    for (what, protocol) in seen {
        let mut frame = request(family, Protocol::Tcp, Port::Nat as u16).bytes();
        frame[protocol_at] = protocol;
        let description = format!("Cilium {what}: {family:?}");
        rows.push(Row::unchanged(
            description,
            FRONT,
            frame,
            Verdict::OtherProtocol,
        ));
    }
    rows
}

/// Katran Base 17.
fn arp() -> Row {
    let mut bytes = Vec::new();
    let (client, vip) = ([10, 1, 0, 9], [10, 1, 0, VIP]);
    assert_eq!(ip(Family::V4, 1, VIP), std::net::IpAddr::from(vip));
    PacketBuilder::ethernet2(mac(1, 9), [0xff; 6])
        .arp(
            etherparse::ArpPacket::new(
                etherparse::ArpHardwareId::ETHERNET,
                etherparse::EtherType::IPV4,
                etherparse::ArpOperation::REQUEST,
                &mac(1, 9),
                &client,
                &[0; 6],
                &vip,
            )
            .expect("lengths that agree"),
        )
        .write(&mut bytes)
        .expect("a frame that can be built");
    Row::unchanged(
        "Katran Base 17: ARP for a VIP",
        FRONT,
        bytes,
        Verdict::NotIp,
    )
}

/// Cilium 48288, kubernetes 139628; Katran `UdpFlowMigration`: a UDP flow whose backend is
/// dead is with the next one from its next packet on.
fn stale_flow(family: Family) -> Row {
    let input = request(family, Protocol::Udp, LEASED.port);
    let port = LEASED.port_on_backend(LEASED.port);
    let sent = input.clone().to(at(family, SECOND.net, SECOND.host, port));
    let alive = [FIRST, SECOND].map(|server| Entry::new(server, family));
    let held = Entry {
        holds: failover_common::Hold::CheckFailed as u64,
        ..Entry::new(FIRST, family)
    };
    let earlier = (0..3).map(|_| Earlier::Frame(FRONT, input.bytes(), Verdict::ForwardedRedirect));
    Row {
        before: Before {
            earlier: earlier.chain([Earlier::Entry(held)]).collect(),
            ..Before::entries(&alive)
        },
        ..Row::sent(
            format!("Cilium 48288, a stale UDP flow: {family:?}"),
            FRONT,
            &input,
            Verdict::ForwardedRedirect,
            &towards(SECOND, sent),
            SECOND.index(family),
        )
    }
}
