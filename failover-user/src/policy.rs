//! Policy: what a service does about the health of its backends. No clocks, no
//! I/O; time is a parameter, since any origin, and never runs backwards.
//!
//! A backend is known here by its *position* in the service, which is its
//! priority: 0 is the first choice. Backends of one *tier* are as good as each
//! other: nothing goes back from one to another ([`Policy::in_tiers`]), and they may serve
//! together; then the serving one stands for its tier. The data path serves from the first
//! eligible backend of the *order* in the service's map entry and, when none is
//! eligible, from the one held last ([`Eligibility::held_at`]; ties: the first
//! in the order). So the order is all that policy decides, and
//! [`Policy::serving`] is always what the data path selects.
//!
//! # Deaths, order, recoveries
//!
//! A takeover is made by the data path alone, by the hold of the dead backend,
//! and writes no order. A backend that recovers must not get the service back
//! before its hold-down is over; the order sees to that, provided that a
//! [`Step`] is applied in this sequence:
//!
//! 1. set the holds of the backends that died, the serving one last;
//! 2. write [`Step::order`], if there is one;
//! 3. clear the holds of the backends that recovered, the serving one first.
//!
//! After each single write, the service is with the backend that had it or with
//! the one that is to have it, as long as either is eligible.

use std::time::Duration;

pub use step::{Cause, Move, Outage, Refusal, Step};

mod step;

/// How a service decides, from its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Who takes the service back to a better backend.
    pub failback: Failback,
    /// How long a better backend must have been eligible without a break before
    /// an automatic failback; zero: at once.
    pub hold_down: Duration,
}

/// Who takes a service back to a better backend that has recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failback {
    /// The policy, after the hold-down.
    Auto,
    /// The operator, by [`Policy::switch`].
    Manual,
}

/// What a backend's map entry says, or is about to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eligibility {
    /// No reason holds it: it may serve.
    pub eligible: bool,
    /// When it was last held, as in the map (nanoseconds); 0: never.
    pub held_at: u64,
}

/// Where a service stands.
///
/// ```text
///                 a better one recovers
///            ┌─────────────────────────────┐
///            │                             v
///       ┌─────────┐                   ┌─────────┐
///       │  Best   │ <──────────────── │ Waiting │
///       └─────────┘  failback;        └─────────┘
///         ^  │       it dies;            │
///         │  │       the better ones die │
/// it dies │  │ switch               switch │
///         │  v                           v
///       ┌──────────────────────────────────┐
///       │             Switched             │
///       └──────────────────────────────────┘
///
///    any ── the last eligible one dies ──> Lost
///    Lost ── the serving one recovers, a better one with it ──> Waiting
///    Lost ── any other recovery ──> Best
/// ```
///
/// "It" is the serving backend; when it dies, the best eligible one takes over,
/// even one whose hold-down is not over. A failback to a backend that is not the
/// best one yet leads from `Waiting` to `Waiting`; a switch to the first choice,
/// to `Best`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The best eligible backend serves.
    Best,
    /// A better one is eligible, but does not serve yet.
    Waiting {
        /// When the next hold-down is over; none: it waits for the operator.
        until: Option<Duration>,
    },
    /// The operator chose the serving backend. It stays until the next switch or
    /// until it dies: a failback, however late, would undo what the operator did.
    Switched,
    /// No backend is eligible; the one held last keeps the service.
    Lost,
}

/// Decides who serves one service; the diagram is at [`State`].
#[derive(Clone, Debug)]
pub struct Policy {
    spec: Spec,
    /// By position.
    backends: Vec<Backend>,
    /// By position; less is better.
    tiers: Vec<u8>,
    /// Those of one tier serve together: what matters is the tier.
    shared: bool,
    /// Nothing goes back by itself, whatever the spec says.
    pinned: bool,
    /// First of the order in the map; the others follow by priority. The serving
    /// one, or one that is not eligible.
    front: usize,
    serving: usize,
    switched: bool,
}

#[derive(Clone, Copy, Debug)]
struct Backend {
    eligible: bool,
    held_at: u64,
    /// Since when it has been eligible, if it is.
    since: Duration,
}

impl Policy {
    /// A service that has not been served before: the best eligible backend
    /// serves. `eligible` is by position.
    ///
    /// # Panics
    ///
    /// If `eligible` is empty.
    #[must_use]
    pub fn new(spec: Spec, eligible: &[Eligibility], now: Duration) -> Self {
        assert!(!eligible.is_empty(), "a service has a backend");
        let backend = |&Eligibility { eligible, held_at }| Backend {
            eligible,
            held_at,
            since: now,
        };
        let mut policy = Self {
            spec,
            backends: eligible.iter().map(backend).collect(),
            tiers: (0..=u8::MAX).take(eligible.len()).collect(),
            shared: false,
            pinned: false,
            front: 0,
            serving: 0,
            switched: false,
        };
        policy.serving = policy.select();
        policy
    }

    /// A service as an earlier agent left it, with the order found in the map:
    /// who serves goes on serving, and hold-downs start again. `switched`: by
    /// the operator's choice ([`State::Switched`]).
    ///
    /// [`Self::order`] may differ from the one found, never in whom the data
    /// path selects: write it if it does. Then call [`Self::advance`], before any
    /// update. An `order` that does not list each position once counts as none.
    ///
    /// # Panics
    ///
    /// If `eligible` is empty.
    #[must_use]
    pub fn adopted(
        spec: Spec,
        order: &[usize],
        switched: bool,
        eligible: &[Eligibility],
        now: Duration,
    ) -> Self {
        let mut policy = Self::new(spec, eligible, now);
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if sorted.into_iter().eq(0..eligible.len()) {
            policy.front = order[0];
            policy.serving = policy.first_of(order.iter().copied());
            // A switch puts its target first. If somebody else serves, that was a
            // takeover, which writes no order: the choice is over.
            policy.switched = switched
                && policy.serving == policy.front
                && policy.backends[policy.serving].eligible;
            policy.bring_to_front();
        }
        policy
    }

    /// The same policy with the backends in tiers, by position, the best first.
    /// Without it each is a tier of its own. `shared`: those of one serve together.
    #[must_use]
    pub fn in_tiers(mut self, tiers: impl IntoIterator<Item = u8>, shared: bool) -> Self {
        self.tiers = tiers.into_iter().collect();
        self.shared = shared;
        self
    }

    /// While `pinned`, nothing goes back by itself: as with [`Failback::Manual`].
    pub fn pin(&mut self, pinned: bool) {
        self.pinned = pinned;
    }

    /// Takes in the new eligibility of every backend, by position.
    ///
    /// # Panics
    ///
    /// If `eligible` is not of the service's number of backends.
    pub fn update(&mut self, eligible: &[Eligibility], now: Duration) -> Step {
        assert_eq!(eligible.len(), self.backends.len(), "one for each backend");
        let before = (self.serving, self.state());
        for (backend, new) in self.backends.iter_mut().zip(eligible) {
            backend.eligible &= new.eligible;
            backend.held_at = new.held_at;
        }
        let died = self.take_over();
        for (backend, new) in self.backends.iter_mut().zip(eligible) {
            if new.eligible && !backend.eligible {
                backend.eligible = true;
                backend.since = now;
            }
        }
        let revived = self.take_over();
        let better = self.fail_back(now);
        self.step(before, died.or(revived).or(better))
    }

    /// Does what time alone brings about. Call it when [`Self::deadline`] has
    /// come; late is as good, early does nothing.
    pub fn advance(&mut self, now: Duration) -> Step {
        let before = (self.serving, self.state());
        let better = self.fail_back(now);
        self.step(before, better)
    }

    /// When [`Self::advance`] must be called next; none: not before an update.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match self.state() {
            State::Waiting { until } => until,
            State::Best | State::Switched | State::Lost => None,
        }
    }

    /// Moves the service as the operator wants: to the position given, or to the
    /// best eligible backend that does not serve. It stays there
    /// ([`State::Switched`]).
    pub fn switch(&mut self, to: Option<usize>) -> Result<Step, Refusal> {
        let others = || {
            (0..self.backends.len()).filter(|&position| {
                position != self.serving && !self.serve_together(position, self.serving)
            })
        };
        let to = match to {
            Some(to) => to,
            None => others()
                .find(|&position| self.backends[position].eligible)
                .ok_or(Refusal::NoOtherEligible)?,
        };
        let target = self.backends.get(to).ok_or(Refusal::NoSuchBackend)?;
        if to == self.serving {
            return Err(Refusal::AlreadyServing);
        }
        if !target.eligible {
            return Err(Refusal::NotEligible);
        }
        if self.serve_together(to, self.serving) {
            return Err(Refusal::AlreadyServing);
        }
        let before = (self.serving, self.state());
        self.serving = to;
        // Nothing is better than the first choice: it needs no protection.
        self.switched = self.tiers[to] != self.tiers[0];
        Ok(self.step(before, Some(Cause::Switch)))
    }

    /// Position of the backend that has the service: what the data path selects.
    #[must_use]
    pub const fn serving(&self) -> usize {
        self.serving
    }

    /// The order in which the data path tries the backends.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        self.positions().collect()
    }

    /// Where the service stands.
    #[must_use]
    pub fn state(&self) -> State {
        if !self.backends[self.serving].eligible {
            return State::Lost;
        }
        if self.switched {
            return State::Switched;
        }
        match (self.better().map(|(_, due)| due).min(), self.spec.failback) {
            (None, Failback::Auto | Failback::Manual) => State::Best,
            (Some(until), Failback::Auto) if !self.pinned => State::Waiting { until: Some(until) },
            (Some(_), Failback::Auto | Failback::Manual) => State::Waiting { until: None },
        }
    }

    /// If the serving backend is dead, follows the data path to the next one.
    fn take_over(&mut self) -> Option<Cause> {
        if self.backends[self.serving].eligible {
            return None;
        }
        // By priority, also if `front` recovers just now: it has no claim. Of
        // those that survive, the data path has taken the same one.
        let eligible = |position: &usize| self.backends[*position].eligible;
        let mut tier = (0..self.backends.len())
            .filter(|&position| self.serve_together(position, self.serving));
        let sibling = tier.find(eligible);
        let best = sibling.or_else(|| (0..self.backends.len()).find(eligible));
        self.switched &= sibling.is_some();
        let from = self.serving;
        self.serving = best.unwrap_or_else(|| self.select());
        (self.serving != from).then_some(Cause::Takeover)
    }

    /// If a hold-down is over, goes to the best backend of those.
    fn fail_back(&mut self, now: Duration) -> Option<Cause> {
        match self.state() {
            State::Waiting { until: Some(_) } => {
                let (best, _) = self.better().find(|&(_, due)| due <= now)?;
                self.serving = best;
                Some(Cause::Failback)
            }
            State::Best | State::Waiting { until: None } | State::Switched | State::Lost => None,
        }
    }

    fn step(&mut self, (from, was): (usize, State), cause: Option<Cause>) -> Step {
        let to = self.serving;
        Step {
            order: self.bring_to_front().then(|| self.order()),
            moved: cause
                .filter(|_| from != to && !self.serve_together(from, to))
                .map(|cause| Move { from, to, cause }),
            outage: match (was == State::Lost, self.state() == State::Lost) {
                (false, true) => Some(Outage::Begins),
                (true, false) => Some(Outage::Ends),
                (false, false) | (true, true) => None,
            },
        }
    }

    /// Puts the serving backend first, but only if the order would not select it
    /// as it is; returns whether it did.
    fn bring_to_front(&mut self) -> bool {
        let needed = self.select() != self.serving;
        if needed {
            self.front = self.serving;
        }
        needed
    }

    /// The better backends that are eligible, best first, and when the hold-down
    /// of each is over.
    fn better(&self) -> impl Iterator<Item = (usize, Duration)> {
        let better = self.backends[..self.serving].iter().enumerate();
        better
            .filter(|(position, backend)| {
                backend.eligible && self.tiers[*position] < self.tiers[self.serving]
            })
            .map(|(position, backend)| {
                let due = backend.since.saturating_add(self.spec.hold_down);
                (position, due)
            })
    }

    fn positions(&self) -> impl DoubleEndedIterator<Item = usize> + Clone {
        let front = self.front;
        let others = (0..self.backends.len()).filter(move |&position| position != front);
        let of_tier = move |&position: &usize| self.serve_together(position, front);
        let tier = others.clone().filter(of_tier);
        let rest = others.filter(move |position| !of_tier(position));
        std::iter::once(front).chain(tier).chain(rest)
    }

    fn serve_together(&self, a: usize, b: usize) -> bool {
        self.shared && self.tiers[a] == self.tiers[b]
    }

    /// What the data path selects with the order in the map.
    fn select(&self) -> usize {
        self.first_of(self.positions())
    }

    /// What the data path selects with this order.
    fn first_of(&self, order: impl DoubleEndedIterator<Item = usize> + Clone) -> usize {
        let first = order
            .clone()
            .find(|&position| self.backends[position].eligible);
        // Of equal ones `max_by_key` takes the last: reversed, the first.
        let held_last = || {
            order
                .rev()
                .max_by_key(|&position| self.backends[position].held_at)
        };
        first.or_else(held_last).unwrap_or(self.front)
    }
}

#[cfg(test)]
mod tests;
