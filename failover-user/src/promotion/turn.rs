//! The transitions: every arrow of the diagram at [`Phase`].

use std::time::Duration;

use super::{
    AGAIN, Ending, Fence, Hook, Kind, Move, Note, Phase, Positions, Promotion, Reason, Step, Task,
    Why, is_planned,
};

impl Promotion {
    /// Goes on as far as it goes without anything from outside.
    pub(super) fn turn(&mut self, now: Duration) -> Vec<Note> {
        let mut notes = Vec::new();
        loop {
            let before = self.phase;
            match self.phase {
                Phase::Open => self.leave(now, &mut notes),
                Phase::Closed => self.retry(now, &mut notes),
                Phase::Moving(at) => self.go_on(at, now, &mut notes),
                Phase::Blocked { at, why } => self.unblock(at, why, now, &mut notes),
            }
            if self.phase == before {
                return notes;
            }
        }
    }

    /// Begins a move to `to`.
    pub(super) fn begin(&mut self, to: usize, reason: Reason, now: Duration) -> Note {
        let from = self.holder;
        let at = self.move_to(to, reason, now);
        if at.step == Step::Start {
            self.starting(to);
        }
        self.phase = Phase::Moving(at);
        Note::Begins { from, to, reason }
    }

    pub(super) fn move_to(&self, to: usize, reason: Reason, now: Duration) -> Move {
        let step = if is_planned(reason) {
            Step::Start
        } else {
            Step::Fence
        };
        Move {
            from: self.holder,
            to,
            reason,
            step,
            since: now,
            done: Positions::default(),
            demoted: false,
            overdue: false,
        }
    }

    /// `Open`: whether somebody else has to hold the service.
    fn leave(&mut self, now: Duration, notes: &mut Vec<Note>) {
        if self.frozen {
            return;
        }
        let spent = !self.budget.allows(now);
        let (to, reason) = if self.is_well(self.holder) {
            match self.better(now) {
                Some(to) if !spent => (to, Reason::Failback),
                Some(_) | None => return,
            }
        } else if self.is_withdrawn(self.holder) {
            match self.candidate(now) {
                Some(to) => (to, Reason::Maintenance),
                None => return,
            }
        } else {
            let patient = self
                .dead_since
                .is_none_or(|at| now < at + self.spec.patience);
            match self.candidate(now) {
                Some(to) if !patient && !spent => (to, Reason::Died),
                Some(_) | None => return,
            }
        };
        if reason != Reason::Maintenance {
            self.budget.spend(now);
        }
        if reason == Reason::Died {
            self.switched = false;
        }
        notes.push(self.begin(to, reason, now));
    }

    /// `Closed`: the holder is back, or another one can be tried.
    fn retry(&mut self, now: Duration, notes: &mut Vec<Note>) {
        if self.frozen {
            return;
        }
        if self.is_well(self.holder) {
            self.reopen(notes);
        } else if let Some(to) = self.candidate(now) {
            notes.push(self.begin(to, Reason::Died, now));
        }
    }

    /// `Blocked`: the holder is back before another one was promoted, or it shows
    /// that the new one is promoted.
    fn unblock(&mut self, mut at: Move, why: Why, now: Duration, notes: &mut Vec<Note>) {
        match why {
            Why::Fence if self.is_well(self.holder) => {
                self.avoid[at.to] = Some(now + AGAIN);
                self.reopen(notes);
            }
            Why::Unknown if self.shows_promotion(at.to) => {
                at.step = Step::Ready;
                self.phase = Phase::Moving(at);
            }
            Why::Fence | Why::Unknown | Why::Promote => {}
        }
    }

    /// `Moving`: does the step, or goes on to the next one.
    fn go_on(&mut self, mut at: Move, now: Duration, notes: &mut Vec<Note>) {
        let back = !is_planned(at.reason) && !self.fenced && self.is_well(self.holder);
        if matches!(at.step, Step::Start | Step::Reach) && back {
            return self.reopen(notes);
        }
        let late = now >= at.since + self.spec.ready_timeout;
        let next = match at.step {
            _ if !self.pending(&at).is_empty() => return,
            Step::Fence => {
                self.fenced |= !at.done.is_empty();
                if is_planned(at.reason) {
                    Step::Promote
                } else {
                    Step::Start
                }
            }
            Step::Start => Step::Reach,
            Step::Reach if self.is_reached(at.to) && is_planned(at.reason) => Step::Demote,
            Step::Reach if self.is_reached(at.to) => Step::Promote,
            Step::Reach if late => return self.give_up(at, now, notes),
            Step::Demote => {
                at.demoted = !at.done.is_empty();
                if at.demoted {
                    Step::Promote
                } else {
                    Step::Fence
                }
            }
            Step::Promote => Step::Ready,
            Step::Ready if self.is_ready(at.to) => return self.serve(at, notes),
            Step::Ready if late => return self.overdue(at, now, notes),
            Step::Reach | Step::Ready => return,
        };
        at.step = next;
        at.since = now;
        at.done = Positions::default();
        match next {
            Step::Promote => self.promoting(&mut at),
            Step::Start => self.starting(at.to),
            Step::Fence | Step::Reach | Step::Demote | Step::Ready => {}
        }
        if self.takes_time(&at) {
            notes.push(Note::Enters {
                to: at.to,
                step: next,
            });
        }
        self.phase = Phase::Moving(at);
    }

    /// Whatever becomes of it, the cold ones of the side have to be stopped again.
    fn starting(&mut self, side: usize) {
        for &position in &self.sides[side] {
            if self.spec.members[position].kind == Kind::Cold {
                self.started.insert(position);
            }
        }
    }

    /// From here on the new one is the holder, whatever its hook comes to.
    pub(super) fn promoting(&mut self, at: &mut Move) {
        if self.holder != at.to && !at.demoted {
            for &position in &self.sides[self.holder] {
                self.dirty.insert(position);
            }
        }
        for &position in &self.sides[at.to] {
            self.dirty.remove(position);
        }
        self.holder = at.to;
        self.fenced = false;
    }

    /// A task of a step has ended.
    pub(super) fn stepped(
        &mut self,
        mut at: Move,
        task: Task,
        ending: Ending,
        now: Duration,
        notes: &mut Vec<Note>,
    ) {
        match (task.hook, ending) {
            (_, Ending::Done) => at.done.insert(task.position),
            (Hook::Fence, Ending::Failed | Ending::Unknown) => {
                match self.spec.members[task.position].fence {
                    Fence::Required => return self.block(at, Why::Fence, notes),
                    Fence::Optional | Fence::None => {
                        notes.push(Note::NotFenced(task.position));
                        at.done.insert(task.position);
                    }
                }
            }
            (Hook::Start | Hook::Demote, Ending::Failed | Ending::Unknown) => {
                return self.give_up(at, now, notes);
            }
            (Hook::Promote, Ending::Failed) => return self.block(at, Why::Promote, notes),
            (Hook::Promote, Ending::Unknown) => return self.block(at, Why::Unknown, notes),
            (Hook::Stop, Ending::Failed | Ending::Unknown) => {}
        }
        self.phase = Phase::Moving(at);
    }

    /// A task that tidies up has ended.
    pub(super) fn tidied(&mut self, task: Task, ending: Ending, now: Duration) {
        match (ending, task.hook) {
            (Ending::Done, Hook::Demote) => self.dirty.remove(task.position),
            (Ending::Done, Hook::Stop) => self.started.remove(task.position),
            (Ending::Done, Hook::Fence | Hook::Start | Hook::Promote) => {}
            (Ending::Failed | Ending::Unknown, _) => {
                self.resting[task.position] = Some(now + AGAIN);
            }
        }
    }

    fn block(&mut self, at: Move, why: Why, notes: &mut Vec<Note>) {
        notes.push(Note::Blocked { to: at.to, why });
        self.phase = Phase::Blocked { at, why };
    }

    /// The new one will not do, and was not promoted.
    fn give_up(&mut self, at: Move, now: Duration, notes: &mut Vec<Note>) {
        notes.push(Note::GivesUp {
            to: at.to,
            step: at.step,
        });
        self.avoid[at.to] = Some(now + AGAIN);
        if is_planned(at.reason) {
            self.reopen(notes);
        } else {
            self.phase = Phase::Closed;
        }
    }

    fn reopen(&mut self, notes: &mut Vec<Note>) {
        self.fenced = false;
        self.phase = Phase::Open;
        notes.push(Note::Keeps(self.holder));
    }

    fn serve(&mut self, at: Move, notes: &mut Vec<Note>) {
        self.phase = Phase::Open;
        self.dead_since = None;
        self.served = self.sides[at.to][0];
        notes.push(Note::Serves {
            from: at.from,
            to: at.to,
            reason: at.reason,
        });
    }

    /// The new holder does not serve: the next one, if there is one.
    fn overdue(&mut self, mut at: Move, now: Duration, notes: &mut Vec<Note>) {
        if !at.overdue {
            notes.push(Note::Overdue(at.to));
            at.overdue = true;
            self.phase = Phase::Moving(at);
        }
        let may = !self.frozen && self.budget.allows(now);
        if let Some(to) = self.candidate(now).filter(|_| may) {
            self.budget.spend(now);
            self.avoid[at.to] = Some(now + AGAIN);
            notes.push(self.begin(to, Reason::Died, now));
        }
    }

    /// For whom the hook of the step has still to be run.
    pub(super) fn pending(&self, at: &Move) -> Positions {
        let side = match at.step {
            Step::Fence | Step::Demote => at.from,
            Step::Start | Step::Reach | Step::Promote | Step::Ready => at.to,
        };
        let wanted = |&position: &usize| {
            let member = &self.spec.members[position];
            let wanted = match at.step {
                Step::Fence => member.fence != Fence::None && !self.fenced,
                Step::Start => member.start,
                Step::Demote => member.demote && self.sights[position].alive,
                Step::Promote => member.promote,
                Step::Reach | Step::Ready => false,
            };
            wanted && !at.done.contains(position)
        };
        self.sides[side].iter().copied().filter(wanted).collect()
    }

    /// What is left to do about those that were holders.
    pub(super) fn chores(&self, now: Duration) -> Vec<Task> {
        let positions = 0..self.spec.members.len();
        let chore = |position: usize| {
            let member = &self.spec.members[position];
            let rests = self.resting[position].is_some_and(|until| now < until);
            if rests || self.sides[self.holder].contains(&position) {
                None
            } else if self.dirty.contains(position) && member.demote {
                let alive = self.sights[position].alive;
                alive.then_some(Hook::Demote)
            } else {
                let stop = self.started.contains(position) && member.stop;
                stop.then_some(Hook::Stop)
            }
            .map(|hook| Task { position, hook })
        };
        positions.filter_map(chore).collect()
    }
}
