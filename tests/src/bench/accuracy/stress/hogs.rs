//! A thread on each CPU that does nothing, as fast as it can, at ordinary priority.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

use super::super::worker::Worker;

/// Turns between two looks at the clock: well below a millisecond.
const SPINS: u32 = 10_000;

pub(super) struct Hogs {
    threads: Vec<Worker>,
    /// What all of them have used, nanoseconds.
    used: Arc<AtomicU64>,
}

impl Hogs {
    pub(super) fn start() -> Result<Self> {
        let count = available_parallelism().context("how many CPUs there are")?;
        let used = Arc::new(AtomicU64::new(0));
        let hog = |_| {
            let used = Arc::clone(&used);
            Worker::start(None, move |stop| {
                let mut noted = 0;
                while !stop.load(Ordering::Relaxed) {
                    (0..SPINS).for_each(|_| spin_loop());
                    let now = cpu_time()?;
                    used.fetch_add(now - noted, Ordering::Relaxed);
                    noted = now;
                }
                Ok(())
            })
        };
        Ok(Self {
            threads: (0..count.get()).map(hog).collect(),
            used,
        })
    }

    pub(super) fn check(&mut self) -> Result<()> {
        self.threads.iter_mut().try_for_each(Worker::check)
    }

    /// What they got of all CPUs in so much time, percent.
    pub(super) fn percent(&self, elapsed: Duration) -> f64 {
        let used = Duration::from_nanos(self.used.load(Ordering::Relaxed));
        let cpus = u32::try_from(self.threads.len()).unwrap_or(u32::MAX);
        100.0 * used.div_duration_f64(elapsed * cpus)
    }
}

/// Of the calling thread, nanoseconds.
fn cpu_time() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(u64::try_from(Duration::from(time).as_nanos())?)
}
