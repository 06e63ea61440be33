//! The one clock of all measurements: `CLOCK_MONOTONIC`, in nanoseconds.

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since the machine started.
///
/// # Panics
///
/// Never on Linux, which always has this clock.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has CLOCK_MONOTONIC");
    now.tv_sec().unsigned_abs() * NS_PER_SECOND + now.tv_nsec().unsigned_abs()
}

/// Sleeps until the clock shows `ns`. Being late once does not add up.
pub fn sleep_until(ns: u64) {
    let seconds = i64::try_from(ns / NS_PER_SECOND).unwrap_or(i64::MAX);
    let rest = i64::try_from(ns % NS_PER_SECOND).unwrap_or(0);
    let until = TimeSpec::new(seconds, rest);
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &until) == Err(Errno::EINTR) {}
}
