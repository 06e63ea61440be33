//! The lease: proof of life of a backend, renewed by answered heartbeats. Both
//! sides decide with the same code whether it is over.

use bytemuck::{Pod, Zeroable};

use crate::{Backend, RING};

/// How many heartbeats were sent and answered: sequence numbers of the newest
/// ones. They wrap around.
///
/// One aligned word, so that both are read at once. The sender stores `sent`, the
/// data path `answered`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pulse {
    /// The newest heartbeat that has been sent.
    pub sent: u32,
    /// The newest heartbeat that has been answered.
    pub answered: u32,
}

impl Pulse {
    /// How many heartbeats in a row are unanswered. Below zero when an answer was
    /// quicker than the sender's note that it had sent.
    #[inline(always)]
    #[must_use]
    pub const fn outstanding(self) -> i32 {
        self.sent.wrapping_sub(self.answered).cast_signed()
    }

    /// Whether an answer to `sequence` is news: newer than the newest answer, and
    /// to a heartbeat that has been sent, or was sent and not noted yet.
    #[inline(always)]
    #[must_use]
    pub const fn accepts(self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.answered).cast_signed();
        ahead > 0 && ahead <= self.outstanding().saturating_add(1)
    }

    /// Whether the send time of the newest answered heartbeat is still known: its slot
    /// of the ring is not in use again, nor about to be.
    #[inline(always)]
    #[must_use]
    pub const fn remembers_answered(self) -> bool {
        self.outstanding() < (RING - 1).cast_signed()
    }

    /// The oldest unanswered heartbeat whose send time is still known: a slot of
    /// the ring is overwritten before its heartbeat is sent, so one less than the
    /// ring holds.
    #[inline(always)]
    #[must_use]
    pub const fn oldest(self) -> u32 {
        if self.outstanding() >= RING.cast_signed() {
            self.sent.wrapping_sub(RING - 2)
        } else {
            self.answered.wrapping_add(1)
        }
    }
}

/// Slot of a heartbeat in [`Backend::sent_at`](crate::Backend::sent_at).
#[inline(always)]
#[must_use]
pub const fn slot(sequence: u32) -> usize {
    (sequence % RING) as usize
}

/// An entry of the `BACKENDS` map while both sides write it: every read is one
/// volatile load of an aligned word.
#[derive(Clone, Copy, Debug)]
pub struct Live(*const Backend);

impl Live {
    /// # Safety
    ///
    /// `entry` points to an entry of the map and is valid as long as this value.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(entry: *const Backend) -> Self {
        Self(entry)
    }

    /// [`Backend::holds`].
    #[inline(always)]
    #[must_use]
    pub fn holds(self) -> u64 {
        // SAFETY: `new` was promised a valid entry.
        unsafe { (&raw const (*self.0).holds).read_volatile() }
    }

    /// [`Backend::pulse`].
    #[inline(always)]
    #[must_use]
    pub fn pulse(self) -> Pulse {
        // SAFETY: as above; both words in one load.
        let word = unsafe { (&raw const (*self.0).pulse).cast::<u64>().read_volatile() };
        bytemuck::must_cast(word)
    }

    /// [`Backend::fall`].
    #[inline(always)]
    #[must_use]
    pub fn fall(self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).fall).read_volatile() }
    }

    /// [`Backend::witness`].
    #[inline(always)]
    #[must_use]
    pub fn witness(self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).witness).read_volatile() }
    }

    /// [`Backend::answered_on`]: the CPU; none: there was no answer.
    #[inline(always)]
    #[must_use]
    pub fn answered_on(self) -> Option<u32> {
        // SAFETY: as above.
        let word = unsafe { (&raw const (*self.0).answered_on).read_volatile() };
        word.checked_sub(1)
    }

    /// [`Backend::timeout`].
    #[inline(always)]
    #[must_use]
    pub fn timeout(self) -> u64 {
        // SAFETY: as above.
        u64::from(unsafe { (&raw const (*self.0).timeout).read_volatile() })
    }

    /// When the heartbeat `sequence` was sent, nanoseconds of `CLOCK_MONOTONIC`; wrong
    /// for one that is older than the ring.
    #[inline(always)]
    #[must_use]
    pub fn sent_at(self, sequence: u32) -> u64 {
        // SAFETY: as above, and a slot is below the length of the ring.
        unsafe {
            (&raw const (*self.0).sent_at)
                .cast::<u64>()
                .add(slot(sequence))
                .read_volatile()
        }
    }

    /// Whether so many heartbeats are unanswered that the clock must be asked.
    #[inline(always)]
    #[must_use]
    pub fn is_overdue(self) -> bool {
        let fall = self.fall();
        fall != 0 && self.pulse().outstanding() >= fall.cast_signed()
    }

    /// Whether the lease is over at `now`: `fall` heartbeats in a row are
    /// unanswered and the oldest has been out for longer than the timeout.
    ///
    /// With a witness it must also have answered a heartbeat that was sent no
    /// earlier than the last of those `fall`. Frames that wait behind a stall of
    /// our own arrive in the order they were sent in, so as long as the witness's
    /// answer is not there, this backend's may be waiting too.
    #[inline(always)]
    #[must_use]
    pub fn is_over(self, witness: Option<Self>, now: u64) -> bool {
        let (pulse, fall) = (self.pulse(), self.fall());
        if fall == 0 || pulse.outstanding() < fall.cast_signed() {
            return false;
        }
        let oldest = pulse.oldest();
        if now.saturating_sub(self.sent_at(oldest)) <= self.timeout() {
            return false;
        }
        match witness {
            None => true,
            Some(witness) => {
                let pulse = witness.pulse();
                pulse.remembers_answered()
                    && witness.sent_at(pulse.answered)
                        >= self.sent_at(oldest.wrapping_add(fall - 1))
            }
        }
    }
}

/// What heartbeats are made of; the number is [`Backend::heartbeat_kind`](crate::Backend::heartbeat_kind).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeartbeatKind {
    /// None are sent.
    None = 0,
    /// ICMP or `ICMPv6` echo: the host lives.
    Icmp = 1,
    /// A TCP SYN: the port is open.
    TcpSyn = 2,
    /// An empty datagram: the port is not closed; silence means nothing.
    Udp = 3,
}

/// Source port of the heartbeats to backend 0 that have one; each backend has
/// its own, so that the answer names it. Linux gives none of these to anybody
/// by itself (`net.ipv4.ip_local_port_range`).
pub const HEARTBEAT_PORT: u16 = 61_000;

/// What showed that a backend is dead, and to whom.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The data path, when a packet for the backend came: the lease was over.
    Packet = 0,
    /// The sender of heartbeats, on its turn: the lease was over.
    Sender = 1,
    /// A heartbeat was answered with "this port is closed".
    Closed = 2,
    /// Clients' connections were refused.
    Refused = 3,
    /// "Unreachable", by the backend or on its behalf.
    Unreachable = 4,
    /// SYNs piled up unanswered.
    Syns = 5,
    /// Packets went to it, nothing came back, and nobody sends heartbeats.
    Silence = 6,
}

impl Signal {
    /// Every signal, at the index that is its number.
    pub const ALL: [Self; 7] = [
        Self::Packet,
        Self::Sender,
        Self::Closed,
        Self::Refused,
        Self::Unreachable,
        Self::Syns,
        Self::Silence,
    ];

    /// The word for it in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Sender => "sender",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Syns => "syns",
            Self::Silence => "silence",
        }
    }

    /// Whether clients' traffic showed it, and not a heartbeat: heartbeats that
    /// are answered again prove nothing then.
    #[must_use]
    pub const fn is_passive(self) -> bool {
        match self {
            Self::Packet | Self::Sender | Self::Closed => false,
            Self::Refused | Self::Unreachable | Self::Syns | Self::Silence => true,
        }
    }
}
