//! The world around a policy: the map, the data path that reads it, the agent
//! that writes it, and a timer.

use std::time::Duration;

use super::super::{Eligibility, Policy, Refusal, Spec, State, Step};

/// What happens to a service.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// These backends are eligible now, by position; the others are not.
    Eligible(Vec<bool>),
    /// Milliseconds pass; the timer works.
    Wait(u64),
    /// Milliseconds pass while the agent is not scheduled.
    Stall(u64),
    /// The operator's command.
    Switch(Option<usize>),
    /// Another agent takes over what it finds.
    Restart,
}

/// The data path, from the map's words alone: nothing here asks the policy.
#[derive(Clone, Debug)]
pub(super) struct DataPath {
    pub(super) order: Vec<usize>,
    pub(super) backends: Vec<Eligibility>,
}

impl DataPath {
    pub(super) fn select(&self) -> usize {
        let mut held_last = self.order[0];
        for &position in &self.order {
            if self.backends[position].eligible {
                return position;
            }
            if self.backends[position].held_at > self.backends[held_last].held_at {
                held_last = position;
            }
        }
        held_last
    }
}

pub(super) struct World {
    pub(super) spec: Spec,
    pub(super) policy: Policy,
    pub(super) path: DataPath,
    pub(super) now: Duration,
    /// Since when each has been eligible, as far as this agent knows.
    pub(super) since: Vec<Duration>,
}

impl World {
    pub(super) fn new(spec: Spec, eligible: &[bool], now: Duration) -> Self {
        let backend = |&eligible: &bool| Eligibility {
            eligible,
            held_at: 0,
        };
        let backends: Vec<_> = eligible.iter().map(backend).collect();
        let policy = Policy::new(spec, &backends, now);
        let order = policy.order();
        Self {
            spec,
            policy,
            path: DataPath { order, backends },
            now,
            since: vec![now; eligible.len()],
        }
    }

    /// Lets it happen. Every step that policy takes is applied, and checked on
    /// the way; the last one that says anything is returned.
    pub(super) fn run(&mut self, event: &Event) -> Result<Step, Refusal> {
        match event {
            Event::Eligible(eligible) => Ok(self.update(eligible)),
            Event::Wait(ms) => Ok(self.wait(Duration::from_millis(*ms))),
            Event::Stall(ms) => {
                self.now += Duration::from_millis(*ms);
                Ok(Step::default())
            }
            Event::Switch(to) => {
                let step = self.policy.switch(*to)?;
                self.apply(&step, &self.path.backends.clone());
                Ok(step)
            }
            Event::Restart => Ok(self.restart()),
        }
    }

    fn update(&mut self, eligible: &[bool]) -> Step {
        let held_at = u64::try_from(self.now.as_nanos()).unwrap();
        let mut new = self.path.backends.clone();
        for (position, &eligible) in eligible.iter().enumerate() {
            let was = std::mem::replace(&mut new[position].eligible, eligible);
            match (was, eligible) {
                (true, false) => new[position].held_at = held_at,
                (false, true) => self.since[position] = self.now,
                (true, true) | (false, false) => (),
            }
        }
        let step = self.policy.update(&new, self.now);
        self.apply(&step, &new);
        step
    }

    fn wait(&mut self, time: Duration) -> Step {
        let end = self.now + time;
        let mut last = Step::default();
        while let Some(due) = self.policy.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            last = self.advance();
            assert_ne!(last, Step::default(), "a deadline for nothing");
        }
        self.now = end;
        assert_eq!(self.advance(), Step::default(), "no deadline for this");
        last
    }

    fn restart(&mut self) -> Step {
        let switched = self.policy.state() == State::Switched;
        let DataPath { order, backends } = &self.path;
        self.policy = Policy::adopted(self.spec, order, switched, backends, self.now);
        self.since.fill(self.now);
        // What the agent writes if it differs from what it found.
        let serving = self.path.select();
        self.path.order = self.policy.order();
        assert_eq!(self.path.select(), serving, "adopting moved the service");
        self.advance()
    }

    fn advance(&mut self) -> Step {
        let step = self.policy.advance(self.now);
        self.apply(&step, &self.path.backends.clone());
        step
    }

    /// Writes the map as the module documentation says, one word at a time. After
    /// each, the old or the new serving backend has the service, as long as one
    /// of them is eligible: no detour by a third.
    fn apply(&mut self, step: &Step, new: &[Eligibility]) {
        let (old, serving) = (self.path.select(), self.policy.serving());
        let check = |path: &DataPath, after: &str| {
            let [old_alive, new_alive] = [old, serving].map(|at| path.backends[at].eligible);
            let selected = path.select();
            assert!(
                selected == serving || selected == old || !(old_alive || new_alive),
                "{after}: {old} -> {serving}, but {selected} serves: {path:?}"
            );
        };

        let mut deaths: Vec<_> = (0..new.len()).filter(|&at| !new[at].eligible).collect();
        deaths.sort_by_key(|&at| at == old);
        for at in deaths {
            self.path.backends[at] = new[at];
            check(&self.path, "after a death");
        }
        if let Some(order) = &step.order {
            assert_ne!(*order, self.path.order, "a write for nothing");
            self.path.order.clone_from(order);
            check(&self.path, "after the order");
        }
        let mut recoveries: Vec<_> = (0..new.len()).filter(|&at| new[at].eligible).collect();
        recoveries.sort_by_key(|&at| at != serving);
        for at in recoveries {
            self.path.backends[at] = new[at];
            check(&self.path, "after a recovery");
        }
        assert_eq!(self.path.select(), serving, "policy and data path differ");
        assert_eq!(
            self.path.order,
            self.policy.order(),
            "not the order written"
        );
    }
}
