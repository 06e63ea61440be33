use bytemuck::{Pod, Zeroable};

use crate::{Reverse, ReverseKey, Service, ServiceKey};

/// Most places that a look-up visits; a key that would lie further away is not taken.
pub const PROBES: u32 = 16;

/// How many places a table of 2^`bits` has in its map: those behind the last are for keys
/// that are first looked for there.
#[must_use]
pub const fn places(bits: u32) -> usize {
    (1 << bits) + PROBES as usize
}

/// A hash table in two array maps, which the data path reads without a call: a hash map of
/// the kernel costs some 25 ns a look-up, which is most of what a packet costs here.
///
/// *Slots* hold the keys and values. *Places*, one word each, say where: linear probing
/// (Knuth, The Art of Computer Programming, volume 3, section 6.4) from the place that the
/// key's hash names. Only one side writes, and a slot never changes while a place names
/// it: a new value goes into a free slot, and then one store of a place makes it the one
/// that is found. The old slot is free when no packet can be at it any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
}

const _: () = assert!(size_of::<Slot<ServiceKey, Service>>() == 24 + 216);
const _: () = assert!(size_of::<Slot<ReverseKey, Reverse>>() == 24 + 32);

// SAFETY: both halves are, and the sizes above leave no room for padding.
unsafe impl Zeroable for Slot<ServiceKey, Service> {}
// SAFETY: as above.
unsafe impl Pod for Slot<ServiceKey, Service> {}
// SAFETY: as above.
unsafe impl Zeroable for Slot<ReverseKey, Reverse> {}
// SAFETY: as above.
unsafe impl Pod for Slot<ReverseKey, Reverse> {}

/// A key of a table: three words, and nothing else.
pub trait TableKey: Pod {
    /// The words.
    #[inline(always)]
    fn words(&self) -> [u64; 3] {
        const { assert!(size_of::<Self>() == 24 && align_of::<Self>() == 8) };
        // SAFETY: so many bytes, so aligned, and any bytes are words.
        unsafe { core::ptr::from_ref(self).cast::<[u64; 3]>().read() }
    }
}

impl TableKey for ServiceKey {}
impl TableKey for ReverseKey {}

/// One place: 0 is empty; else the number of the slot plus one below, and above it the
/// tag of the key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// Nothing was ever here: a look-up ends.
    pub const EMPTY: Self = Self(0);
    /// Something was here: a look-up goes on.
    pub const REMOVED: Self = Self(u32::MAX as u64);

    /// The place of a key with this hash that lies in `slot`.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64, slot: u32) -> Self {
        Self(tag(hash) << 32 | (slot + 1) as u64)
    }

    /// The slot. Of [`EMPTY`](Self::EMPTY) and [`REMOVED`](Self::REMOVED) one that no table
    /// has.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn slot(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }

    #[inline(always)]
    const fn may_be(self, hash: u64) -> bool {
        self.0 >> 32 == tag(hash)
    }
}

/// The hash of a key. Who sends packets chooses what is looked up, not what is in the
/// table: it needs no secret. Good are its upper bits only, and that it takes one
/// multiplication's time.
#[inline(always)]
#[must_use]
pub const fn hash([a, b, c]: [u64; 3]) -> u64 {
    // Odd numbers without a pattern: fractions of the golden ratio and of square roots.
    a.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ b.wrapping_mul(0x6a09_e667_f3bc_c909)
        ^ c.wrapping_mul(0xbb67_ae85_84ca_a73b)
}

/// What tells keys in one place apart: as far down as the bits are good.
#[inline(always)]
const fn tag(hash: u64) -> u64 {
    hash >> 15 & u32::MAX as u64
}

/// The place where a key with this hash is looked for first, in a table of 2^`bits`.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "so many bits are left")]
pub const fn first_place(hash: u64, bits: u32) -> u32 {
    (hash >> (64 - bits)) as u32
}

/// Word by word: the compiler would call a function that compares bytes.
#[inline(always)]
const fn is_same(one: [u64; 3], other: [u64; 3]) -> bool {
    (one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) == 0
}

/// Looks a key of these words up in a table of 2^`bits` places. `place` and `slot` read what is at an
/// index, if that is one. Returns its slot, or one that no table has.
#[inline(always)]
pub fn find<'a, K: TableKey + 'a, V: 'a>(
    words: [u64; 3],
    bits: u32,
    place: impl Fn(u32) -> Option<u64>,
    slot: impl Fn(u32) -> Option<&'a Slot<K, V>>,
) -> u32 {
    let hash = hash(words);
    let first = first_place(hash, bits);
    for probe in 0..PROBES {
        let Some(place) = place(first + probe).map(Place) else {
            break;
        };
        if place == Place::EMPTY {
            break;
        }
        if place.may_be(hash)
            && let Some(slot) = slot(place.slot())
            && is_same(slot.key.words(), words)
        {
            return place.slot();
        }
    }
    Place::EMPTY.slot()
}

/// The same as far as two places can tell, which is nearly always; else it asks `find`.
/// The verifier goes through this wherever it is called.
#[inline(always)]
pub fn find_soon<'a, K: TableKey + 'a, V: 'a>(
    words: [u64; 3],
    bits: u32,
    place: impl Fn(u32) -> Option<u64>,
    slot: impl Fn(u32) -> Option<&'a Slot<K, V>>,
    find: impl Fn([u64; 3]) -> u32,
) -> Option<&'a V> {
    let hash = hash(words);
    let first = first_place(hash, bits);
    let mut at = Place(place(first)?);
    if at != Place::EMPTY && !at.may_be(hash) {
        at = Place(place(first + 1)?);
    }
    if at == Place::EMPTY {
        return None;
    }
    if at.may_be(hash)
        && let Some(found) = slot(at.slot())
        && is_same(found.key.words(), words)
    {
        return Some(&found.value);
    }
    slot(find(words)).map(|slot| &slot.value)
}
