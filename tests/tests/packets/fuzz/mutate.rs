//! Changes to a frame that know where its fields are.

use std::net::IpAddr;

use fastrand::Rng;
use lab::Family;

use crate::network::{CLIENT, Far, UNKNOWN, far, ip};
use crate::services::{OWN_PORT, OWN_REVERSE, VIP, VIP_EVERY_PORT};
use crate::tunnel::l3;

/// Bytes that mean something somewhere: lengths, protocols, kinds of message.
const BYTES: [u8; 28] = [
    0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 17, 20, 41, 43, 44, 45, 46, 58, 59, 60, 64, 69, 79, 127, 128,
    129, 240, 255,
];

/// Words likewise: fragments, lengths, types.
const WORDS: [u16; 20] = [
    0, 1, 7, 8, 9, 19, 20, 21, 40, 0x0800, 0x1fff, 0x2000, 0x2001, 0x4000, 0x86dd, 0x8100, 0x88a8,
    0x7fff, 0xfff8, 0xffff,
];

/// One to four changes.
pub(super) fn mutate(frame: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.u8(1..=4) {
        one(frame, rng);
        // What the kernel runs a program on, and what the model is asked about.
        frame.resize(frame.len().clamp(14, 1600), 0);
    }
}

fn one(frame: &mut Vec<u8>, rng: &mut Rng) {
    let l3 = if frame.len() > 18 { l3(frame) } else { 14 };
    // What an ICMP error quotes.
    let quoted = l4(frame, l3) + 8;
    match rng.u8(..17) {
        0 => any_bit(frame, rng),
        1 => any_byte(frame, rng),
        2 => any_word(frame, rng),
        3 => ip_field(frame, l3, rng),
        4 => length(frame, l3, rng),
        5 => cut(frame, rng),
        6 => address(frame, l3, rng),
        7 => port(frame, l3, rng),
        8 => tag(frame, l3, rng),
        9 => options(frame, l3, rng),
        10 => extension(frame, l3, rng),
        11 => fragment(frame, l3, rng),
        12 => transport(frame, l3, rng),
        16 => long(frame, l3, rng),
        13 => ip_field(frame, quoted, rng),
        14 => address(frame, quoted, rng),
        _ => port(frame, quoted, rng),
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn is_v6(frame: &[u8], l3: usize) -> bool {
    frame.get(l3).is_some_and(|byte| byte >> 4 == 6)
}

/// Where the header behind that of IP begins.
fn l4(frame: &[u8], l3: usize) -> usize {
    match frame.get(l3) {
        Some(byte) if byte >> 4 == 4 => l3 + usize::from(byte & 15) * 4,
        _ => l3 + 40,
    }
}

/// Most changes should be where the headers are.
fn place(frame: &[u8], rng: &mut Rng) -> usize {
    let headers = if rng.bool() { 64 } else { 128 };
    rng.usize(..frame.len().min(headers))
}

fn any_bit(frame: &mut [u8], rng: &mut Rng) {
    let at = rng.usize(..frame.len());
    frame[at] ^= 1 << rng.u8(..8);
}

fn any_byte(frame: &mut [u8], rng: &mut Rng) {
    let at = place(frame, rng);
    frame[at] = BYTES[rng.usize(..BYTES.len())];
}

fn any_word(frame: &mut [u8], rng: &mut Rng) {
    let at = place(frame, rng) & !1;
    put(frame, at, &WORDS[rng.usize(..WORDS.len())].to_be_bytes());
}

/// TTL, protocol, version and length of the header, DSCP.
fn ip_field(frame: &mut [u8], l3: usize, rng: &mut Rng) {
    let v6 = is_v6(frame, l3);
    let (hop_limit, protocol) = if v6 { (7, 6) } else { (8, 9) };
    match rng.u8(..4) {
        0 => put(frame, l3 + hop_limit, &[rng.u8(..4)]),
        1 => put(frame, l3 + protocol, &[BYTES[rng.usize(..BYTES.len())]]),
        2 => put(frame, l3, &[rng.u8(3..8) << 4 | rng.u8(..16)]),
        _ => put(frame, l3 + 1, &[rng.u8(..)]),
    }
}

/// The length in the IP header is a little off, or in the UDP header.
fn length(frame: &mut [u8], l3: usize, rng: &mut Rng) {
    let is_udp = rng.bool();
    let (at, header) = match (is_udp, is_v6(frame, l3)) {
        (true, _) => (l4(frame, l3) + 4, l4(frame, l3)),
        (false, true) => (l3 + 4, l3 + 40),
        (false, false) => (l3 + 2, l3),
    };
    let right = frame.len().saturating_sub(header);
    let off = (right + rng.usize(..48)).saturating_sub(24);
    put(
        frame,
        at,
        &u16::try_from(off).unwrap_or(u16::MAX).to_be_bytes(),
    );
}

/// The frame ends sooner, or later.
fn cut(frame: &mut Vec<u8>, rng: &mut Rng) {
    let length = if rng.bool() {
        rng.usize(14..=frame.len())
    } else {
        frame.len() + rng.usize(..64)
    };
    frame.resize(length, 0xee);
}

/// More behind it, with the length that it needs: too long for a tunnel, or for a link.
fn long(frame: &mut Vec<u8>, l3: usize, rng: &mut Rng) {
    if frame.len() < l3 + 40 {
        return;
    }
    let more = rng.u16(..1400);
    frame.resize(frame.len() + usize::from(more), 0x5a);
    let (length, protocol) = if is_v6(frame, l3) {
        (l3 + 4, l3 + 6)
    } else {
        (l3 + 2, l3 + 9)
    };
    grow(frame, length, more);
    let udp = l4(frame, l3) + 4;
    if frame[protocol] == 17 && udp + 2 <= frame.len() {
        grow(frame, udp, more);
    }
}

/// Somebody of the network in the place of source or destination; or they change places.
fn address(frame: &mut [u8], l3: usize, rng: &mut Rng) {
    let (family, source, length) = if is_v6(frame, l3) {
        (Family::V6, l3 + 8, 16)
    } else {
        (Family::V4, l3 + 12, 4)
    };
    if rng.u8(..4) == 0 {
        if let Some(both) = frame.get_mut(source..source + 2 * length) {
            both.rotate_left(length);
        }
        return;
    }
    let address = match rng.u8(..12) {
        0 | 1 => ip(family, 1, VIP),
        2 => ip(family, 1, VIP_EVERY_PORT),
        3 => ip(family, 1, CLIENT),
        4 => ip(family, rng.u8(1..6), CLIENT),
        5 => ip(family, 1, UNKNOWN),
        6 | 7 => ip(family, 2, rng.u8(11..22)),
        8 => ip(family, rng.u8(1..6), rng.u8(..3)),
        9 => ip(family, 1, 31),
        10 => far(family, ANYWHERE[rng.usize(..ANYWHERE.len())], 0).ip(),
        _ => match family {
            Family::V4 => IpAddr::from([rng.u8(..), 0, 0, 1]),
            Family::V6 => IpAddr::from([u16::from(rng.u8(..)), 0, 0, 0, 0, 0, 0, 1]),
        },
    };
    let at = source + if rng.bool() { length } else { 0 };
    match address {
        IpAddr::V4(address) => put(frame, at, &address.octets()),
        IpAddr::V6(address) => put(frame, at, &address.octets()),
    }
}

const ANYWHERE: [Far; 8] = [
    Far::Routed,
    Far::Unresolved,
    Far::RoutedByV6,
    Far::UnresolvedByV6,
    Far::Unreachable,
    Far::Prohibited,
    Far::Blackhole,
    Far::Nowhere,
];

/// The port of a service, or of one on its backend.
fn port(frame: &mut [u8], l3: usize, rng: &mut Rng) {
    let port = match rng.u8(..8) {
        0 => rng.u16(..),
        1 => 0,
        2 => OWN_PORT,
        3 => OWN_REVERSE,
        4 => rng.u16(2000..2012),
        5 => rng.u16(1220..1234),
        6 => rng.u16(61_000..61_040),
        _ => rng.u16(1000..1012),
    };
    let at = l4(frame, l3) + if rng.bool() { 2 } else { 0 };
    put(frame, at, &port.to_be_bytes());
}

/// A tag more, or one less.
fn tag(frame: &mut Vec<u8>, l3: usize, rng: &mut Rng) {
    if l3 > 14 && rng.bool() {
        frame.drain(12..16);
    } else {
        let kind = if rng.u8(..3) == 0 {
            [0x88, 0xa8]
        } else {
            [0x81, 0]
        };
        frame.splice(12..12, [kind[0], kind[1], 0, rng.u8(..)]);
    }
}

/// IPv4 options, with or without the lengths that they need.
fn options(frame: &mut Vec<u8>, l3: usize, rng: &mut Rng) {
    if is_v6(frame, l3) || frame.len() < l3 + 20 {
        return;
    }
    let words = rng.u8(..=10);
    frame.splice(l3 + 20..l3 + 20, vec![1; usize::from(words) * 4]);
    frame[l3] = 0x45 + words;
    grow(frame, l3 + 2, u16::from(words) * 4);
}

/// An IPv6 extension header, with or without the length that it needs.
fn extension(frame: &mut Vec<u8>, l3: usize, rng: &mut Rng) {
    if !is_v6(frame, l3) || frame.len() < l3 + 40 {
        return;
    }
    let kind = [0, 43, 44, 60, 51, 135][rng.usize(..6)];
    let more = rng.u8(..3);
    let length = if kind == 44 {
        8
    } else {
        8 + usize::from(more) * 8
    };
    let mut header = vec![0; length];
    header[0] = frame[l3 + 6];
    header[1] = more;
    match kind {
        43 => header[3] = rng.u8(..2),
        44 => {
            let word = WORDS[rng.usize(..WORDS.len())];
            header[2..4].copy_from_slice(&word.to_be_bytes());
            header[7] = rng.u8(..8);
        }
        _ => {}
    }
    frame[l3 + 6] = kind;
    frame.splice(l3 + 40..l3 + 40, header);
    grow(frame, l3 + 4, u16::try_from(length).expect("24 at most"));
}

fn grow(frame: &mut [u8], at: usize, more: u16) {
    let [high, low] = [frame[at], frame[at + 1]];
    let length = u16::from_be_bytes([high, low]).saturating_add(more);
    put(frame, at, &length.to_be_bytes());
}

/// Flags and offset of IPv4, or of the first extension header of IPv6; and which datagram.
fn fragment(frame: &mut [u8], l3: usize, rng: &mut Rng) {
    let word = WORDS[rng.usize(..WORDS.len())].to_be_bytes();
    let number = [0, rng.u8(..8)];
    if is_v6(frame, l3) {
        put(frame, l3 + 42, &word);
        put(frame, l3 + 46, &number);
    } else {
        put(frame, l3 + 6, &word);
        put(frame, l3 + 4, &number);
    }
}

/// Lengths, flags and the checksum of TCP and UDP; kind and code of ICMP.
fn transport(frame: &mut [u8], l3: usize, rng: &mut Rng) {
    let l4 = l4(frame, l3);
    match rng.u8(..4) {
        0 => put(frame, l4 + 12, &[rng.u8(..16) << 4]),
        1 => put(frame, l4 + 6, &[0, 0]),
        2 => put(frame, l4 + 13, &[rng.u8(..)]),
        _ => put(frame, l4, &[BYTES[rng.usize(..BYTES.len())], rng.u8(..4)]),
    }
}
