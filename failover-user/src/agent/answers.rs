//! What the agent answers to the commands.

use std::time::Duration;

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
            Request::Status => {
                let answer = match self.status() {
                    Ok(status) => Answer::Status(Box::new(status)),
                    Err(error) => Answer::Refused {
                        error: format!("{error:#}"),
                    },
                };
                reply(&call.answers, answer);
            }
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

    /// Answers a word of the operator's, and does what follows from it.
    fn answer_done(&mut self, answers: &mpsc::Sender<Answer>, done: Result<(), SwitchError>) {
        let answer = match done {
            Ok(()) => {
                self.settle(true, true);
                Answer::Done
            }
            Err(error) => Answer::Refused {
                error: error.to_string(),
            },
        };
        reply(answers, answer);
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

fn reply(answers: &mpsc::Sender<Answer>, answer: Answer) {
    // The client has gone, or does not read: it is its loss.
    let _ = answers.try_send(answer);
}
