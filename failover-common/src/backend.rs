use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Longest name of a backend, bytes of UTF-8.
pub const NAME_LEN: usize = 64;

/// One entry of the `BACKENDS` map: a server, wherever it is used. Its health
/// is here and not in a service, so that one write moves every service that
/// uses it.
///
/// The map is mmapable. Words that change while packets flow (`holds`,
/// `ifindex`, the MACs, `held_at`) are stored one aligned word at a time;
/// `address` and `name` never change while a service refers to the entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// Why the backend may not serve, one bit a [`Hold`]; 0: eligible.
    pub holds: u32,
    /// Interface that leads to the next hop; 0: not known.
    pub ifindex: u32,
    /// MAC of the next hop: six bytes, then two of zero.
    pub dst_mac: [u8; 8],
    /// MAC of the interface that leads to it: six bytes, then two of zero.
    pub src_mac: [u8; 8],
    /// When `holds` last left 0, nanoseconds of `CLOCK_MONOTONIC`. When no
    /// backend of a service is eligible, the one held last keeps it.
    pub held_at: u64,
    /// Address packets are rewritten to; all zero: the entry is free.
    pub address: Address,
    /// Zero. The entry's first cache line ends here.
    pub reserved: [u8; 16],
    /// Name in the configuration, padded with zeros: how a new agent finds the
    /// entries of the last one.
    pub name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Backend>() == 128 && align_of::<Backend>() == 8);

// SAFETY: `Backend` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Backend {}

/// One reason why a backend may not serve: a bit of [`Holds`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A health check failed.
    CheckFailed = 1 << 1,
    /// The next hop does not answer ARP or neighbour discovery.
    NoNeighbour = 1 << 5,
    /// The interface that leads to the backend is down.
    LinkDown = 1 << 6,
}

impl Hold {
    /// Every hold there is, in the order of their bits.
    pub const ALL: [Self; 3] = [Self::CheckFailed, Self::NoNeighbour, Self::LinkDown];

    /// The word for it in status, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CheckFailed => "check_failed",
            Self::NoNeighbour => "no_neighbour",
            Self::LinkDown => "link_down",
        }
    }
}

/// The set of reasons why a backend may not serve. Empty: it is eligible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds(pub u32);

impl Holds {
    /// No reason: the backend is eligible.
    pub const NONE: Self = Self(0);

    /// Whether the backend may serve.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `hold` is one of the reasons.
    #[must_use]
    pub const fn contains(self, hold: Hold) -> bool {
        self.0 & hold as u32 != 0
    }

    /// The same reasons with `hold` set or cleared.
    #[must_use]
    pub const fn with(self, hold: Hold, set: bool) -> Self {
        if set {
            Self(self.0 | hold as u32)
        } else {
            Self(self.0 & !(hold as u32))
        }
    }

    /// The reasons, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Hold> {
        Hold::ALL
            .into_iter()
            .filter(move |hold| self.contains(*hold))
    }
}
