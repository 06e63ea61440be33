//! Hash tables that the data path reads without a call: the writer's side of
//! [`failover_common::Slot`].

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aya::maps::MapData;
use bytemuck::Pod;
use failover_common::{PROBES, Place, Slot, TableKey, find, first_place, hash, places};

use super::{super::MapError, mapped::Mapped, maps::failed};

/// How large a table is.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// It has 2^`bits` places.
    pub(super) bits: u32,
    pub(super) slots: usize,
}

/// A table, for whoever only reads it; it may be read while it is written.
#[derive(Clone)]
pub struct View<K, V> {
    places: Mapped,
    slots: Mapped,
    size: Size,
    kind: std::marker::PhantomData<fn(K) -> V>,
}

/// The writer of a table. There is one.
pub(super) struct Table<K, V> {
    name: &'static str,
    view: View<K, V>,
    /// Where each key is: its place, and its slot.
    known: HashMap<K, (u32, u32)>,
    free: VecDeque<u32>,
    /// Not in use any more, but a packet may still be at them.
    resting: Vec<u32>,
}

impl<K, V> View<K, V> {
    fn place(&self, index: u32) -> Option<&AtomicU64> {
        let index = index as usize;
        if index >= places(self.size.bits) {
            return None;
        }
        // SAFETY: inside the mapping; words of it are only ever read and written whole.
        Some(unsafe { AtomicU64::from_ptr(self.places.at(index)) })
    }

    fn slot(&self, index: u32) -> Option<*mut Slot<K, V>> {
        ((index as usize) < self.size.slots).then(|| self.slots.at(index as usize))
    }
}

impl<K: TableKey, V: Copy> View<K, V> {
    /// What is under `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let place = |index| self.place(index).map(|at| at.load(Ordering::Acquire));
        // SAFETY: a slot that is named does not change. One that is given up rests before it
        // is used again, and then every other one is used first.
        let slot = |index| self.slot(index).map(|slot| unsafe { &*slot });
        slot(find(key.words(), self.size.bits, place, slot)).map(|slot| slot.value)
    }
}

impl<K: TableKey + Hash + Eq, V: Copy> Table<K, V>
where
    Slot<K, V>: Pod,
{
    /// Opens the table in these two maps.
    pub(super) fn open(
        name: &'static str,
        size: Size,
        places_map: MapData,
        slots_map: MapData,
    ) -> Result<Self, MapError> {
        let length = size.slots * size_of::<Slot<K, V>>();
        Ok(Self::new(
            name,
            size,
            Mapped::new(places_map, name, places(size.bits) * size_of::<u64>())?,
            Mapped::new(slots_map, name, length)?,
        ))
    }

    fn new(name: &'static str, size: Size, places_map: Mapped, slots: Mapped) -> Self {
        let view = View {
            places: places_map,
            slots,
            size,
            kind: std::marker::PhantomData,
        };
        let mut known = HashMap::new();
        let mut unused = vec![true; size.slots];
        for index in (0..).take(places(size.bits)) {
            let place = Place(view.place(index).map_or(0, |at| at.load(Ordering::Relaxed)));
            if let Some(slot) = view.slot(place.slot()) {
                // SAFETY: inside the mapping, and only we write it.
                known.insert(unsafe { (*slot).key }, (index, place.slot()));
                unused[place.slot() as usize] = false;
            }
        }
        // What the last writer gave up just now, nobody knows.
        let resting = (0..).zip(unused).filter(|(_, unused)| *unused);
        Self {
            name,
            view,
            known,
            free: VecDeque::new(),
            resting: resting.map(|(slot, _)| slot).collect(),
        }
    }

    /// The same for readers.
    pub(super) fn view(&self) -> View<K, V> {
        self.view.clone()
    }

    /// All that it holds.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.known.iter().filter_map(|(key, (_, slot))| {
            // SAFETY: inside the mapping, and only we write it.
            let slot = self.view.slot(*slot).map(|slot| unsafe { *slot });
            Some((*key, slot?.value))
        })
    }

    /// Adds or replaces the value under `key`. Readers find the old or the new one.
    pub(super) fn set(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        let hash = hash(key.words());
        let place = match self.known.get(key) {
            Some((place, _)) => *place,
            None => self.free_place(hash).ok_or_else(|| self.full())?,
        };
        let slot = self.take_slot().ok_or_else(|| self.full())?;
        let (Some(at), Some(to)) = (self.view.place(place), self.view.slot(slot)) else {
            return Err(self.full());
        };
        // SAFETY: inside the mapping, and no place names it.
        unsafe {
            to.write_volatile(Slot {
                key: *key,
                value: *value,
            });
        }
        at.store(Place::of(hash, slot).0, Ordering::Release);
        if let Some((_, old)) = self.known.insert(*key, (place, slot)) {
            self.resting.push(old);
        }
        Ok(())
    }

    /// Whether something is under `key`.
    pub(super) fn has(&self, key: &K) -> bool {
        self.known.contains_key(key)
    }

    /// Removes what is under `key`; returns whether anything was.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        let Some((place, slot)) = self.known.remove(key) else {
            return false;
        };
        self.resting.push(slot);
        let next = self.view.place(place + 1);
        let is_last = next.is_none_or(|next| Place(next.load(Ordering::Relaxed)) == Place::EMPTY);
        if let Some(at) = self.view.place(place) {
            let left = if is_last {
                Place::EMPTY
            } else {
                Place::REMOVED
            };
            at.store(left.0, Ordering::Release);
        }
        if is_last {
            self.tidy(place);
        }
        true
    }

    /// Nothing that was removed before `end`, which is empty, needs to be gone past.
    fn tidy(&self, end: u32) {
        for place in (0..end).rev() {
            match self.view.place(place) {
                Some(at) if Place(at.load(Ordering::Relaxed)) == Place::REMOVED => {
                    at.store(Place::EMPTY.0, Ordering::Release);
                }
                _ => return,
            }
        }
    }

    fn free_place(&self, hash: u64) -> Option<u32> {
        let first = first_place(hash, self.view.size.bits);
        (first..first + PROBES).find(|place| {
            let at = self.view.place(*place);
            at.is_some_and(|at| {
                let place = Place(at.load(Ordering::Relaxed));
                place == Place::EMPTY || place == Place::REMOVED
            })
        })
    }

    fn take_slot(&mut self) -> Option<u32> {
        if self.free.is_empty() {
            wait_for_packets();
            self.free.extend(self.resting.drain(..));
        }
        self.free.pop_front()
    }

    fn full(&self) -> MapError {
        failed("write", self.name, &Full)
    }
}

/// A table has no room for a key.
#[derive(Debug, thiserror::Error)]
#[error("it is full")]
struct Full;

/// Returns when every packet that was in the data path has left it.
fn wait_for_packets() {
    /// `MEMBARRIER_CMD_GLOBAL` (membarrier(2)): the kernel waits until no CPU is inside what
    /// RCU protects, as a BPF program is.
    const GLOBAL: libc::c_long = 1;
    // SAFETY: takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result != 0 {
        // A kernel whose clocks stand still while one task runs (nohz_full) refuses. Much
        // longer than a packet takes.
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests;
