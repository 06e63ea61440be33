//! A client that writes numbers, one after the other, for as long as it is let.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::wait;

/// What the client knows. It does not come back to a number that nobody acknowledged.
#[derive(Debug, Default)]
pub struct Writer {
    acknowledged: Mutex<Vec<Acknowledged>>,
    stop: AtomicBool,
}

/// A number that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// The number.
    pub number: u64,
    /// When the client began to write it.
    pub begun: Instant,
    /// When it knew.
    pub at: Instant,
}

impl Writer {
    /// Writes until it is stopped; `write` is for one number, and fails if that is not
    /// acknowledged.
    pub fn run(&self, mut write: impl FnMut(u64) -> Result<()>) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let begun = Instant::now();
            if write(number).is_ok() {
                let at = Instant::now();
                self.acknowledged().push(Acknowledged { number, begun, at });
            }
        }
    }

    /// Ends [`Writer::run`] after the number that is on its way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What was acknowledged so far.
    pub fn acknowledged(&self) -> MutexGuard<'_, Vec<Acknowledged>> {
        let acknowledged = self.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are as many.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Result<()> {
        wait::until(limit, "numbers are acknowledged", || {
            self.acknowledged().len() >= count
        })
    }

    /// Waits for the first one that was begun after a moment: whoever acknowledges it
    /// serves.
    pub fn wait_for_one_after(&self, moment: Instant, limit: Duration) -> Result<Acknowledged> {
        wait::eventually(limit, "a number is acknowledged again", || {
            let acknowledged = self.acknowledged();
            let mut after = acknowledged.iter().filter(|it| it.begun > moment);
            after.next().copied()
        })
    }
}
