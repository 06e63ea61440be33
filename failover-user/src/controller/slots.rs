//! Which entry of the `BACKENDS` map is whose, from one agent to the next.

use bytemuck::Zeroable as _;
use failover_common::{Backend, Hold, MAX_BACKENDS, NAME_LEN};

use crate::{config, dataplane::State};

/// An index for every backend: the one that it has in the maps, or a free one.
pub(super) fn assign(backends: &[config::Backend], current: &State) -> Vec<u32> {
    let known = |backend: &config::Backend| {
        let mut entries = current.backends.iter();
        entries
            .find(|(_, entry)| is(entry, backend))
            .map(|(index, _)| *index)
    };
    let limit = u32::try_from(MAX_BACKENDS).unwrap_or(u32::MAX);
    // An entry in use, though by a backend that is gone, is not free: packets
    // in flight may still look at it.
    let mut free = (0..limit).filter(|index| !current.backends.contains_key(index));
    let mut reusable = current
        .backends
        .iter()
        .filter(|(_, entry)| !backends.iter().any(|backend| is(entry, backend)))
        .map(|(index, _)| *index);
    backends
        .iter()
        .map(|backend| {
            known(backend)
                .or_else(|| free.next())
                .or_else(|| reusable.next())
                .unwrap_or_default()
        })
        .collect()
}

/// The entry to begin with: the one found, or a new one that is held until its
/// next hop is known.
pub(super) fn entry(backend: &config::Backend, index: u32, current: &State) -> Backend {
    match current.backends.get(&index) {
        Some(entry) if is(entry, backend) => *entry,
        _ => Backend {
            holds: Hold::NoNeighbour as u64,
            address: backend.address.into(),
            name: padded(&backend.name),
            ..Backend::zeroed()
        },
    }
}

fn is(entry: &Backend, backend: &config::Backend) -> bool {
    entry.address == backend.address.into() && entry.name == padded(&backend.name)
}

fn padded(name: &str) -> [u8; NAME_LEN] {
    let mut bytes = [0; NAME_LEN];
    for (slot, byte) in bytes.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    bytes
}
