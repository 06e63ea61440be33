//! The maps in the kernel, from the agent's side.

use aya::maps::{HashMap, MapData, PerCpuArray};
use failover_common::{
    Backend, BackendCounters, Counter, Holds, MAX_BACKENDS, Reverse, ReverseKey, Service,
    ServiceKey, Verdict,
};

use super::{
    super::{MapError, Maps, State},
    Entries, chain,
};

/// Writes the control maps in the kernel.
pub struct KernelMaps {
    pub(super) services: HashMap<MapData, ServiceKey, Service>,
    pub(super) reverse: HashMap<MapData, ReverseKey, Reverse>,
    pub(super) entries: Entries,
}

impl KernelMaps {
    /// The entries of the backends, which the sender of heartbeats writes too.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.entries.clone()
    }

    pub(super) fn read(&self) -> Result<State, MapError> {
        let backends = (0..)
            .take(MAX_BACKENDS)
            .map(|index| (index, self.entries.read(index)))
            .filter(|(_, backend)| *backend != bytemuck::Zeroable::zeroed())
            .collect();
        let services = self.services.iter().collect::<Result<_, _>>();
        let reverse = self.reverse.iter().collect::<Result<_, _>>();
        Ok(State {
            backends,
            services: services.map_err(|error| failed("read", "SERVICES", &error))?,
            reverse: reverse.map_err(|error| failed("read", "REVERSE", &error))?,
        })
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
        self.services
            .insert(key, service, 0)
            .map_err(|error| failed("write", "SERVICES", &error))
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), MapError> {
        self.services
            .remove(key)
            .map_err(|error| failed("write", "SERVICES", &error))
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: &Reverse) -> Result<(), MapError> {
        self.reverse
            .insert(key, reverse, 0)
            .map_err(|error| failed("write", "REVERSE", &error))
    }

    fn remove_reverse(&mut self, key: &ReverseKey) -> Result<(), MapError> {
        self.reverse
            .remove(key)
            .map_err(|error| failed("write", "REVERSE", &error))
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
