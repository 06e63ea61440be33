//! Health: whether a backend passes its checks. No clocks, no I/O; when to
//! check is not decided here, only what the outcomes add up to.

/// What one probe says about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It passed.
    Good,
    /// It failed, or timed out.
    Bad,
}

/// How many signs in a row it takes to change one's mind. 0 acts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good signs in a row before a check that is down is up.
    pub rise: u32,
    /// Bad signs in a row before a check that is up is down.
    pub fall: u32,
}

/// What the signs of one check add up to.
///
/// ```text
///                     ┌─────────┐
///                     │ Unknown │
///                     └─┬─────┬─┘
///                  Good │     │ Bad
///                       v     v
///   Good: bad = 0  ┌──────┐ fall × Bad   ┌──────┐  Bad: good = 0
///          ┌─────> │      │ ───────────> │      │ <─────┐
///          └────── │  Up  │              │ Down │ ──────┘
///                  │      │ <─────────── │      │
///                  └──────┘  rise × Good └──────┘
/// ```
///
/// The first sign decides alone, as in `HAProxy`: a backend that has never been
/// checked is taken for healthy, but is not given `fall` more attempts on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not checked yet; counts as up.
    Unknown,
    /// Passes.
    Up {
        /// Bad signs in a row so far, fewer than `fall`.
        bad: u32,
    },
    /// Fails.
    Down {
        /// Good signs in a row so far, fewer than `rise`.
        good: u32,
    },
}

/// A change of mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From unknown or down to up.
    Up,
    /// From unknown or up to down.
    Down,
}

/// Health of one check of one backend; the diagram is at [`State`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    thresholds: Thresholds,
    state: State,
}

impl Health {
    /// A check that has not run yet.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: State::Unknown,
        }
    }

    /// A check whose result an earlier agent knew: the next sign alone does not
    /// overturn it.
    #[must_use]
    pub const fn adopted(thresholds: Thresholds, up: bool) -> Self {
        let state = if up {
            State::Up { bad: 0 }
        } else {
            State::Down { good: 0 }
        };
        Self { thresholds, state }
    }

    /// Takes in the outcome of one probe; returns the change it makes, if any.
    #[expect(clippy::match_same_arms, reason = "an arm is an arrow of the diagram")]
    pub fn observe(&mut self, sign: Sign) -> Option<Change> {
        let Thresholds { rise, fall } = self.thresholds;
        let (state, change) = match (self.state, sign) {
            (State::Unknown, Sign::Good) => (State::Up { bad: 0 }, Some(Change::Up)),
            (State::Unknown, Sign::Bad) => (State::Down { good: 0 }, Some(Change::Down)),
            (State::Up { bad: _ }, Sign::Good) => (State::Up { bad: 0 }, None),
            (State::Up { bad }, Sign::Bad) if bad + 1 < fall => (State::Up { bad: bad + 1 }, None),
            (State::Up { bad: _ }, Sign::Bad) => (State::Down { good: 0 }, Some(Change::Down)),
            (State::Down { good: _ }, Sign::Bad) => (State::Down { good: 0 }, None),
            (State::Down { good }, Sign::Good) if good + 1 < rise => {
                (State::Down { good: good + 1 }, None)
            }
            (State::Down { good: _ }, Sign::Good) => (State::Up { bad: 0 }, Some(Change::Up)),
        };
        self.state = state;
        change
    }

    /// Whether the check speaks for the backend; one that has not run does.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        match self.state {
            State::Unknown | State::Up { bad: _ } => true,
            State::Down { good: _ } => false,
        }
    }

    /// What the signs add up to so far.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }
}

/// Health of one backend: all of its checks must pass, so it is down while any
/// of them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendHealth {
    checks: Vec<Health>,
}

impl BackendHealth {
    /// A backend with these checks, none of which has run yet. Without checks it
    /// is always up.
    pub fn new(checks: impl IntoIterator<Item = Thresholds>) -> Self {
        Self {
            checks: checks.into_iter().map(Health::new).collect(),
        }
    }

    /// A backend as an earlier agent left it. Which check had failed is not
    /// known: if it was down, every check has to rise.
    pub fn adopted(checks: impl IntoIterator<Item = Thresholds>, up: bool) -> Self {
        let adopt = |thresholds| Health::adopted(thresholds, up);
        Self {
            checks: checks.into_iter().map(adopt).collect(),
        }
    }

    /// Takes in the outcome of one probe of the check at index `check`; returns
    /// the change of the backend as a whole. From not known to up is none: the
    /// backend counted as up already.
    ///
    /// # Panics
    ///
    /// If there is no such check.
    pub fn observe(&mut self, check: usize, sign: Sign) -> Option<Change> {
        let was_up = self.is_up();
        self.checks[check].observe(sign);
        match (was_up, self.is_up()) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            (true, true) | (false, false) => None,
        }
    }

    /// Whether no check is down.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.checks.iter().all(Health::is_up)
    }

    /// The checks, in the order they were given.
    #[must_use]
    pub fn checks(&self) -> &[Health] {
        &self.checks
    }
}

#[cfg(test)]
mod tests;
