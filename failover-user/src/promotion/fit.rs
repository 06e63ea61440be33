//! What is true of a side: whether it serves, could be promoted, is ready.

use std::time::Duration;

use super::{Kind, Move, Promotion, Step};
use crate::policy::Failback;

impl Promotion {
    /// The best side but the holder that can be promoted now.
    pub(super) fn candidate(&self, now: Duration) -> Option<usize> {
        let others = (0..self.sides.len()).filter(|&side| side != self.holder);
        let bound = |side: usize| {
            let mut stands_in = self.sides[side]
                .iter()
                .filter_map(|&at| self.spec.members[at].stands_in_for);
            stands_in.all(|primary| primary == self.served)
        };
        others
            .filter(|&side| bound(side) && self.is_fit(side))
            .find(|&side| self.avoid[side].is_none_or(|until| until <= now))
    }

    /// A better side than the holder, to which it fails back now.
    pub(super) fn better(&self, now: Duration) -> Option<usize> {
        if self.switched || self.spec.failback == Failback::Manual {
            return None;
        }
        // No cold one is started while another one serves.
        let warm = |&side: &usize| {
            let mut members = self.sides[side].iter();
            members.all(|&position| self.spec.members[position].kind != Kind::Cold)
        };
        let due = |&side: &usize| {
            let since = self.fit_since[side];
            since.is_some_and(|since| since + self.spec.hold_down <= now)
                && self.avoid[side].is_none_or(|until| until <= now)
        };
        (0..self.holder).filter(warm).find(due)
    }

    /// Whether a backend of the side may serve as it is.
    pub(super) fn is_well(&self, side: usize) -> bool {
        let mut members = self.sides[side].iter();
        members.any(|&position| self.sights[position].is_well())
    }

    /// Whether only the operator, or damping, keeps the side from being well.
    pub(super) fn is_withdrawn(&self, side: usize) -> bool {
        let mut members = self.sides[side].iter();
        members.any(|&position| {
            let sight = self.sights[position];
            sight.alive && sight.passing && !sight.allowed
        })
    }

    /// Whether the side can be promoted: a backend of it can.
    pub(super) fn is_fit(&self, side: usize) -> bool {
        let fit = |&position: &usize| {
            let (member, sight) = (&self.spec.members[position], self.sights[position]);
            // What was promoted once may have data that nobody else has, and lack
            // what was written since.
            let clean = !(self.dirty.contains(position) && self.is_stateful());
            // Checks may pass only after the promotion; nothing else would change
            // them.
            let will_pass = sight.passing || member.promote;
            let reachable = member.kind == Kind::Cold || sight.alive && will_pass;
            sight.allowed && clean && reachable
        };
        self.sides[side].iter().any(fit)
    }

    /// Whether it matters who was promoted when: a promotion is more than a start.
    pub(super) fn is_stateful(&self) -> bool {
        self.spec.members.iter().any(|member| member.promote)
    }

    pub(super) fn is_reached(&self, side: usize) -> bool {
        let mut members = self.sides[side].iter();
        members.any(|&position| self.sights[position].alive)
    }

    /// Whether the side passes its checks, those since its promotion if it was
    /// changed by a hook.
    pub(super) fn is_ready(&self, side: usize) -> bool {
        let mut members = self.sides[side].iter();
        members.any(|&position| {
            let (member, sight) = (&self.spec.members[position], self.sights[position]);
            let changed = member.promote || member.start || member.ready;
            sight.is_well() && (sight.ready || !changed)
        })
    }

    /// Whether checks that only a promoted backend passes have passed.
    pub(super) fn shows_promotion(&self, side: usize) -> bool {
        let mut members = self.sides[side].iter();
        members.any(|&position| self.spec.members[position].ready && self.sights[position].ready)
    }

    pub(super) fn takes_time(&self, at: &Move) -> bool {
        match at.step {
            Step::Reach => !self.is_reached(at.to),
            Step::Ready => !self.is_ready(at.to),
            Step::Fence | Step::Start | Step::Demote | Step::Promote => {
                !self.pending(at).is_empty()
            }
        }
    }
}
