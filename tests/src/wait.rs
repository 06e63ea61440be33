//! Waiting for something to become true, but not for ever.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is a value, and returns it. After `timeout` fails with
/// `what` was waited for.
pub fn eventually<T>(
    timeout: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = look() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("not within {timeout:?}: {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Looks until it is true.
pub fn until(timeout: Duration, what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    eventually(timeout, what, || look().then_some(()))
}
