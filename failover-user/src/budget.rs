//! A budget: how often something may happen by itself within an hour. No clocks,
//! no I/O; time is a parameter.

use std::{collections::VecDeque, time::Duration};

/// Over what time is counted.
pub const PERIOD: Duration = Duration::from_hours(1);

/// Takeovers and failbacks of one service within [`PERIOD`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    limit: Option<usize>,
    /// When each was; as many as there may be.
    spent: VecDeque<Duration>,
}

impl Budget {
    /// At most `limit` within [`PERIOD`]; none: any number. `spent`: those that an
    /// earlier agent counted, the oldest first.
    #[must_use]
    pub fn new(limit: Option<usize>, spent: impl IntoIterator<Item = Duration>) -> Self {
        let spent = limit.map(|_| spent.into_iter().collect());
        Self {
            limit,
            spent: spent.unwrap_or_default(),
        }
    }

    /// Whether there may be one more.
    #[must_use]
    pub fn allows(&self, now: Duration) -> bool {
        self.limit
            .is_none_or(|limit| self.spent(now).count() < limit)
    }

    /// Counts one.
    pub fn spend(&mut self, now: Duration) {
        if self.limit.is_some() {
            self.spent.retain(|at| now < *at + PERIOD);
            self.spent.push_back(now);
        }
    }

    /// A person has looked: everything is allowed again.
    pub fn reset(&mut self) {
        self.spent.clear();
    }

    /// When the next one is allowed, if none is now.
    #[must_use]
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let limit = self.limit.filter(|_| !self.allows(now))?;
        let spent = self.spent(now).count();
        // With a limit of 0 there never is one.
        let oldest = self.spent(now).nth(spent.checked_sub(limit)?)?;
        Some(oldest + PERIOD)
    }

    /// The limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// When those were that count still, the oldest first.
    pub fn spent(&self, now: Duration) -> impl Iterator<Item = Duration> {
        self.spent
            .iter()
            .copied()
            .filter(move |at| now < *at + PERIOD)
    }

    /// Moves all times into the past, for searches that ask what was already seen.
    #[cfg(test)]
    pub(crate) fn age(&mut self, by: Duration) {
        for at in &mut self.spent {
            *at = at.saturating_sub(by);
        }
    }
}

#[cfg(test)]
mod tests;
