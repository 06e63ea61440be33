use etherparse::{IpNumber, Ipv4Header, PacketBuilder};
use failover_common::DecapVerdict;

use super::{ECT_0, ECT_1, find};
use crate::frame::Frame as _;

/// What a sender of ECN `inner` gets to see of `outer`, in tunnels of each family.
#[test]
fn congestion_is_told_to_those_who_understand() {
    // RFC 6040, section 4.2, figure 4: {inner, outer, what becomes of it}
    for (inner, outer, expected) in [
        (0, 0, Ok(0)),
        (0, 1, Ok(0)),
        (0, 2, Ok(0)),
        (0, 3, Err(DecapVerdict::Congested)),
        (ECT_0, 0, Ok(ECT_0)),
        (ECT_0, 1, Ok(ECT_1)),
        (ECT_0, 2, Ok(ECT_0)),
        (ECT_0, 3, Ok(3)),
        (ECT_1, 0, Ok(ECT_1)),
        (ECT_1, 1, Ok(ECT_1)),
        (ECT_1, 2, Ok(ECT_1)),
        (ECT_1, 3, Ok(3)),
        (3, 0, Ok(3)),
        (3, 1, Ok(3)),
        (3, 2, Ok(3)),
        (3, 3, Ok(3)),
    ] {
        for inner_v6 in [false, true] {
            for outer_v6 in [false, true] {
                let mut frame = tunnelled(inner_v6, inner, outer_v6, outer);
                let carried = find(frame.as_slice()).unwrap().carried.unwrap();
                let result = carried.receive(frame.as_mut_slice());
                let what = format!("{inner} in {outer}, IPv6 {inner_v6} in {outer_v6}");
                assert_eq!(result, expected.map(|_| ()), "{what}");
                let kept = expected.unwrap_or(inner);
                assert_eq!(ecn(&frame[carried.at()..]), kept, "{what}");
            }
        }
    }
}

/// ECN of a packet, whose checksum must be right.
fn ecn(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 {
        return packet[1] >> 4 & 3;
    }
    let (header, _) = Ipv4Header::from_slice(packet).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    header.ecn.value()
}

/// A datagram in a tunnel of IP.
fn tunnelled(inner_v6: bool, inner_ecn: u8, outer_v6: bool, outer_ecn: u8) -> Vec<u8> {
    let inner = packet(
        inner_v6,
        inner_ecn,
        IpNumber::UDP,
        &[0, 1, 0, 2, 0, 8, 0, 0],
    );
    let protocol = IpNumber(if inner_v6 { 41 } else { 4 });
    let ethertype = if outer_v6 { [0x86, 0xdd] } else { [8, 0] };
    let outer = packet(outer_v6, outer_ecn, protocol, &inner);
    [&[0; 12][..], &ethertype, &outer].concat()
}

fn packet(v6: bool, ecn: u8, protocol: IpNumber, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let mut bytes = Vec::new();
    let step = if v6 {
        ethernet.ipv6([3; 16], [4; 16], 9)
    } else {
        ethernet.ipv4([10, 0, 0, 3], [10, 0, 0, 4], 9)
    };
    step.write(&mut bytes, protocol, payload).unwrap();
    let mut bytes = bytes.split_off(14);
    if v6 {
        bytes[1] |= ecn << 4;
    } else {
        let (mut header, _) = Ipv4Header::from_slice(&bytes).unwrap();
        header.ecn = ecn.try_into().unwrap();
        header.header_checksum = header.calc_header_checksum();
        bytes
            .as_mut_slice()
            .store(
                0,
                header
                    .to_bytes()
                    .as_slice()
                    .first_chunk::<20>()
                    .copied()
                    .unwrap(),
            )
            .unwrap();
    }
    bytes
}
