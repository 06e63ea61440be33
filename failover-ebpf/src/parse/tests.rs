use etherparse::PacketBuilder;
use failover_common::{Address, Be16, Verdict};
use proptest::prelude::*;

use super::{Family, Packet, TCP, UDP, parse};

fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2; 6], [4; 6])
}

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn udp_v4() -> Vec<u8> {
    let step = ethernet()
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1000, 53);
    bytes(|out| step.write(out, b"payload").unwrap())
}

fn tcp_v6() -> Vec<u8> {
    let step = ethernet().ipv6([1; 16], [2; 16], 64).tcp(1000, 80, 7, 100);
    bytes(|out| step.write(out, b"payload").unwrap())
}

fn tcp_v6_tagged() -> Vec<u8> {
    let step = ethernet()
        .single_vlan(5.try_into().unwrap())
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1000, 80, 7, 100);
    bytes(|out| step.write(out, b"payload").unwrap())
}

fn tcp_v6_twice_tagged() -> Vec<u8> {
    let step = ethernet()
        .double_vlan(6.try_into().unwrap(), 5.try_into().unwrap())
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1000, 80, 7, 100);
    bytes(|out| step.write(out, b"payload").unwrap())
}

/// `frame` with the byte at `at` replaced.
fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

fn packet_v6(tags: usize) -> Packet {
    let l3 = 14 + 4 * tags;
    Packet {
        family: Family::V6,
        protocol: TCP,
        tos: 0,
        hop_limit: 64,
        total_length: 67,
        l3,
        l4: l3 + 40,
        source: Address::from_bytes([1; 16]),
        destination: Address::from_bytes([2; 16]),
        source_port: Be16::new(1000),
        destination_port: Be16::new(80),
        flags: 0,
        headless: false,
    }
}

#[track_caller]
fn check(description: &str, frame: &[u8], expected: Result<Packet, Verdict>) {
    assert_eq!(parse(frame), expected, "{description}");
}

#[test]
fn headers() {
    let v4 = Packet {
        family: Family::V4,
        protocol: UDP,
        tos: 0,
        hop_limit: 64,
        total_length: 35,
        l3: 14,
        l4: 34,
        source: Address::from_v4([10, 0, 0, 1]),
        destination: Address::from_v4([10, 0, 0, 2]),
        source_port: Be16::new(1000),
        destination_port: Be16::new(53),
        flags: 0,
        headless: false,
    };
    check("IPv4 UDP", &udp_v4(), Ok(v4));
    check("with padding", &[udp_v4(), vec![0; 20]].concat(), Ok(v4));
    check("IPv6 TCP", &tcp_v6(), Ok(packet_v6(0)));
    check("one VLAN tag", &tcp_v6_tagged(), Ok(packet_v6(1)));
    check("two VLAN tags", &tcp_v6_twice_tagged(), Ok(packet_v6(2)));
    check(
        "two tags of one type",
        &with(with(tcp_v6_twice_tagged(), 12, 0x81), 13, 0x00),
        Ok(packet_v6(2)),
    );
    check(
        "UDP length 7",
        &with(udp_v4(), 39, 7),
        Err(Verdict::Malformed),
    );
    check(
        "UDP length beyond the packet",
        &with(udp_v4(), 39, 16),
        Err(Verdict::Malformed),
    );
    check("UDP length 8", &with(udp_v4(), 39, 8), Ok(v4));
    check(
        "data offset 4",
        &with(tcp_v6(), 66, 0x40),
        Err(Verdict::Malformed),
    );
    check(
        "data offset beyond the packet",
        &with(tcp_v6(), 66, 0x70),
        Err(Verdict::Malformed),
    );
    check("ARP", &with(udp_v4(), 13, 0x06), Err(Verdict::NotIp));
    check(
        "version 5",
        &with(udp_v4(), 14, 0x55),
        Err(Verdict::Malformed),
    );
    check(
        "header of 16 bytes",
        &with(udp_v4(), 14, 0x44),
        Err(Verdict::Malformed),
    );
    check(
        "total length too long",
        &with(udp_v4(), 17, 36),
        Err(Verdict::Truncated),
    );
    check(
        "no room for UDP",
        &with(udp_v4(), 17, 27),
        Err(Verdict::Malformed),
    );
    check(
        "more fragments",
        &with(udp_v4(), 20, 0x20),
        Err(Verdict::Fragment),
    );
    check(
        "later fragment",
        &with(udp_v4(), 21, 0x01),
        Err(Verdict::Fragment),
    );
    check("do not fragment", &with(udp_v4(), 20, 0x40), Ok(v4));
    check("ICMP", &with(udp_v4(), 23, 1), Err(Verdict::OtherProtocol));
    check(
        "IPv6 version 4",
        &with(tcp_v6(), 14, 0x40),
        Err(Verdict::Malformed),
    );
    check(
        "IPv6 fragment header",
        &with(tcp_v6(), 20, 44),
        Err(Verdict::OtherProtocol),
    );
    check("empty", &[], Err(Verdict::Truncated));
}

proptest! {
    /// Whatever the bytes: no panic, and what was found lies inside the frame.
    #[test]
    fn any_bytes(mut frame in proptest::collection::vec(any::<u8>(), 0..128), v6: bool) {
        if frame.len() > 14 {
            let (ethertype, version) = if v6 { ([0x86, 0xdd], 0x60) } else { ([8, 0], 0x40) };
            frame[12..14].copy_from_slice(&ethertype);
            frame[14] = frame[14] & 0x0f | version;
        }
        if let Ok(packet) = parse(frame.as_slice()) {
            prop_assert!(packet.l4 + 8 <= frame.len());
            prop_assert!(packet.l3 + usize::from(packet.total_length) <= frame.len());
        }
    }
}

#[test]
fn truncated_at_every_length() {
    for frame in [udp_v4(), tcp_v6(), tcp_v6_tagged(), tcp_v6_twice_tagged()] {
        for length in 0..frame.len() {
            check("truncated", &frame[..length], Err(Verdict::Truncated));
        }
    }
}
