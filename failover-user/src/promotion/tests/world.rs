//! The world around a promotion: its backends, as the agent sees them, and a timer.

use super::*;

pub(super) struct World {
    pub(super) promotion: Promotion,
    pub(super) sights: Vec<Sight>,
    pub(super) now: Duration,
    spec: Spec,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl World {
    /// All backends well.
    pub(super) fn new(spec: Spec) -> Self {
        let now = s(1000);
        let sight = Sight {
            alive: true,
            passing: true,
            ready: false,
            allowed: true,
        };
        let mut promotion = Promotion::new(spec.clone(), now);
        let sights = vec![sight; spec.members.len()];
        assert_eq!(promotion.update(&sights, 0, now), []);
        Self {
            promotion,
            sights,
            now,
            spec,
        }
    }

    pub(super) fn run(&mut self, event: Event) -> Result<Vec<Note>, Refusal> {
        let now = self.now;
        match event {
            Event::Alive(position, alive) => {
                (self.sights[position].alive, self.sights[position].passing) = (alive, alive);
            }
            Event::Failing(position) => {
                (self.sights[position].alive, self.sights[position].passing) = (true, false);
            }
            Event::Allowed(position, allowed) => self.sights[position].allowed = allowed,
            Event::Ready(position) => {
                self.sights[position].passing = true;
                self.sights[position].ready = true;
                let notes = self.update();
                self.sights[position].ready = false;
                return Ok(notes);
            }
            Event::Ended(hook, position, ending) => {
                let task = Task { position, hook };
                assert!(self.promotion.tasks(now).contains(&task), "not asked for");
                return Ok(self.promotion.finished(task, ending, now));
            }
            Event::Wait(seconds) => return Ok(self.wait(s(seconds))),
            Event::Switch(to) => return self.promotion.switch(to, now),
            Event::Go => return self.promotion.go(now),
            Event::Declare(position) => return self.promotion.declare(position, now),
            Event::Rejoined(position) => {
                assert!(self.promotion.rejoined(position), "nothing to rejoin");
            }
            Event::Restart => self.restart(),
        }
        Ok(self.update())
    }

    /// Where it stands, in short.
    pub(super) fn phase(&self) -> String {
        match self.promotion.phase() {
            Phase::Open => format!("open {}", self.promotion.holder()),
            Phase::Closed => format!("closed {}", self.promotion.holder()),
            Phase::Moving(at) => format!("{} {}>{}", at.step.name(), at.from, at.to),
            Phase::Blocked { at, why } => format!("blocked {why:?} {}>{}", at.from, at.to),
        }
    }

    fn update(&mut self) -> Vec<Note> {
        // What the data path does: the first that is eligible, else the last.
        let serving = (0..self.sights.len())
            .find(|&at| self.promotion.may_serve(at) && self.sights[at].is_well());
        let serving = serving.unwrap_or(self.promotion.served);
        self.promotion.update(&self.sights, serving, self.now)
    }

    fn wait(&mut self, time: Duration) -> Vec<Note> {
        let end = self.now + time;
        let mut notes = Vec::new();
        while let Some(due) = self.promotion.deadline().filter(|&due| due <= end) {
            self.now = due;
            notes.extend(self.promotion.advance(due));
        }
        self.now = end;
        assert_eq!(self.promotion.advance(end), [], "no deadline for this");
        notes
    }

    fn restart(&mut self) {
        let names = &NAMES[..self.sights.len()];
        let memory = self.promotion.memory(names);
        let text = serde_json::to_string(&memory).unwrap();
        let memory = serde_json::from_str(&text).unwrap();
        let spent: Vec<_> = self.promotion.budget().spent(self.now).collect();
        let restored = Promotion::restored(self.spec.clone(), &memory, spent, names, self.now);
        self.promotion = restored.unwrap();
        assert_eq!(self.promotion.is_frozen(), memory.frozen);
    }
}
