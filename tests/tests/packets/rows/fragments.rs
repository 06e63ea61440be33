//! Fragments: the later ones go where the first one went, in both directions.

use failover_common::Verdict;
use lab::Family;

use super::{Row, client, ingress, kinds, request, to_client, towards};
use crate::before::{Before, Earlier};
use crate::frame::{Frame, Protocol};
use crate::network::{FRONT, at};
use crate::pieces::{DESTINATION_OPTIONS, FRAGMENT, fragment, fragments, options, with_headers};
use crate::services::{OWN_PORT, Port, VIP, VIP_EVERY_PORT};
use crate::state::Entry;
use crate::world::{PRIMARY, STANDBY, Server};

/// Behind the TCP header and as much again, and once more.
const CUTS: [usize; 2] = [40, 480];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, (family, protocol)) in (1..).zip(kinds()) {
        // No two datagrams of one sender with one number.
        let id = number * 100;
        rows.extend(to_a_backend(family, protocol, id));
        rows.extend(to_a_client(family, protocol, id + 20));
        rows.extend(unknown(family, protocol, id + 40));
        rows.extend(too_short(family, protocol, id + 60));
    }
    rows.extend(in_ipv6());
    rows
}

fn long(frame: Frame) -> Frame {
    Frame {
        payload: (0..=250).cycle().take(1000).collect(),
        ..frame
    }
}

/// What becomes of each piece of `input` in this order: after those before it, it goes
/// on as the same piece of `output`.
fn sent(
    what: &str,
    way: (u32, Verdict, u32),
    input: &[Vec<u8>],
    output: &[Vec<u8>],
    order: &[usize],
) -> Vec<Row> {
    let (ingress, verdict, backend) = way;
    (0..order.len())
        .map(|place| {
            let earlier = order[..place]
                .iter()
                .map(|&piece| Earlier::Frame(ingress, input[piece].clone(), verdict));
            Row {
                output: output[order[place]].clone(),
                backend: Some(backend),
                before: Before {
                    earlier: earlier.collect(),
                    ..Before::default()
                },
                ..Row::unchanged(
                    format!("piece {} of {what}", order[place]),
                    ingress,
                    input[order[place]].clone(),
                    verdict,
                )
            }
        })
        .collect()
}

fn to_a_backend(family: Family, protocol: Protocol, id: u32) -> Vec<Row> {
    let to_vip = |port: Port| long(request(family, protocol, port as u16));
    let to_every_port = |port| {
        let to = at(family, 1, VIP_EVERY_PORT, port);
        long(Frame::new(protocol, client(family), to))
    };
    let tagged = Frame {
        vlan: Some(5),
        ..to_vip(Port::Nat)
    };
    let nat = |server: Server, port| Some(at(family, server.net, server.host, port));
    [
        ("nat", to_vip(Port::Nat), PRIMARY, nat(PRIMARY, 2000)),
        ("nat with a tag", tagged, PRIMARY, nat(PRIMARY, 2000)),
        ("dsr", to_vip(Port::Dsr), PRIMARY, None),
        ("every port", to_every_port(7), STANDBY, nat(STANDBY, 7)),
        (
            "a port of its own",
            to_every_port(OWN_PORT),
            PRIMARY,
            nat(PRIMARY, OWN_PORT),
        ),
    ]
    .into_iter()
    .zip(id..)
    .flat_map(|((what, input, server, destination), id)| {
        let destination = destination.unwrap_or(input.destination);
        let output = towards(server, input.clone().to(destination));
        let what = format!("{what}: {family:?} {protocol:?}");
        let way = (FRONT, Verdict::ForwardedRedirect, server.index(family));
        let [input, output] = [&input, &output].map(|frame| fragments(frame, id, &CUTS));
        // The last one may come before those in the middle, and one may come twice.
        sent(&what, way, &input, &output, &[0, 2, 1, 1])
    })
    .collect()
}

fn to_a_client(family: Family, protocol: Protocol, id: u32) -> Vec<Row> {
    [
        ("a port", (PRIMARY, 2000), (VIP, Port::Nat as u16)),
        ("every port", (STANDBY, 7), (VIP_EVERY_PORT, 7)),
    ]
    .into_iter()
    .zip(id..)
    .flat_map(|((what, (server, port), (vip, vip_port)), id)| {
        let from = at(family, server.net, server.host, port);
        let input = long(Frame::new(protocol, from, client(family)));
        let output = to_client(1, input.clone().from(at(family, 1, vip, vip_port)));
        let what = format!("answer, {what}: {family:?} {protocol:?}");
        let way = (
            ingress(server),
            Verdict::ReturnedRedirect,
            server.index(family),
        );
        let [input, output] = [&input, &output].map(|frame| fragments(frame, id, &CUTS));
        sent(&what, way, &input, &output, &[0, 1, 2])
    })
    .collect()
}

/// Later ones whose first one has not been here.
fn unknown(family: Family, protocol: Protocol, id: u32) -> Vec<Row> {
    let to_vip = long(request(family, protocol, Port::Nat as u16));
    let other = long(Frame::new(
        protocol,
        client(family),
        at(family, 1, VIP, 1999),
    ));
    let every_port = at(family, 1, VIP_EVERY_PORT, OWN_PORT);
    let every_port = long(Frame::new(protocol, client(family), every_port));
    let standby = at(family, STANDBY.net, STANDBY.host, OWN_PORT);
    let sent_on = towards(STANDBY, every_port.clone().to(standby));
    let pieces = |frame: &Frame, id| fragments(frame, id, &CUTS);
    let passed = |what: &str, earlier: Vec<(Vec<u8>, Verdict)>, input: &[u8]| Row {
        before: Before {
            earlier: earlier
                .into_iter()
                .map(|(frame, verdict)| Earlier::Frame(FRONT, frame, verdict))
                .collect(),
            ..Before::entries(&[Entry::new(crate::mortals::FIRST, family)])
        },
        ..Row::unchanged(
            format!("{what}: {family:?} {protocol:?}"),
            FRONT,
            input.to_vec(),
            Verdict::Fragment,
        )
    };
    let first = |id| (pieces(&to_vip, id)[0].clone(), Verdict::ForwardedRedirect);
    let none = |id| (pieces(&other, id)[0].clone(), Verdict::NoService);
    let mut rows = vec![
        passed("no first fragment", vec![], &pieces(&to_vip, id)[1]),
        passed(
            "another number",
            vec![first(id + 1)],
            &pieces(&to_vip, id + 2)[1],
        ),
        passed(
            "a first one for nobody",
            vec![none(id + 3)],
            &pieces(&other, id + 3)[1],
        ),
        // The number is used again, and what was remembered is of no use.
        passed(
            "the number again",
            vec![first(id + 4), none(id + 4)],
            &pieces(&other, id + 4)[1],
        ),
    ];
    rows.push(Row {
        output: pieces(&sent_on, id + 5)[1].clone(),
        backend: Some(STANDBY.index(family)),
        ..Row::unchanged(
            format!("no first fragment, but every port: {family:?} {protocol:?}"),
            FRONT,
            pieces(&every_port, id + 5)[1].clone(),
            Verdict::ForwardedRedirect,
        )
    });
    rows
}

/// RFC 1858, section 3: a first fragment without the whole header.
fn too_short(family: Family, protocol: Protocol, id: u32) -> Vec<Row> {
    let frame = long(request(family, protocol, Port::Nat as u16));
    let cut = if protocol == Protocol::Tcp { 16 } else { 8 };
    let pieces = fragments(&frame, id, &[cut]);
    let description = format!("first fragment of {cut} bytes: {family:?} {protocol:?}");
    if protocol == Protocol::Tcp {
        return vec![Row::unchanged(
            description,
            FRONT,
            pieces[0].clone(),
            Verdict::Malformed,
        )];
    }
    // All of the header is there.
    let output = towards(
        PRIMARY,
        frame.to(at(family, PRIMARY.net, PRIMARY.host, 2000)),
    );
    let way = (FRONT, Verdict::ForwardedRedirect, PRIMARY.index(family));
    sent(
        &description,
        way,
        &pieces,
        &fragments(&output, id, &[cut]),
        &[0, 1],
    )
}

fn in_ipv6() -> Vec<Row> {
    let family = Family::V6;
    let input = request(family, Protocol::Udp, Port::Nat as u16);
    let output = towards(
        PRIMARY,
        input
            .clone()
            .to(at(family, PRIMARY.net, PRIMARY.host, 2000)),
    );
    let way = (FRONT, Verdict::ForwardedRedirect, PRIMARY.index(family));
    let [atomic_in, atomic_out] =
        [&input, &output].map(|frame| vec![with_headers(frame, &[fragment(0, 900)])]);
    let mut rows = sent("an atomic fragment", way, &atomic_in, &atomic_out, &[0]);
    let cut = |frame: &Frame| -> Vec<Vec<u8>> {
        let frame = long(frame.clone());
        // Options behind the fragment header are part of what is cut.
        let whole = with_headers(&frame, &[options(DESTINATION_OPTIONS, 1)]);
        let (head, payload) = whole.split_at(frame.l3() + 40);
        let pieces = [(0, &payload[..48], 1), (48, &payload[48..], 0)];
        pieces
            .map(|(offset, part, more)| {
                let mut piece = head.to_vec();
                piece.extend(part);
                let (_, mut header) = fragment(offset | more, 901);
                header[0] = DESTINATION_OPTIONS;
                let l3 = frame.l3();
                piece[l3 + 6] = FRAGMENT;
                let length = u16::try_from(header.len() + part.len()).expect("short");
                piece[l3 + 4..l3 + 6].copy_from_slice(&length.to_be_bytes());
                piece.splice(l3 + 40..l3 + 40, header);
                piece
            })
            .into()
    };
    rows.extend(sent(
        "options in a fragment",
        way,
        &cut(&input),
        &cut(&output),
        &[0, 1],
    ));
    rows
}
