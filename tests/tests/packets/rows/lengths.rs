//! Lengths in the TCP and UDP headers that no receiver may accept, and those that look
//! odd and are right. Those of the IP headers are in `passed`.

use failover_common::Verdict;
use lab::Family;

use super::{Row, kinds, request, towards};
use crate::frame::{Frame, Protocol};
use crate::network::{FRONT, at};
use crate::pieces::fragments;
use crate::services::Port;
use crate::world::PRIMARY;

/// Of `Frame::new`, bytes.
const PAYLOAD: u16 = 15;

pub(super) fn rows() -> Vec<Row> {
    kinds()
        .flat_map(|(family, protocol)| match protocol {
            Protocol::Tcp => segments(family),
            Protocol::Udp => datagrams(family),
        })
        .chain(Family::ALL.map(surplus))
        .chain([later()])
        .collect()
}

fn bad(what: &str, family: Family, input: &Frame, at: usize, bytes: &[u8]) -> Row {
    let mut frame = input.bytes();
    let at = input.l4() + at;
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    Row::unchanged(
        format!("{what}: {family:?}"),
        FRONT,
        frame,
        Verdict::Malformed,
    )
}

fn segments(family: Family) -> Vec<Row> {
    let plain = request(family, Protocol::Tcp, Port::Nat as u16);
    let empty = Frame {
        payload: vec![],
        padding: vec![0; 40],
        ..plain.clone()
    };
    vec![
        bad("data offset 0", family, &plain, 12, &[0x00]),
        bad("data offset 4", family, &plain, 12, &[0x40]),
        bad("data offset 9 of 8", family, &plain, 12, &[0x90]),
        bad("data offset 15", family, &plain, 12, &[0xf0]),
        bad("data offset in the padding", family, &empty, 12, &[0x60]),
    ]
}

fn datagrams(family: Family) -> Vec<Row> {
    let plain = request(family, Protocol::Udp, Port::Nat as u16);
    let padded = Frame {
        padding: vec![0; 40],
        ..plain.clone()
    };
    let length = |length: u16| length.to_be_bytes();
    vec![
        bad("UDP length 0", family, &plain, 4, &length(0)),
        bad("UDP length 7", family, &plain, 4, &length(7)),
        bad(
            "UDP length one too long",
            family,
            &plain,
            4,
            &length(9 + PAYLOAD),
        ),
        bad("UDP length 65535", family, &plain, 4, &length(65535)),
        bad(
            "UDP length in the padding",
            family,
            &padded,
            4,
            &length(9 + PAYLOAD),
        ),
    ]
}

/// A later fragment that is shorter than its own header says, which a first one would not
/// have been.
fn later() -> Row {
    let frame = request(Family::V4, Protocol::Udp, Port::Nat as u16);
    let mut bytes = fragments(&frame, 8000, &[16]).swap_remove(1);
    bytes[frame.l3()] = 0x4f;
    bytes.extend([0; 40]);
    Row::unchanged(
        "a fragment shorter than its header",
        FRONT,
        bytes,
        Verdict::Malformed,
    )
}

/// RFC 9868: what is behind the datagram in the packet is no mistake. Its checksum does
/// not cover that.
fn surplus(family: Family) -> Row {
    let input = request(family, Protocol::Udp, Port::Nat as u16);
    let backend = at(family, PRIMARY.net, PRIMARY.host, 2000);
    let output = towards(PRIMARY, input.clone().to(backend));
    let longer = |frame: &Frame| {
        let mut bytes = frame.bytes();
        bytes.extend([0; 8]);
        let l3 = frame.l3();
        if family == Family::V4 {
            bytes[l3 + 3] += 8;
            crate::pieces::seal(&mut bytes, l3);
        } else {
            bytes[l3 + 5] += 8;
        }
        bytes
    };
    Row {
        output: longer(&output),
        backend: Some(PRIMARY.index(family)),
        ..Row::unchanged(
            format!("a packet longer than its datagram: {family:?}"),
            FRONT,
            longer(&input),
            Verdict::ForwardedRedirect,
        )
    }
}
