//! One line of the result.

use std::collections::BTreeMap;

use lab::Forward;
use serde::{Serialize, Serializer};

use super::cell::Cell;
use super::client::Traffic;
use super::fault::Fault;
use super::seen::Takeover;
use super::system::System;
use crate::settings::{Settings, us};
use crate::statistics::{Summary, as_f64};

/// What was measured with one system, one way of forwarding, one kind of traffic
/// and one fault.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    #[serde(serialize_with = "system")]
    pub(super) system: System,
    #[serde(serialize_with = "forward")]
    pub(super) forward: Forward,
    #[serde(serialize_with = "traffic")]
    pub(super) traffic: Traffic,
    #[serde(serialize_with = "fault")]
    pub(super) fault: Fault,
    /// Of heartbeats or checks.
    pub(super) interval_us: u64,
    pub(super) timeout_us: u64,
    /// Those that count.
    pub(super) runs: usize,
    /// Requests without an answer, in all runs.
    pub(super) lost: u64,
    pub(super) silence_us: Option<Summary>,
    pub(super) takeover_us: Option<Summary>,
    /// See [`Takeover::first_hit_us`].
    pub(super) first_hit_us: Option<Summary>,
    /// See [`Takeover::first_connect_us`].
    pub(super) first_connect_us: Option<Summary>,
    /// From the fault to the latch, as our agent says.
    pub(super) latch_us: Option<Summary>,
    /// Who set it, and how often.
    pub(super) seen_by: BTreeMap<String, usize>,
    /// Runs in which the standby never answered.
    pub(super) lost_takeovers: usize,
    /// Takeovers with nothing wrong; these runs were thrown away.
    pub(super) unprovoked: u64,
    /// How the lost requests were lost, see [`Lost`](super::seen::Lost).
    pub(super) begun: u64,
    pub(super) refused: u64,
    pub(super) reset: u64,
    pub(super) unanswered: u64,
    /// Connections begun without service that took more than 2 ms to be made.
    pub(super) slow_connects: u64,
    pub(super) max_connect_us: Option<u64>,
    /// The longest time the client itself did not run when it should have.
    pub(super) sender_stall_us: Option<u64>,
    /// Each run's takeover, for the picture.
    #[serde(skip)]
    pub(super) takeovers_us: Vec<u64>,
}

/// Which row of the result this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) system: System,
    pub(super) forward: Forward,
    pub(super) traffic: Traffic,
    pub(super) fault: Fault,
}

impl Row {
    pub(super) fn new(key: Key, settings: Settings, cell: &Cell) -> Self {
        let Key {
            system,
            forward,
            traffic,
            fault,
        } = key;
        let (interval, timeout) = system.pace(settings);
        let runs = &cell.runs;
        let takeovers = || runs.iter().filter_map(|run| run.takeover);
        let summary = |figure: fn(Takeover) -> u64| Summary::of(takeovers().map(figure));
        let deaths = || runs.iter().filter_map(|run| run.death.as_ref());
        let mut seen_by = BTreeMap::new();
        for death in deaths() {
            *seen_by.entry(death.seen_by.clone()).or_default() += 1;
        }
        Self {
            system,
            forward,
            traffic,
            fault,
            interval_us: us(interval),
            timeout_us: us(timeout),
            runs: runs.len(),
            lost: runs.iter().map(|run| run.lost.total()).sum(),
            silence_us: summary(|takeover| takeover.silence_us),
            takeover_us: summary(|takeover| takeover.takeover_us),
            first_hit_us: summary(|takeover| takeover.first_hit_us),
            first_connect_us: Summary::of(
                takeovers().filter_map(|takeover| takeover.first_connect_us),
            ),
            latch_us: Summary::of(deaths().map(|death| death.latch_us)),
            seen_by,
            lost_takeovers: runs.iter().filter(|run| run.takeover.is_none()).count(),
            unprovoked: cell.unprovoked,
            begun: runs.iter().map(|run| run.lost.begun).sum(),
            refused: runs.iter().map(|run| run.lost.refused).sum(),
            reset: runs.iter().map(|run| run.lost.reset).sum(),
            unanswered: runs.iter().map(|run| run.lost.unanswered).sum(),
            slow_connects: runs.iter().map(|run| run.slow_connects).sum(),
            max_connect_us: runs.iter().filter_map(|run| run.max_connect_us).max(),
            sender_stall_us: takeovers().map(|takeover| takeover.sender_stall_us).max(),
            takeovers_us: takeovers().map(|takeover| takeover.takeover_us).collect(),
        }
    }

    /// The same for the fastest setting of the peer that was measured.
    pub(super) fn peer<'a>(&self, rows: &'a [Self]) -> Option<&'a Self> {
        let same = |row: &&Self| {
            !row.system.has_agent()
                && (row.forward, row.traffic, row.fault) == (self.forward, self.traffic, self.fault)
        };
        rows.iter()
            .filter(same)
            .filter(|row| row.takeover_us.is_some())
            .min_by_key(|row| row.takeover_us.map(|summary| summary.p50))
    }

    /// How many times as long the peer's middle takeover takes.
    pub(super) fn ratio(&self, rows: &[Self]) -> Option<f64> {
        let own = self.takeover_us?.p50;
        let peer = self.peer(rows)?.takeover_us?.p50;
        (self.system.has_agent() && own > 0).then(|| as_f64(peer) / as_f64(own))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn system<S: Serializer>(system: &System, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(system.name())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn forward<S: Serializer>(forward: &Forward, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(forward.as_str())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn traffic<S: Serializer>(traffic: &Traffic, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(traffic.name())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn fault<S: Serializer>(fault: &Fault, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(fault.name())
}

#[cfg(test)]
pub(super) mod tests;
