//! What the agent answers to the commands.

use std::{sync::Arc, time::Duration};

use log::warn;
use tokio::sync::mpsc;

use super::{Agent, news::tell, now};
use crate::{
    api::{Answer, Call, Request},
    controller::{
        SwitchError,
        status::{InterfaceStatus, Status, Traffic, VerdictStatus},
    },
};

impl Agent {
    pub(super) fn answer(&mut self, call: Call) {
        match call.request {
            Request::Status => match self.status() {
                Ok(status) => self.answer_status(status, call.answers),
                Err(error) => {
                    let error = format!("{error:#}");
                    reply(&call.answers, Answer::Refused { error });
                }
            },
            Request::Switch { service, to } => {
                let switched = self.controller.switch(&service, to.as_deref(), now());
                self.apply();
                reply(
                    &call.answers,
                    match switched {
                        Ok((from, to)) => Answer::Switched { from, to },
                        Err(error) => Answer::Refused {
                            error: error.to_string(),
                        },
                    },
                );
            }
            Request::Maintain {
                backend,
                disable,
                reason,
                for_ms,
            } => {
                let time = for_ms.map(Duration::from_millis);
                let done = self
                    .controller
                    .maintain(&backend, disable, reason, time, now());
                self.answer_done(&call.answers, done);
            }
            Request::Enable { backend, reason } => {
                let done = self.controller.enable(&backend, reason, now());
                self.answer_done(&call.answers, done);
            }
            Request::Go { service, promoted } => {
                let done = self.controller.go(&service, promoted.as_deref(), now());
                self.answer_done(&call.answers, done);
            }
            Request::Events { follow } => {
                let past = self.history.all();
                let live = follow.then(|| self.followers.subscribe());
                tokio::spawn(tell(past, live, call.answers));
            }
        }
    }

    /// Counts the flows before it answers, in a thread of its own: there may be millions.
    fn answer_status(&self, mut status: Status, answers: mpsc::Sender<Answer>) {
        let Some((flows, _)) = &self.flows else {
            return reply(&answers, Answer::Status(Box::new(status)));
        };
        let flows = Arc::clone(flows);
        let numbers = 0..status.backends.len();
        let indexes: Vec<u32> = numbers
            .map(|number| self.controller.index(number))
            .collect();
        let now = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
        tokio::task::spawn_blocking(move || {
            match flows.count(now) {
                Ok(counts) => {
                    for (backend, index) in status.backends.iter_mut().zip(indexes) {
                        backend.flows = Some(counts.get(&index).copied().unwrap_or(0));
                    }
                }
                Err(error) => warn!("flows are not counted: {error}"),
            }
            reply(&answers, Answer::Status(Box::new(status)));
        });
    }

    /// Answers a word of the operator's, and does what follows from it.
    fn answer_done(&mut self, answers: &mpsc::Sender<Answer>, done: Result<(), SwitchError>) {
        match done {
            Ok(()) => {
                self.hooks.answer_later(answers.clone(), Answer::Done);
                self.settle(true, true);
            }
            Err(error) => {
                let error = error.to_string();
                reply(answers, Answer::Refused { error });
            }
        }
    }

    fn status(&self) -> anyhow::Result<Status> {
        let mut status = self.controller.status(now());
        env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        status.pid = std::process::id();
        status.uptime_ms = u64::try_from((now().saturating_sub(self.started)).as_millis())?;
        status.map_writes = self.dataplane.writes();
        for interface in &self.interfaces {
            status.interfaces.push(InterfaceStatus {
                name: interface.name.clone(),
                xdp: interface.xdp.clone(),
            });
        }
        for (number, backend) in status.backends.iter_mut().enumerate() {
            let counters = self.counters.backend(self.controller.index(number))?;
            backend.forwarded = counters.forwarded.into();
            backend.returned = counters.returned.into();
        }
        for (verdict, counter) in self.counters.verdicts()? {
            status.verdicts.push(VerdictStatus {
                verdict: verdict.name().to_owned(),
                traffic: counter.into(),
            });
        }
        Ok(status)
    }
}

impl From<failover_common::Counter> for Traffic {
    fn from(counter: failover_common::Counter) -> Self {
        Self {
            packets: counter.packets,
            bytes: counter.bytes,
        }
    }
}

pub(super) fn reply(answers: &mpsc::Sender<Answer>, answer: Answer) {
    // The client has gone, or does not read: it is its loss.
    let _ = answers.try_send(answer);
}
