//! Every state that three backends can get into, whatever happens.
//!
//! The search is exhaustive to [`DEPTH`] events. Time is counted in units of
//! [`AGAIN`]; only how long ago something was matters, and nothing looks further
//! back than [`PAST`].

use std::{
    collections::{HashSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
};

use super::*;

const DEPTH: usize = 9;
const UNIT: Duration = AGAIN;
/// All happens at this moment: instead of time going on, the past moves away.
const NOW: Duration = Duration::from_hours(100);
const PAST: Duration = Duration::from_secs(4 * AGAIN.as_secs());

#[derive(Clone, Copy, Debug)]
enum Move {
    /// A backend dies, or comes back.
    Alive(usize),
    /// It is drained, or enabled.
    Allowed(usize),
    /// A unit of time passes.
    Tick,
    /// A task ends.
    Ended(Task, Ending),
    /// The newest promoted backend passes its checks.
    Ready,
    Switch,
    Go,
    Restart,
}

/// The promotion, its backends, and what a bystander remembers.
#[derive(Clone, Hash)]
struct World {
    promotion: Promotion,
    sights: [Sight; 3],
    /// Backends that cannot be a primary as far as anybody can know: fenced or
    /// demoted since they last served, or never promoted.
    secured: [bool; 3],
    /// Backends whose promotion was begun since they were last secured.
    attempted: [bool; 3],
    /// For how many units, four at most, each backend has been alive and allowed.
    units: [u8; 3],
}

impl World {
    fn new(spec: Spec) -> Self {
        let sight = Sight {
            alive: true,
            passing: true,
            ready: false,
            allowed: true,
        };
        let mut world = Self {
            promotion: Promotion::new(spec, NOW),
            sights: [sight; 3],
            secured: [false, true, true],
            attempted: [false; 3],
            units: [0; 3],
        };
        // A cold one is off.
        (world.sights[2].alive, world.sights[2].passing) = (false, false);
        world.observe(&[]);
        world
    }

    fn moves(&self) -> Vec<Move> {
        let mut moves = vec![Move::Tick, Move::Switch, Move::Restart, Move::Allowed(0)];
        moves.extend((0..3).map(Move::Alive));
        if self.promotion.awaits().is_some() {
            moves.push(Move::Ready);
        }
        if matches!(self.promotion.phase(), Phase::Blocked { .. }) {
            moves.push(Move::Go);
        }
        for task in self.promotion.tasks(NOW) {
            let endings = [Ending::Done, Ending::Failed, Ending::Unknown];
            moves.extend(endings.map(|ending| Move::Ended(task, ending)));
        }
        moves
    }

    fn apply(&mut self, event: Move) {
        let notes = match event {
            Move::Alive(at) => {
                let sight = &mut self.sights[at];
                sight.alive = !sight.alive;
                sight.passing = sight.alive;
                self.units[at] = 0;
                Vec::new()
            }
            Move::Allowed(at) => {
                self.sights[at].allowed = !self.sights[at].allowed;
                self.units[at] = 0;
                Vec::new()
            }
            Move::Tick => {
                self.promotion.age(UNIT, NOW.saturating_sub(PAST));
                for (sight, units) in self.sights.iter().zip(&mut self.units) {
                    let fit = sight.alive && sight.allowed;
                    *units = if fit { (*units + 1).min(4) } else { 0 };
                }
                self.promotion.advance(NOW)
            }
            Move::Ended(task, ending) => {
                self.judge_task(task);
                let secures = matches!(task.hook, Hook::Fence | Hook::Demote);
                if secures && ending == Ending::Done {
                    self.secured[task.position] = true;
                    self.attempted[task.position] = false;
                }
                if task.hook == Hook::Promote {
                    self.secured[task.position] = false;
                    self.attempted[task.position] = true;
                }
                self.promotion.finished(task, ending, NOW)
            }
            Move::Ready => {
                let (side, _) = self.promotion.awaits().expect("only then");
                let at = self.promotion.members(side)[0];
                self.sights[at].ready = self.sights[at].alive;
                let serving = self.serving();
                let notes = self.promotion.update(&self.sights, serving, NOW);
                self.sights[at].ready = false;
                notes
            }
            Move::Switch => self.promotion.switch(None, NOW).unwrap_or_default(),
            Move::Go => {
                // The person has made sure of all others than the one to be promoted.
                if let Phase::Blocked { at, .. } = self.promotion.phase() {
                    let to = self.promotion.members(at.to);
                    let others = (0..3).filter(|at| !to.contains(at));
                    others.for_each(|at| self.secured[at] = true);
                }
                self.promotion.go(NOW).unwrap_or_default()
            }
            Move::Restart => {
                for task in self.promotion.tasks(NOW) {
                    // The hook may have run.
                    self.attempted[task.position] |= task.hook == Hook::Promote;
                }
                let memory = self.promotion.memory(&NAMES);
                let spec = self.promotion.spec.clone();
                let spent: Vec<_> = self.promotion.budget().spent(NOW).collect();
                let restored = Promotion::restored(spec, &memory, spent, &NAMES, NOW);
                self.promotion = restored.expect("the same names");
                self.units = [0; 3];
                Vec::new()
            }
        };
        self.judge_notes(event, &notes);
        self.observe(&notes);
    }

    fn serving(&self) -> usize {
        let mut positions = 0..3;
        let serving = positions.find(|&at| self.promotion.may_serve(at) && self.sights[at].alive);
        serving.unwrap_or(self.promotion.served)
    }

    /// Lets the promotion see what there is, and judges who may serve.
    fn observe(&mut self, notes: &[Note]) {
        let serving = self.serving();
        let more = self.promotion.update(&self.sights, serving, NOW);
        self.judge_notes(Move::Restart, &more);
        let may: Vec<usize> = (0..3).filter(|&at| self.promotion.may_serve(at)).collect();
        let stateful = self.promotion.is_stateful();
        assert!(
            may.len() <= 1,
            "two sides may serve: {may:?} after {notes:?}"
        );
        for at in may {
            let mut others = (0..3).filter(|other| *other != at);
            let alone = others.all(|other| self.secured[other]);
            assert!(
                !stateful || alone,
                "{at} serves beside one that is not secured"
            );
            self.secured[at] = false;
        }
    }

    /// No promotion without the fence, none twice.
    fn judge_task(&self, task: Task) {
        if task.hook != Hook::Promote {
            return;
        }
        let mut others = (0..3).filter(|at| *at != task.position);
        assert!(
            others.all(|at| self.secured[at]),
            "{task:?} without a fence"
        );
        assert!(!self.attempted[task.position], "{task:?} twice");
    }

    /// No failback before the hold-down is over.
    fn judge_notes(&self, event: Move, notes: &[Note]) {
        for note in notes {
            if let Note::Begins {
                to,
                reason: Reason::Failback,
                ..
            } = *note
            {
                let at = self.promotion.members(to)[0];
                let hold_down = self.promotion.spec.hold_down.as_secs() / UNIT.as_secs();
                assert!(
                    u64::from(self.units[at]) >= hold_down,
                    "{event:?}: failback to {to} too soon"
                );
            }
        }
    }

    /// From now on all is well: the first choice has to get the service back, unless
    /// a person is needed or had another will.
    fn settles(mut self) {
        for sight in &mut self.sights {
            (sight.alive, sight.passing, sight.allowed) = (true, true, true);
        }
        self.observe(&[]);
        let mut blocked = false;
        for _ in 0..40 {
            if let Some(&task) = self.promotion.tasks(NOW).first() {
                self.apply(Move::Ended(task, Ending::Done));
            } else if self.promotion.awaits().is_some() {
                self.apply(Move::Ready);
            } else {
                self.apply(Move::Tick);
            }
            blocked = matches!(self.promotion.phase(), Phase::Blocked { .. });
        }
        let first = self.promotion.may_serve(0);
        assert!(
            first || blocked || self.promotion.switched,
            "{:?}",
            self.promotion
        );
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Says what happened, if it ends in a panic.
struct Trail<'a>(&'a [Move], Option<Move>);

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:#?}, then {:?}", self.0, self.1);
        }
    }
}

/// Visits every state within [`DEPTH`] events; returns how many there are.
fn search(spec: Spec) -> usize {
    let key = |world: &World| {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        hasher.finish()
    };
    let start = World::new(spec);
    let mut seen = HashSet::from([key(&start)]);
    let mut next = VecDeque::from([(Vec::new(), start)]);
    while let Some((trail, world)) = next.pop_front() {
        let settled = Trail(&trail, None);
        world.clone().settles();
        drop(settled);
        if trail.len() == DEPTH {
            continue;
        }
        for event in world.moves() {
            let _trail = Trail(&trail, Some(event));
            let mut after = world.clone();
            after.apply(event);
            if seen.insert(key(&after)) {
                next.push_back(([&trail[..], &[event]].concat(), after));
            }
        }
    }
    seen.len()
}

fn spec() -> Spec {
    Spec {
        hold_down: UNIT * 2,
        patience: UNIT,
        ready_timeout: UNIT * 2,
        ..super::spec()
    }
}

#[test]
fn every_state_of_a_service_with_data() {
    let states = search(spec());
    println!("{states} states");
    assert!(states > 10_000, "only {states} states");
}

#[test]
fn every_state_of_a_service_without_data() {
    let mut spec = spec();
    for member in &mut spec.members {
        (member.promote, member.demote, member.fence) = (false, false, Fence::None);
    }
    let states = search(spec);
    println!("{states} states");
    assert!(states > 1000, "only {states} states");
}
