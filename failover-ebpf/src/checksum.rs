//! The Internet checksum, updated for the words that change (RFC 1624).

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
    pub fn plus_v6(self, address: [u8; 16]) -> Self {
        let [a, b, c, d] = quarters(address);
        self.plus(a).plus(b).plus(c).plus(d)
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
    pub fn v6(self, old: [u8; 16], new: [u8; 16]) -> Self {
        let [o0, o1, o2, o3] = quarters(old);
        let [n0, n1, n2, n3] = quarters(new);
        self.v4(o0, n0).v4(o1, n1).v4(o2, n2).v4(o3, n3)
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

#[inline(always)]
fn quarters(a: [u8; 16]) -> [[u8; 4]; 4] {
    [
        [a[0], a[1], a[2], a[3]],
        [a[4], a[5], a[6], a[7]],
        [a[8], a[9], a[10], a[11]],
        [a[12], a[13], a[14], a[15]],
    ]
}

#[cfg(test)]
mod tests;
