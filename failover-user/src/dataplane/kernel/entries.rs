//! The `BACKENDS` map, mapped into memory: a write is a store, no system call.
//!
//! Three sides write an entry at once, each its own words:
//!
//! | writer | words |
//! | --- | --- |
//! | the data path | `pulse.answered`, the hold `expired`, `held_at`, `passed_at` |
//! | the sender of heartbeats | the other words of the lease, the hold `expired`, `held_at` |
//! | the agent's task | everything else; the other holds, `held_at`; clears `expired` |

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::maps::MapData;
use failover_common::{
    Backend, Be16, HeartbeatKind, Hold, Holds, Live, MAX_BACKENDS, Pulse, RING, slot,
};

use super::{super::MapError, mapped::Mapped};

/// Bytes of the map.
const LENGTH: usize = MAX_BACKENDS * size_of::<Backend>();

/// Handle on the entries of the backends; clones share the mapping.
///
/// An index is always below [`MAX_BACKENDS`]; a method panics otherwise.
#[derive(Clone)]
pub struct Entries(Mapped);

/// The way heartbeats to a backend take, as its entry says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Interface; 0: not known.
    pub ifindex: u32,
    /// Interface to send by: the same, or a VLAN device on it.
    pub egress: u32,
    /// MAC of the next hop.
    pub dst_mac: [u8; 6],
    /// MAC of the interface.
    pub src_mac: [u8; 6],
}

/// What a lease is made of, from its arming until the sender ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// [`Backend::heartbeat_kind`].
    pub kind: HeartbeatKind,
    /// [`Backend::heartbeat_port`].
    pub port: u16,
    /// [`Backend::timeout`].
    pub timeout: u32,
    /// [`Backend::token`].
    pub token: u64,
}

impl Entries {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        Mapped::new(map, "BACKENDS", LENGTH).map(Self)
    }

    /// Entries of zeros that no kernel knows of.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self(Mapped::in_memory(LENGTH))
    }

    /// [`Backend::holds`].
    #[must_use]
    pub fn holds(&self, index: u32) -> Holds {
        Holds(self.live(index).holds())
    }

    /// [`Backend::address`].
    #[must_use]
    pub fn address(&self, index: u32) -> IpAddr {
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw const (*self.entry(index)).address).read_volatile() }.into()
    }

    /// [`Backend::held_at`].
    #[must_use]
    pub fn held_at(&self, index: u32) -> u64 {
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw const (*self.entry(index)).held_at).read_volatile() }
    }

    /// [`Backend::passed_at`].
    #[must_use]
    pub fn passed_at(&self, index: u32) -> u64 {
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw const (*self.entry(index)).passed_at).read_volatile() }
    }

    /// [`Backend::pulse`].
    #[must_use]
    pub fn pulse(&self, index: u32) -> Pulse {
        self.live(index).pulse()
    }

    /// See [`Live::sent_at`].
    #[must_use]
    pub fn sent_at(&self, index: u32, sequence: u32) -> u64 {
        self.live(index).sent_at(sequence)
    }

    /// See [`Live::answered_on`].
    #[must_use]
    pub fn answered_on(&self, index: u32) -> Option<u32> {
        self.live(index).answered_on()
    }

    /// See [`Live::is_over`]; `witness` is the index of another backend.
    #[must_use]
    pub fn is_over(&self, index: u32, witness: Option<u32>, now: u64) -> bool {
        let witness = witness.map(|witness| self.live(witness));
        self.live(index).is_over(witness, now)
    }

    /// The way to the backend. While the agent changes it, the MACs may be those of
    /// before and after.
    #[must_use]
    pub fn way(&self, index: u32) -> Way {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        let ifindex = unsafe { (&raw const (*entry).ifindex).read_volatile() };
        // The agent writes the MACs first.
        fence(Ordering::Acquire);
        // SAFETY: `entry` is valid and aligned.
        let dst_mac = unsafe { (&raw const (*entry).dst_mac).read_volatile() };
        // SAFETY: as above.
        let src_mac = unsafe { (&raw const (*entry).src_mac).read_volatile() };
        // SAFETY: as above.
        let egress = unsafe { (&raw const (*entry).egress).read_volatile() };
        let mac = |[a, b, c, d, e, f, _, _]: [u8; 8]| [a, b, c, d, e, f];
        Way {
            ifindex,
            egress: if egress == 0 { ifindex } else { egress },
            dst_mac: mac(dst_mac),
            src_mac: mac(src_mac),
        }
    }

    /// Gives the entry a new lease with nothing outstanding, not armed yet: that is
    /// [`set_fall`](Self::set_fall). Returns the number its pulse starts from.
    #[must_use]
    pub fn prepare(&self, index: u32, terms: &Terms, now: u64) -> u32 {
        self.set_fall(index, 0);
        fence(Ordering::Release);
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).token).write_volatile(terms.token) };
        // SAFETY: as above.
        unsafe { (&raw mut (*entry).heartbeat_kind).write_volatile(terms.kind as u8) };
        // SAFETY: as above.
        unsafe { (&raw mut (*entry).heartbeat_port).write_volatile(Be16::new(terms.port)) };
        // SAFETY: as above.
        unsafe { (&raw mut (*entry).timeout).write_volatile(terms.timeout) };
        self.set_witness(index, index);
        self.restart(index, now)
    }

    /// Starts the pulse anew with nothing outstanding, and returns the number it
    /// starts from.
    ///
    /// The data path may store an answer to an older heartbeat in the same moment,
    /// which then looks outstanding. So two numbers are passed over, and all that may
    /// look so was sent just now. The new number is evidence of nothing: its send
    /// time is that of the last heartbeat that was really answered.
    #[must_use]
    pub fn restart(&self, index: u32, now: u64) -> u32 {
        let pulse = self.pulse(index);
        let newest = if pulse.outstanding() < 0 {
            pulse.answered
        } else {
            pulse.sent
        };
        let first = newest.wrapping_add(2);
        let known = pulse.outstanding() < (RING - 1).cast_signed();
        let answered_at = if known {
            self.sent_at(index, pulse.answered)
        } else {
            0
        };
        for sequence in 0..RING {
            let in_use = known && slot(sequence) == slot(pulse.answered);
            if !in_use && slot(sequence) != slot(first) {
                self.stamp(index, sequence, now);
            }
        }
        self.stamp(index, first, answered_at);
        fence(Ordering::Release);
        let word: u64 = bytemuck::must_cast(Pulse {
            sent: first,
            answered: first,
        });
        let entry = self.entry(index);
        // SAFETY: `entry` is valid, and a `Pulse` is one aligned word.
        unsafe { (&raw mut (*entry).pulse).cast::<u64>().write_volatile(word) };
        first
    }

    /// Stores [`Backend::fall`]: 0 disarms the lease, another number arms it.
    pub fn set_fall(&self, index: u32, fall: u32) {
        fence(Ordering::Release);
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).fall).write_volatile(fall) };
    }

    /// Stores [`Backend::witness`].
    pub fn set_witness(&self, index: u32, witness: u32) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).witness).write_volatile(witness) };
    }

    /// Notes when the heartbeat `sequence` is sent: before it is.
    pub fn stamp(&self, index: u32, sequence: u32, at: u64) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid; a slot is below the length of the ring.
        let time = unsafe {
            (&raw mut (*entry).sent_at)
                .cast::<u64>()
                .add(slot(sequence))
        };
        // SAFETY: inside the entry and aligned.
        unsafe { time.write_volatile(at) };
    }

    /// Notes that the heartbeat `sequence` has been sent: after it was.
    pub fn note_sent(&self, index: u32, sequence: u32) {
        fence(Ordering::Release);
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).pulse.sent).write_volatile(sequence) };
    }

    /// Latches that the lease is over. Returns whether this was the first to do so:
    /// whoever it is tells it. Who is not changes nothing: a packet may have gone past
    /// the backend already, and been told.
    #[must_use]
    pub fn expire(&self, index: u32, now: u64) -> bool {
        let entry = self.entry(index);
        let before = Holds(
            self.atomic_holds(index)
                .fetch_or(Hold::Expired as u64, Ordering::SeqCst),
        );
        if before.is_empty() {
            // SAFETY: `entry` is valid and aligned.
            unsafe { (&raw mut (*entry).held_at).write_volatile(now) };
        }
        !before.contains(Hold::Expired)
    }

    /// A copy of the entry; a word that another side writes may be of before or after.
    pub(crate) fn read(&self, index: u32) -> Backend {
        // SAFETY: `entry` is valid and any bytes are a `Backend`.
        unsafe { self.entry(index).read_volatile() }
    }

    pub(crate) fn write(&self, index: u32, backend: &Backend) {
        // SAFETY: `entry` is valid; no service refers to the entry.
        unsafe { self.entry(index).write_volatile(*backend) };
    }

    /// One atomic operation for what is set, one for what is cleared: the data path
    /// sets holds at the same time.
    pub(crate) fn change_holds(&self, index: u32, set: Holds, clear: Holds, held_at: u64) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).held_at).write_volatile(held_at) };
        let holds = self.atomic_holds(index);
        holds.fetch_or(set.0, Ordering::SeqCst);
        holds.fetch_and(!clear.0, Ordering::SeqCst);
    }

    /// The rest first: an `ifindex` of 0 keeps packets away until both are there.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "both MACs lie at multiples of eight"
    )]
    pub(crate) fn set_next_hop(&self, index: u32, backend: &Backend) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid; a MAC has eight bytes.
        let dst_mac = unsafe { (&raw mut (*entry).dst_mac).cast::<u64>() };
        // SAFETY: as above.
        let src_mac = unsafe { (&raw mut (*entry).src_mac).cast::<u64>() };
        // SAFETY: inside the entry and aligned.
        unsafe { dst_mac.write_volatile(u64::from_ne_bytes(backend.dst_mac)) };
        // SAFETY: inside the entry and aligned.
        unsafe { src_mac.write_volatile(u64::from_ne_bytes(backend.src_mac)) };
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).egress).write_volatile(backend.egress) };
        // SAFETY: as above. Two words: while it changes, a packet may see half of each.
        unsafe { (&raw mut (*entry).source).write_volatile(backend.source) };
        // SAFETY: as above.
        unsafe { (&raw mut (*entry).mtu).write_volatile(backend.mtu) };
        fence(Ordering::Release);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).ifindex).write_volatile(backend.ifindex) };
    }

    /// What the data path does when a heartbeat is answered.
    #[cfg(test)]
    pub(crate) fn answer(&self, index: u32, sequence: u32) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).pulse.answered).write_volatile(sequence) };
    }

    /// Where it would have noted that.
    #[cfg(test)]
    pub(crate) fn answer_on(&self, index: u32, cpu: u32) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).answered_on).write_volatile(cpu + 1) };
    }

    fn live(&self, index: u32) -> Live {
        // SAFETY: `entry` is valid as long as `self`; the callers use it up at once.
        unsafe { Live::new(self.entry(index)) }
    }

    fn atomic_holds(&self, index: u32) -> &AtomicU64 {
        // SAFETY: `entry` is valid as long as `self` and aligned, and nobody writes
        // the word but atomically once services refer to the entry.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.entry(index)).holds) }
    }

    /// The entry at `index`; panics where the agent miscounts, never on input.
    fn entry(&self, index: u32) -> *mut Backend {
        self.0.at(index as usize)
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}
