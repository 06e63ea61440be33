//! Real deaths: how long until the primary is taken for dead.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use failover_user::event::{Event, What};
use lab::{Interrupt, clock, machine};

use super::world::{PRIMARY, World};
use crate::output::say;

/// The fault comes up to this much later, by chance: its place among the heartbeats
/// and the stops of the agent is then another in each run.
const PHASE: Duration = Duration::from_millis(50);

/// A death that is not found by then is not found.
const LOST: Duration = Duration::from_secs(5);

/// Between two looks at the events.
const TURN: Duration = Duration::from_millis(2);

/// What the runs gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Detection {
    /// From the fault to the latch, microseconds.
    pub(super) took_us: Vec<u64>,
    /// Deaths that were not found.
    pub(super) undetected: u64,
}

/// What became of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Detected {
        us: u64,
    },
    /// The primary was taken for dead before anything was done to it.
    Unprovoked,
}

/// Has the primary hang so many times.
pub(super) fn detect(world: &World, runs: u16, interrupt: &Interrupt) -> Result<Detection> {
    let mut detection = Detection::default();
    // A setting that does not leave the primary alone is told so, not waited for.
    for _ in 0..3 * runs {
        if detection.runs() >= usize::from(runs) {
            break;
        }
        if let Err(error) = world.wait_until_healthy(interrupt) {
            interrupt.check()?;
            // It takes healthy backends for dead all the time: a result.
            say(format_args!("{error:#}"));
            break;
        }
        match run(world, interrupt)? {
            Some(Outcome::Detected { us }) => detection.took_us.push(us),
            // Thrown away.
            Some(Outcome::Unprovoked) => {}
            None => detection.undetected += 1,
        }
    }
    Ok(detection)
}

impl Detection {
    /// Those that count.
    fn runs(&self) -> usize {
        self.took_us.len() + usize::try_from(self.undetected).unwrap_or(usize::MAX)
    }
}

/// None: the death was not found.
fn run(world: &World, interrupt: &Interrupt) -> Result<Option<Outcome>> {
    let known = world.events.count();
    let fault_ns = hang(world)?;
    let begin = Instant::now();
    let mut outcome = None;
    while outcome.is_none() && begin.elapsed() < LOST {
        interrupt.check()?;
        thread::sleep(TURN);
        outcome = conclude(&world.events.since(known), fault_ns);
    }
    world.lab.primary.thaw()?;
    Ok(outcome)
}

/// By a thread that the stress does not hold up between noting the time and the
/// fault.
fn hang(world: &World) -> Result<u64> {
    thread::scope(|scope| {
        let hang = || {
            machine::prefer_this_thread();
            let phase = PHASE.mul_f64(fastrand::f64());
            clock::sleep_until(clock::now_ns() + u64::try_from(phase.as_nanos())?);
            world.lab.primary.freeze()
        };
        let done = scope.spawn(hang).join();
        done.map_err(|_panic| anyhow!("the fault panicked"))?
    })
    .context("cannot freeze the primary")
}

/// None: nothing was found yet.
fn conclude(events: &[Event], fault_ns: u64) -> Option<Outcome> {
    let latched = events.iter().find_map(|event| match &event.what {
        What::Expired { backend, timeline } if backend == PRIMARY => Some(timeline.latched_ns),
        _ => None,
    })?;
    Some(match latched.checked_sub(fault_ns) {
        Some(took) => Outcome::Detected { us: took / 1000 },
        None => Outcome::Unprovoked,
    })
}

#[cfg(test)]
mod tests {
    use failover_user::event::Timeline;

    use super::*;

    #[test]
    fn found_or_made_up() {
        let expired = |backend: &str, latched_ns| {
            let timeline = Timeline {
                latched_ns,
                ..Timeline::default()
            };
            let backend = backend.to_owned();
            Event::new(Duration::ZERO, What::Expired { backend, timeline })
        };
        for (events, expected) in [
            (vec![], None),
            (vec![expired("standby", 2_000_000)], None),
            (
                vec![expired("standby", 900), expired("primary", 2_500_000)],
                Some(Outcome::Detected { us: 1_500 }),
            ),
            (vec![expired("primary", 999_999)], Some(Outcome::Unprovoked)),
        ] {
            assert_eq!(conclude(&events, 1_000_000), expected, "{events:?}");
        }
    }
}
