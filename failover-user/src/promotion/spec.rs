//! What a promotion has to know of its service, from the configuration.

use std::time::Duration;

use crate::policy::Failback;

/// How a service with warm or cold standbys decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The backends by position, which is their priority: the hot ones first, at
    /// least one of them, at most 16 in all.
    pub members: Vec<Member>,
    /// Who takes the service back to a better backend.
    pub failback: Failback,
    /// How long a better backend must have been fit before an automatic failback.
    pub hold_down: Duration,
    /// How long the holder must have been dead before another one is promoted: what
    /// comes back by itself within that is cheaper than a promotion.
    pub patience: Duration,
    /// How long a backend may take to answer after its start, and again to pass its
    /// checks after its promotion.
    pub ready_timeout: Duration,
    /// Automatic takeovers and failbacks an hour; none: any number.
    pub budget: Option<usize>,
}

/// One backend of the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "any combination is possible")]
pub struct Member {
    /// What it takes before it may serve.
    pub kind: Kind,
    /// There is a hook that starts it; cold ones only.
    pub start: bool,
    /// There is one that promotes it.
    pub promote: bool,
    /// There is one that makes a standby of it again.
    pub demote: bool,
    /// There is one that stops it; cold ones only.
    pub stop: bool,
    /// Whether there is one that keeps it from serving for good.
    pub fence: Fence,
    /// It has checks that show whether it is promoted.
    pub ready: bool,
    /// Position of the only backend that it takes over from; none: from every one.
    pub stands_in_for: Option<usize>,
}

/// What a backend needs before it may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing: the data path may use it at once.
    Hot,
    /// It runs, and has to be promoted.
    Warm,
    /// It is off, and has to be started.
    Cold,
}

/// Whether a backend has to be fenced before another one is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fence {
    /// There is no hook for it.
    None,
    /// A hook is run; what it comes to is only told.
    Optional,
    /// Its hook must have succeeded.
    Required,
}

/// A set of positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Positions(u16);

impl Positions {
    /// With `position` in it; positions are below 16.
    pub const fn insert(&mut self, position: usize) {
        self.0 |= 1 << position;
    }

    /// Without `position`.
    pub const fn remove(&mut self, position: usize) {
        self.0 &= !(1 << position);
    }

    /// Whether `position` is in it.
    #[must_use]
    pub const fn contains(self, position: usize) -> bool {
        self.0 & 1 << position != 0
    }

    /// Whether there is none in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them, the least first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..16).filter(move |&position| self.contains(position))
    }
}

impl FromIterator<usize> for Positions {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut set = Self::default();
        positions
            .into_iter()
            .for_each(|position| set.insert(position));
        set
    }
}
