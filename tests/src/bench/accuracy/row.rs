//! One line of the result.

use serde::Serialize;

use super::death::{Cause, Death};
use super::detection::Detection;
use super::watch::Watch;
use crate::settings::{Settings, us};
use crate::statistics::{Summary, as_f64};

/// Deaths that a row tells in full; the rest are like them.
const TOLD: usize = 20;

/// Events that may have been missed although there were none, with a chance of 5 %:
/// the "rule of three" (-ln 0.05).
const UNSEEN: f64 = 3.0;

const MINUTES_PER_HOUR: f64 = 60.0;

/// What was measured of one setting.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) interval_us: u64,
    pub(super) timeout_us: u64,
    pub(super) fall: u32,
    /// Whether this is what users get who set nothing.
    pub(super) default: bool,
    /// How long the healthy backends were watched.
    pub(super) minutes: f64,
    /// That were answered, and what all of them would be, percent. Those that are
    /// missing were not sent: the agent was stopped.
    pub(super) heartbeats: u64,
    pub(super) heartbeats_percent: f64,
    /// Of the agent.
    pub(super) stops: usize,
    /// How often the service moved with nothing wrong.
    pub(super) false_takeovers: u64,
    pub(super) false_per_hour: f64,
    /// How often either backend was taken for dead with nothing wrong; only the death
    /// of the one that serves moves the service.
    pub(super) false_deaths: usize,
    /// The same while the other one was out, so that nobody could testify.
    pub(super) alone_deaths: usize,
    /// How often the lab held a backend up for so long that it was dead.
    pub(super) late_backends: usize,
    pub(super) doubts: u64,
    /// From a fault to the latch, under the same stress, and without any.
    pub(super) detection_us: Option<Summary>,
    pub(super) quiet_detection_us: Option<Summary>,
    /// Deaths that were not found, of both.
    pub(super) undetected: u64,
    /// What the hogs got of all CPUs.
    pub(super) hogs_percent: f64,
    pub(super) bulk_mb: u64,
    pub(super) memory_mb: u64,
    /// The first of all these.
    pub(super) deaths: Vec<Death>,
}

impl Row {
    pub(super) fn new(
        settings: Settings,
        backends: u32,
        watch: Watch,
        stressed: &Detection,
        quiet: &Detection,
    ) -> Self {
        let minutes = watch.elapsed.as_secs_f64() / 60.0;
        let interval_ms = settings.interval.as_secs_f64() * 1e3;
        let wanted = as_f64(watch.counted_ms) / interval_ms * f64::from(backends);
        let deaths_by = |cause| watch.deaths_by(cause);
        let false_deaths = deaths_by(Cause::OurSide);
        let alone_deaths = deaths_by(Cause::Alone);
        let late_backends = deaths_by(Cause::Backend);
        let mut deaths = watch.deaths;
        deaths.truncate(TOLD);
        Self {
            interval_us: us(settings.interval),
            timeout_us: us(settings.timeout),
            fall: settings.fall,
            default: settings == Settings::DEFAULT,
            minutes,
            heartbeats: watch.answered,
            heartbeats_percent: 100.0 * as_f64(watch.answered) / wanted.max(1.0),
            stops: watch.load.stops,
            false_takeovers: watch.takeovers,
            false_per_hour: as_f64(watch.takeovers) * MINUTES_PER_HOUR / minutes,
            false_deaths,
            alone_deaths,
            late_backends,
            doubts: watch.doubts,
            detection_us: Summary::of(stressed.took_us.iter().copied()),
            quiet_detection_us: Summary::of(quiet.took_us.iter().copied()),
            undetected: stressed.undetected + quiet.undetected,
            hogs_percent: watch.load.hogs_percent,
            bulk_mb: watch.load.bulk_mb,
            memory_mb: watch.load.memory_mb,
            deaths,
        }
    }

    /// So many an hour there may be although none was seen.
    pub(super) fn unseen_per_hour(&self) -> f64 {
        UNSEEN * MINUTES_PER_HOUR / self.minutes
    }
}

#[cfg(test)]
pub(super) mod tests;
