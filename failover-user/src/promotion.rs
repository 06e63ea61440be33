//! Promotion: who holds a service that has warm or cold standbys, and the way from
//! one holder to the next. No clocks, no I/O; time is a parameter, since any
//! origin, and never runs backwards.
//!
//! At most one side is promoted: the diagram is at [`Phase`]. Whoever is not the
//! holder may not serve ([`Promotion::may_serve`]), whatever its health; two
//! holders would be worse than none. What has to be run outside is not told but
//! asked for ([`Promotion::tasks`]), so that an agent which goes on from where
//! another one ended runs the same.

mod fit;
mod memory;
mod spec;
mod step;
mod turn;

use std::time::Duration;

pub use self::{
    memory::{Lost, Memory},
    spec::{Fence, Kind, Member, Positions, Spec},
    step::{Ending, Hook, Move, Note, Phase, Reason, Refusal, Step, Task, Why},
};
use crate::budget::Budget;

/// How long after something failed it is tried again.
pub const AGAIN: Duration = Duration::from_secs(30);

/// How long an agent that has just begun looks around before it takes anybody for
/// dead: neighbours, heartbeats and checks have to show themselves first.
const LOOK_AROUND: Duration = Duration::from_secs(5);

/// What is known of one backend's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "any combination is possible")]
pub struct Sight {
    /// It answers, and the way to it works.
    pub alive: bool,
    /// No check has failed.
    pub passing: bool,
    /// Every check of it, the `ready` ones included, has passed since
    /// [`Promotion::awaits`] says.
    pub ready: bool,
    /// Nobody has drained, disabled or damped it.
    pub allowed: bool,
}

impl Sight {
    const fn is_well(self) -> bool {
        self.alive && self.passing && self.allowed
    }
}

/// Decides who holds one service; the diagram is at [`Phase`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promotion {
    spec: Spec,
    /// Positions of each side.
    sides: Vec<Vec<usize>>,
    /// Side that was promoted last.
    holder: usize,
    phase: Phase,
    /// The holder was given up, and fenced.
    fenced: bool,
    /// Backends that were holders, and were not demoted since.
    dirty: Positions,
    /// Cold ones that were started, and were not stopped since.
    started: Positions,
    /// The operator chose the holder.
    switched: bool,
    /// Nothing happens by itself until a person says go.
    frozen: bool,
    budget: Budget,
    /// By position.
    sights: Vec<Sight>,
    /// Position that serves, or served last.
    served: usize,
    /// Since when no backend of the holder is well.
    dead_since: Option<Duration>,
    /// Since when each side is fit to be promoted.
    fit_since: Vec<Option<Duration>>,
    /// Until when no side is tried again that failed.
    avoid: Vec<Option<Duration>>,
    /// Until when no hook that tidies up is tried again, by position.
    resting: Vec<Option<Duration>>,
    /// When time was last looked at.
    advanced: Duration,
}

impl Promotion {
    /// A service that nobody has held before: the hot backends do.
    ///
    /// # Panics
    ///
    /// If no backend is hot, or there are more than 16.
    #[must_use]
    pub fn new(spec: Spec, now: Duration) -> Self {
        assert!(spec.members.len() <= 16, "more than a set can hold");
        let positions = || 0..spec.members.len();
        let hot = |&position: &usize| spec.members[position].kind == Kind::Hot;
        let mut sides: Vec<Vec<usize>> = vec![positions().filter(hot).collect()];
        assert!(!sides[0].is_empty(), "a service has a hot backend");
        sides.extend(positions().filter(|at| !hot(at)).map(|at| vec![at]));
        Self {
            holder: 0,
            phase: Phase::Open,
            fenced: false,
            dirty: Positions::default(),
            started: Positions::default(),
            switched: false,
            frozen: false,
            budget: Budget::new(spec.budget, []),
            sights: vec![Sight::default(); spec.members.len()],
            served: sides[0][0],
            dead_since: Some(now + LOOK_AROUND),
            fit_since: vec![None; sides.len()],
            avoid: vec![None; sides.len()],
            resting: vec![None; spec.members.len()],
            advanced: now,
            sides,
            spec,
        }
    }

    /// A service that is served by `side`, though nobody knows how that came about:
    /// nothing happens by itself.
    #[must_use]
    pub fn held_by(spec: Spec, side: usize, now: Duration) -> Self {
        let promotion = Self::new(spec, now);
        Self {
            holder: side,
            served: promotion.sides[side][0],
            frozen: true,
            ..promotion
        }
    }

    /// A service of which nobody knows who is promoted: nobody serves until a person
    /// says who.
    #[must_use]
    pub fn unknown(spec: Spec, now: Duration) -> Self {
        Self {
            phase: Phase::Closed,
            frozen: true,
            ..Self::new(spec, now)
        }
    }

    /// Takes in the health of every backend, by position, and the position that the
    /// data path serves from.
    ///
    /// # Panics
    ///
    /// If `sights` is not of the service's number of backends.
    pub fn update(&mut self, sights: &[Sight], served: usize, now: Duration) -> Vec<Note> {
        assert_eq!(sights.len(), self.sights.len(), "one for each backend");
        self.sights.copy_from_slice(sights);
        if self.phase == Phase::Open && self.sides[self.holder].contains(&served) {
            self.served = served;
        }
        self.advance(now)
    }

    /// Does what time alone brings about. Call it when [`Self::deadline`] has come.
    pub fn advance(&mut self, now: Duration) -> Vec<Note> {
        self.advanced = now;
        self.dead_since = match (self.is_well(self.holder), self.dead_since) {
            (true, _) => None,
            (false, since) => since.or(Some(now)),
        };
        for side in 0..self.sides.len() {
            self.fit_since[side] = match (self.is_fit(side), self.fit_since[side]) {
                (false, _) => None,
                (true, since) => since.or(Some(now)),
            };
        }
        self.turn(now)
    }

    /// When [`Self::advance`] must be called next; none: not before an update.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let later = |at: &Duration| *at > self.advanced;
        let steps = match self.phase {
            Phase::Open => {
                let patience = self.dead_since.map(|since| since + self.spec.patience);
                let better = (0..self.holder).filter_map(|side| self.fit_since[side]);
                let due = better.map(|since| since + self.spec.hold_down);
                patience.into_iter().chain(due).filter(later).min()
            }
            Phase::Moving(Move {
                step: Step::Reach | Step::Ready,
                since,
                ..
            }) => Some(since + self.spec.ready_timeout),
            Phase::Moving(_) | Phase::Closed | Phase::Blocked { .. } => None,
        };
        let avoided = self.avoid.iter().chain(&self.resting).flatten().copied();
        steps
            .into_iter()
            .chain(avoided)
            .chain(self.budget.deadline(self.advanced))
            .filter(later)
            .min()
    }

    /// What has to be run now. One that is asked for again is the same one, until
    /// [`Self::finished`] says how it ended.
    #[must_use]
    pub fn tasks(&self, now: Duration) -> Vec<Task> {
        match self.phase {
            Phase::Moving(ref at) => {
                let Some(hook) = hook(at.step) else {
                    return Vec::new();
                };
                let pending = self.pending(at);
                pending
                    .iter()
                    .map(|position| Task { position, hook })
                    .collect()
            }
            Phase::Open | Phase::Closed => self.chores(now),
            Phase::Blocked { .. } => Vec::new(),
        }
    }

    /// A task has ended. One that is not asked for any more changes nothing.
    pub fn finished(&mut self, task: Task, ending: Ending, now: Duration) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.tasks(now).contains(&task) {
            match self.phase {
                Phase::Moving(at) => self.stepped(at, task, ending, now, &mut notes),
                Phase::Open | Phase::Closed => self.tidied(task, ending, now),
                Phase::Blocked { .. } => {}
            }
        }
        notes.extend(self.advance(now));
        notes
    }

    /// Moves the service as the operator wants: to the side of the position given,
    /// or to the best one that is fit.
    pub fn switch(&mut self, to: Option<usize>, now: Duration) -> Result<Vec<Note>, Refusal> {
        if self.frozen {
            return Err(Refusal::NeedsGo);
        }
        match self.phase {
            Phase::Open => {}
            Phase::Blocked { .. } => return Err(Refusal::NeedsGo),
            Phase::Closed | Phase::Moving(_) => return Err(Refusal::Busy),
        }
        let to = match to {
            Some(position) => self.side(position).ok_or(Refusal::NoSuchBackend)?,
            None => self.candidate(now).ok_or(Refusal::NoOtherFit)?,
        };
        if to == self.holder {
            return Err(Refusal::AlreadyServing);
        }
        if !self.is_fit(to) {
            return Err(Refusal::NotFit);
        }
        // Nothing is better than the first choice: it needs no protection.
        self.switched = to != 0;
        let mut notes = vec![self.begin(to, Reason::Switch, now)];
        notes.extend(self.advance(now));
        Ok(notes)
    }

    /// A person has looked: what waits for one goes on, past the step that failed.
    pub fn go(&mut self, now: Duration) -> Result<Vec<Note>, Refusal> {
        let over_budget = !self.budget.allows(now);
        if let Phase::Blocked { mut at, .. } = self.phase {
            let passed_over = self.pending(&at).iter();
            passed_over.for_each(|position| at.done.insert(position));
            self.phase = Phase::Moving(at);
        } else if !(self.frozen || over_budget) {
            return Err(Refusal::NothingWaits);
        }
        self.frozen = false;
        self.budget.reset();
        Ok(self.advance(now))
    }

    /// A person has looked, and says that the backend at `position` is promoted and
    /// no other one.
    pub fn declare(&mut self, position: usize, now: Duration) -> Result<Vec<Note>, Refusal> {
        let to = self.side(position).ok_or(Refusal::NoSuchBackend)?;
        let from = self.holder;
        self.frozen = false;
        self.budget.reset();
        self.switched = to != 0;
        let mut at = self.move_to(to, Reason::Declared, now);
        at.step = Step::Promote;
        self.promoting(&mut at);
        at.step = Step::Ready;
        self.phase = Phase::Moving(at);
        let reason = Reason::Declared;
        let mut notes = vec![Note::Begins { from, to, reason }];
        notes.extend(self.advance(now));
        Ok(notes)
    }

    /// A person has looked, and says that the backend at `position` is a standby
    /// again. Returns whether that was not known.
    pub fn rejoined(&mut self, position: usize) -> bool {
        let news = self.dirty.contains(position) && self.side(position) != Some(self.holder);
        if news {
            self.dirty.remove(position);
        }
        news
    }

    /// Whether the backend at `position` was the holder once and is not known to be a
    /// standby again.
    #[must_use]
    pub fn is_dirty(&self, position: usize) -> bool {
        self.dirty.contains(position) && self.is_stateful()
    }

    /// Whether the backend at `position` may serve if it is well. Those that may are
    /// all of one side.
    #[must_use]
    pub fn may_serve(&self, position: usize) -> bool {
        let open = match self.phase {
            Phase::Open => true,
            Phase::Moving(at) => {
                is_planned(at.reason) && matches!(at.step, Step::Start | Step::Reach)
            }
            Phase::Closed | Phase::Blocked { .. } => false,
        };
        open && self.sides[self.holder].contains(&position)
    }

    /// Which side's [`Sight::ready`] decides what comes next, and since when its
    /// checks must have passed.
    #[must_use]
    pub fn awaits(&self) -> Option<(usize, Duration)> {
        match self.phase {
            Phase::Moving(at) if at.step == Step::Ready => Some((at.to, at.since)),
            Phase::Blocked {
                at,
                why: Why::Unknown,
            } => Some((at.to, at.since)),
            Phase::Open | Phase::Closed | Phase::Moving(_) | Phase::Blocked { .. } => None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The side that was promoted last.
    #[must_use]
    pub const fn holder(&self) -> usize {
        self.holder
    }

    /// Positions of a side.
    #[must_use]
    pub fn members(&self, side: usize) -> &[usize] {
        &self.sides[side]
    }

    /// Whether nothing happens by itself until a person says go.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Whether the operator chose the holder.
    #[must_use]
    pub const fn is_switched(&self) -> bool {
        self.switched
    }

    /// The takeovers and failbacks of the last hour.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Moves all times into the past, but not before `floor`: for searches that ask
    /// what was already seen.
    #[cfg(test)]
    fn age(&mut self, by: Duration, floor: Duration) {
        let age = |at: &mut Duration| *at = at.saturating_sub(by).max(floor);
        match &mut self.phase {
            Phase::Open | Phase::Closed => {}
            Phase::Moving(at) | Phase::Blocked { at, .. } => age(&mut at.since),
        }
        let optional = [&mut self.fit_since, &mut self.avoid, &mut self.resting];
        optional.into_iter().flatten().flatten().for_each(age);
        self.dead_since.iter_mut().for_each(age);
        self.budget.age(by);
    }

    /// The side of a position.
    #[must_use]
    pub fn side(&self, position: usize) -> Option<usize> {
        let mut sides = self.sides.iter();
        sides.position(|members| members.contains(&position))
    }
}

/// Whether the old holder is to be left in good order.
const fn is_planned(reason: Reason) -> bool {
    match reason {
        Reason::Died | Reason::Declared => false,
        Reason::Maintenance | Reason::Failback | Reason::Switch => true,
    }
}

/// The hook that a step runs, if it runs one.
const fn hook(step: Step) -> Option<Hook> {
    match step {
        Step::Fence => Some(Hook::Fence),
        Step::Start => Some(Hook::Start),
        Step::Demote => Some(Hook::Demote),
        Step::Promote => Some(Hook::Promote),
        Step::Reach | Step::Ready => None,
    }
}

#[cfg(test)]
mod tests;
