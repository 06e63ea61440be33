//! What must not be forgotten of a promotion, by names: positions change with the
//! configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Move, Phase, Positions, Promotion, Reason, Spec, Step, Why};
use crate::budget::Budget;

/// A promotion as the store keeps it. A side is named by its first backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "any combination is possible")]
pub struct Memory {
    /// The side that was promoted last.
    pub holder: String,
    /// The move that had begun, if one had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving: Option<MemoryOfMove>,
    /// The holder was given up and nobody else was promoted.
    #[serde(default)]
    pub closed: bool,
    /// It was fenced.
    #[serde(default)]
    pub fenced: bool,
    /// Backends that were holders and were not demoted since.
    #[serde(default)]
    pub dirty: Vec<String>,
    /// Cold ones that were started and were not stopped since.
    #[serde(default)]
    pub started: Vec<String>,
    /// The operator chose the holder.
    #[serde(default)]
    pub switched: bool,
    /// Nothing happens by itself until a person says go.
    #[serde(default)]
    pub frozen: bool,
}

/// A move as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryOfMove {
    /// The side that was the holder.
    pub from: String,
    /// The side that is to be.
    pub to: String,
    /// Why.
    pub reason: Reason,
    /// How far it came.
    pub step: Step,
    /// The old holder was demoted.
    #[serde(default)]
    pub demoted: bool,
    /// For whom the step's hook had been run.
    #[serde(default)]
    pub done: Vec<String>,
    /// What it waits for a person for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Why>,
}

/// Memory that says nothing about the service as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backend `{0}` is not one of the service any more")]
pub struct Lost(pub String);

impl Promotion {
    /// A service as an earlier agent left it; `names` are by position, `spent` is
    /// what was spent of the budget.
    ///
    /// A promotion whose hook was on its way counts as not known: it is not run
    /// again.
    ///
    /// # Errors
    ///
    /// Something of importance is about a backend that is gone.
    pub fn restored(
        spec: Spec,
        memory: &Memory,
        spent: impl IntoIterator<Item = Duration>,
        names: &[&str],
        now: Duration,
    ) -> Result<Self, Lost> {
        let position = |name: &str| names.iter().position(|known| *known == name);
        let promotion = Self::new(spec, now);
        let side = |name: &str| {
            let side = position(name).and_then(|position| promotion.side(position));
            side.ok_or_else(|| Lost(name.to_owned()))
        };
        // Of those that are gone nothing needs to be known.
        let set = |names: &[String]| names.iter().filter_map(|name| position(name)).collect();
        let Memory {
            holder,
            moving,
            closed,
            fenced,
            dirty,
            started,
            switched,
            frozen,
        } = memory;
        let holder = side(holder)?;
        let phase = match moving {
            None if *closed => Phase::Closed,
            None => Phase::Open,
            Some(moving) => {
                let at = Move {
                    from: side(&moving.from)?,
                    to: side(&moving.to)?,
                    reason: moving.reason,
                    step: moving.step,
                    since: now,
                    done: set(&moving.done),
                    demoted: moving.demoted,
                    overdue: false,
                };
                let cut_off = at.step == Step::Promote && !promotion.pending(&at).is_empty();
                match moving.blocked {
                    Some(why) => Phase::Blocked { at, why },
                    None if cut_off => Phase::Blocked {
                        at,
                        why: Why::Unknown,
                    },
                    None => Phase::Moving(at),
                }
            }
        };
        let budget = Budget::new(promotion.spec.budget, spent);
        let served = promotion.sides[holder][0];
        Ok(Self {
            holder,
            phase,
            fenced: *fenced,
            dirty: set(dirty),
            started: set(started),
            switched: *switched,
            frozen: *frozen,
            budget,
            served,
            ..promotion
        })
    }

    /// What must not be forgotten, but for the budget.
    #[must_use]
    pub fn memory(&self, names: &[&str]) -> Memory {
        let side = |side: usize| names[self.sides[side][0]].to_owned();
        let set = |set: Positions| {
            set.iter()
                .map(|position| names[position].to_owned())
                .collect()
        };
        let moving = |at: &Move, blocked| MemoryOfMove {
            from: side(at.from),
            to: side(at.to),
            reason: at.reason,
            step: at.step,
            demoted: at.demoted,
            done: set(at.done),
            blocked,
        };
        Memory {
            holder: side(self.holder),
            moving: match &self.phase {
                Phase::Open | Phase::Closed => None,
                Phase::Moving(at) => Some(moving(at, None)),
                Phase::Blocked { at, why } => Some(moving(at, Some(*why))),
            },
            closed: self.phase == Phase::Closed,
            fenced: self.fenced,
            dirty: set(self.dirty),
            started: set(self.started),
            switched: self.switched,
            frozen: self.frozen,
        }
    }
}
