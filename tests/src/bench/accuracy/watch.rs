//! The time in which nothing is wrong: whatever is taken for dead is alive.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use failover_user::event::{Event, Timeline, What};
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

/// What is told of deaths, until all of it is there: the data path and the sender each
/// have a way of their own to the agent, so that it is not told in order.
#[derive(Debug, Default)]
struct Told {
    expired: Vec<Expired>,
    /// Who was eligible again, and when.
    recovered: Vec<(String, u64)>,
    /// Who lost the service, and when the hold was set that took it away.
    takeovers: Vec<(String, Option<u64>)>,
}

#[derive(Debug)]
struct Expired {
    backend: String,
    timeline: Timeline,
    /// How long the first unanswered heartbeat was with the backend.
    held: Option<Duration>,
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
    let mut told = Told::default();
    let mut heard = known;
    let mut hear = |mirror: &Mirror| -> Result<()> {
        for event in world.events.since(heard) {
            heard += 1;
            told.hear(event, |backend, timeline| mirror.held(backend, timeline))?;
        }
        Ok(())
    };
    while begin.elapsed() < duration {
        interrupt.check()?;
        stress.check().with_context(|| world.agent.log())?;
        mirror.check()?;
        thread::sleep(TURN.min(duration));
        hear(mirror)?;
    }
    let after = world.counters()?;
    let load = stress.load()?;
    world.events.catch_up(&world.agent)?;
    hear(mirror)?;
    let elapsed = begin.elapsed();
    let (deaths, takeovers) = told.conclude(settings, &stress.stops());
    Ok(Watch {
        elapsed,
        answered: after.answered.saturating_sub(before.answered),
        counted_ms: after.uptime_ms.saturating_sub(before.uptime_ms),
        deaths,
        takeovers,
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

impl Told {
    /// Takes in an event. `held` is asked at once: the ports are soon forgotten.
    fn hear(
        &mut self,
        event: Event,
        held: impl FnOnce(&str, &Timeline) -> Result<Option<Duration>>,
    ) -> Result<()> {
        match event.what {
            What::Expired { backend, timeline } => {
                let held = held(&backend, &timeline)?;
                self.expired.push(Expired {
                    backend,
                    timeline,
                    held,
                });
            }
            What::Holds { backend, holds, .. } if holds.is_empty() => {
                self.recovered.push((backend, event.monotonic_ns));
            }
            What::Takeover {
                service,
                from,
                timeline,
                ..
            } if service == SERVICE => {
                let latched_ns = timeline.map(|timeline| timeline.latched_ns);
                self.takeovers.push((from, latched_ns));
            }
            _ => {}
        }
        Ok(())
    }

    /// All deaths, and how many takeovers followed from one that was our side's fault, or
    /// from none.
    fn conclude(&self, settings: Settings, stops: &[Stop]) -> (Vec<Death>, u64) {
        let death = |expired: &Expired| {
            let Expired {
                backend,
                timeline,
                held,
            } = expired;
            let alone = self.is_alone(expired);
            Death::new(backend, timeline, settings, *held, alone, stops)
        };
        let deaths: Vec<_> = self.expired.iter().map(death).collect();
        let is_excused = |(from, latched_ns): &&(String, Option<u64>)| {
            deaths.iter().any(|death| {
                death.backend == *from
                    && Some(death.latched_ns) == *latched_ns
                    && death.cause != Cause::OurSide
            })
        };
        let excused = self.takeovers.iter().filter(is_excused).count();
        let takeovers = (self.takeovers.len() - excused) as u64;
        (deaths, takeovers)
    }

    /// Whether another backend was out when this one was taken for dead.
    fn is_alone(&self, expired: &Expired) -> bool {
        let at_ns = expired.timeline.latched_ns;
        self.expired.iter().any(|other| {
            let since_ns = other.timeline.latched_ns;
            let mut recovered = self.recovered.iter();
            other.backend != expired.backend
                && since_ns <= at_ns
                && !recovered.any(|(backend, back_ns)| {
                    *backend == other.backend && (since_ns..=at_ns).contains(back_ns)
                })
        })
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
        let mut told = Told::default();
        for (at_ns, what) in [
            // Told before the death that was before it.
            (3, expired("standby", 2)),
            (3, expired("primary", 1)),
            (3, takeover(SERVICE, 1)),
            (3, takeover("bulk", 1)),
            (5, eligible("standby")),
            (6, eligible("primary")),
            (8, expired("standby", 7)),
            (9, eligible("standby")),
            (12, expired("primary", 11)),
            (12, takeover(SERVICE, 11)),
            (13, eligible("primary")),
            // By nothing that is known.
            (15, takeover(SERVICE, 14)),
        ] {
            told.hear(Event::new(Duration::from_nanos(at_ns), what), held)?;
        }
        let (deaths, takeovers) = told.conclude(Settings::DEFAULT, &[]);
        let causes: Vec<_> = deaths.iter().map(|death| death.cause).collect();
        assert_eq!(
            causes,
            [Cause::Alone, Cause::OurSide, Cause::OurSide, Cause::Backend]
        );
        assert_eq!(takeovers, 2);
        Ok(())
    }
}
