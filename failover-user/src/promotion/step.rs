//! The steps of a promotion, and what a promotion tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Positions;

/// Where a service with warm or cold standbys stands. *The holder* is who was
/// promoted last: only the holder ever serves.
///
/// ```text
///            the holder is dead for the patience, and another one is fit
///        ┌──────────────────────────────────────────────────────────────┐
///        │      a better one is fit for the hold-down; a switch         │
///        │    ┌──────────────────────────────────────────────┐          │
///        │    │                                              v          v
///   ┌──────────┐  ready   ┌───────┐  hooks  ┌─────────┐   ┌───────────────┐
///   │   Open   │ <─────── │ Ready │ <────── │ Promote │ <─│ Start, Reach, │
///   └──────────┘          └───────┘         └─────────┘   │ Demote, Fence │
///     ^    ^                  │ not in time,      │       └───────────────┘
///     │    │                  │ another one       │ fails      │       │
///     │    │                  │ is fit            │            │       │
///     │    │                  └───> Fence         v            │       │
///     │    │   the holder is back (Fence) ┌─────────┐   fails  │       │
///     │    └───────────────────────────── │ Blocked │ <────────┘       │
///     │                                   └─────────┘     (Fence)      │
///     │  the holder is back    ┌────────┐    Start or Reach fails      │
///     └─────────────────────── │ Closed │ <────────────────────────────┘
///                              └────────┘
/// ```
///
/// Unplanned, the sequence is Fence, Start, Reach, Promote, Ready, and nobody
/// serves meanwhile. Planned, it is Start, Reach, Demote (or else Fence),
/// Promote, Ready; the holder serves through Start and Reach, and keeps the
/// service if anything fails before Promote. From Promote on the new one is the
/// holder, and there is no way back but another promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The holder serves, or is dead.
    Open,
    /// The holder is dead and nobody could be promoted so far.
    Closed,
    /// On the way to another holder.
    Moving(Move),
    /// A person must look.
    Blocked {
        /// How far it came.
        at: Move,
        /// What went wrong.
        why: Why,
    },
}

/// A change of the holder that has begun. *Sides* are backends that may serve
/// together: the hot ones are side 0, each other one is a side of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// The side that was the holder.
    pub from: usize,
    /// The side that is to be.
    pub to: usize,
    /// Why.
    pub reason: Reason,
    /// How far it came.
    pub step: Step,
    /// Since when.
    pub since: Duration,
    /// For which backends the step's hook has been run.
    pub done: Positions,
    /// The old holder was demoted, so that it may become a standby as it is.
    pub demoted: bool,
    /// It was told that the step takes too long.
    pub overdue: bool,
}

/// A step of a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The old holder is kept from serving, for good.
    Fence,
    /// The new one is started, if it is cold.
    Start,
    /// Until the new one answers.
    Reach,
    /// The old holder becomes a standby.
    Demote,
    /// The new one becomes the holder.
    Promote,
    /// Until it passes its checks.
    Ready,
}

impl Step {
    /// The word for it in status and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Start => "start",
            Self::Reach => "reach",
            Self::Demote => "demote",
            Self::Promote => "promote",
            Self::Ready => "ready",
        }
    }
}

/// Why the holder changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It died.
    Died,
    /// It is drained or disabled.
    Maintenance,
    /// A better one is back.
    Failback,
    /// The operator wanted it.
    Switch,
    /// The operator said who is promoted.
    Declared,
}

impl Reason {
    /// The words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::Maintenance => "maintenance",
            Self::Failback => "failback",
            Self::Switch => "switch",
            Self::Declared => "declared",
        }
    }
}

/// Why a promotion waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The old holder could not be fenced.
    Fence,
    /// The new one could not be promoted.
    Promote,
    /// Nobody knows whether the new one is promoted: the hook did not end in time,
    /// or the agent ended before the hook.
    Unknown,
}

/// What has to be run outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// For the backend at this position.
    pub position: usize,
    /// Which of its hooks.
    pub hook: Hook,
}

/// A hook that belongs to a step, or tidies up after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Keep it from serving.
    Fence,
    /// Start it.
    Start,
    /// Promote it.
    Promote,
    /// Make a standby of it.
    Demote,
    /// Stop it.
    Stop,
}

impl Hook {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Start => "start",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Stop => "stop",
        }
    }
}

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It did what it should.
    Done,
    /// It did not.
    Failed,
    /// It did not end in time: it may have, or not.
    Unknown,
}

/// What a promotion tells; numbers are of sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The way to another holder begins.
    Begins {
        /// The holder.
        from: usize,
        /// The next one.
        to: usize,
        /// Why.
        reason: Reason,
    },
    /// A step begins that takes time.
    Enters {
        /// The next holder.
        to: usize,
        /// The step.
        step: Step,
    },
    /// The backend at this position could not be fenced, and need not be.
    NotFenced(usize),
    /// A step failed; the promotion of this side is given up for a while.
    GivesUp {
        /// The side.
        to: usize,
        /// The step.
        step: Step,
    },
    /// The holder keeps the service after all.
    Keeps(usize),
    /// It goes on only by a person's word.
    Blocked {
        /// The next holder.
        to: usize,
        /// Why.
        why: Why,
    },
    /// The new holder does not pass its checks in time.
    Overdue(usize),
    /// There is a new holder and it serves.
    Serves {
        /// The last holder.
        from: usize,
        /// The new one.
        to: usize,
        /// Why.
        reason: Reason,
    },
}

/// Why an operator's word changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The position is not one of the service's.
    #[error("the service has no such backend")]
    NoSuchBackend,
    /// The backend is the holder, or serves with it.
    #[error("the backend already serves")]
    AlreadyServing,
    /// The backend cannot be promoted now.
    #[error("the backend cannot be promoted: it is held, or not yet a standby again")]
    NotFit,
    /// None was named, and none could be promoted.
    #[error("no other backend can be promoted")]
    NoOtherFit,
    /// Another promotion is on its way.
    #[error("another promotion is on its way: failover status shows it")]
    Busy,
    /// A person must look first.
    #[error("nothing is promoted until a person says go: failover status says what to check")]
    NeedsGo,
    /// Nothing waits for a person.
    #[error("nothing waits for a go")]
    NothingWaits,
}
