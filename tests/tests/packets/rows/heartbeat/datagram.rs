//! `udp`: the port is closed, or nothing is heard.

use failover_common::{HeartbeatKind, Signal, Verdict};
use lab::Family;

use super::{ANSWERS, Answer, PORT, before, entry, forged_outside, from_server, number, port_of};
use crate::before::Before;
use crate::control::Control;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, PASSIVE, SECOND};
use crate::network::{BACK, at};
use crate::rows::Row;
use crate::state::{Change, Entry, Expired};

const KIND: HeartbeatKind = HeartbeatKind::Udp;

pub(super) fn rows(family: Family) -> Vec<Row> {
    // A service's, where what clients' traffic shows counts too.
    let served = PASSIVE.port_on_backend(PASSIVE.port);
    [
        refused(family, PORT),
        forged(family, PORT),
        refused(family, served),
        forged(family, served),
        others(family),
    ]
    .concat()
}

/// [`FIRST`] gets heartbeats at `port`.
fn asked(family: Family, port: u16) -> Entry {
    Entry {
        port,
        ..entry(family, KIND)
    }
}

/// The heartbeat `sequence` to `port` of [`FIRST`], as far as it is quoted.
fn heartbeat(family: Family, port: u16, sequence: u32) -> Frame {
    let answer = from_server(family, Protocol::Udp, FIRST);
    let [.., high, low] = number(sequence).to_be_bytes();
    Frame {
        identification: u16::from_be_bytes([high, low]),
        source: answer.destination,
        destination: at(family, FIRST.net, FIRST.host, port),
        payload: Vec::new(),
        ..answer
    }
}

fn refusal(family: Family, lost: &Frame) -> Control {
    Control::unreachable(from_server(family, Protocol::Udp, FIRST), lost)
}

fn row(what: &str, family: Family, before: Before, input: &Control, verdict: Verdict) -> Row {
    let description = format!("datagram: {what}: {family:?}");
    Row {
        before,
        ..Row::unchanged(description, BACK, input.bytes(), verdict)
    }
}

fn refused(family: Family, port: u16) -> Vec<Row> {
    let index = FIRST.index(family);
    let expired = |answer: &Answer| {
        let outstanding = answer.sent.wrapping_sub(answer.sequence).cast_signed() > 0;
        Change::Expired(Expired {
            index,
            signal: Signal::Closed,
            pair: 0,
            answered: Some(answer.sequence),
            unanswered: outstanding.then_some(answer.sequence.wrapping_add(1)),
        })
    };
    let mut rows = Vec::new();
    for answer in ANSWERS {
        let input = refusal(family, &heartbeat(family, port, answer.sequence));
        let before = before(Entry {
            port,
            ..answer.entry(family, KIND)
        });
        if answer.is_news {
            let noted = Change::Answered(index, answer.sequence);
            let verdict = Verdict::HeartbeatClosed;
            rows.push(Row {
                changes: vec![noted, expired(&answer)],
                ..row(answer.what, family, before, &input, verdict)
            });
        } else {
            // It was told before, and what the agent concluded since stands.
            let verdict = Verdict::HeartbeatOld;
            rows.push(row(answer.what, family, before, &input, verdict));
        }
    }
    let mut tagged = refusal(family, &heartbeat(family, port, 96));
    tagged.frame.vlan = Some(5);
    let before = before(asked(family, port));
    rows.push(Row {
        changes: vec![Change::Answered(index, 96), expired(&ANSWERS[0])],
        ..row("a tag", family, before, &tagged, Verdict::HeartbeatClosed)
    });
    rows
}

fn forged(family: Family, port: u16) -> Vec<Row> {
    let honest = heartbeat(family, port, 96);
    let other = at(family, SECOND.net, SECOND.host, port);
    let segment = Frame {
        protocol: Protocol::Tcp,
        ..honest.clone()
    };
    let swapped = Frame {
        source: honest.destination,
        destination: honest.source,
        ..honest.clone()
    };
    let control = refusal(family, &honest);
    let changed = |change: fn(&mut Control, bool)| {
        let mut control = control.clone();
        change(&mut control, family == Family::V4);
        control
    };
    let mut forged: Vec<(&str, u32, Control)> = [
        ("not sent yet", heartbeat(family, port, 102)),
        ("sixteen before", heartbeat(family, port, 84)),
        ("far away", heartbeat(family, port, 0x8000)),
        ("to the other", honest.clone().to(other)),
        ("the wrong way round", swapped),
        ("a segment", segment),
    ]
    .into_iter()
    .map(|(what, lost)| (what, BACK, refusal(family, &lost)))
    .chain([
        (
            "a fragment",
            BACK,
            // More fragments, or a fragment header.
            changed(|c, v4| c.body[6] = if v4 { 0x20 } else { 44 }),
        ),
        (
            "too big",
            BACK,
            changed(|c, v4| c.kind = if v4 { (3, 4) } else { (2, 0) }),
        ),
        (
            "seven bytes quoted",
            BACK,
            changed(|c, _| c.body.truncate(c.body.len() - 1)),
        ),
    ])
    .collect();
    for (what, ingress, frame) in forged_outside(family, &control.frame) {
        let control = Control {
            frame,
            ..control.clone()
        };
        forged.push((what, ingress, control));
    }
    forged
        .into_iter()
        .map(|(what, ingress, input)| {
            // What it quotes a client could have sent, had it not the director's address.
            let is_served = port != PORT || what == "to the other";
            let verdict = match (what, family) {
                ("to the other" | "a segment" | "too big" | "from another address", _)
                | ("with IP options" | "a fragment", Family::V4)
                    if is_served =>
                {
                    Verdict::ForThisHost
                }
                _ => Verdict::OtherProtocol,
            };
            Row {
                ingress,
                ..row(
                    &format!("forged, {what}"),
                    family,
                    before(asked(family, port)),
                    &input,
                    verdict,
                )
            }
        })
        .collect()
}

/// To a port that no service has: nothing that a client could have sent.
fn others(family: Family) -> Vec<Row> {
    let plain = entry(family, KIND);
    let honest = heartbeat(family, PORT, 96);
    let to = at(family, FIRST.net, FIRST.host, PORT + 1);
    let from = at(family, FIRST.net, 1, port_of(SECOND, family));
    let kind = |kind| Entry { kind, ..plain };
    [
        ("another port", honest.clone().to(to), plain),
        ("by the other's port", honest.clone().from(from), plain),
        ("nobody asked", honest.clone(), kind(HeartbeatKind::None)),
        ("asked by ping", honest.clone(), kind(HeartbeatKind::Icmp)),
        ("asked by SYN", honest, kind(HeartbeatKind::TcpSyn)),
    ]
    .into_iter()
    .map(|(what, lost, entry)| {
        let input = refusal(family, &lost);
        let what = format!("forged, {what}");
        row(&what, family, before(entry), &input, Verdict::OtherProtocol)
    })
    .collect()
}
