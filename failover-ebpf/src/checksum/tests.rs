use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;

use failover_common::Address;

use super::Difference;

/// In full, by a library that knows nothing of this one.
fn full(bytes: &[u8]) -> [u8; 2] {
    Sum16BitWords::new()
        .add_slice(bytes)
        .ones_complement()
        .to_ne_bytes()
}

/// 0x0000 and 0xffff are the same number in ones' complement.
fn same(a: [u8; 2], b: [u8; 2]) -> bool {
    let zero = |c: [u8; 2]| c == [0, 0] || c == [0xff, 0xff];
    a == b || (zero(a) && zero(b))
}

proptest! {
    #[test]
    fn an_update_equals_a_full_recompute(
        data in proptest::array::uniform32(any::<u8>()),
        v6 in any::<[u8; 16]>(),
        v4 in any::<[u8; 4]>(),
        port in any::<[u8; 2]>(),
    ) {
        let mut changed = data;
        changed[..16].copy_from_slice(&v6);
        changed[16..20].copy_from_slice(&v4);
        changed[20..22].copy_from_slice(&port);
        let part = |range: std::ops::Range<usize>| &data[range];
        let difference = Difference::none()
            .v6(
                Address::from_bytes(part(0..16).try_into().unwrap()),
                Address::from_bytes(v6),
            )
            .v4(part(16..20).try_into().unwrap(), v4)
            .word(part(20..22).try_into().unwrap(), port);
        let updated = difference.apply(full(&data));
        prop_assert!(same(updated, full(&changed)), "{updated:?} {:?}", full(&changed));
    }
}

/// RFC 1624, section 4: the case that the older equation gets wrong.
#[test]
fn the_example_of_rfc_1624() {
    let updated = Difference::none()
        .word([0x55, 0x55], [0x32, 0x85])
        .apply([0xdd, 0x2f]);
    assert_eq!(updated, [0x00, 0x00]);
}
