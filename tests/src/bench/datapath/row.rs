//! One line of the result.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::case::{Case, Timed};
use super::harness::Floor;

/// What one case costs. Times are nanoseconds a packet.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) case: String,
    /// The case without its scale.
    #[serde(skip)]
    pub(super) shape: String,
    pub(super) services: u32,
    pub(super) backends: u32,
    /// What the data path says to it; none: it is a floor.
    pub(super) verdict: Option<&'static str>,
    /// Of the shortest run, what the harness does included.
    pub(super) ns: f64,
    /// The same without the shortest run of a program that only passes.
    pub(super) ns_net: f64,
    /// By how much the middle run was longer than the shortest.
    pub(super) spread: f64,
    pub(super) runs: usize,
    /// Packets in a run.
    pub(super) packets: u32,
}

impl Row {
    pub(super) fn new(
        case: &Case,
        packets: u32,
        times: &[Duration],
        floor: &[Duration],
    ) -> Result<Self> {
        let (ns, spread) = shortest(times, packets)?;
        let (floor, _) = shortest(floor, packets)?;
        let is_floor = matches!(case.timed(), Timed::Floor(Floor::Pass));
        Ok(Self {
            case: case.name(),
            shape: case.shape(),
            services: case.scale.services,
            backends: case.scale.backends,
            verdict: match case.timed() {
                Timed::Floor(_) => None,
                Timed::Program(verdict) => Some(verdict.name()),
            },
            ns: rounded(ns),
            // What noise is left in it is no cost.
            ns_net: if is_floor { 0.0 } else { rounded(ns - floor) },
            spread: rounded(spread),
            runs: times.len(),
            packets,
        })
    }
}

/// Nanoseconds a packet of the shortest run, and how much more those of the middle one are.
fn shortest(times: &[Duration], packets: u32) -> Result<(f64, f64)> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let ns = |time: &Duration| time.as_secs_f64() * 1e9 / f64::from(packets);
    let shortest = ns(sorted.first().context("no run")?);
    let middle = ns(&sorted[sorted.len() / 2]);
    Ok((shortest, middle - shortest))
}

/// To a tenth: more was not measured.
fn rounded(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::datapath::case;

    pub(in super::super) fn row(name: &str, ns: u64) -> Row {
        let case = case::all().find(|case| case.name() == name);
        let case = case.expect("a case of this name");
        let micros = |ns: u64| Duration::from_micros(ns);
        Row::new(&case, 1_000, &[micros(ns), micros(ns + 2)], &[micros(10)])
            .expect("there are runs")
    }

    #[test]
    fn the_shortest_run_counts() {
        for (name, ns, net, verdict) in [
            ("pass-v4-tcp-1-2", 12, 0.0, None),
            ("swap-v4-tcp-1-2", 12, 2.0, None),
            ("nat-v6-udp-8-2", 40, 30.0, Some("forwarded_redirect")),
            ("miss-v4-tcp-1-2", 9, -1.0, Some("no_service")),
        ] {
            let row = row(name, ns);
            let found = (row.ns_net - net).abs() < 1e-9 && (row.spread - 2.0).abs() < 1e-9;
            assert!(found && row.verdict == verdict, "{row:?}");
        }
        let case = case::all().next().expect("a case");
        assert!(Row::new(&case, 1, &[], &[]).is_err());
    }
}
