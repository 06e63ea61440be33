//! A backend that was taken for dead although nothing had been done to it, and why.

use std::time::Duration;

use failover_user::event::Timeline;
use serde::Serialize;

use super::stress::Stop;
use crate::settings::Settings;

/// What happened, and what may explain it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Death {
    pub(super) backend: String,
    /// Who saw it.
    signal: String,
    pub(super) cause: Cause,
    /// When the hold was set, nanoseconds of [`lab::clock`].
    pub(super) latched_ns: u64,
    /// From when the newest answered heartbeat had been sent to the latch.
    since_answered_us: Option<u64>,
    /// From when the first unanswered one had been sent to the latch.
    since_unanswered_us: Option<u64>,
    /// How long that was with the backend, by the switch's port; none: it never was, or
    /// there was no such heartbeat.
    held_us: Option<u64>,
    /// From the beginning of the agent's last stop before the latch to the latch.
    since_stop_us: Option<u64>,
    /// How long that stop was.
    stop_us: Option<u64>,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// The backend had answered: a false death.
    OurSide,
    /// It had answered, but the other backend was out at that time, so that nobody was
    /// there to testify for our side. Nobody can take over then.
    Alone,
    /// It had not, or late: the lab held the backend up.
    Backend,
}

impl Death {
    /// `held` is how long the first unanswered heartbeat was with the backend; `alone`
    /// whether the other backend was out.
    pub(super) fn new(
        backend: &str,
        timeline: &Timeline,
        settings: Settings,
        held: Option<Duration>,
        alone: bool,
        stops: &[Stop],
    ) -> Self {
        let Timeline {
            signal,
            answered_ns,
            unanswered_ns,
            latched_ns,
            passed_ns: _,
        } = timeline;
        let since = |earlier: u64| latched_ns.saturating_sub(earlier) / 1000;
        let stop = stops.iter().rfind(|stop| stop.from_ns <= *latched_ns);
        let is_lease = signal == "sender" || signal == "packet";
        let cause = if is_lease && held.is_some_and(|held| held >= patience(settings)) {
            Cause::Backend
        } else if alone {
            Cause::Alone
        } else {
            Cause::OurSide
        };
        Self {
            backend: backend.to_owned(),
            signal: signal.clone(),
            cause,
            latched_ns: *latched_ns,
            since_answered_us: answered_ns.map(since),
            since_unanswered_us: unanswered_ns.map(since),
            held_us: held.map(crate::settings::us),
            since_stop_us: stop.map(|stop| since(stop.from_ns)),
            stop_us: stop.map(|stop| (stop.to_ns - stop.from_ns) / 1000),
        }
    }
}

/// A backend that takes so long is not healthy: half of the lease that is left when a
/// heartbeat goes out. One that is not held up takes some 10 us.
fn patience(settings: Settings) -> Duration {
    settings.timeout.saturating_sub(settings.interval) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(signal: &str, held_us: Option<u64>, alone: bool) -> Death {
        let timeline = Timeline {
            signal: signal.to_owned(),
            answered_ns: Some(1_000_000),
            unanswered_ns: None,
            latched_ns: 5_000_000,
            passed_ns: None,
        };
        let stop = |from_ns, to_ns| Stop { from_ns, to_ns };
        let stops = [
            stop(1_000_000, 1_500_000),
            stop(4_000_000, 4_700_000),
            stop(6_000_000, 6_100_000),
        ];
        let held = held_us.map(Duration::from_micros);
        Death::new("standby", &timeline, Settings::DEFAULT, held, alone, &stops)
    }

    #[test]
    fn a_death_and_the_stop_before_it() {
        let expected = Death {
            backend: "standby".to_owned(),
            signal: "sender".to_owned(),
            cause: Cause::OurSide,
            latched_ns: 5_000_000,
            since_answered_us: Some(4_000),
            since_unanswered_us: None,
            held_us: Some(20),
            since_stop_us: Some(1_000),
            stop_us: Some(700),
        };
        assert_eq!(death("sender", Some(20), false), expected);
    }

    #[test]
    fn whose_fault() {
        for (signal, held_us, alone, expected) in [
            ("sender", None, false, Cause::OurSide),
            ("packet", Some(299), false, Cause::OurSide),
            ("packet", Some(300), false, Cause::Backend),
            ("sender", Some(299), true, Cause::Alone),
            ("sender", Some(900), true, Cause::Backend),
            // What clients' traffic shows is no lease.
            ("silence", Some(9_000), false, Cause::OurSide),
        ] {
            let found = death(signal, held_us, alone).cause;
            assert_eq!(found, expected, "{signal} {held_us:?} {alone}");
        }
    }
}
