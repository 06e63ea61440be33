//! The maps in the kernel, from the agent's side.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::maps::{HashMap, MapData, PerCpuArray};
use failover_common::{
    Backend, BackendCounters, Counter, Holds, MAX_BACKENDS, Reverse, ReverseKey, Service,
    ServiceKey, Verdict,
};
use memmap2::{MmapOptions, MmapRaw};

use super::{
    super::{MapError, Maps, State},
    chain,
};

/// Writes the control maps in the kernel.
pub struct KernelMaps {
    pub(super) services: HashMap<MapData, ServiceKey, Service>,
    pub(super) reverse: HashMap<MapData, ReverseKey, Reverse>,
    pub(super) backends: Backends,
}

impl KernelMaps {
    pub(super) fn read(&self) -> Result<State, MapError> {
        let backends = (0..)
            .zip((0..MAX_BACKENDS).map(|index| self.backends.read(index)))
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
        self.backends
            .change_holds(index as usize, set, clear, held_at);
    }

    fn set_next_hop(&mut self, index: u32, backend: &Backend) {
        self.backends.set_next_hop(index as usize, backend);
    }

    fn set_backend(&mut self, index: u32, backend: &Backend) {
        self.backends.write(index as usize, backend);
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

/// The `BACKENDS` map, mapped into memory: a write is a store, no system call.
pub(super) struct Backends {
    memory: MmapRaw,
    _map: MapData,
}

impl Backends {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        let memory = MmapOptions::new()
            .len(MAX_BACKENDS * size_of::<Backend>())
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|error| failed("open", "BACKENDS", &error))?;
        Ok(Self { memory, _map: map })
    }

    /// The entry at `index`; panics where the agent miscounts, never on input.
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    fn entry(&self, index: usize) -> *mut Backend {
        assert!(index < MAX_BACKENDS);
        // SAFETY: inside the mapping, which holds MAX_BACKENDS entries and is page-aligned.
        unsafe { self.memory.as_mut_ptr().cast::<Backend>().add(index) }
    }

    fn read(&self, index: usize) -> Backend {
        // SAFETY: `entry` is valid; the agent is the only writer.
        unsafe { self.entry(index).read_volatile() }
    }

    fn write(&self, index: usize, backend: &Backend) {
        // SAFETY: `entry` is valid; no service refers to the entry.
        unsafe { self.entry(index).write_volatile(*backend) };
    }

    /// One atomic operation for what is set, one for what is cleared: the data path
    /// sets holds at the same time.
    fn change_holds(&self, index: usize, set: Holds, clear: Holds, held_at: u64) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).held_at).write_volatile(held_at) };
        // SAFETY: `entry` is valid and aligned, and nobody writes the word but atomically.
        let holds = unsafe { AtomicU64::from_ptr(&raw mut (*entry).holds) };
        holds.fetch_or(set.0, Ordering::SeqCst);
        holds.fetch_and(!clear.0, Ordering::SeqCst);
    }

    /// The MACs first: an `ifindex` of 0 keeps packets away until both are there.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "both MACs lie at multiples of eight"
    )]
    fn set_next_hop(&self, index: usize, backend: &Backend) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid; a MAC has eight bytes.
        let dst_mac = unsafe { (&raw mut (*entry).dst_mac).cast::<u64>() };
        // SAFETY: as above.
        let src_mac = unsafe { (&raw mut (*entry).src_mac).cast::<u64>() };
        // SAFETY: inside the entry and aligned.
        unsafe { dst_mac.write_volatile(u64::from_ne_bytes(backend.dst_mac)) };
        // SAFETY: inside the entry and aligned.
        unsafe { src_mac.write_volatile(u64::from_ne_bytes(backend.src_mac)) };
        fence(Ordering::Release);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).ifindex).write_volatile(backend.ifindex) };
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
