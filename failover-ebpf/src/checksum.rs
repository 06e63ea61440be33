//! The Internet checksum, updated for the words that change (RFC 1624).

use failover_common::Address;

/// What has changed under a checksum: a ones'-complement sum of `!old + new`,
/// to be folded into any checksum that covers the same words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference(u64);

impl Difference {
    /// Nothing has changed.
    #[inline(always)]
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// A 32-bit word was added, as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub fn plus(self, word: [u8; 4]) -> Self {
        Self(self.0 + u64::from(u32::from_ne_bytes(word)))
    }

    /// A 32-bit word was taken away, as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub fn minus(self, word: [u8; 4]) -> Self {
        Self(self.0 + u64::from(!u32::from_ne_bytes(word)))
    }

    /// What has changed, and what has changed elsewhere under the same checksum.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// An IPv6 address was added.
    #[inline(always)]
    #[must_use]
    pub const fn plus_v6(self, address: Address) -> Self {
        let [first, second] = address.words();
        Self(self.0 + halves(first) + halves(second))
    }

    /// The checksum of what was added, and nothing else (RFC 1071).
    #[inline(always)]
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        self.apply([0xff; 2])
    }

    /// `old` has become `new`; both as they lie in the packet.
    #[inline(always)]
    #[must_use]
    pub fn word(self, old: [u8; 2], new: [u8; 2]) -> Self {
        let old = !u16::from_ne_bytes(old);
        Self(self.0 + u64::from(old) + u64::from(u16::from_ne_bytes(new)))
    }

    /// An IPv4 address has changed.
    #[inline(always)]
    #[must_use]
    pub fn v4(self, old: [u8; 4], new: [u8; 4]) -> Self {
        // Two 16-bit words at once: folding adds the halves (RFC 1071, section 2).
        let old = !u32::from_ne_bytes(old);
        Self(self.0 + u64::from(old) + u64::from(u32::from_ne_bytes(new)))
    }

    /// An IPv6 address has changed.
    #[inline(always)]
    #[must_use]
    pub const fn v6(self, old: Address, new: Address) -> Self {
        let [first, second] = old.words();
        Self(self.0 + halves(!first) + halves(!second)).plus_v6(new)
    }

    /// The checksum after the change (RFC 1624, equation 3: HC' = ~(~HC + ~m + m')).
    #[inline(always)]
    #[must_use]
    pub fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        let mut sum = u64::from(!u16::from_ne_bytes(checksum)) + self.0;
        // Fewer than 2^16 terms below 2^32: three folds leave 16 bits.
        sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
        let folded = sum as u16;
        (!folded).to_ne_bytes()
    }
}

/// Two 32-bit words at once.
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

#[cfg(test)]
mod tests;
