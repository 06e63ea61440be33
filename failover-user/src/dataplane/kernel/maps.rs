//! The maps in the kernel, from the agent's side.

use aya::maps::{Array, MapData, PerCpuArray};
use failover_common::{
    Backend, BackendCounters, Counter, Holds, MAX_BACKENDS, Reverse, ReverseKey, Service,
    ServiceKey, Shares, Verdict,
};

use super::{
    super::{MapError, Maps, State},
    Entries, chain,
    hints::Hints,
    table::{Table, View},
};

/// Writes the control maps in the kernel.
pub struct KernelMaps {
    pub(super) services: Table<ServiceKey, Service>,
    pub(super) reverse: Table<ReverseKey, Reverse>,
    pub(super) hints: Hints,
    pub(super) shares: Array<MapData, Shares>,
    pub(super) entries: Entries,
}

impl KernelMaps {
    /// The entries of the backends, which the sender of heartbeats writes too.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.entries.clone()
    }

    /// The services, for whoever only reads them.
    #[must_use]
    pub fn services(&self) -> View<ServiceKey, Service> {
        self.services.view()
    }

    pub(super) fn read(&self) -> State {
        let backends = (0..)
            .take(MAX_BACKENDS)
            .map(|index| (index, self.entries.read(index)))
            .filter(|(_, backend)| *backend != bytemuck::Zeroable::zeroed())
            .collect();
        State {
            backends,
            services: self.services.iter().collect(),
            reverse: self.reverse.iter().collect(),
            // One that cannot be read is written anew.
            shares: (0..)
                .zip(self.shares.iter())
                .filter_map(|(row, table)| Some((row, Box::new(table.ok()?))))
                .collect(),
        }
    }
}

impl Maps for KernelMaps {
    fn change_holds(&mut self, index: u32, set: Holds, clear: Holds, held_at: u64) {
        self.entries.change_holds(index, set, clear, held_at);
    }

    fn set_next_hop(&mut self, index: u32, backend: &Backend) {
        self.entries.set_next_hop(index, backend);
    }

    fn set_backend(&mut self, index: u32, backend: &Backend) {
        self.entries.write(index, backend);
    }

    fn set_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), MapError> {
        let is_new = !self.services.has(key);
        if is_new {
            self.hints.add_service(key);
        }
        let set = self.services.set(key, service);
        if is_new && set.is_err() {
            self.hints.remove_service(key);
        }
        set
    }

    fn remove_service(&mut self, key: &ServiceKey) {
        if self.services.remove(key) {
            self.hints.remove_service(key);
        }
    }

    fn set_shares(&mut self, row: u32, table: &Shares) -> Result<(), MapError> {
        self.shares
            .set(row, table, 0)
            .map_err(|error| failed("write", "SHARES", &error))
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: &Reverse) -> Result<(), MapError> {
        let is_new = !self.reverse.has(key);
        if is_new {
            self.hints.add_reverse(key);
        }
        let set = self.reverse.set(key, reverse);
        if is_new && set.is_err() {
            self.hints.remove_reverse(key);
        }
        set
    }

    fn remove_reverse(&mut self, key: &ReverseKey) {
        if self.reverse.remove(key) {
            self.hints.remove_reverse(key);
        }
    }
}

/// Reads the counters of the data path.
pub struct Counters {
    pub(super) verdicts: PerCpuArray<MapData, Counter>,
    pub(super) backends: PerCpuArray<MapData, BackendCounters>,
}

impl Counters {
    /// Packets and bytes per verdict, over all CPUs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>, MapError> {
        let read = |verdict: Verdict| {
            let values = self
                .verdicts
                .get(&(verdict as u32), 0)
                .map_err(|error| failed("read", "VERDICTS", &error))?;
            let mut sum = Counter::default();
            values.iter().for_each(|value| sum += *value);
            Ok((verdict, sum))
        };
        Verdict::ALL.into_iter().map(read).collect()
    }

    /// Packets and bytes of the backend at `index`, over all CPUs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn backend(&self, index: u32) -> Result<BackendCounters, MapError> {
        let values = self
            .backends
            .get(&index, 0)
            .map_err(|error| failed("read", "BACKEND_COUNTERS", &error))?;
        let mut sum = BackendCounters::default();
        values.iter().for_each(|value| sum += *value);
        Ok(sum)
    }
}

pub(super) fn failed(
    action: &'static str,
    map: &'static str,
    error: &dyn std::error::Error,
) -> MapError {
    MapError {
        action,
        map,
        reason: chain(error),
    }
}
