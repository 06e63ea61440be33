//! `icmp`: echo replies.

use failover_common::{HeartbeatKind, Hold, MAX_BACKENDS, Verdict};
use lab::Family;

use super::{ANSWERS, before, entry, forged_outside, from_server};
use crate::before::Before;
use crate::control::Control;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, SECOND};
use crate::network::BACK;
use crate::rows::Row;
use crate::state::{Change, Entry, TOKEN};

const KIND: HeartbeatKind = HeartbeatKind::Icmp;

pub(super) fn rows(family: Family) -> Vec<Row> {
    [
        sequences(family),
        shapes(family),
        forged(family),
        overrun(family),
    ]
    .concat()
}

/// From [`FIRST`].
fn frame(family: Family) -> Frame {
    from_server(family, Protocol::Udp, FIRST)
}

/// The answer of [`FIRST`] to the heartbeat `sequence`.
fn reply(family: Family, sequence: u32) -> Control {
    Control::echo_reply(frame(family), FIRST.index(family), sequence, TOKEN)
}

fn row(what: &str, family: Family, before: Before, input: Vec<u8>, verdict: Verdict) -> Row {
    Row {
        before,
        ..Row::unchanged(format!("echo: {what}: {family:?}"), BACK, input, verdict)
    }
}

/// `input` renews the lease: its sequence number is 96.
fn renewed(what: &str, family: Family, before: Before, input: Vec<u8>) -> Row {
    Row {
        changes: vec![Change::Answered(FIRST.index(family), 96)],
        ..row(what, family, before, input, Verdict::HeartbeatAnswered)
    }
}

fn sequences(family: Family) -> Vec<Row> {
    ANSWERS
        .into_iter()
        .map(|answer| {
            let input = reply(family, answer.sequence).bytes();
            let before = before(answer.entry(family, KIND));
            if answer.is_news {
                Row {
                    changes: vec![Change::Answered(FIRST.index(family), answer.sequence)],
                    ..row(
                        answer.what,
                        family,
                        before,
                        input,
                        Verdict::HeartbeatAnswered,
                    )
                }
            } else {
                row(answer.what, family, before, input, Verdict::HeartbeatOld)
            }
        })
        .chain([102, 117, 100_000, u32::MAX, 0x8000_0060].map(|sequence| {
            let input = reply(family, sequence).bytes();
            let before = before(entry(family, KIND));
            let what = format!("{sequence}, not sent yet or long ago");
            row(&what, family, before, input, Verdict::HeartbeatOld)
        }))
        .collect()
}

fn shapes(family: Family) -> Vec<Row> {
    let mut tagged = reply(family, 96);
    tagged.frame.vlan = Some(5);
    let mut padded = reply(family, 96);
    padded.frame.padding = vec![0xee; 2];
    let mut longer = reply(family, 96);
    longer.body.extend([7; 40]);
    let expired = Entry {
        holds: Hold::Expired as u64 | Hold::LinkDown as u64,
        ..entry(family, KIND)
    };
    let plain = before(entry(family, KIND));
    vec![
        renewed("a tag", family, plain.clone(), tagged.bytes()),
        renewed("padding", family, plain.clone(), padded.bytes()),
        renewed("a longer payload", family, plain, longer.bytes()),
        // Whether it may serve again is for the agent to say.
        renewed(
            "from one that is held",
            family,
            before(expired),
            reply(family, 96).bytes(),
        ),
    ]
}

/// However long ago the newest answer was.
fn overrun(family: Family) -> Vec<Row> {
    [16, 17, 1000]
        .map(|behind| {
            let silent = Entry {
                sent: 95 + behind,
                ..entry(family, KIND)
            };
            let what = format!("after {behind} without an answer");
            renewed(&what, family, before(silent), reply(family, 96).bytes())
        })
        .into()
}

fn forged(family: Family) -> Vec<Row> {
    let index = FIRST.index(family);
    let with = |index, token| Control::echo_reply(frame(family), index, 96, token);
    let honest = reply(family, 96);
    let changed = |change: fn(&mut Control)| {
        let mut control = honest.clone();
        change(&mut control);
        control
    };
    let beyond = u32::try_from(MAX_BACKENDS).expect("few backends");
    let mut forged = vec![
        ("low half of the token", with(index, TOKEN ^ 1)),
        ("high half of the token", with(index, TOKEN ^ 1 << 32)),
        ("top bit of the token", with(index, TOKEN ^ 1 << 63)),
        ("no token", with(index, 0)),
        ("the other backend", with(SECOND.index(family), TOKEN)),
        ("one that gets no heartbeats", with(1, TOKEN)),
        ("a free entry", with(4000, TOKEN)),
        ("beyond the map", with(beyond, TOKEN)),
        ("far beyond the map", with(u32::MAX, TOKEN)),
        ("a short payload", changed(|c| c.body.truncate(15))),
        ("no payload", changed(|c| c.body.clear())),
        ("a code", changed(|c| c.kind.1 = 1)),
        (
            "a request",
            changed(|c| c.kind.0 = if c.kind.0 == 0 { 8 } else { 128 }),
        ),
        (
            "the type of the other family",
            changed(|c| c.kind.0 = 129 - c.kind.0),
        ),
    ]
    .into_iter()
    .map(|(what, control)| (what.to_owned(), BACK, control.bytes(), entry(family, KIND)))
    .collect::<Vec<_>>();
    for (what, ingress, frame) in forged_outside(family, &honest.frame) {
        let control = Control {
            frame,
            ..honest.clone()
        };
        forged.push((
            what.to_owned(),
            ingress,
            control.bytes(),
            entry(family, KIND),
        ));
    }
    for kind in [
        HeartbeatKind::None,
        HeartbeatKind::TcpSyn,
        HeartbeatKind::Udp,
    ] {
        forged.push((
            format!("asked by {kind:?}"),
            BACK,
            honest.bytes(),
            entry(family, kind),
        ));
    }
    let mut rows: Vec<Row> = forged
        .into_iter()
        .map(|(what, ingress, input, entry)| Row {
            ingress,
            ..row(
                &format!("forged, {what}"),
                family,
                before(entry),
                input,
                Verdict::OtherProtocol,
            )
        })
        .collect();
    if family == Family::V4 {
        for (what, byte) in [("the first fragment", 20), ("a later fragment", 21)] {
            let mut input = honest.bytes();
            input[byte] |= 0x20;
            let before = before(entry(family, KIND));
            rows.push(row(what, family, before, input, Verdict::OtherProtocol));
        }
    }
    rows
}
