//! The time in which nothing is wrong: whatever is taken for dead is alive.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use failover_user::event::{Timeline, What};
use lab::Interrupt;

use super::death::{Cause, Death};
use super::mirror::Mirror;
use super::stress::{Load, Stop, Stress};
use super::world::{SERVICE, World};
use crate::events::{count, is_doubt};
use crate::settings::Settings;

/// Between two looks at the stress and the events.
const TURN: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Watch {
    pub(super) elapsed: Duration,
    /// Heartbeats that were answered, and how many milliseconds the agent counted them
    /// for.
    pub(super) answered: u64,
    pub(super) counted_ms: u64,
    pub(super) deaths: Vec<Death>,
    /// How often the service moved because of a false death.
    pub(super) takeovers: u64,
    /// How often our own side was in doubt.
    pub(super) doubts: u64,
    pub(super) load: Load,
}

/// The deaths so far.
#[derive(Debug, Default)]
struct Deaths {
    all: Vec<Death>,
    takeovers: u64,
    /// Backends that are out.
    out: BTreeSet<String>,
}

/// Watches for so long, from the start of `stress` on. The first `known` events were
/// before it.
pub(super) fn watch(
    world: &World,
    settings: Settings,
    stress: &mut Stress,
    mirror: &mut Mirror,
    duration: Duration,
    known: usize,
    interrupt: &Interrupt,
) -> Result<Watch> {
    let begin = Instant::now();
    let before = world.counters()?;
    let mut deaths = Deaths::default();
    let mut heard = known;
    let mut hear = |stops: &[Stop], mirror: &Mirror| -> Result<()> {
        for event in world.events.since(heard) {
            heard += 1;
            deaths.hear(&event.what, stops, settings, |backend, timeline| {
                mirror.held(backend, timeline)
            })?;
        }
        Ok(())
    };
    while begin.elapsed() < duration {
        interrupt.check()?;
        stress.check().with_context(|| world.agent.log())?;
        mirror.check()?;
        thread::sleep(TURN.min(duration));
        hear(&stress.stops(), mirror)?;
    }
    let after = world.counters()?;
    let load = stress.load()?;
    world.events.catch_up(&world.agent)?;
    hear(&stress.stops(), mirror)?;
    Ok(Watch {
        elapsed: begin.elapsed(),
        answered: after.answered.saturating_sub(before.answered),
        counted_ms: after.uptime_ms.saturating_sub(before.uptime_ms),
        deaths: deaths.all,
        takeovers: deaths.takeovers,
        doubts: count(&world.events.since(known), is_doubt),
        load,
    })
}

impl Watch {
    /// How many backends were taken for dead by such a cause.
    pub(super) fn deaths_by(&self, cause: Cause) -> usize {
        let such = |death: &&Death| death.cause == cause;
        self.deaths.iter().filter(such).count()
    }
}

impl Deaths {
    /// Takes in an event. `held` is how long the first unanswered heartbeat of a death
    /// was with the backend.
    fn hear(
        &mut self,
        what: &What,
        stops: &[Stop],
        settings: Settings,
        held: impl FnOnce(&str, &Timeline) -> Result<Option<Duration>>,
    ) -> Result<()> {
        match what {
            What::Expired { backend, timeline } => {
                let held = held(backend, timeline)?;
                let alone = !self.out.is_empty();
                let death = Death::new(backend, timeline, settings, held, alone, stops);
                self.all.push(death);
                self.out.insert(backend.clone());
            }
            What::Holds { backend, holds, .. } if holds.is_empty() => {
                self.out.remove(backend);
            }
            What::Takeover {
                service,
                from,
                timeline,
                ..
            } if service == SERVICE => {
                let latched_ns = timeline.as_ref().map(|timeline| timeline.latched_ns);
                let mut deaths = self.all.iter();
                let death = deaths
                    .rfind(|death| death.backend == *from && Some(death.latched_ns) == latched_ns);
                let excused = death.is_some_and(|death| death.cause != Cause::OurSide);
                self.takeovers += u64::from(!excused);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(latched_ns: u64) -> Timeline {
        Timeline {
            signal: "sender".to_owned(),
            latched_ns,
            ..Timeline::default()
        }
    }

    fn expired(backend: &str, latched_ns: u64) -> What {
        What::Expired {
            backend: backend.to_owned(),
            timeline: timeline(latched_ns),
        }
    }

    fn takeover(service: &str, latched_ns: u64) -> What {
        What::Takeover {
            service: service.to_owned(),
            from: "primary".to_owned(),
            to: "standby".to_owned(),
            timeline: Some(timeline(latched_ns)),
        }
    }

    fn eligible(backend: &str) -> What {
        What::Holds {
            backend: backend.to_owned(),
            holds: Vec::new(),
            reason: None,
        }
    }

    #[test]
    fn only_a_false_death_makes_a_false_takeover() -> Result<()> {
        // Until 10 ns the backends answer, after that they are held up.
        let held = |_: &str, timeline: &Timeline| {
            let is_held = timeline.latched_ns > 10;
            Ok(is_held.then(|| Duration::from_millis(1)))
        };
        let mut deaths = Deaths::default();
        for what in [
            expired("primary", 1),
            takeover(SERVICE, 1),
            takeover("bulk", 1),
            expired("standby", 2),
            eligible("standby"),
            eligible("primary"),
            expired("primary", 11),
            takeover(SERVICE, 11),
            eligible("primary"),
            // By nothing that is known.
            takeover(SERVICE, 12),
        ] {
            deaths.hear(&what, &[], Settings::DEFAULT, held)?;
        }
        let causes: Vec<_> = deaths.all.iter().map(|death| death.cause).collect();
        assert_eq!(causes, [Cause::OurSide, Cause::Alone, Cause::Backend]);
        assert_eq!(deaths.takeovers, 2);
        assert!(deaths.out.is_empty());
        Ok(())
    }
}
