//! The `EPOCH` map, mapped into memory.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;

use super::{super::MapError, mapped::Mapped};

/// The data path remembers ways to clients for a while; the next epoch makes it forget all
/// of them at once.
pub struct Epoch(Mapped);

impl Epoch {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        Mapped::new(map, "EPOCH", size_of::<u64>()).map(Self)
    }

    /// Begins the next one.
    pub fn next(&self) {
        // SAFETY: inside the mapping; the data path reads whole words.
        let word = unsafe { AtomicU64::from_ptr(self.0.at(0)) };
        word.fetch_add(1, Ordering::Release);
    }
}
