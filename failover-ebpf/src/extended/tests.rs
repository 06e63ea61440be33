use failover_common::{Address, Be16, FragmentKey, Verdict};
use proptest::prelude::*;

use super::{Extended, parse};
use crate::parse::{Family, Packet, UDP};

fn nothing() -> Extended {
    Extended {
        packet: Packet {
            family: Family::V4,
            protocol: 0,
            tos: 0,
            hop_limit: 0,
            total_length: 0,
            l3: 0,
            l4: 0,
            source: Address::default(),
            destination: Address::default(),
            source_port: Be16::ZERO,
            destination_port: Be16::ZERO,
            flags: 0,
            headless: false,
        },
        is_fragment: false,
        key: FragmentKey::new(Address::default(), Address::from_bytes([0; 16]), [0; 4], 0),
    }
}

/// Ethernet and IPv6 in front of `payload`, whose first header is of kind `next`.
fn frame(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], next, 64]);
    frame.extend([1; 16]);
    frame.extend([2; 16]);
    frame.extend(payload);
    frame
}

/// Protocol and offset of what is behind the headers; whether it is a fragment, and a
/// later one.
type Found = Result<(u8, usize, bool, bool), Verdict>;

#[test]
fn chains() {
    let udp = [3, 232, 0, 53, 0, 8, 0, 0];
    let rows: [(&str, u8, &[u8], Found); 8] = [
        ("none", UDP, &[], Ok((UDP, 54, false, false))),
        (
            "options",
            0,
            &[UDP, 0, 0, 0, 0, 0, 0, 0],
            Ok((UDP, 62, false, false)),
        ),
        (
            "the first",
            44,
            &[UDP, 0, 0, 1, 0, 0, 0, 9],
            Ok((UDP, 62, true, false)),
        ),
        (
            "a later one",
            44,
            &[60, 0, 0, 8, 0, 0, 0, 9],
            Ok((60, 62, true, true)),
        ),
        (
            "atomic",
            44,
            &[UDP, 0, 0, 0, 0, 0, 0, 9],
            Ok((UDP, 62, false, false)),
        ),
        (
            "to go on",
            43,
            &[UDP, 0, 0, 1, 0, 0, 0, 0],
            Err(Verdict::ExtensionHeaders),
        ),
        (
            "too long",
            60,
            &[UDP, 9, 0, 0, 0, 0, 0, 0],
            Err(Verdict::Malformed),
        ),
        ("unknown", 59, &[], Err(Verdict::OtherProtocol)),
    ];
    for (description, next, headers, expected) in rows {
        let mut found = nothing();
        let frame = frame(next, &[headers, &udp].concat());
        let parsed = parse(frame.as_slice(), &mut found).map(|()| {
            let Packet {
                protocol,
                l4,
                headless,
                ..
            } = found.packet;
            (protocol, l4, found.is_fragment, headless)
        });
        assert_eq!(parsed, expected, "{description}");
        if found.is_fragment && parsed.is_ok() {
            assert_eq!(found.key.identification, [0, 0, 0, 9], "{description}");
        }
    }
}

proptest! {
    /// Whatever the bytes: no panic, and what was found lies inside the frame.
    #[test]
    fn any_bytes(
        next in prop::sample::select(vec![0_u8, 6, 17, 43, 44, 51, 60]),
        payload in proptest::collection::vec(prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 60, 255]), 0..128),
    ) {
        let frame = frame(next, &payload);
        let mut found = nothing();
        if parse(frame.as_slice(), &mut found).is_ok() {
            let header = if found.packet.headless { 0 } else { 8 };
            prop_assert!(found.packet.l4 + header <= frame.len());
        }
    }
}
