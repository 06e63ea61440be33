//! ICMP about a service: echoes to its address, and errors from its clients' side. Those
//! from the backends' side are in `passive/unreachable`.

use failover_common::Verdict;
use lab::Family;

use super::{Row, client, ingress, kinds, request, to_client, towards};
use crate::control::{Control, quote};
use crate::frame::{Frame, Protocol};
use crate::network::{CLIENT, FRONT, at, mac};
use crate::pieces::{DESTINATION_OPTIONS, fragments, options, with_headers};
use crate::services::{Port, VIP};
use crate::world::{HELD_LAST, PRIMARY, Server};

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Family::ALL.into_iter().flat_map(echoes).collect();
    for (family, protocol) in kinds() {
        rows.extend(errors(family, protocol));
        rows.extend(odd_quotes(family, protocol));
        rows.extend(of_no_service(family, protocol));
        rows.push(expired(family, protocol));
        rows.push(from_a_router(family, protocol));
    }
    rows
}

/// An ICMP message to `host` in net 1.
pub(super) fn message(
    family: Family,
    host: u8,
    kind: (u8, u8),
    word: [u8; 4],
    body: Vec<u8>,
) -> Control {
    let to = at(family, 1, host, 0);
    Control {
        frame: Frame::new(Protocol::Udp, client(family), to),
        kind,
        word,
        body,
    }
}

fn echoes(family: Family) -> Vec<Row> {
    let (request, reply) = match family {
        Family::V4 => ((8, 0), (0, 0)),
        Family::V6 => ((128, 0), (129, 0)),
    };
    let plain = message(family, VIP, request, [1, 2, 3, 4], b"abcdefghi".to_vec());
    let changed = |change: fn(&mut Control)| {
        let mut control = plain.clone();
        change(&mut control);
        control
    };
    let answered = [
        ("odd", plain.clone()),
        ("nothing in it", changed(|c| c.body.clear())),
        ("as long as fits", changed(|c| c.body = vec![0xa5; 1400])),
        ("padding", changed(|c| c.frame.padding = vec![9; 20])),
        ("a tag", changed(|c| c.frame.vlan = Some(5))),
        (
            "two tags",
            changed(|c| (c.frame.vlan, c.frame.outer_vlan) = (Some(5), Some(6))),
        ),
        // What arrives may be taken, however far it has come.
        ("the last hop", changed(|c| c.frame.hop_limit = 1)),
        ("all ones", changed(|c| c.body = vec![0xff; 64])),
    ]
    .map(|(what, input)| {
        let Frame {
            source,
            destination,
            src_mac,
            dst_mac,
            ..
        } = input.frame;
        let frame = Frame {
            hop_limit: 64,
            ..input.frame.clone().from(destination).to(source)
        }
        .macs(src_mac, dst_mac);
        let output = Control {
            frame,
            kind: reply,
            ..input.clone()
        };
        Row {
            output: output.bytes(),
            ..Row::unchanged(
                format!("echo, {what}: {family:?}"),
                FRONT,
                input.bytes(),
                Verdict::EchoAnswered,
            )
        }
    });
    let host = |host: u8| message(family, host, request, [1, 2, 3, 4], b"abc".to_vec());
    let mut passed = vec![
        ("to the director", host(1).bytes()),
        ("to a backend", host(31).bytes()),
        (
            "a reply",
            changed(|c| c.kind.0 = if c.kind.0 == 8 { 0 } else { 129 }).bytes(),
        ),
        ("a code", changed(|c| c.kind.1 = 1).bytes()),
        (
            "from the VIP",
            changed(|c| c.frame.source = c.frame.destination).bytes(),
        ),
        (
            "to every station",
            changed(|c| c.frame.dst_mac = [0xff; 6]).bytes(),
        ),
    ];
    if family == Family::V4 {
        passed.push((
            "options",
            changed(|c| c.frame.ip_options = vec![1; 4]).bytes(),
        ));
        let mut fragment = plain.bytes();
        fragment[20] = 0x20;
        passed.push(("a fragment", fragment));
        let mut short = plain.bytes();
        short[17] = 27;
        passed.push(("seven bytes", short));
    }
    let passed = passed.into_iter().map(|(what, bytes)| {
        let description = format!("echo, {what}: {family:?}");
        Row::unchanged(description, FRONT, bytes, Verdict::OtherProtocol)
    });
    answered.into_iter().chain(passed).collect()
}

/// An answer of the service as its client got it.
pub(super) fn answer(family: Family, protocol: Protocol, port: Port) -> Frame {
    Frame::new(protocol, at(family, 1, VIP, port as u16), client(family))
}

/// Port unreachable.
fn unreachable(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 3),
        Family::V6 => (1, 4),
    }
}

/// `input` about `lost` goes to `server`, about what it sent from `port`.
pub(super) fn told(
    what: &str,
    input: &Control,
    (server, port): (Server, Option<u16>),
    bodies: (Vec<u8>, Vec<u8>),
) -> Row {
    let family = if input.frame.source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut frame = towards(server, input.frame.clone());
    if port.is_some() {
        frame.destination = at(family, server.net, server.host, 0);
    }
    let input = Control {
        body: bodies.0,
        ..input.clone()
    };
    let output = Control {
        frame,
        body: bodies.1,
        ..input.clone()
    };
    Row {
        output: output.bytes(),
        backend: Some(server.index(family)),
        ..Row::unchanged(
            format!("{what}: {family:?}"),
            FRONT,
            input.bytes(),
            Verdict::ForwardedRedirect,
        )
    }
}

fn errors(family: Family, protocol: Protocol) -> Vec<Row> {
    let kinds: &[(u8, u8)] = match family {
        Family::V4 => &[
            (3, 0),
            (3, 1),
            (3, 3),
            (3, 4),
            (3, 13),
            (11, 0),
            (11, 1),
            (12, 0),
        ],
        Family::V6 => &[(1, 0), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0)],
    };
    let services = [
        ("nat", Port::Nat, PRIMARY, Some(2000)),
        ("dsr", Port::Dsr, PRIMARY, None),
        ("first is held", Port::FirstHeld, PRIMARY, Some(2005)),
        ("all are held", Port::AllHeld, HELD_LAST, Some(2006)),
    ];
    services
        .into_iter()
        .flat_map(|(what, port, server, backend_port)| {
            let seen = answer(family, protocol, port);
            let sent = match backend_port {
                Some(port) => seen.clone().from(at(family, server.net, server.host, port)),
                None => seen.clone(),
            };
            kinds
                .iter()
                .map(move |&kind| {
                    let input = message(family, VIP, kind, [0, 0, 5, 0x14], vec![]);
                    let what = format!("error {kind:?}, {what}, {protocol:?}");
                    let bodies = (quote(&seen), quote(&sent));
                    told(&what, &input, (server, backend_port), bodies)
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Quotes that end early, with options, and of fragments.
fn odd_quotes(family: Family, protocol: Protocol) -> Vec<Row> {
    let seen = answer(family, protocol, Port::Nat);
    let backend = at(family, PRIMARY.net, PRIMARY.host, 2000);
    let sent = seen.clone().from(backend);
    let header = seen.l4() - seen.l3();
    let plain = message(family, VIP, unreachable(family), [0; 4], vec![]);
    let both = |change: &dyn Fn(&Frame) -> Vec<u8>| (change(&seen), change(&sent));
    let cut = |length: usize| {
        both(&move |frame: &Frame| {
            let mut body = quote(frame);
            body.truncate(header + length);
            body
        })
    };
    let l3 = seen.l3();
    let mut quotes = vec![
        ("8 bytes", cut(8)),
        ("9 bytes", cut(9)),
        ("half a checksum of TCP", {
            let (seen, mut sent) = cut(17);
            // Nobody can say what it would be.
            if protocol == Protocol::Tcp {
                sent[header + 16] = seen[header + 16];
            }
            (seen, sent)
        }),
        ("18 bytes", cut(18)),
        ("20 bytes", cut(20)),
        // RFC 4884: the quote is filled up, and there may be more behind it.
        (
            "filled up",
            both(&move |frame: &Frame| {
                let mut body = quote(frame);
                body.resize(128, 0);
                body.extend([0x20, 0, 0, 0, 0, 4, 1, 1]);
                body
            }),
        ),
        (
            "another hop limit",
            both(&|frame: &Frame| {
                quote(&Frame {
                    hop_limit: 3,
                    ..frame.clone()
                })
            }),
        ),
        (
            "a first fragment",
            both(&move |frame: &Frame| fragments(frame, 7, &[16])[0].split_off(l3)),
        ),
    ];
    if protocol == Protocol::Udp {
        quotes.push((
            "no checksum",
            both(&|frame: &Frame| {
                quote(&Frame {
                    checksum: false,
                    ..frame.clone()
                })
            }),
        ));
    }
    match family {
        Family::V4 => quotes.push((
            "IP options",
            both(&|frame: &Frame| {
                quote(&Frame {
                    ip_options: vec![1; 40],
                    ..frame.clone()
                })
            }),
        )),
        Family::V6 => quotes.push((
            "an extension header",
            both(&move |frame: &Frame| {
                with_headers(frame, &[options(DESTINATION_OPTIONS, 1)]).split_off(l3)
            }),
        )),
    }
    quotes
        .into_iter()
        .map(|(what, bodies)| {
            let what = format!("quote, {what}, {protocol:?}");
            told(&what, &plain, (PRIMARY, Some(2000)), bodies)
        })
        .collect()
}

/// What is not translated.
fn of_no_service(family: Family, protocol: Protocol) -> Vec<Row> {
    let seen = answer(family, protocol, Port::Nat);
    let header = seen.l4() - seen.l3();
    let about = |body| message(family, VIP, unreachable(family), [0; 4], body);
    let without_service = seen.clone().from(at(family, 1, VIP, 1999));
    let of_the_director = seen.clone().from(at(family, 1, 1, 22));
    let mut too_few = quote(&seen);
    too_few.truncate(header + 7);
    let mut later = fragments(&seen, 7, &[16])[1].clone().split_off(seen.l3());
    later.extend([0; 16]);
    // An error about an error (RFC 1122, section 3.2.2).
    let about_an_error = about(quote(&seen)).bytes().split_off(14);
    let mut wrong_version = quote(&seen);
    wrong_version[0] ^= 0x20;
    let mut no_length = quote(&seen);
    if family == Family::V4 {
        no_length[0] = 0x44;
    } else {
        no_length.truncate(39);
    }
    [
        ("a port without a service", about(quote(&without_service))),
        ("not for who sent it", about(quote(&of_the_director))),
        ("seven bytes", about(too_few)),
        ("a later fragment", about(later)),
        ("an error", about(about_an_error)),
        ("another version", about(wrong_version)),
        ("no whole header", about(no_length)),
        ("nothing", about(vec![])),
    ]
    .into_iter()
    .map(|(what, input)| {
        Row::unchanged(
            format!("error about {what}: {family:?} {protocol:?}"),
            FRONT,
            input.bytes(),
            Verdict::OtherProtocol,
        )
    })
    .collect()
}

fn expired(family: Family, protocol: Protocol) -> Row {
    let seen = answer(family, protocol, Port::Nat);
    let mut input = message(family, VIP, unreachable(family), [0; 4], quote(&seen));
    input.frame.hop_limit = 1;
    Row::unchanged(
        format!("error that has expired: {family:?} {protocol:?}"),
        FRONT,
        input.bytes(),
        Verdict::HopLimitDropped,
    )
}

/// "Too big" about a request, from a router between us and the backend.
fn from_a_router(family: Family, protocol: Protocol) -> Row {
    let seen = request(family, protocol, Port::Nat as u16);
    let sent = seen.clone().to(at(family, PRIMARY.net, PRIMARY.host, 2000));
    let kind = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    let router = at(family, PRIMARY.net, 99, 0);
    let frame = Frame::new(Protocol::Udp, router, at(family, 1, CLIENT, 0))
        .macs(mac(PRIMARY.net, 1), mac(PRIMARY.net, 99));
    let input = Control {
        frame,
        kind,
        word: [0, 0, 5, 0x14],
        body: quote(&sent),
    };
    let output = Control {
        frame: to_client(1, input.frame.clone().from(at(family, 1, VIP, 0))),
        body: quote(&seen),
        ..input.clone()
    };
    Row {
        output: output.bytes(),
        backend: Some(PRIMARY.index(family)),
        ..Row::unchanged(
            format!("too big behind us: {family:?} {protocol:?}"),
            ingress(PRIMARY),
            input.bytes(),
            Verdict::ReturnedRedirect,
        )
    }
}
