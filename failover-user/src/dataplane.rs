//! The only writer of the control maps, but for what the other sides write of a
//! backend's entry (`kernel/entries`). It is told the state that should be,
//! compares it with the state that is, and writes the difference.
//!
//! The order of the writes is what makes every moment in between safe:
//!
//! 1. deaths: backends that may no longer serve are held,
//! 2. backends and next hops that services are about to need,
//! 3. services and reverse entries,
//! 4. recoveries: backends that may serve again are released,
//! 5. backends that nothing refers to any more are freed.
//!
//! So a dead backend leaves in one write whatever else there is to do, and a
//! recovered one cannot take traffic before the orders that pin the serving
//! backend are in place.

pub mod kernel;

use std::collections::BTreeMap;

use failover_common::{Address, Backend, Holds, Reverse, ReverseKey, Service, ServiceKey, Shares};
use thiserror::Error;

/// A map could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} map {map}: {reason}")]
pub struct MapError {
    /// What was tried: `read`, `write`, ...
    pub action: &'static str,
    /// Name of the map.
    pub map: &'static str,
    /// What the kernel said.
    pub reason: String,
}

/// Writes to the control maps; each call is one write.
pub trait Maps {
    /// Sets the holds `set` of the backend at `index` and clears the holds `clear`,
    /// at once; what else the data path holds it for stays. `held_at`: since when
    /// it is held (nanoseconds of `CLOCK_MONOTONIC`).
    fn change_holds(&mut self, index: u32, set: Holds, clear: Holds, held_at: u64);
    /// Sets the next hop of the backend at `index`, our address towards it and the MTU
    /// of the way to those of `backend`.
    fn set_next_hop(&mut self, index: u32, backend: &Backend);
    /// Writes a whole entry that no service refers to.
    fn set_backend(&mut self, index: u32, backend: &Backend);
    /// Adds or replaces a service.
    fn set_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), MapError>;
    /// Removes a service.
    fn remove_service(&mut self, key: &ServiceKey);
    /// Writes the table of a tier. While it does, packets may see the beginning of it and
    /// the end of the last one.
    fn set_shares(&mut self, row: u32, table: &Shares) -> Result<(), MapError>;
    /// Adds or replaces a reverse entry.
    fn set_reverse(&mut self, key: &ReverseKey, reverse: &Reverse) -> Result<(), MapError>;
    /// Removes a reverse entry.
    fn remove_reverse(&mut self, key: &ReverseKey);
}

/// What the control maps hold, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Backends by their index.
    pub backends: BTreeMap<u32, Backend>,
    /// Services.
    pub services: BTreeMap<ServiceKey, Service>,
    /// Reverse entries of `nat`.
    pub reverse: BTreeMap<ReverseKey, Reverse>,
    /// Tables of tiers by their row. One that nothing refers to is left as it is.
    pub shares: BTreeMap<u32, Box<Shares>>,
}

/// Reconciles the maps with the state that is wanted.
#[derive(Debug)]
pub struct Dataplane<M> {
    maps: M,
    current: State,
    writes: u64,
}

impl<M: Maps> Dataplane<M> {
    /// `current` is what the maps hold now.
    pub fn new(maps: M, current: State) -> Self {
        Self {
            maps,
            current,
            writes: 0,
        }
    }

    /// What the maps hold.
    pub fn current(&self) -> &State {
        &self.current
    }

    /// How many map writes there were since the start.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Brings the maps to `desired`.
    ///
    /// # Errors
    ///
    /// A map refused a write. What was written until then is kept in mind, so
    /// that the next call goes on from there.
    pub fn apply(&mut self, desired: &State) -> Result<(), MapError> {
        self.hold(desired);
        self.place_backends(desired);
        self.place_services(desired)?;
        self.release(desired);
        self.free(desired);
        Ok(())
    }

    fn hold(&mut self, desired: &State) {
        for (&index, wanted) in &desired.backends {
            if let Some(now) = self.current.backends.get_mut(&index)
                && same_server(now, wanted)
                && now.holds != wanted.holds
                && wanted.holds != 0
            {
                let (set, clear) = difference(now, wanted);
                self.maps.change_holds(index, set, clear, wanted.held_at);
                self.writes += 1;
                (now.holds, now.held_at) = (wanted.holds, wanted.held_at);
            }
        }
    }

    fn place_backends(&mut self, desired: &State) {
        for (&index, wanted) in &desired.backends {
            match self.current.backends.get_mut(&index) {
                Some(now) if same_server(now, wanted) => {
                    if next_hop(now) != next_hop(wanted) {
                        self.maps.set_next_hop(index, wanted);
                        self.writes += 1;
                        (now.ifindex, now.egress) = (wanted.ifindex, wanted.egress);
                        (now.dst_mac, now.src_mac) = (wanted.dst_mac, wanted.src_mac);
                        (now.source, now.mtu) = (wanted.source, wanted.mtu);
                    }
                }
                _ => {
                    self.maps.set_backend(index, wanted);
                    self.writes += 1;
                    self.current.backends.insert(index, *wanted);
                }
            }
        }
    }

    fn place_services(&mut self, desired: &State) -> Result<(), MapError> {
        let Self {
            maps,
            current,
            writes,
        } = self;
        // Answers must find their way back before a request can cause one.
        for (key, wanted) in &desired.reverse {
            if current.reverse.get(key) != Some(wanted) {
                maps.set_reverse(key, wanted)?;
                *writes += 1;
                current.reverse.insert(*key, *wanted);
            }
        }
        // Before the services that look there. A service that has looked there until now
        // finds backends that it does not know, and goes without.
        for (row, wanted) in &desired.shares {
            if current.shares.get(row) != Some(wanted) {
                maps.set_shares(*row, wanted)?;
                *writes += 1;
                current.shares.insert(*row, wanted.clone());
            }
        }
        for (key, wanted) in &desired.services {
            if current.services.get(key) != Some(wanted) {
                maps.set_service(key, wanted)?;
                *writes += 1;
                current.services.insert(*key, *wanted);
            }
        }
        for key in missing(&current.services, &desired.services) {
            maps.remove_service(&key);
            *writes += 1;
            current.services.remove(&key);
        }
        for key in missing(&current.reverse, &desired.reverse) {
            maps.remove_reverse(&key);
            *writes += 1;
            current.reverse.remove(&key);
        }
        Ok(())
    }

    fn release(&mut self, desired: &State) {
        for (&index, wanted) in &desired.backends {
            if let Some(now) = self.current.backends.get_mut(&index)
                && now.holds != wanted.holds
            {
                let (set, clear) = difference(now, wanted);
                self.maps.change_holds(index, set, clear, wanted.held_at);
                self.writes += 1;
                (now.holds, now.held_at) = (wanted.holds, wanted.held_at);
            }
        }
    }

    fn free(&mut self, desired: &State) {
        for index in missing(&self.current.backends, &desired.backends) {
            self.maps.set_backend(index, &bytemuck::Zeroable::zeroed());
            self.writes += 1;
            self.current.backends.remove(&index);
        }
    }
}

/// The keys of `now` that `wanted` has not.
fn missing<K: Ord + Copy, V>(now: &BTreeMap<K, V>, wanted: &BTreeMap<K, V>) -> Vec<K> {
    now.keys()
        .filter(|key| !wanted.contains_key(key))
        .copied()
        .collect()
}

fn same_server(a: &Backend, b: &Backend) -> bool {
    a.address == b.address && a.name == b.name
}

/// The holds to set and those to clear.
fn difference(now: &Backend, wanted: &Backend) -> (Holds, Holds) {
    (
        Holds(wanted.holds & !now.holds),
        Holds(now.holds & !wanted.holds),
    )
}

fn next_hop(backend: &Backend) -> (u32, u32, [u8; 8], [u8; 8], Address, u32) {
    let &Backend {
        ifindex,
        egress,
        dst_mac,
        src_mac,
        source,
        mtu,
        ..
    } = backend;
    (ifindex, egress, dst_mac, src_mac, source, mtu)
}

#[cfg(test)]
mod tests;
