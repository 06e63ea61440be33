//! What the kernel knows and the agent was not told, because the ring buffer was full.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use failover_common::{Backend, Hold, LAYOUT};
use lab::{Options, wait};
use memmap2::MmapOptions;

use crate::lease::{FAST, World};
use crate::world::SOON;

/// A death that nobody told of is found in the maps, and then ends as any other.
#[test]
fn a_death_that_nobody_told_of_is_found() -> Result<()> {
    let world = World::new(Options::default(), FAST)?;
    latch(&world, "primary-V4")?;
    wait::until(SOON, "the death is known", || {
        world
            .events("expired")
            .is_ok_and(|deaths| !deaths.is_empty())
    })
    .with_context(|| world.agent.log())?;
    let deaths = world.events("expired")?;
    ensure!(
        deaths.len() == 1
            && deaths[0]["signal"] == "unknown"
            && deaths[0]["backend"] == "primary-V4",
        "{deaths:?}"
    );
    let moved = world.events("takeover")?;
    ensure!(!moved.is_empty(), "{}", world.agent.log());
    world.served_by("primary")
}

/// Sets the hold as the data path does, and tells nobody.
fn latch(world: &World, backend: &str) -> Result<()> {
    let maps = world.agent.pin_path().join(format!("layout-{LAYOUT}"));
    let pin = maps.join("BACKENDS");
    let entries: Array<_, Backend> = Array::try_from(Map::Array(MapData::from_pin(&pin)?))?;
    let is_it = |entry: Backend| entry.name.starts_with(backend.as_bytes());
    let mut indices = 0..entries.len();
    let index = indices.find(|index| entries.get(index, 0).is_ok_and(is_it));
    let at = usize::try_from(index.context("it has no entry")?)? * size_of::<Backend>();
    let map = MapData::from_pin(&pin)?;
    let memory = MmapOptions::new()
        .len(at + size_of::<Backend>())
        .map_raw(map.fd().as_fd().as_raw_fd())?;
    // SAFETY: inside the mapping and aligned; `holds` is an entry's first word, which
    // everybody changes atomically.
    let holds = unsafe { AtomicU64::from_ptr(memory.as_mut_ptr().add(at).cast()) };
    holds.fetch_or(Hold::Expired as u64, Ordering::SeqCst);
    Ok(())
}
