//! What makes it hard to tell a busy director from a dead backend. Each part is
//! bounded, and ends with its guard.

mod bulk;
mod hogs;
mod memory;
mod stops;

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use lab::Stream;

pub(crate) use self::memory::{MEMORY_PRESSURE, memory_pressure};
pub(super) use self::stops::Stop;

use self::bulk::Bulk;
use self::hogs::Hogs;
use self::memory::Memory;
use self::stops::Stops;
use super::world::{PORT, World};

/// Requests a second to the service itself: with each one the data path judges the
/// leases, at moments of its own.
const REQUESTS: u32 = 2_000;

/// Bytes in a megabyte.
const MEGABYTE: u64 = 1_000_000;

/// A part of the stress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Every CPU is busy with something else.
    Hogs,
    /// Bulk traffic goes through the director's interface.
    Bulk,
    /// Memory is taken and given back.
    Memory,
    /// The agent is stopped and continued at random.
    Stops,
}

/// All chosen parts at once, until it is dropped; requests come all the time.
pub(super) struct Stress {
    // First: the agent goes on before anything else ends.
    stops: Option<Stops>,
    hogs: Option<Hogs>,
    bulk: Option<Bulk>,
    memory: Option<Memory>,
    clients: Stream,
    parts: Vec<Part>,
    begin: Instant,
}

/// How much of it there was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// What the hogs got of all CPUs, percent.
    pub(super) hogs_percent: f64,
    /// Bulk traffic, megabytes.
    pub(super) bulk_mb: u64,
    /// Memory that was taken and touched, megabytes.
    pub(super) memory_mb: u64,
    /// How often the agent was stopped.
    pub(super) stops: usize,
    /// Answers to requests.
    pub(super) answers: usize,
}

impl Stress {
    /// `bulk_rate` is megabits a second.
    pub(super) fn start(world: &World, parts: &[Part], bulk_rate: u32) -> Result<Self> {
        let mut stress = Self {
            stops: None,
            hogs: None,
            bulk: None,
            memory: None,
            clients: Stream::udp(&world.lab.client, world.vip(PORT), REQUESTS)?,
            parts: parts.to_vec(),
            begin: Instant::now(),
        };
        for part in parts {
            match part {
                Part::Hogs => stress.hogs = Some(Hogs::start()?),
                Part::Bulk => stress.bulk = Some(Bulk::start(world, bulk_rate)),
                Part::Memory => stress.memory = Some(Memory::start()?),
                Part::Stops => stress.stops = Some(Stops::start(&world.agent)),
            }
        }
        Ok(stress)
    }

    /// Fails if a part of it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.hogs.as_mut().map_or(Ok(()), Hogs::check)?;
        self.bulk.as_mut().map_or(Ok(()), Bulk::check)?;
        self.memory.as_mut().map_or(Ok(()), Memory::check)?;
        self.stops.as_mut().map_or(Ok(()), Stops::check)
    }

    /// How much of it there was so far. Fails if a part was not there: then nothing
    /// was shown.
    pub(super) fn load(&self) -> Result<Load> {
        let elapsed = self.begin.elapsed();
        let load = Load {
            hogs_percent: self.hogs.as_ref().map_or(0.0, |hogs| hogs.percent(elapsed)),
            bulk_mb: self.bulk.as_ref().map_or(0, Bulk::bytes) / MEGABYTE,
            memory_mb: self.memory.as_ref().map_or(0, Memory::bytes) / MEGABYTE,
            stops: self.stops().len(),
            answers: self.clients.progress().answered,
        };
        load.ensure_complete(&self.parts)?;
        Ok(load)
    }

    /// When the agent was stopped so far.
    pub(super) fn stops(&self) -> Vec<Stop> {
        self.stops.as_ref().map(Stops::all).unwrap_or_default()
    }
}

impl Load {
    fn ensure_complete(&self, parts: &[Part]) -> Result<()> {
        let Self {
            hogs_percent,
            bulk_mb,
            memory_mb,
            stops,
            answers,
        } = *self;
        let missing = |what: &str| format!("the stress was not there: {what}");
        ensure!(answers > 0, missing("no request was answered"));
        for part in parts {
            match part {
                Part::Hogs => ensure!(hogs_percent > 1.0, missing("the hogs got no CPU")),
                Part::Bulk => ensure!(bulk_mb > 0, missing("no bulk traffic")),
                Part::Memory => ensure!(memory_mb > 0, missing("no memory was taken")),
                Part::Stops => ensure!(stops > 0, missing("the agent was not stopped")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_was_not_there_is_told() {
        let full = Load {
            hogs_percent: 40.0,
            bulk_mb: 1,
            memory_mb: 1,
            stops: 1,
            answers: 1,
        };
        let all = Part::value_variants();
        assert!(full.ensure_complete(all).is_ok());
        assert!(
            Load { bulk_mb: 0, ..full }
                .ensure_complete(&[Part::Hogs])
                .is_ok()
        );
        for (load, missing) in [
            (
                Load {
                    hogs_percent: 0.5,
                    ..full
                },
                "the hogs got no CPU",
            ),
            (Load { bulk_mb: 0, ..full }, "no bulk traffic"),
            (
                Load {
                    memory_mb: 0,
                    ..full
                },
                "no memory was taken",
            ),
            (Load { stops: 0, ..full }, "the agent was not stopped"),
            (Load { answers: 0, ..full }, "no request was answered"),
        ] {
            let error = load.ensure_complete(all).expect_err(missing).to_string();
            assert!(error.ends_with(missing), "{error}");
        }
    }
}
