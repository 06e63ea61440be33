use etherparse::{Ipv6Header, PacketBuilder, UdpHeader};
use failover_common::Address;

use super::{Inner, Tunnel, write};
use crate::{
    frame::Frame as _,
    parse::{Family, Packet, parse},
};

const V4: ([u8; 4], [u8; 4]) = ([10, 0, 0, 2], [10, 0, 0, 100]);

/// What changes of an IPv4 packet is within so many bytes.
const TTL_AND_CHECKSUM: usize = 12;

const GUE_V6: Tunnel = Tunnel {
    source: Address::from_bytes([0xfd; 16]),
    destination: Address::from_bytes([0xfe; 16]),
    family: Family::V6,
    gue: true,
};

/// A UDP packet of this payload.
fn datagram(v6: bool, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let ip = if v6 {
        let mapped = |address| Address::from_v4(address).bytes();
        ethernet.ipv6(mapped(V4.0), mapped(V4.1), 9)
    } else {
        ethernet.ipv4(V4.0, V4.1, 9)
    };
    let mut bytes = Vec::new();
    ip.udp(4000, 53).write(&mut bytes, payload).unwrap();
    bytes
}

/// The checksum of UDP in front, as written and as etherparse makes it.
fn checksums(frame: &[u8], tunnel: &Tunnel) -> (u16, u16) {
    let packet: Packet = parse(frame).unwrap();
    let inner = Inner::of(frame, &packet, tunnel, true).unwrap();
    let mut sent = vec![0; tunnel.overhead()];
    sent.splice(..0, frame[..14].iter().copied());
    sent.extend_from_slice(&frame[14..]);
    write(sent.as_mut_slice(), 14, tunnel, &inner).unwrap();
    let (ip, rest) = Ipv6Header::from_slice(&sent[14..]).unwrap();
    let (udp, _) = UdpHeader::from_slice(rest).unwrap();
    let payload = &rest[8..usize::from(ip.payload_length)];
    (udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap())
}

#[test]
fn the_checksum_in_front_follows_from_headers() {
    for v6 in [false, true] {
        for length in 0..70_u8 {
            let payload: Vec<u8> = (0..length).collect();
            let (written, full) = checksums(&datagram(v6, &payload), &GUE_V6);
            assert_eq!(written, full, "IPv6 {v6}, {length} bytes");
        }
        // Every sum there is, among them the one that is sent as all ones.
        let mut ones = 0;
        let frame = datagram(v6, b"odd");
        for value in 0..=u16::MAX {
            let mut tunnel = GUE_V6;
            let mut source = tunnel.source.bytes();
            source[14..].copy_from_slice(&value.to_be_bytes());
            tunnel.source = Address::from_bytes(source);
            let (written, full) = checksums(&frame, &tunnel);
            assert_eq!(written, full, "IPv6 {v6}, {value}");
            ones += usize::from(written == 0xffff);
        }
        assert_ne!(ones, 0, "none was all ones");
    }
}

#[test]
fn without_a_sum_there_is_no_checksum_in_front() {
    for v6 in [false, true] {
        let udp = if v6 { 14 + 40 } else { 14 + 20 };
        // {description, offset behind the UDP header's start, bytes}
        for (description, at, bytes) in [
            ("no checksum", 6, [0_u8, 0]),
            ("shorter than its packet", 4, [0, 11]),
        ] {
            let mut frame = datagram(v6, b"four");
            frame.as_mut_slice().store(udp + at, bytes).unwrap();
            assert_eq!(checksums(&frame, &GUE_V6).0, 0, "{description}, IPv6 {v6}");
        }
    }
}

#[test]
fn a_frame_without_room_is_refused() {
    let frame = datagram(false, b"four");
    let packet = parse(frame.as_slice()).unwrap();
    for (family, gue) in [
        (Family::V4, false),
        (Family::V4, true),
        (Family::V6, false),
        (Family::V6, true),
    ] {
        let tunnel = Tunnel {
            family,
            gue,
            ..GUE_V6
        };
        let inner = Inner::of(frame.as_slice(), &packet, &tunnel, true).unwrap();
        let mut short = vec![0; 14 + tunnel.overhead() + TTL_AND_CHECKSUM];
        assert!(write(short.as_mut_slice(), 14, &tunnel, &inner).is_some());
        short.pop();
        assert!(write(short.as_mut_slice(), 14, &tunnel, &inner).is_none());
    }
}
