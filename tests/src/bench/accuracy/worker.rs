//! A thread that lives as long as its guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use lab::Namespace;

/// A thread that is told to end, and waited for, when this is dropped.
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Worker {
    /// Runs `work` until the flag it is given is set, in a namespace if it needs one.
    pub(super) fn start(
        namespace: Option<&Namespace>,
        work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let work = move || work(&flag);
        let thread = match namespace {
            Some(namespace) => namespace.spawn(work),
            None => thread::spawn(work),
        };
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Fails with the reason if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if self
            .thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {
            return Ok(());
        }
        let thread = self
            .thread
            .take()
            .context("a thread of the benchmark has ended")?;
        thread
            .join()
            .map_err(|_panic| anyhow!("a thread of the benchmark panicked"))??;
        Err(anyhow!("a thread of the benchmark has ended"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // How it ended does not matter any more.
            let _ended = thread.join();
        }
    }
}

/// Sleeps for `time`, or until the flag is set.
pub(super) fn sleep(time: Duration, stop: &AtomicBool) {
    /// How late the flag may be seen.
    const TURN: Duration = Duration::from_millis(20);
    let end = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(TURN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_ends_with_its_guard_and_says_why_it_ended_before() {
        let mut worker = Worker::start(None, |stop| {
            sleep(Duration::from_mins(1), stop);
            Ok(())
        });
        assert!(worker.check().is_ok());
        drop(worker);
        let mut worker = Worker::start(None, |_| Err(anyhow!("no route")));
        while worker.check().is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(worker.check().is_err());
    }
}
