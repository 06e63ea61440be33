//! The agent is stopped and continued at random.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use lab::{Agent, clock, machine};
use nix::sys::signal::Signal;

use super::super::worker::{Worker, sleep};

/// A stop is as likely to be between one and two of these as between two and four.
const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(50);

/// The longest time from one stop to the next; the middle one is half of it.
const PAUSE: Duration = Duration::from_secs(2);

/// When the agent stood still, nanoseconds of [`clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

pub(super) struct Stops {
    thread: Worker,
    all: Arc<Mutex<Vec<Stop>>>,
}

impl Stops {
    pub(super) fn start(agent: &Arc<Agent>) -> Self {
        let agent = Arc::clone(agent);
        let all = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&all);
        let thread = Worker::start(None, move |stop| {
            // The hogs must not make the stops longer.
            machine::prefer_this_thread();
            while !stop.load(Ordering::Relaxed) {
                let from_ns = agent.signal(Signal::SIGSTOP)?;
                let length = u64::try_from(length(fastrand::f64()).as_nanos())?;
                clock::sleep_until(from_ns + length);
                let to_ns = agent.signal(Signal::SIGCONT)?;
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                list.push(Stop { from_ns, to_ns });
                drop(list);
                sleep(PAUSE.mul_f64(fastrand::f64()), stop);
            }
            Ok(())
        });
        Self { thread, all }
    }

    pub(super) fn check(&mut self) -> Result<()> {
        self.thread.check()
    }

    /// Those that are over.
    pub(super) fn all(&self) -> Vec<Stop> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Of a stop, for a number from 0 to 1.
fn length(chance: f64) -> Duration {
    let range = LONGEST.div_duration_f64(SHORTEST);
    SHORTEST.mul_f64(range.powf(chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (chance, us) in [(0.0, 100), (0.5, 2_236), (1.0, 50_000)] {
            assert_eq!(length(chance).as_micros(), us, "{chance}");
        }
    }
}
