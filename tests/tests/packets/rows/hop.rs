//! TTL and hop limit (RFC 1812, section 5.3.1; RFC 8200, section 3). That each packet
//! that is sent on has one less than before is in every other row.

use failover_common::Verdict;
use lab::Family;

use super::{Row, client, ingress, kinds, request, to_client, towards};
use crate::control::{Control, quote};
use crate::frame::{Frame, Protocol};
use crate::network::{FRONT, at};
use crate::pieces::{HOP_BY_HOP, fragments, options, with_headers};
use crate::services::{Port, VIP};
use crate::world::PRIMARY;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        for hop_limit in [0, 1] {
            rows.extend(answered(family, protocol, hop_limit));
            rows.push(passed(family, protocol, hop_limit));
        }
        rows.extend(dropped(family, protocol));
        rows.extend(the_last_but_one(family, protocol));
    }
    let input = Frame {
        hop_limit: 1,
        ..request(Family::V6, Protocol::Udp, Port::Nat as u16)
    };
    let bytes = with_headers(&input, &[options(HOP_BY_HOP, 0)]);
    let body = bytes[input.l3()..].to_vec();
    rows.push(exceeded("an extension header", &input, bytes, body));
    rows
}

/// "Time exceeded" about `input`, from where it went to, and `body` is quoted.
fn exceeded(what: &str, input: &Frame, bytes: Vec<u8>, mut body: Vec<u8>) -> Row {
    let v4 = input.source.is_ipv4();
    body.truncate(if v4 { 548 } else { 1232 });
    body.truncate(body.len() / 4 * 4);
    let frame = Frame {
        tos: 0xc0,
        identification: 0,
        hop_limit: 64,
        vlan: input.vlan,
        outer_vlan: input.outer_vlan,
        ..Frame::new(Protocol::Udp, input.destination, input.source)
    }
    .macs(input.src_mac, input.dst_mac);
    let kind = if v4 { (11, 0) } else { (3, 0) };
    let message = Control {
        frame,
        kind,
        word: [0; 4],
        body,
    };
    Row {
        output: message.bytes(),
        ..Row::unchanged(
            format!(
                "time exceeded, {what}, {}: {:?} {v4}",
                input.hop_limit, input.protocol
            ),
            FRONT,
            bytes,
            Verdict::HopLimitAnswered,
        )
    }
}

fn answered(family: Family, protocol: Protocol, hop_limit: u8) -> Vec<Row> {
    let plain = Frame {
        hop_limit,
        ..request(family, protocol, Port::Nat as u16)
    };
    let with_payload = |length| Frame {
        payload: vec![0x5a; length],
        ..plain.clone()
    };
    let mut frames = vec![
        ("odd", plain.clone()),
        ("no payload", with_payload(0)),
        ("all of it", with_payload(500)),
        ("as much as fits", with_payload(1400)),
        (
            "padding",
            Frame {
                padding: vec![7; 9],
                payload: vec![1],
                ..plain.clone()
            },
        ),
        (
            "a tag",
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
            "dsr",
            plain.clone().to(at(family, 1, VIP, Port::Dsr as u16)),
        ),
        // It would have been remembered, or counted.
        ("watched", plain.clone().to(at(family, 1, VIP, 1022))),
    ];
    if family == Family::V4 {
        frames.push((
            "options",
            Frame {
                ip_options: vec![1; 40],
                ..plain
            },
        ));
    }
    frames
        .into_iter()
        .map(|(what, input)| {
            let body = quote(&Frame {
                padding: vec![],
                outer_vlan: None,
                ..input.clone()
            });
            exceeded(what, &input, input.bytes(), body)
        })
        .collect()
}

/// Whoever cannot be answered, or must not (RFC 1122, section 3.2.2).
fn dropped(family: Family, protocol: Protocol) -> Vec<Row> {
    let plain = Frame {
        hop_limit: 1,
        ..request(family, protocol, Port::Nat as u16)
    };
    let sources: &[&str] = match family {
        Family::V4 => &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"],
        Family::V6 => &["::", "::1", "ff02::1"],
    };
    let mut rows: Vec<_> = sources
        .iter()
        .map(|source| {
            let source = format!("[{source}]:40000");
            let source = source
                .parse()
                .or_else(|_| source.replace(['[', ']'], "").parse());
            let input = plain.clone().from(source.expect("an address"));
            (format!("from {}", input.source), input.bytes())
        })
        .collect();
    let from_itself = plain.clone().from(plain.destination);
    let to_all = plain.clone().macs([0xff; 6], plain.src_mac);
    rows.push(("from the VIP".to_owned(), from_itself.bytes()));
    rows.push(("to every station".to_owned(), to_all.bytes()));
    if family == Family::V4 {
        let long = Frame {
            payload: vec![1; 64],
            ..plain
        };
        let pieces = fragments(&long, 0x77, &[32]);
        rows.push(("a first fragment".to_owned(), pieces[0].clone()));
    }
    rows.into_iter()
        .map(|(what, bytes)| {
            let description = format!("expired, {what}: {family:?} {protocol:?}");
            Row::unchanged(description, FRONT, bytes, Verdict::HopLimitDropped)
        })
        .collect()
}

/// The stack tells the backend.
fn passed(family: Family, protocol: Protocol, hop_limit: u8) -> Row {
    let input = Frame {
        hop_limit,
        ..Frame::new(
            protocol,
            at(family, PRIMARY.net, PRIMARY.host, 2000),
            client(family),
        )
    };
    Row::unchanged(
        format!("answer with {hop_limit}: {family:?} {protocol:?}"),
        ingress(PRIMARY),
        input.bytes(),
        Verdict::HopLimitPassed,
    )
}

fn the_last_but_one(family: Family, protocol: Protocol) -> Vec<Row> {
    [2, 255]
        .into_iter()
        .flat_map(|hop_limit| {
            let with = |frame| Frame { hop_limit, ..frame };
            let backend = at(family, PRIMARY.net, PRIMARY.host, 2000);
            let input = with(request(family, protocol, Port::Nat as u16));
            let answer = with(Frame::new(protocol, backend, client(family)));
            let what = format!("with {hop_limit}: {family:?} {protocol:?}");
            [
                Row::sent(
                    format!("request {what}"),
                    FRONT,
                    &input,
                    Verdict::ForwardedRedirect,
                    &towards(PRIMARY, input.clone().to(backend)),
                    PRIMARY.index(family),
                ),
                Row::sent(
                    format!("answer {what}"),
                    ingress(PRIMARY),
                    &answer,
                    Verdict::ReturnedRedirect,
                    &to_client(1, answer.clone().from(input.destination)),
                    PRIMARY.index(family),
                ),
            ]
        })
        .collect()
}
