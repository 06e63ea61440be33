//! The hooks that run: which ones, and what became of them. What has to be done is
//! on disk before a hook begins. A disk may take a second for that, so it is written
//! beside the agent's task, and nothing but hooks and answers about it wait.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use log::warn;
use tokio::sync::{Semaphore, mpsc};

use super::{AGAIN, Agent, answers::reply, now};
use crate::{
    api::Answer,
    event::{Event, What},
    hook::{self, AT_ONCE, Context, Report},
    promotion::{Ending, Task},
    store::{Kept, Store, StoreError},
};

/// `notify` hooks that may run or wait for each other. Full: the event is not passed
/// on, and that is logged; nothing waits for who only wants to know.
const NOTICES: usize = 64;

/// Whose run it is.
#[derive(Clone, Debug)]
pub(super) enum Id {
    /// Of a task of a service.
    Task(usize, Task),
    /// Of the `notify` of a service.
    Notice(usize),
}

/// The store was written, or was not.
pub(super) struct Saved {
    store: Store,
    kept: Kept,
    result: Result<(), StoreError>,
}

/// What hooks need that is no decision.
pub(super) struct Hooks {
    /// None: it is being written.
    store: Option<Store>,
    /// What it holds.
    on_disk: Option<Kept>,
    written: mpsc::Sender<Saved>,
    /// Operators whose words are not on disk yet.
    waiting: Vec<(mpsc::Sender<Answer>, Answer)>,
    reports: mpsc::Sender<Report<Id>>,
    running: HashSet<(usize, Task)>,
    /// `notify` hooks on their way, by service.
    notices: HashMap<usize, usize>,
    room: Arc<Semaphore>,
    /// Of their own, so that a `notify` that hangs keeps nobody from being fenced.
    room_for_notices: Arc<Semaphore>,
}

impl Hooks {
    pub(super) fn new(store: Store) -> (Self, mpsc::Receiver<Report<Id>>, mpsc::Receiver<Saved>) {
        let (reports, received) = mpsc::channel(hook::REPORTS);
        // One store, so one report of it.
        let (written, saved) = mpsc::channel(1);
        let hooks = Self {
            store: Some(store),
            on_disk: None,
            written,
            waiting: Vec::new(),
            reports,
            running: HashSet::new(),
            notices: HashMap::new(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            room_for_notices: Arc::new(Semaphore::new(AT_ONCE)),
        };
        (hooks, received, saved)
    }

    /// Whether the store is being written.
    pub(super) const fn is_saving(&self) -> bool {
        self.store.is_none()
    }

    /// Answers an operator once the words are on disk.
    pub(super) fn answer_later(&mut self, to: mpsc::Sender<Answer>, answer: Answer) {
        self.waiting.push((to, answer));
    }

    fn answer(&mut self) {
        for (to, answer) in self.waiting.drain(..) {
            reply(&to, answer);
        }
    }
}

impl Agent {
    /// Has written down what must not be forgotten, and starts the hooks that are due
    /// once it is.
    pub(super) fn remember(&mut self) {
        let kept = self.controller.kept(now());
        if self.hooks.on_disk.as_ref() == Some(&kept) {
            self.hooks.answer();
            self.start_hooks();
        } else if let Some(mut store) = self.hooks.store.take() {
            let written = self.hooks.written.clone();
            tokio::task::spawn_blocking(move || {
                let result = store.save(kept.clone());
                // The agent has ended, and writes no more.
                let _ = written.blocking_send(Saved {
                    store,
                    kept,
                    result,
                });
            });
        }
        // Else it goes on when what is being written is there.
    }

    /// The store was written. What has changed meanwhile is next.
    pub(super) fn saved(&mut self, saved: Saved) {
        self.hooks.store = Some(saved.store);
        match saved.result {
            Ok(()) => {
                self.hooks.on_disk = Some(saved.kept);
                self.remember();
            }
            Err(error) => {
                // Without a memory of it nothing is promoted.
                self.apply_again = Some(now() + AGAIN);
                self.hooks.answer();
                warn!("no hook is run: {error}");
            }
        }
    }

    /// Writes what is not on disk yet: the agent ends.
    pub(super) async fn save_last(&mut self, saved: &mut mpsc::Receiver<Saved>) {
        if self.hooks.store.is_none()
            && let Some(saved) = saved.recv().await
        {
            self.hooks.store = Some(saved.store);
        }
        let kept = self.controller.kept(now());
        if let Some(store) = &mut self.hooks.store
            && let Err(error) = store.save(kept)
        {
            warn!("{error}");
        }
        self.hooks.answer();
    }

    fn start_hooks(&mut self) {
        for job in self.controller.jobs(now()) {
            let key = (job.service, job.task);
            let Some(hook) = self.controller.hook(&job).cloned() else {
                continue;
            };
            if !self.hooks.running.insert(key) {
                continue;
            }
            let config = self.controller.config();
            let service = &config.services[job.service];
            let backend = &config.backends[service.backends[job.task.position].backend];
            let context = Context {
                hook: job.task.hook.name(),
                service: service.name.clone(),
                backend: Some(backend.name.clone()),
                address: Some(backend.address),
                from: job.from,
                to: job.to,
                reason: job.reason.to_owned(),
                attempt: 1,
                event: None,
            };
            let (room, reports) = (self.hooks.room.clone(), self.hooks.reports.clone());
            let id = Id::Task(job.service, job.task);
            tokio::spawn(hook::run(id, hook, context, room, reports));
        }
    }

    /// An attempt of a hook has ended.
    pub(super) fn hook_ended(&mut self, report: Report<Id>) {
        let (service, task) = match report.id {
            Id::Task(service, task) => (service, task),
            Id::Notice(service) => return self.notified(service, &report),
        };
        let config = self.controller.config();
        let listed = &config.services[service].backends[task.position];
        let outcome = match report.ending {
            Ending::Done => "done",
            Ending::Failed => "failed",
            Ending::Unknown => "unknown",
        };
        let what = What::Hook {
            service: config.services[service].name.clone(),
            backend: config.backends[listed.backend].name.clone(),
            hook: task.hook.name().to_owned(),
            attempt: report.attempt,
            outcome: outcome.to_owned(),
            text: report.text,
        };
        self.record(Event::new(now(), what));
        if report.last {
            self.hooks.running.remove(&(service, task));
            self.controller
                .hook_ended(service, task, report.ending, now());
            self.settle(true, true);
        }
    }

    /// Tells those who want to know of an event.
    pub(super) fn notify(&mut self, event: &Event) {
        let Some((name, from, to)) = event.what.change() else {
            return;
        };
        let services = &self.controller.config().services;
        let Some(number) = services.iter().position(|service| service.name == name) else {
            return;
        };
        let Some(hook) = services[number].notify.clone() else {
            return;
        };
        let waiting = self.hooks.notices.entry(number).or_default();
        if *waiting >= NOTICES {
            warn!("service {name}: notify is not told of: {}", event.what);
            return;
        }
        *waiting += 1;
        let event = serde_json::to_value(event).ok();
        let reason = event.as_ref().and_then(|event| event["event"].as_str());
        let context = Context {
            hook: "notify",
            service: name.to_owned(),
            backend: None,
            address: None,
            from: from.to_owned(),
            to: to.to_owned(),
            reason: reason.unwrap_or_default().to_owned(),
            attempt: 1,
            event,
        };
        let room = self.hooks.room_for_notices.clone();
        let reports = self.hooks.reports.clone();
        tokio::spawn(hook::run(Id::Notice(number), hook, context, room, reports));
    }

    fn notified(&mut self, service: usize, report: &Report<Id>) {
        if report.ending != Ending::Done {
            let name = &self.controller.config().services[service].name;
            warn!("service {name}: notify: {}", report.text.escape_debug());
        }
        if report.last
            && let Some(waiting) = self.hooks.notices.get_mut(&service)
        {
            *waiting = waiting.saturating_sub(1);
        }
    }
}
