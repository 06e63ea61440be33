use crate::{Address, Be16};

/// Bytes of the `HINTS` map, a power of two: one for each hash of an address, so that a
/// packet that is nobody's is known by two bytes and no look-up. What is not there is
/// nowhere; what is there may be another address's.
pub const HINTS: usize = 1 << 15;

/// What the tables may hold of an address: a bit of its hint.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// A service on a port of its own.
    Service = 1 << 0,
    /// A service on every port.
    EveryService = 1 << 1,
    /// A reverse entry of one port.
    Reverse = 1 << 2,
    /// A reverse entry of every port.
    EveryReverse = 1 << 3,
}

impl Hint {
    /// That of a service.
    #[must_use]
    pub fn of_service(port: Be16) -> Self {
        if port == Be16::ZERO {
            Self::EveryService
        } else {
            Self::Service
        }
    }

    /// That of a reverse entry.
    #[must_use]
    pub fn of_reverse(port: Be16) -> Self {
        if port == Be16::ZERO {
            Self::EveryReverse
        } else {
            Self::Reverse
        }
    }

    /// Whether it is in a byte of the map.
    #[inline(always)]
    #[must_use]
    pub const fn is_in(self, hints: u8) -> bool {
        hints & self as u8 != 0
    }
}

/// Where the hint of an address is.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "so many bits are left")]
pub const fn hint_place(address: &Address) -> u32 {
    let [a, b] = address.words();
    let hash = (a ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> (64 - HINTS.trailing_zeros())) as u32
}
