//! `silence` of a service: how long nothing at all may come back.

use std::time::Duration;

use failover_common::Forward;
use toml::Spanned;

use super::{
    error::{Error, Problem},
    raw,
    source::Source,
    value,
};

/// While the agent is away, which is seldom: see `docs/detection.md`.
const SILENCE: Duration = Duration::from_millis(40);

/// Where no heartbeats are ever sent: longer than an application pauses to collect its
/// garbage.
const SILENCE_ALONE: Duration = Duration::from_millis(100);

/// Shortest silence that is a death. Less passes before any answer that a server
/// has to think about.
const MIN_SILENCE: Duration = Duration::from_millis(1);

/// Longest silence that is a death. A check is as quick then.
const MAX_SILENCE: Duration = Duration::from_secs(4);

/// [`Service::silence`](super::Service::silence): `nat` only. `heartbeat` is the interval of the
/// heartbeats, if any are sent.
pub(super) fn silence(
    raw: Option<Spanned<raw::DurationText>>,
    forward: Forward,
    heartbeat: Option<Duration>,
    source: Source<'_>,
) -> Result<Option<Duration>, Error> {
    // Between two heartbeats of an agent that lives nothing may be concluded.
    let least = heartbeat.map_or(MIN_SILENCE, |interval| MIN_SILENCE.max(interval * 2));
    match (forward, raw) {
        (Forward::Dsr | Forward::Ipip | Forward::Gue | Forward::FullNat, None) => Ok(None),
        (Forward::Dsr | Forward::Ipip | Forward::Gue | Forward::FullNat, Some(raw)) => {
            let problem = Problem::NatOnly {
                key: "silence",
                forward: forward.name(),
            };
            Err(source.error(raw.span(), problem))
        }
        (Forward::Nat, None) if heartbeat.is_none() => Ok(Some(SILENCE_ALONE)),
        (Forward::Nat, None) => Ok(Some(SILENCE.max(least))),
        (Forward::Nat, Some(raw)) if raw.get_ref().0 == "off" => Ok(None),
        (Forward::Nat, Some(raw)) => {
            let text = raw.get_ref().0.clone();
            // Another word for "off" should not be told of its missing unit.
            let is_time = text.contains(|c: char| c.is_ascii_digit());
            let silence = if is_time {
                value::duration_to(MAX_SILENCE, &raw, "silence", source)?
            } else {
                Duration::ZERO
            };
            let problem = match heartbeat {
                _ if silence >= least => return Ok(Some(silence)),
                Some(interval) if silence >= MIN_SILENCE => Problem::SilenceBetweenHeartbeats {
                    text,
                    interval,
                    min: least,
                },
                _ => Problem::Silence {
                    text,
                    min: MIN_SILENCE,
                },
            };
            Err(source.error(raw.span(), problem))
        }
    }
}
