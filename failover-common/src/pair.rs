use bytemuck::{Pod, Zeroable};

/// One entry of the `PAIRS` map: what clients' traffic shows of one backend in
/// one service (`nat`). Only the data path writes it; nothing is lost when it is
/// begun anew, and a count that two CPUs raise at once may miss one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pair {
    /// 1: something came back since the backend last expired. What never
    /// answers is not dead because it is silent.
    pub answers: u64,
    /// Packets that went to the backend since something came back; `since` is when the
    /// clock was read last.
    pub unanswered: Strikes,
    /// For how long they have been going there, nanoseconds, as far as that counts.
    pub waited: u64,
    /// SYNs that went to the backend since a SYN was answered.
    pub syns: Strikes,
    /// Connections that were refused.
    pub refused: Strikes,
    /// Packets that could not be delivered.
    pub unreachable: Strikes,
}

const _: () = assert!(size_of::<Pair>() == 80);

/// A count since some time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Strikes {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// How many since then.
    pub count: u64,
}

impl Strikes {
    /// One more at `now`. A window that is over begins anew.
    #[inline(always)]
    #[must_use]
    pub const fn struck(self, now: u64) -> Self {
        if self.count == 0 || now.saturating_sub(self.since) > STRIKE_WINDOW {
            Self {
                since: now,
                count: 1,
            }
        } else {
            Self {
                since: self.since,
                count: self.count + 1,
            }
        }
    }
}

/// How long strikes count that are each a proof, nanoseconds.
pub const STRIKE_WINDOW: u64 = 1_000_000_000;

/// Refused connections within [`STRIKE_WINDOW`] that are a death. One: the
/// refusal is checked against the client's SYN, the port is closed.
pub const REFUSED: u64 = 1;

/// Packets not delivered within [`STRIKE_WINDOW`] that are a death. One: Linux says
/// it to one client once a second only (`icmp_ratelimit`).
pub const UNREACHABLE: u64 = 1;

/// SYNs in a row without an answer that are a death, if they took
/// [`SYNS_TIME`] at least.
pub const SYNS: u64 = 16;

/// Nanoseconds; longer than a full queue of connections takes to move on.
pub const SYNS_TIME: u64 = 200_000_000;

/// Packets in a row without an answer that are a death while nobody sends
/// heartbeats, if they took [`Service::silence`](crate::Service::silence) at
/// least. A few are explained by an acknowledgment that is delayed.
pub const UNANSWERED: u64 = 32;

// SAFETY: `Pair` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Pair {}
