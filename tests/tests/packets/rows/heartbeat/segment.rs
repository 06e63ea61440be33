//! `tcp-syn`: the port is open or closed.

use etherparse::TcpOptionElement;
use failover_common::{HeartbeatKind, Signal, Verdict};
use lab::Family;

use super::{ANSWERS, before, entry, forged_outside, from_server, number, port_of};
use crate::before::Before;
use crate::frame::{ACK, FIN, Frame, PSH, Protocol, RST, SYN};
use crate::mortals::{FIRST, SECOND};
use crate::network::{BACK, at};
use crate::rows::{Row, reset_of};
use crate::state::{Change, Entry, Expired};

const KIND: HeartbeatKind = HeartbeatKind::TcpSyn;

pub(super) fn rows(family: Family) -> Vec<Row> {
    [
        opened(family),
        shapes(family),
        closed(family),
        forged(family),
    ]
    .concat()
}

/// The answer of [`FIRST`] to the heartbeat `sequence`.
fn answer(family: Family, flags: u8, sequence: u32) -> Frame {
    let mut frame = Frame {
        payload: Vec::new(),
        ..from_server(family, Protocol::Tcp, FIRST)
    };
    frame.tcp.flags = flags;
    frame.numbers(0x7777_0000, number(sequence).wrapping_add(1))
}

fn row(what: &str, family: Family, before: Before, input: &Frame, verdict: Verdict) -> Row {
    let description = format!("SYN: {what}: {family:?}");
    Row {
        before,
        ..Row::unchanged(description, BACK, input.bytes(), verdict)
    }
}

/// `input` is answered with a reset.
fn reset(what: &str, family: Family, before: Before, input: &Frame) -> Row {
    Row {
        output: reset_of(input),
        ..row(what, family, before, input, Verdict::HeartbeatReset)
    }
}

fn opened(family: Family) -> Vec<Row> {
    ANSWERS
        .into_iter()
        .map(|case| {
            let input = answer(family, SYN | ACK, case.sequence);
            let changes = if case.is_news {
                vec![Change::Answered(FIRST.index(family), case.sequence)]
            } else {
                Vec::new()
            };
            Row {
                changes,
                ..reset(case.what, family, before(case.entry(family, KIND)), &input)
            }
        })
        .collect()
}

fn shapes(family: Family) -> Vec<Row> {
    let plain = answer(family, SYN | ACK, 96);
    let mut frames = vec![
        (
            "a tag",
            Frame {
                vlan: Some(5),
                ..plain.clone()
            },
        ),
        (
            "options and padding",
            Frame {
                tcp_options: vec![TcpOptionElement::MaximumSegmentSize(1460)],
                padding: vec![0xee; 2],
                tos: 0xb8,
                ..plain.clone()
            },
        ),
        (
            "flags about other things",
            answer(family, SYN | ACK | PSH, 96),
        ),
    ];
    if family == Family::V4 {
        let ip_options = vec![1; 8];
        frames.push((
            "IP options",
            Frame {
                ip_options,
                ..plain
            },
        ));
    }
    frames
        .into_iter()
        .map(|(what, input)| Row {
            changes: vec![Change::Answered(FIRST.index(family), 96)],
            ..reset(what, family, before(entry(family, KIND)), &input)
        })
        .collect()
}

fn closed(family: Family) -> Vec<Row> {
    let index = FIRST.index(family);
    ANSWERS
        .into_iter()
        .map(|case| {
            let input = answer(family, RST | ACK, case.sequence);
            let entry = case.entry(family, KIND);
            let what = format!("closed, {}", case.what);
            if !case.is_news {
                return row(&what, family, before(entry), &input, Verdict::HeartbeatOld);
            }
            let outstanding = case.sent != case.answered;
            let expired = Change::Expired(Expired {
                index,
                signal: Signal::Closed,
                pair: 0,
                answered: Some(case.answered),
                unanswered: outstanding.then_some(case.answered.wrapping_add(1)),
            });
            Row {
                changes: vec![expired],
                ..row(
                    &what,
                    family,
                    before(entry),
                    &input,
                    Verdict::HeartbeatClosed,
                )
            }
        })
        .collect()
}

/// Goes on as what it is: a segment to this host, or whoever.
fn forged(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, flags) in [("open", SYN | ACK), ("closed", RST | ACK)] {
        let honest = answer(family, flags, 96);
        let acknowledging = |number| honest.clone().numbers(0x7777_0000, number);
        let to = at(family, FIRST.net, 1, port_of(SECOND, family));
        let from = at(family, FIRST.net, FIRST.host, super::PORT + 1);
        let plain = entry(family, KIND);
        let kind = |kind| Entry { kind, ..plain };
        let frame = || honest.clone();
        let flags = |flags| answer(family, flags, 96);
        let mut forged: Vec<(&str, u32, Frame, Entry)> = vec![
            (
                "another number",
                BACK,
                acknowledging(number(96 + 0x100)),
                plain,
            ),
            ("no token", BACK, acknowledging(97), plain),
            (
                "not sent yet",
                BACK,
                answer(family, honest.tcp.flags, 102),
                plain,
            ),
            (
                "sixteen before",
                BACK,
                answer(family, honest.tcp.flags, 84),
                plain,
            ),
            ("to the other's port", BACK, frame().to(to), plain),
            ("from another port", BACK, frame().from(from), plain),
            ("nobody asked", BACK, frame(), kind(HeartbeatKind::None)),
            ("asked by ping", BACK, frame(), kind(HeartbeatKind::Icmp)),
            ("asked by UDP", BACK, frame(), kind(HeartbeatKind::Udp)),
            ("a SYN", BACK, flags(SYN), plain),
            ("an ACK", BACK, flags(ACK), plain),
            ("a RST that answers nothing", BACK, flags(RST), plain),
            ("a FIN", BACK, flags(FIN | ACK), plain),
            ("all flags", BACK, flags(SYN | ACK | RST | FIN), plain),
        ];
        for (what, ingress, frame) in forged_outside(family, &honest) {
            // With options it is not forged: TCP is understood with them.
            if frame.ip_options.is_empty() {
                forged.push((what, ingress, frame, plain));
            }
        }
        rows.extend(forged.into_iter().map(|(what, ingress, input, entry)| Row {
            ingress,
            ..row(
                &format!("forged, {name}, {what}"),
                family,
                before(entry),
                &input,
                Verdict::NoService,
            )
        }));
    }
    rows
}
