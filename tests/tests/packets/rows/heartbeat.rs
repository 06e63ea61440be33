//! Answers to heartbeats, and what only looks like one.

mod datagram;
mod echo;
mod segment;

use failover_common::{HEARTBEAT_PORT, HeartbeatKind};
use lab::Family;

use super::Row;
use crate::before::Before;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, SECOND};
use crate::network::{BACK, FRONT, at, mac};
use crate::state::{Entry, TOKEN};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                echo::rows(family),
                segment::rows(family),
                datagram::rows(family),
            ]
            .concat()
        })
        .collect()
}

/// Port of the backends that heartbeats go to.
const PORT: u16 = 2099;

/// A pulse, and what an answer to a heartbeat means to it.
#[derive(Clone, Copy, Debug)]
struct Answer {
    what: &'static str,
    sent: u32,
    answered: u32,
    sequence: u32,
    is_news: bool,
}

impl Answer {
    const fn new(
        what: &'static str,
        (sent, answered): (u32, u32),
        sequence: u32,
        is_news: bool,
    ) -> Self {
        Self {
            what,
            sent,
            answered,
            sequence,
            is_news,
        }
    }

    /// The entry of [`FIRST`] before it.
    fn entry(self, family: Family, kind: HeartbeatKind) -> Entry {
        Entry {
            sent: self.sent,
            answered: self.answered,
            ..entry(family, kind)
        }
    }
}

/// Answers to what was sent lately, or just about.
const ANSWERS: [Answer; 16] = [
    Answer::new("the next", (100, 95), 96, true),
    Answer::new("one between", (100, 95), 98, true),
    Answer::new("the newest", (100, 95), 100, true),
    Answer::new("sent and not noted yet", (100, 95), 101, true),
    Answer::new("sent and not noted, all answered", (100, 100), 101, true),
    Answer::new("repeated", (100, 95), 95, false),
    Answer::new("repeated, all answered", (100, 100), 100, false),
    Answer::new("older than the newest answer", (100, 95), 94, false),
    Answer::new("repeated before it was noted", (100, 101), 101, false),
    Answer::new("older, before that was noted", (100, 101), 100, false),
    Answer::new("the first number", (0, u32::MAX), 0, true),
    Answer::new("the last number", (2, u32::MAX - 1), u32::MAX, true),
    Answer::new("past the last number", (2, u32::MAX - 1), 2, true),
    Answer::new("past the last, not noted", (u32::MAX, u32::MAX), 0, true),
    Answer::new("repeated past the last", (2, 1), 1, false),
    Answer::new("older past the last", (2, 0), u32::MAX, false),
];

/// The entry of [`FIRST`].
fn entry(family: Family, kind: HeartbeatKind) -> Entry {
    Entry {
        kind,
        port: PORT,
        answered: 95,
        ..Entry::new(FIRST, family)
    }
}

/// Both backends get heartbeats of the same kind.
fn before(entry: Entry) -> Before {
    let second = Entry {
        server: SECOND,
        ..entry
    };
    Before::entries(&[entry, second])
}

/// From `server` to the port that its heartbeats come from, by the way they went.
fn from_server(family: Family, protocol: Protocol, server: Server) -> Frame {
    let source = at(family, server.net, server.host, PORT);
    let to = at(family, server.net, 1, port_of(server, family));
    Frame::new(protocol, source, to).macs(mac(server.net, 1), mac(server.net, server.host))
}

fn port_of(server: Server, family: Family) -> u16 {
    HEARTBEAT_PORT + u16::try_from(server.index(family)).expect("few backends")
}

/// The half of the token that there is room for, plus a sequence number.
fn number(sequence: u32) -> u32 {
    let [.., a, b, c, d] = TOKEN.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]).wrapping_add(sequence)
}

/// Ways an answer may be forged in its outer headers: where it comes in, and what
/// is different.
fn forged_outside(family: Family, honest: &Frame) -> Vec<(&'static str, u32, Frame)> {
    let other = at(family, FIRST.net, 44, PORT);
    let frame = || honest.clone();
    let [to, from] = [honest.dst_mac, honest.src_mac];
    let mut last_byte = from;
    last_byte[5] ^= 1;
    let mut first_byte = from;
    first_byte[0] ^= 4;
    let mut forged = vec![
        ("from another address", BACK, frame().from(other)),
        ("by another interface", FRONT, frame()),
        ("from another MAC", BACK, frame().macs(to, last_byte)),
        ("from a MAC of others", BACK, frame().macs(to, first_byte)),
    ];
    if family == Family::V4 {
        // That a host which forwards it back has been asked for is not forged, but
        // nothing of ours has options.
        let ip_options = vec![1; 4];
        let frame = Frame {
            ip_options,
            ..frame()
        };
        forged.push(("with IP options", BACK, frame));
    }
    forged
}
