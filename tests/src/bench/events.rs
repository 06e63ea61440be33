//! All that the agent tells while something is measured.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use failover_user::event::{Event, What};
use lab::process::Process;
use lab::{Agent, wait};

/// For the newest events to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follows the agent. Its own list of events forgets; this one does not.
pub(crate) struct Events {
    seen: Arc<Mutex<Vec<Event>>>,
    /// `failover events --follow`; when it ends so does the thread that reads it.
    _process: Process,
}

impl Events {
    /// From the agent's first event on.
    pub(crate) fn follow(agent: &Agent) -> Result<Self> {
        let mut command = agent.client_command();
        command
            .args(["events", "--follow", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It complains when the agent ends before it.
            .stderr(Stdio::null());
        let mut process = Process::spawn(command).context("cannot follow the events")?;
        let stdout = process.child().stdout.take().context("no output")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // A line that is cut off is the last one.
            for event in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                push(&list, event);
            }
        });
        Ok(Self {
            seen,
            _process: process,
        })
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.with(<[Event]>::len)
    }

    /// Those after the first `count`.
    pub(crate) fn since(&self, count: usize) -> Vec<Event> {
        self.with(|events| events.get(count..).unwrap_or_default().to_vec())
    }

    /// Waits until all that the agent remembers is here. Fails if some of it never
    /// came: then nothing may be concluded from what did.
    pub(crate) fn catch_up(&self, agent: &Agent) -> Result<()> {
        let output = agent.cli(&["events", "--json"])?;
        ensure!(output.status.success(), "failover events failed");
        let remembered: Vec<Event> = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()?;
        wait::until(PATIENCE, "every event is heard of", || {
            self.with(|events| has_run(events, &remembered))
        })
    }

    fn with<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many of the events are of a kind.
pub(crate) fn count(events: &[Event], is_one: impl Fn(&What) -> bool) -> u64 {
    events
        .iter()
        .map(|event| u64::from(is_one(&event.what)))
        .sum()
}

/// Whether a doubt about our own side began.
pub(crate) fn is_doubt(what: &What) -> bool {
    matches!(what, What::Doubt { begins: true, .. })
}

/// Whether a backend was taken for dead.
pub(crate) fn is_death(what: &What) -> bool {
    matches!(what, What::Expired { .. })
}

fn push(list: &Mutex<Vec<Event>>, event: Event) {
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(event);
}

/// Whether `run` is in `events`, in one piece.
fn has_run<T: PartialEq>(events: &[T], run: &[T]) -> bool {
    run.is_empty() || events.windows(run.len()).rev().any(|piece| piece == run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_was_heard() {
        for (events, run, expected) in [
            (&[1, 2, 3][..], &[2, 3][..], true),
            (&[1, 2, 3], &[1, 2], true),
            (&[1, 3], &[1, 2, 3], false),
            (&[1, 3, 4], &[2, 3, 4], false),
            (&[], &[], true),
        ] {
            assert_eq!(has_run(events, run), expected, "{run:?} in {events:?}");
        }
    }
}
