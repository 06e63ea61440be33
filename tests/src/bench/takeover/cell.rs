//! The runs of one system with one fault.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Interrupt;

use super::client::{Client, Traffic};
use super::fault::{Fault, LATEST_STOP};
use super::seen::{Host, Run, conclude};
use super::world::World;

/// Requests before the fault: enough for the client to have settled.
const BEFORE: Duration = Duration::from_millis(60);

/// The fault comes up to this much later, by chance: its place among heartbeats
/// and checks, whose intervals are shorter, is then another in each run.
const PHASE: Duration = Duration::from_millis(20);

/// Requests after the standby's first answer.
const AFTER: Duration = Duration::from_millis(100);

/// A standby that has not answered by then does not take over.
const LOST: Duration = Duration::from_secs(5);

/// Between two looks at the client.
const TURN: Duration = Duration::from_millis(2);

/// What all runs of a cell have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    pub(super) traffic: Traffic,
    /// Requests a second.
    pub(super) rate: u32,
    /// How many runs.
    pub(super) runs: usize,
}

/// What they saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) runs: Vec<Run>,
    /// Runs that were thrown away and done again: the standby had taken over
    /// before anything was done to the primary.
    pub(super) unprovoked: u64,
}

impl Plan {
    /// Does the runs, calling `progress` after each. When it fails, `cell` has what
    /// was measured until then.
    pub(super) fn measure(
        self,
        world: &mut World,
        interrupt: &Interrupt,
        cell: &mut Cell,
        mut progress: impl FnMut(&Cell),
    ) -> Result<()> {
        world.prepare(self.fault)?;
        // A system that does not leave the primary alone is told so, not waited
        // for.
        let attempts = 3 * self.runs;
        for _ in 0..attempts {
            if cell.runs.len() >= self.runs {
                break;
            }
            world.wait_until_healthy(interrupt)?;
            let spread = self.spread(cell.runs.len());
            match self.run(world, spread, interrupt)? {
                Some(run) => cell.runs.push(run),
                None => cell.unprovoked += 1,
            }
            progress(cell);
        }
        world.wait_until_healthy(interrupt)
    }

    /// One run. None if the primary did not serve when the fault came.
    fn run(
        self,
        world: &mut World,
        spread: Duration,
        interrupt: &Interrupt,
    ) -> Result<Option<Run>> {
        let client = Client::start(&world.lab.client, world.vip(), self.traffic, self.rate)?;
        thread::sleep(BEFORE + PHASE.mul_f64(fastrand::f64()));
        let earlier = client.answers_by(Host::Standby);
        let caused = self.fault.cause(world, spread);
        let begin = Instant::now();
        while caused.is_ok()
            && client.answers_by(Host::Standby) == earlier
            && begin.elapsed() < LOST
        {
            interrupt.check()?;
            thread::sleep(TURN);
        }
        thread::sleep(AFTER);
        // Before the repair, so that nothing that was hanging is answered by it.
        let requests = client.stop()?;
        self.fault.repair(world)?;
        let fault_ns = caused?;
        let run = conclude(&requests, fault_ns);
        // After the repair: an agent that was stopped is there again.
        let death = world.death(fault_ns)?;
        Ok(run.map(|run| Run { death, ..run }))
    }

    /// Evenly over the runs, ends included.
    fn spread(self, number: usize) -> Duration {
        let steps = u32::try_from(self.runs.saturating_sub(1).max(1)).unwrap_or(u32::MAX);
        let number = u32::try_from(number).unwrap_or(steps);
        LATEST_STOP * number.min(steps) / steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_fault_is_spread_over_the_runs() {
        for (runs, number, us) in [
            (1, 0, 0),
            (2, 1, 500),
            (3, 1, 250),
            (30, 29, 500),
            (5, 9, 500),
        ] {
            let plan = Plan {
                fault: Fault::CutThenAgentStopped,
                traffic: Traffic::Udp,
                rate: 1,
                runs,
            };
            assert_eq!(
                plan.spread(number),
                Duration::from_micros(us),
                "{number} of {runs}"
            );
        }
    }
}
