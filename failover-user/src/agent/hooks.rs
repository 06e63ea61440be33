//! The hooks that run: which ones, and what became of them. What has to be done is
//! on disk before a hook begins.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use log::warn;
use tokio::sync::{Semaphore, mpsc};

use super::{AGAIN, Agent, now};
use crate::{
    event::{Event, What},
    hook::{self, AT_ONCE, Context, Report},
    promotion::{Ending, Task},
    store::Store,
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

/// What hooks need that is no decision.
pub(super) struct Hooks {
    pub(super) store: Store,
    reports: mpsc::Sender<Report<Id>>,
    running: HashSet<(usize, Task)>,
    /// `notify` hooks on their way, by service.
    notices: HashMap<usize, usize>,
    room: Arc<Semaphore>,
    /// Of their own, so that a `notify` that hangs keeps nobody from being fenced.
    room_for_notices: Arc<Semaphore>,
}

impl Hooks {
    pub(super) fn new(store: Store) -> (Self, mpsc::Receiver<Report<Id>>) {
        let (reports, received) = mpsc::channel(hook::REPORTS);
        let hooks = Self {
            store,
            reports,
            running: HashSet::new(),
            notices: HashMap::new(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            room_for_notices: Arc::new(Semaphore::new(AT_ONCE)),
        };
        (hooks, received)
    }
}

impl Agent {
    /// Writes down what must not be forgotten, then starts the hooks that are due.
    pub(super) fn remember(&mut self) {
        if let Err(error) = self.hooks.store.save(self.controller.kept(now())) {
            // Without a memory of it nothing is promoted.
            self.apply_again = Some(now() + AGAIN);
            warn!("no hook is run: {error}");
            return;
        }
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
