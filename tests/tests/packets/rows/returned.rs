//! From backends back to clients.

use std::net::SocketAddr;

use bytemuck::Zeroable as _;
use failover_common::{News, NewsKind, Verdict};
use lab::Family;

use super::{Row, client, ingress, kinds, to_client};
use crate::frame::{Frame, Protocol, payload_for_zero};
use crate::network::{CLIENT, CLOSED, FRONT, Far, THIN_MTU, UNKNOWN, at, far, ip};
use crate::services::{OWN_REVERSE, Port, VIP, VIP_EVERY_PORT};
use crate::world::{HAIRPIN, PRIMARY, STANDBY, Server};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        rows.extend(every_entry(family, protocol));
        rows.extend(by_a_trunk(family, protocol));
        rows.extend(ways(family, protocol));
        rows.extend(no_way(family, protocol));
        rows.extend(sizes(family, protocol));
        rows.extend(to_this_host(family, protocol));
        rows.push(forwarding_is_off(family, protocol));
    }
    rows.extend(Family::ALL.map(checksum_becomes_all_ones));
    rows.push(checksum_not_made());
    rows
}

/// From a port of `server`.
fn answer(
    family: Family,
    protocol: Protocol,
    (server, port): (Server, u16),
    to: SocketAddr,
) -> Frame {
    Frame::new(protocol, at(family, server.net, server.host, port), to)
}

/// An answer of the primary's `nat` service.
fn plain(family: Family, protocol: Protocol, to: SocketAddr) -> Frame {
    answer(family, protocol, (PRIMARY, 2000), to)
}

/// `input` of `plain` sent on, to the client of net `net`.
fn plain_row(description: String, family: Family, input: &Frame, net: u8) -> Row {
    let output = to_client(
        net,
        input.clone().from(at(family, 1, VIP, Port::Nat as u16)),
    );
    let verdict = Verdict::ReturnedRedirect;
    let index = PRIMARY.index(family);
    Row::sent(
        description,
        ingress(PRIMARY),
        input,
        verdict,
        &output,
        index,
    )
}

fn every_entry(family: Family, protocol: Protocol) -> Vec<Row> {
    [
        ("a port", (PRIMARY, 2000), (VIP, Port::Nat as u16)),
        ("hairpin", (HAIRPIN, 2002), (VIP, Port::Hairpin as u16)),
        ("every port", (STANDBY, 7), (VIP_EVERY_PORT, 7)),
        ("every port, port 0", (STANDBY, 0), (VIP_EVERY_PORT, 0)),
        ("a port of its own", (STANDBY, OWN_REVERSE), (VIP, 1098)),
    ]
    .into_iter()
    .map(|(what, from, (vip, vip_port))| {
        let (server, _) = from;
        let input = answer(family, protocol, from, client(family));
        let output = to_client(1, input.clone().from(at(family, 1, vip, vip_port)));
        let verdict = if server.net == 1 {
            Verdict::ReturnedTx
        } else {
            Verdict::ReturnedRedirect
        };
        Row::sent(
            format!("answer, {what}: {family:?} {protocol:?}"),
            ingress(server),
            &input,
            verdict,
            &output,
            server.index(family),
        )
    })
    .collect()
}

/// In and out of VLAN 5, whose route names the VLAN device.
fn by_a_trunk(family: Family, protocol: Protocol) -> Vec<Row> {
    let mut inputs = vec![("a tag", vec![])];
    if family == Family::V4 {
        inputs.push(("a tag and options", vec![1; 12]));
    }
    inputs
        .into_iter()
        .map(|(what, ip_options)| {
            let input = Frame {
                vlan: Some(5),
                ip_options,
                ..answer(
                    family,
                    protocol,
                    (HAIRPIN, 2002),
                    at(family, 5, CLIENT, 40_000),
                )
            };
            let source = at(family, 1, VIP, Port::Hairpin as u16);
            Row::sent(
                format!("answer, {what}: {family:?} {protocol:?}"),
                FRONT,
                &input,
                Verdict::ReturnedTx,
                &to_client(5, input.clone().from(source)),
                HAIRPIN.index(family),
            )
        })
        .collect()
}

fn ways(family: Family, protocol: Protocol) -> Vec<Row> {
    let mut networks = vec![Far::Routed];
    if family == Family::V4 {
        networks.push(Far::RoutedByV6);
    }
    networks
        .into_iter()
        .map(|network| {
            let input = plain(family, protocol, far(family, network, 40_000));
            let description = format!("answer, {network:?}: {family:?} {protocol:?}");
            plain_row(description, family, &input, 1)
        })
        .collect()
}

fn no_way(family: Family, protocol: Protocol) -> Vec<Row> {
    let direct = at(family, 1, UNKNOWN, 40_000);
    let by = |network| far(family, network, 40_000);
    let unknown = Some(ip(family, 1, UNKNOWN));
    let mut ways = vec![
        (
            "neighbour unknown",
            direct,
            Verdict::ClientUnresolved,
            unknown,
        ),
        (
            "router unknown",
            by(Far::Unresolved),
            Verdict::ClientUnresolved,
            unknown,
        ),
        ("unreachable", by(Far::Unreachable), Verdict::NoRoute, None),
        ("prohibited", by(Far::Prohibited), Verdict::NoRoute, None),
        ("black hole", by(Far::Blackhole), Verdict::NoRoute, None),
        // The kernel says "not forwarded", and the stack says it to the backend.
        (
            "no route at all",
            by(Far::Nowhere),
            Verdict::ForThisHost,
            None,
        ),
    ];
    if family == Family::V4 {
        ways.push((
            "IPv6 router unknown",
            by(Far::UnresolvedByV6),
            Verdict::ClientUnresolved,
            Some(ip(Family::V6, 1, UNKNOWN)),
        ));
    }
    ways.into_iter()
        .map(|(what, to, verdict, missing)| {
            let input = plain(family, protocol, to);
            let description = format!("answer, {what}: {family:?} {protocol:?}");
            Row {
                event: missing.map(|next_hop| News {
                    kind: NewsKind::NextHopMissing as u32,
                    index: FRONT,
                    address: next_hop.into(),
                    ..News::zeroed()
                }),
                ..Row::unchanged(description, ingress(PRIMARY), input.bytes(), verdict)
            }
        })
        .collect()
}

/// To the client behind the small MTU.
fn sizes(family: Family, protocol: Protocol) -> Vec<Row> {
    let with_payload = |length| Frame {
        payload: vec![7; length],
        ..plain(family, protocol, at(family, 3, CLIENT, 40_000))
    };
    let headers = with_payload(0).bytes().len() - 14;
    let most = THIN_MTU - headers;
    let too_long = with_payload(most + 1);
    let mut may_be_cut = too_long.bytes();
    may_be_cut[too_long.l3() + 6] = 0;
    let may_be_cut = Row::unchanged(
        format!("answer longer than the MTU, may be fragmented: {protocol:?}"),
        ingress(PRIMARY),
        may_be_cut,
        Verdict::TooBig,
    );
    let mut rows = vec![
        plain_row(
            format!("answer as long as the MTU: {family:?} {protocol:?}"),
            family,
            &with_payload(most),
            3,
        ),
        Row::unchanged(
            format!("answer longer than the MTU: {family:?} {protocol:?}"),
            ingress(PRIMARY),
            too_long.bytes(),
            Verdict::TooBigPassed,
        ),
    ];
    rows.extend((family == Family::V4).then_some(may_be_cut));
    rows
}

/// Health checks come from an address of this host's.
fn to_this_host(family: Family, protocol: Protocol) -> [Row; 2] {
    [(PRIMARY, 2000), (STANDBY, 7)].map(|from| {
        let input = answer(family, protocol, from, at(family, 2, 1, 33_000));
        Row::unchanged(
            format!(
                "answer to a check, from {}: {family:?} {protocol:?}",
                from.1
            ),
            ingress(PRIMARY),
            input.bytes(),
            Verdict::ForThisHost,
        )
    })
}

/// `ip_forward` is 0: the kernel does not even look whether it is for this host.
fn forwarding_is_off(family: Family, protocol: Protocol) -> Row {
    let input = plain(family, protocol, at(family, 4, 1, 33_000));
    let description = format!("answer to a check, forwarding is off: {family:?} {protocol:?}");
    let verdict = Verdict::ForwardingDisabled;
    Row::unchanged(description, CLOSED, input.bytes(), verdict)
}

fn checksum_not_made() -> Row {
    let family = Family::V4;
    let input = Frame {
        checksum: false,
        ..plain(family, Protocol::Udp, client(family))
    };
    plain_row(
        "answer, UDP checksum not made".to_owned(),
        family,
        &input,
        1,
    )
}

fn checksum_becomes_all_ones(family: Family) -> Row {
    let mut input = plain(family, Protocol::Udp, client(family));
    let sent = input.clone().from(at(family, 1, VIP, Port::Nat as u16));
    input.payload = payload_for_zero(&sent);
    let description = format!("answer, UDP checksum computes to zero: {family:?}");
    let row = plain_row(description, family, &input, 1);
    let at = input.l4_checksum();
    assert_eq!(row.output[at..at + 2], [0xff, 0xff]);
    row
}
