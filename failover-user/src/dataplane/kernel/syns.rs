//! The `SYNS` map, mapped into memory.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use failover_common::{MAX_SYNS, Syn};
use memmap2::{MmapOptions, MmapRaw};

use super::{super::MapError, maps::failed};

/// The SYNs of clients that backends have not answered.
pub struct Syns {
    memory: MmapRaw,
    _map: MapData,
}

impl Syns {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        let memory = MmapOptions::new()
            .len(MAX_SYNS * size_of::<Syn>())
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|error| failed("open", "SYNS", &error))?;
        Ok(Self { memory, _map: map })
    }

    /// Shows `change` every SYN that `wanted` wants, while nobody else can look at
    /// it. One that the data path is at is left out.
    pub fn visit(&self, wanted: impl Fn(&Syn) -> bool, change: impl FnMut(&mut Syn)) {
        // SAFETY: valid; what is read in the middle of a write is looked at again.
        self.look(
            |slot| wanted(&unsafe { slot.read_volatile() }),
            &wanted,
            change,
        );
    }

    /// The same for those that went to the backend at `index` at `since` or later,
    /// nanoseconds, and are unanswered. Quicker: of all others it reads a few words.
    pub fn visit_unanswered(&self, index: u32, since: u64, change: impl FnMut(&mut Syn)) {
        let since = since.max(1);
        let peek = |slot: *const Syn| {
            // SAFETY: valid and aligned; as above.
            unsafe {
                (&raw const (*slot).backend).read_volatile() == index
                    && (&raw const (*slot).sent_at).read_volatile() >= since
                    && (&raw const (*slot).answered).read_volatile() == 0
            }
        };
        let wanted = |syn: &Syn| syn.backend == index && syn.sent_at >= since && syn.answered == 0;
        self.look(peek, wanted, change);
    }

    /// `peek` is a look before a slot is taken: most are free or somebody else's.
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    fn look(
        &self,
        peek: impl Fn(*const Syn) -> bool,
        wanted: impl Fn(&Syn) -> bool,
        mut change: impl FnMut(&mut Syn),
    ) {
        for index in 0..MAX_SYNS {
            // SAFETY: inside the mapping, which holds MAX_SYNS slots and is page-aligned.
            let slot = unsafe { self.memory.as_mut_ptr().cast::<Syn>().add(index) };
            if !peek(slot) {
                continue;
            }
            // SAFETY: valid and aligned, and nobody writes the word but atomically.
            let taken = unsafe { AtomicU64::from_ptr(&raw mut (*slot).taken) };
            if taken.swap(1, Ordering::Acquire) != 0 {
                continue;
            }
            // SAFETY: valid, and ours as long as it is taken.
            let mut syn = unsafe { slot.read_volatile() };
            if wanted(&syn) {
                change(&mut syn);
                // SAFETY: as above.
                unsafe { slot.write_volatile(syn) };
            }
            taken.store(0, Ordering::Release);
        }
    }
}
