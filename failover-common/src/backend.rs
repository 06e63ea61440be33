use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16, Pulse};

/// Longest name of a backend, bytes of UTF-8.
pub const NAME_LEN: usize = 64;

/// Heartbeats whose send times a backend's entry remembers.
pub const RING: u32 = 16;

/// One entry of the `BACKENDS` map: a server, wherever it is used. Its health
/// is here and not in a service, so that one write moves every service that
/// uses it.
///
/// The map is mmapable, and both sides write it while packets flow: `holds` by
/// atomic operations only, every other word by one aligned store. `address`,
/// `token` and `name` never change while a service refers to the entry and its
/// lease is armed.
///
/// A packet that the backend may serve needs the first cache line only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// Why the backend may not serve, one bit a [`Hold`]; 0: eligible.
    pub holds: u64,
    /// Heartbeats sent and answered so far.
    pub pulse: Pulse,
    /// Heartbeats in a row that must be unanswered before the lease is over; 0:
    /// there is no lease.
    pub fall: u32,
    /// Interface that leads to the next hop; 0: not known.
    pub ifindex: u32,
    /// MAC of the next hop: six bytes, then two of zero.
    pub dst_mac: [u8; 8],
    /// MAC of the interface that leads to it: six bytes, then two of zero.
    pub src_mac: [u8; 8],
    /// Address packets are rewritten to; all zero: the entry is free.
    pub address: Address,
    /// When `holds` last left 0, nanoseconds of `CLOCK_MONOTONIC`. When no
    /// backend of a service is eligible, the one held last keeps it.
    pub held_at: u64,
    /// Nanoseconds that the oldest of `fall` unanswered heartbeats must have been
    /// out.
    pub timeout: u32,
    /// Index of a backend behind the same interface, whose answers show that our
    /// side works; this one's own index: there is none.
    pub witness: u32,
    /// When the first packet went past this backend after it had expired,
    /// nanoseconds of `CLOCK_MONOTONIC`; before `held_at`: none has since.
    pub passed_at: u64,
    /// What makes its heartbeats unpredictable, new with each agent.
    pub token: u64,
    /// Port heartbeats go to, for those that have one.
    pub heartbeat_port: Be16,
    /// A [`HeartbeatKind`](crate::HeartbeatKind).
    pub heartbeat_kind: u8,
    /// Zero.
    pub padding: u8,
    /// Interface that frames of the agent's own leave by: with a VLAN the device that
    /// adds the tag. 0: `ifindex`.
    pub egress: u32,
    /// CPU that noted the newest answer to a heartbeat, plus one; 0: there was none.
    pub answered_on: u32,
    /// Longest packet on the way there, bytes from the IP header on.
    pub mtu: u32,
    /// Our own address towards it, the source of what goes there in a tunnel; all
    /// zero: not known.
    pub source: Address,
    /// Zero.
    pub reserved: [u8; 8],
    /// When each heartbeat was sent, nanoseconds of `CLOCK_MONOTONIC`, by its
    /// sequence number modulo [`RING`].
    pub sent_at: [u64; RING as usize],
    /// Name in the configuration, padded with zeros: how a new agent finds the
    /// entries of the last one.
    pub name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Backend>() == 320 && align_of::<Backend>() == 8);
const _: () = assert!(core::mem::offset_of!(Backend, timeout) == 64);

// SAFETY: `Backend` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Backend {}

/// One reason why a backend may not serve: a bit of [`Holds`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The lease is over, or the traffic showed that the backend is gone. Set by
    /// whoever sees it first, the data path or the agent; only the agent clears it.
    Expired = 1 << 0,
    /// A health check failed.
    CheckFailed = 1 << 1,
    /// Another backend of the service is promoted, or this one is not yet: two that
    /// serve would be worse than none.
    NotPromoted = 1 << 2,
    /// An operator drained it: it gets nothing new.
    Drained = 1 << 3,
    /// An operator disabled it.
    Disabled = 1 << 4,
    /// The next hop does not answer ARP or neighbour discovery.
    NoNeighbour = 1 << 5,
    /// The interface that leads to the backend is down.
    LinkDown = 1 << 6,
    /// It died too often; while another one can serve, it has to wait.
    Damped = 1 << 7,
}

impl Hold {
    /// Those that keep new flows away, and leave the backend those that it has.
    pub const DRAINING: u64 = Self::Drained as u64 | Self::Damped as u64;

    /// Every hold there is, in the order of their bits.
    pub const ALL: [Self; 8] = [
        Self::Expired,
        Self::CheckFailed,
        Self::NotPromoted,
        Self::Drained,
        Self::Disabled,
        Self::NoNeighbour,
        Self::LinkDown,
        Self::Damped,
    ];

    /// The word for it in status, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::CheckFailed => "check_failed",
            Self::NotPromoted => "not_promoted",
            Self::Drained => "drained",
            Self::Disabled => "disabled",
            Self::NoNeighbour => "no_neighbour",
            Self::LinkDown => "link_down",
            Self::Damped => "damped",
        }
    }
}

/// The set of reasons why a backend may not serve. Empty: it is eligible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds(pub u64);

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
        self.0 & hold as u64 != 0
    }

    /// The same reasons with `hold` set or cleared.
    #[must_use]
    pub const fn with(self, hold: Hold, set: bool) -> Self {
        if set {
            Self(self.0 | hold as u64)
        } else {
            Self(self.0 & !(hold as u64))
        }
    }

    /// The reasons, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Hold> {
        Hold::ALL
            .into_iter()
            .filter(move |hold| self.contains(*hold))
    }
}
