//! One line of the result.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use failover_user::event::Event;
use serde::{Serialize, Serializer};

use super::cpu::Usage;
use super::{Load, Peer};
use crate::events::{count, is_death, is_doubt};
use crate::settings::us;
use crate::statistics::as_f64;

/// How far everything was at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Heartbeats that were answered.
    pub(super) answered: u64,
    pub(super) thread: Usage,
    pub(super) process: Usage,
}

/// What was measured with so many backends. CPU is percent of one CPU.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) backends: u16,
    /// Who answers.
    #[serde(serialize_with = "peer")]
    pub(super) peer: Peer,
    pub(super) interval_us: u64,
    pub(super) timeout_us: u64,
    pub(super) seconds: f64,
    /// Heartbeats a second.
    pub(super) wanted_per_s: f64,
    pub(super) answered_per_s: f64,
    pub(super) answered_percent: f64,
    /// Of the thread that sends them.
    pub(super) wakeups_per_s: f64,
    pub(super) thread_user_percent: f64,
    pub(super) thread_system_percent: f64,
    /// Of the whole agent, the thread included.
    pub(super) agent_percent: f64,
    /// Backends that were taken for dead; all are alive.
    pub(super) deaths: u64,
    pub(super) doubts: u64,
}

impl Row {
    pub(super) fn new(load: Load, before: Sample, after: Sample, events: &[Event]) -> Result<Self> {
        let Load {
            backends,
            settings,
            peer,
        } = load;
        let elapsed = after.at.saturating_duration_since(before.at);
        let answered = after.answered.saturating_sub(before.answered);
        ensure!(answered > 0, "no heartbeat was answered");
        let per_s = |count: u64| as_f64(count) / elapsed.as_secs_f64();
        let percent = |time: Duration| 100.0 * time.div_duration_f64(elapsed);
        let wanted = f64::from(backends) / settings.interval.as_secs_f64();
        let thread = after.thread.since(before.thread);
        let process = after.process.since(before.process);
        Ok(Self {
            backends,
            peer,
            interval_us: us(settings.interval),
            timeout_us: us(settings.timeout),
            seconds: elapsed.as_secs_f64(),
            wanted_per_s: wanted,
            answered_per_s: per_s(answered),
            answered_percent: 100.0 * per_s(answered) / wanted,
            wakeups_per_s: per_s(thread.sleeps),
            thread_user_percent: percent(thread.user),
            thread_system_percent: percent(thread.system),
            agent_percent: percent(process.user + process.system),
            deaths: count(events, is_death),
            doubts: count(events, is_doubt),
        })
    }
}

impl Row {
    /// Whether there was more to send than the thread had time for: the rest of the
    /// CPU is its pauses.
    pub(super) fn is_limited(&self) -> bool {
        self.thread_percent() > 90.0 && self.answered_percent < 99.0
    }

    /// What the thread used for one heartbeat that was answered, microseconds.
    pub(super) fn thread_us(&self) -> f64 {
        self.thread_percent() / 100.0 * 1e6 / self.answered_per_s
    }

    fn thread_percent(&self) -> f64 {
        self.thread_user_percent + self.thread_system_percent
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn peer<S: Serializer>(peer: &Peer, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(peer.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn rates_and_shares() -> Result<()> {
        let at = Instant::now();
        let usage = |user_ms, system_ms, sleeps| Usage {
            user: Duration::from_millis(user_ms),
            system: Duration::from_millis(system_ms),
            sleeps,
        };
        let before = Sample {
            at,
            answered: 1_000,
            thread: usage(10, 20, 500),
            process: usage(20, 30, 0),
        };
        let after = Sample {
            at: at + Duration::from_secs(2),
            answered: 181_000,
            thread: usage(210, 620, 20_500),
            process: usage(320, 930, 0),
        };
        let load = Load {
            backends: 10,
            settings: Settings {
                interval: Duration::from_micros(100),
                ..Settings::DEFAULT
            },
            peer: Peer::Wire,
        };
        let mut row = Row::new(load, before, after, &[])?;
        for (found, expected) in [
            (row.wanted_per_s, 100_000.0),
            (row.answered_per_s, 90_000.0),
            (row.answered_percent, 90.0),
            (row.wakeups_per_s, 10_000.0),
            (row.thread_user_percent, 10.0),
            (row.thread_system_percent, 30.0),
            (row.agent_percent, 60.0),
            (row.thread_us(), 40.0 / 9.0),
        ] {
            assert!((found - expected).abs() < 1e-6, "{expected} in {row:?}");
        }
        for (thread, answered, expected) in
            [(40.0, 90.0, false), (95.0, 99.5, false), (95.0, 90.0, true)]
        {
            row.thread_system_percent = thread - row.thread_user_percent;
            row.answered_percent = answered;
            assert_eq!(row.is_limited(), expected, "{row:?}");
        }
        assert!(Row::new(load, before, before, &[]).is_err());
        Ok(())
    }
}
