//! What becomes of which frame at the end of a tunnel.

use etherparse::PacketBuilder;
use failover_common::{Address, DecapVerdict, GUE_PORT};
use lab::Family;

use super::Row;
use crate::frame::{Frame, Protocol};
use crate::network::{at, ip};
use crate::rows::{self, further};
use crate::tunnel::{self, Tunnel};
use crate::world::PRIMARY;

/// Every row.
pub(super) fn all() -> Vec<Row> {
    [carried(), not_carried(), inner(), gue()]
        .into_iter()
        .flatten()
        .collect()
}

/// Whatever the director sends arrives as it sent it, with the MACs of the last hop. A
/// second tag is for nobody but switches.
fn carried() -> Vec<Row> {
    let of_director = rows::all().into_iter().filter(|row| {
        let overhead = row.output.len().saturating_sub(row.input.len());
        row.backend.is_some()
            && matches!(overhead, 20 | 28 | 40 | 48)
            && tunnel::l3(&row.input) <= 18
            && row.before.earlier.is_empty()
            && row.before.entries.is_empty()
    });
    let arrives = |row: rows::Row| {
        let l3 = tunnel::l3(&row.input);
        let overhead = row.output.len() - row.input.len();
        let packet = &row.output[l3 + overhead..];
        Row {
            output: [&row.output[..12], &row.input[12..l3], packet].concat(),
            description: row.description,
            input: row.output,
            verdict: DecapVerdict::Decapsulated,
        }
    };
    of_director.map(arrives).collect()
}

/// A datagram of a client, IPv4 or IPv6.
fn datagram(family: Family) -> Frame {
    Frame::new(
        Protocol::Udp,
        at(family, 1, 9, 40_000),
        at(family, 1, 100, 53),
    )
}

/// One in every tunnel.
pub(super) fn tunnels() -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    for outer in Family::ALL {
        for inner in Family::ALL {
            for gue in [false, true] {
                let what = format!("{inner:?} in {outer:?}, GUE {gue}");
                frames.push((what, tunnel(outer, gue).carry(&datagram(inner))));
            }
        }
    }
    frames
}

fn tunnel(family: Family, gue: bool) -> Tunnel {
    Tunnel {
        family,
        gue,
        server: PRIMARY,
    }
}

/// Offset of the inner packet.
fn inner_at(outer: Family, gue: bool) -> usize {
    14 + tunnel(outer, gue).overhead()
}

/// `frame` with bytes replaced: offset, bytes.
fn with(frame: &[u8], changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for (at, bytes) in changes {
        frame[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    frame
}

fn not_carried() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, frame) in tunnels() {
        let v4 = frame[12..14] == [8, 0];
        let source = if v4 { 26 } else { 22 };
        let last = source + if v4 { 3 } else { 15 };
        rows.push(Row::unchanged(
            format!("{what}: from the director's neighbour"),
            with(&frame, &[(last, &[2])]),
            DecapVerdict::Stranger,
        ));
        let protocol = if v4 { 23 } else { 20 };
        for other in [0, 6, 47, 50, 60] {
            rows.push(Row::unchanged(
                format!("{what}: protocol {other}"),
                with(&frame, &[(protocol, &[other])]),
                DecapVerdict::Other,
            ));
        }
        rows.push(Row::unchanged(
            format!("{what}: another version of IP"),
            with(&frame, &[(14, &[0x50])]),
            DecapVerdict::Other,
        ));
        if v4 {
            // RFC 791, section 3.1: more fragments; an offset; six words.
            let gue = frame[protocol] == 17;
            let verdict = if gue {
                DecapVerdict::Other
            } else {
                DecapVerdict::Unsupported
            };
            for (odd, change) in [
                ("first fragment", (20, &[0x20, 0][..])),
                ("late fragment", (20, &[0, 1][..])),
                ("options", (14, &[0x46][..])),
                ("a header of four words", (14, &[0x44][..])),
            ] {
                let frame = with(&frame, &[change]);
                rows.push(Row::unchanged(format!("{what}: {odd}"), frame, verdict));
            }
            rows.push(Row::unchanged(
                format!("{what}: shorter than its header"),
                with(&frame, &[(16, &[0, 19])]),
                DecapVerdict::Malformed,
            ));
        }
    }
    for family in Family::ALL {
        let plain = datagram(family);
        let gue = plain
            .clone()
            .to(at(family, 2, 11, GUE_PORT))
            .from(at(family, 9, 9, 50_000));
        for (what, frame, verdict) in [
            ("no tunnel", plain.bytes(), DecapVerdict::Other),
            ("GUE of a stranger", gue.bytes(), DecapVerdict::Stranger),
        ] {
            rows.push(Row::unchanged(
                format!("{what}: {family:?}"),
                frame,
                verdict,
            ));
        }
    }
    let arp = with(&datagram(Family::V4).bytes(), &[(12, &[8, 6])]);
    rows.push(Row::unchanged("ARP", arp, DecapVerdict::Other));
    rows
}

/// What is inside is looked at.
fn inner() -> Vec<Row> {
    let mut rows = Vec::new();
    for outer in Family::ALL {
        for gue in [false, true] {
            let at = inner_at(outer, gue);
            let v4 = tunnel(outer, gue).carry(&datagram(Family::V4));
            let v6 = tunnel(outer, gue).carry(&datagram(Family::V6));
            let longer_v4 = u16::from_be_bytes([v4[at + 2], v4[at + 3]]) + 1;
            let longer_v6 = u16::from_be_bytes([v6[at + 4], v6[at + 5]]) + 1;
            // With GUE the version alone says what it is.
            let mixed = !gue;
            for (what, frame) in [
                ("a header of four words", with(&v4, &[(at, &[0x44])])),
                ("shorter than its header", with(&v4, &[(at + 2, &[0, 19])])),
                (
                    "longer than the tunnel's",
                    with(&v4, &[(at + 2, &longer_v4.to_be_bytes())]),
                ),
                (
                    "IPv6 longer than the tunnel's",
                    with(&v6, &[(at + 4, &longer_v6.to_be_bytes())]),
                ),
            ]
            .into_iter()
            .chain(mixed.then(|| ("another version", with(&v4, &[(at, &[0x60])]))))
            .chain(mixed.then(|| ("another version than 6", with(&v6, &[(at, &[0x45])]))))
            {
                rows.push(Row::unchanged(
                    format!("{what}, in {outer:?}, GUE {gue}"),
                    frame,
                    DecapVerdict::Malformed,
                ));
            }
            rows.extend(congestion(outer, gue));
        }
    }
    rows
}

/// Congestion on the way: told to senders who understand, a loss to the others.
fn congestion(outer: Family, gue: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for family in Family::ALL {
        for (ecn, verdict) in [
            (0, DecapVerdict::Congested),
            (1, DecapVerdict::Decapsulated),
            (2, DecapVerdict::Decapsulated),
        ] {
            let plain = Frame {
                tos: 0x28 | ecn,
                ..datagram(family)
            };
            let mut input = tunnel(outer, gue).carry(&plain);
            match outer {
                Family::V4 => input[15] |= 3,
                Family::V6 => input[15] |= 3 << 4,
            }
            let marked = Frame {
                tos: plain.tos | 3,
                ..further(plain)
            };
            let output = match verdict {
                DecapVerdict::Decapsulated => [&input[..12], &marked.bytes()[12..]].concat(),
                _ => input.clone(),
            };
            rows.push(Row {
                description: format!("congestion, {family:?} of ECN {ecn} in {outer:?}, {gue}"),
                input,
                verdict,
                output,
            });
        }
    }
    rows
}

/// GUE as others send it.
fn gue() -> Vec<Row> {
    let mut rows = Vec::new();
    for outer in Family::ALL {
        for family in Family::ALL {
            let inner = datagram(family);
            let packet = &inner.bytes()[14..];
            let protocol = if family == Family::V4 { 4 } else { 41 };
            let build = |header: &[u8]| {
                let link = PacketBuilder::ethernet2([6; 6], [8; 6]);
                let step = match outer {
                    Family::V4 => link.ipv4([10, 2, 0, 1], [10, 2, 0, 11], 64),
                    Family::V6 => {
                        let [source, destination] =
                            [1, 11].map(|host| Address::from(ip(Family::V6, 2, host)).bytes());
                        link.ipv6(source, destination, 64)
                    }
                };
                let mut bytes = Vec::new();
                step.udp(50_000, GUE_PORT)
                    .write(&mut bytes, &[header, packet].concat())
                    .expect("a frame that can be built");
                bytes
            };
            let name = format!("{family:?} in {outer:?}");
            let whole = build(&[0, protocol, 0, 0]);
            rows.push(Row {
                description: format!("GUE variant 0: {name}"),
                output: [&whole[..12], &inner.bytes()[12..]].concat(),
                input: whole.clone(),
                verdict: DecapVerdict::Decapsulated,
            });
            for (what, header) in [
                ("a control message", [0x20, protocol, 0, 0]),
                ("extensions", [1, protocol, 0, 0]),
                ("flags", [0, protocol, 0x80, 0]),
                ("flags of the second byte", [0, protocol, 0, 1]),
                ("another protocol", [0, 47, 0, 0]),
                ("variant 1, no version of IP", [0x50, protocol, 0, 0]),
                ("variant 2", [0x80, protocol, 0, 0]),
                ("variant 3", [0xc0, protocol, 0, 0]),
            ] {
                rows.push(Row::unchanged(
                    format!("GUE, {what}: {name}"),
                    build(&header),
                    DecapVerdict::Unsupported,
                ));
            }
            let udp = if outer == Family::V4 { 34 } else { 54 };
            let length = u16::from_be_bytes([whole[udp + 4], whole[udp + 5]]);
            for wrong in [0, 7, 8, 11, length - 1, length + 1] {
                rows.push(Row::unchanged(
                    format!("GUE, UDP of {wrong} bytes: {name}"),
                    with(&whole, &[(udp + 4, &wrong.to_be_bytes())]),
                    DecapVerdict::Malformed,
                ));
            }
        }
    }
    rows
}
