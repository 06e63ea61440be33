//! The `SYNS` and `SYN_BACKENDS` maps, mapped into memory.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use aya::maps::MapData;
use failover_common::{MAX_SYNS, Syn};

use super::{super::MapError, mapped::Mapped};

/// The SYNs of clients that backends have not answered.
pub struct Syns {
    slots: Mapped,
    /// For each slot the index of the backend plus one.
    backends: Mapped,
}

impl Syns {
    /// Of the maps `SYNS` and `SYN_BACKENDS`.
    pub(super) fn new(slots: MapData, backends: MapData) -> Result<Self, MapError> {
        Ok(Self {
            slots: Mapped::new(slots, "SYNS", MAX_SYNS * size_of::<Syn>())?,
            backends: Mapped::new(backends, "SYN_BACKENDS", MAX_SYNS * size_of::<u16>())?,
        })
    }

    /// Shows `change` every SYN that `wanted` wants, while nobody else can look at
    /// it. One that the data path is at is left out.
    pub fn visit(&self, wanted: impl Fn(&Syn) -> bool, mut change: impl FnMut(&mut Syn)) {
        for index in 0..MAX_SYNS {
            // SAFETY: valid; what is read in the middle of a write is looked at again.
            if wanted(&unsafe { self.slot(index).read_volatile() }) {
                self.look(index, &wanted, |syn| {
                    change(syn);
                    None
                });
            }
        }
    }

    /// Shows `change` those that went to the backend at `index` at `since` or later,
    /// nanoseconds, and are unanswered; it returns the index of the backend they go to
    /// now, if it sends them to another. As above, but quicker: of all others it reads one
    /// word.
    pub fn visit_unanswered(
        &self,
        index: u32,
        since: u64,
        mut change: impl FnMut(&mut Syn) -> Option<u32>,
    ) {
        let since = since.max(1);
        let wanted = |syn: &Syn| syn.backend == index && syn.sent_at >= since && syn.answered == 0;
        let waiting = waiting_for(index);
        for place in 0..MAX_SYNS {
            if self.waiting(place).load(Ordering::Relaxed) == waiting {
                self.look(place, &wanted, &mut change);
            }
        }
    }

    fn look(
        &self,
        index: usize,
        wanted: &impl Fn(&Syn) -> bool,
        mut change: impl FnMut(&mut Syn) -> Option<u32>,
    ) {
        let slot = self.slot(index);
        // SAFETY: valid and aligned, and nobody writes the word but atomically.
        let taken = unsafe { AtomicU64::from_ptr(&raw mut (*slot).taken) };
        if taken.swap(1, Ordering::Acquire) != 0 {
            return;
        }
        // SAFETY: valid, and ours as long as it is taken.
        let mut syn = unsafe { slot.read_volatile() };
        if wanted(&syn) {
            if let Some(to) = change(&mut syn) {
                syn.backend = to;
                self.waiting(index)
                    .store(waiting_for(to), Ordering::Relaxed);
            }
            // SAFETY: as above.
            unsafe { slot.write_volatile(syn) };
        }
        taken.store(0, Ordering::Release);
    }

    fn slot(&self, index: usize) -> *mut Syn {
        self.slots.at(index)
    }

    fn waiting(&self, index: usize) -> &AtomicU16 {
        // SAFETY: inside the mapping; the data path stores whole words.
        unsafe { AtomicU16::from_ptr(self.backends.at(index)) }
    }
}

/// What stands for a backend in `SYN_BACKENDS`.
fn waiting_for(index: u32) -> u16 {
    u16::try_from(index + 1).unwrap_or(0)
}
