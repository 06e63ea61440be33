//! Services with warm or cold standbys: what their promotions see, what comes of it
//! for the holds, and what people are told.

use std::time::Duration;

use failover_common::{Hold, Holds};

use super::{Controller, SwitchError};
use crate::{
    config::{self, Hook},
    event::{Event, What},
    policy::Cause,
    promotion::{self, Ending, Note, Phase, Promotion, Reason, Sight, Step, Task, Why},
};

/// A hook that has to be run, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Number of the service.
    pub service: usize,
    /// What for.
    pub task: Task,
    /// Who holds the service, or did.
    pub from: String,
    /// Who is to hold it.
    pub to: String,
    /// Why.
    pub reason: &'static str,
}

impl Controller {
    /// Lets every promotion see what there is; the holds follow.
    pub(super) fn promote(&mut self, now: Duration) {
        for number in 0..self.promotions.len() {
            // There may be thousands of them, most without a promotion.
            if self.promotions[number].is_none() {
                continue;
            }
            let sights = self.sights(number);
            let serving = self.policies[number].serving();
            if let Some(promotion) = &mut self.promotions[number] {
                let notes = promotion.update(&sights, serving, now);
                self.noted(number, &notes, now);
            }
        }
    }

    /// Holds every backend that may not serve, and tells what was noted.
    pub(super) fn noted(&mut self, number: usize, notes: &[Note], now: Duration) {
        let Some(promotion) = &self.promotions[number] else {
            return;
        };
        let holds: Vec<(usize, bool)> = self.config.services[number]
            .backends
            .iter()
            .enumerate()
            .map(|(position, backend)| (backend.backend, !promotion.may_serve(position)))
            .collect();
        let told: Vec<What> = notes.iter().map(|note| self.what(number, note)).collect();
        for note in notes {
            if let Note::Serves { reason, .. } = note {
                self.reasons[number] = Some(*reason);
            }
        }
        self.events
            .extend(told.into_iter().map(|what| Event::new(now, what)));
        for (backend, held) in holds {
            self.hold(backend, &[(Hold::NotPromoted, held)], now);
        }
    }

    /// The hooks that have to be run now. Each is asked for until
    /// [`Self::hook_ended`] says how it ended.
    #[must_use]
    pub fn jobs(&self, now: Duration) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (service, promotion) in self.promotions.iter().enumerate() {
            let Some(promotion) = promotion else { continue };
            let name = |side: usize| self.side_name(service, side);
            let (from, to, reason) = match promotion.phase() {
                Phase::Open | Phase::Closed => {
                    let holder = name(promotion.holder());
                    (holder.clone(), holder, "tidy")
                }
                Phase::Moving(at) | Phase::Blocked { at, .. } => {
                    (name(at.from), name(at.to), at.reason.name())
                }
            };
            jobs.extend(promotion.tasks(now).into_iter().map(|task| Job {
                service,
                task,
                from: from.clone(),
                to: to.clone(),
                reason,
            }));
        }
        jobs
    }

    /// The configuration of a job's hook.
    #[must_use]
    pub fn hook(&self, job: &Job) -> Option<&Hook> {
        let standby = self.config.services[job.service].standby.as_ref()?;
        let hooks = &standby.members.get(job.task.position)?.hooks;
        match job.task.hook {
            promotion::Hook::Fence => hooks.fence.as_ref(),
            promotion::Hook::Start => hooks.start.as_ref(),
            promotion::Hook::Promote => hooks.promote.as_ref(),
            promotion::Hook::Demote => hooks.demote.as_ref(),
            promotion::Hook::Stop => hooks.stop.as_ref(),
        }
    }

    /// A hook has ended. [`Self::settle`] is due.
    pub fn hook_ended(&mut self, service: usize, task: Task, ending: Ending, now: Duration) {
        if let Some(Some(promotion)) = self.promotions.get_mut(service) {
            let notes = promotion.finished(task, ending, now);
            self.noted(service, &notes, now);
        }
    }

    /// The operator moves a service to another holder; returns its name. None: that is
    /// for the policy.
    pub(super) fn switch_holder(
        &mut self,
        number: usize,
        position: Option<usize>,
        now: Duration,
    ) -> Result<Option<String>, SwitchError> {
        let Some(promotion) = &mut self.promotions[number] else {
            return Ok(None);
        };
        let holder = promotion.holder();
        let beside = position.is_some_and(|at| promotion.side(at) == Some(holder));
        if beside && promotion.phase() == Phase::Open {
            return Ok(None);
        }
        let notes = promotion.switch(position, now);
        let notes = notes.map_err(|refusal| SwitchError::NotPromoted {
            service: self.config.services[number].name.clone(),
            refusal,
        })?;
        let to = notes.iter().find_map(|note| match note {
            Note::Begins { to, .. } => Some(self.side_name(number, *to)),
            _ => None,
        });
        self.noted(number, &notes, now);
        self.settle(now);
        Ok(to)
    }

    /// A person has looked: what waits goes on. `promoted`: this backend is promoted
    /// and no other one. [`Self::settle`] is due.
    ///
    /// # Errors
    ///
    /// There is no such service or backend, or nothing waits.
    pub fn go(
        &mut self,
        service: &str,
        promoted: Option<&str>,
        now: Duration,
    ) -> Result<(), SwitchError> {
        let number = self.service(service)?;
        let position = promoted
            .map(|backend| self.position(number, backend))
            .transpose()?;
        let refused = |refusal: promotion::Refusal| SwitchError::NotPromoted {
            service: service.to_owned(),
            refusal,
        };
        let notes = match (&mut self.promotions[number], position) {
            (Some(promotion), Some(position)) => promotion.declare(position, now),
            (Some(promotion), None) => promotion.go(now),
            (None, None) if !self.budgets[number].allows(now) => {
                self.budgets[number].reset();
                self.policies[number].pin(false);
                Ok(Vec::new())
            }
            (None, _) => Err(promotion::Refusal::NothingWaits),
        };
        let notes = notes.map_err(refused)?;
        self.frozen[number] = None;
        self.events.push(Event::new(
            now,
            What::Go {
                service: service.to_owned(),
                promoted: promoted.map(str::to_owned),
            },
        ));
        self.noted(number, &notes, now);
        Ok(())
    }

    /// A check of a backend has passed, by a probe that was `started` then. Returns
    /// whether a promotion waits for it: then [`Self::settle`] is due.
    pub fn passed_check(&mut self, backend: usize, check: usize, started: Duration) -> bool {
        let Some(fresh) = self.backends[backend].fresh.get_mut(check) else {
            return false;
        };
        *fresh = Some(started);
        self.awaited(backend).is_some()
    }

    /// A check of a backend has not passed.
    pub fn failed_check(&mut self, backend: usize, check: usize) {
        if let Some(fresh) = self.backends[backend].fresh.get_mut(check) {
            *fresh = None;
        }
    }

    /// Since when the checks of the backend must have passed, if a promotion waits
    /// for it.
    fn awaited(&self, backend: usize) -> Option<Duration> {
        self.promotions
            .iter()
            .enumerate()
            .find_map(|(number, promotion)| {
                let promotion = promotion.as_ref()?;
                let (side, since) = promotion.awaits()?;
                let backends = &self.config.services[number].backends;
                let mut members = promotion.members(side).iter();
                members
                    .any(|&position| backends[position].backend == backend)
                    .then_some(since)
            })
    }

    fn sights(&self, number: usize) -> Vec<Sight> {
        let sight = |backend: &config::ServiceBackend| {
            let state = &self.backends[backend.backend];
            let holds = self.desired.backends.get(&state.index);
            let holds = Holds(holds.map_or(u64::MAX, |entry| entry.holds));
            let none = |of: &[Hold]| !of.iter().any(|hold| holds.contains(*hold));
            let since = self.awaited(backend.backend);
            let ready = |since| {
                let mut fresh = state.fresh.iter();
                fresh.all(|started| started.is_some_and(|started| started >= since))
            };
            Sight {
                alive: none(&[Hold::Expired, Hold::NoNeighbour, Hold::LinkDown]),
                passing: none(&[Hold::CheckFailed]),
                ready: since.is_some_and(ready),
                allowed: none(&[Hold::Drained, Hold::Disabled, Hold::Damped]),
            }
        };
        self.config.services[number]
            .backends
            .iter()
            .map(sight)
            .collect()
    }

    /// What waits for a person, and what that person has to check.
    pub(super) fn waits_for(&self, number: usize, now: Duration) -> Option<String> {
        if let Some(why) = &self.frozen[number] {
            return Some(why.clone());
        }
        let service = &self.config.services[number].name;
        let budget = match &self.promotions[number] {
            Some(promotion) => promotion.budget(),
            None => &self.budgets[number],
        };
        if let Some(Phase::Blocked { at, why }) =
            self.promotions[number].as_ref().map(Promotion::phase)
        {
            let name = |side| self.side_name(number, side);
            return Some(what_to_check(service, &name(at.from), &name(at.to), why));
        }
        let limit = budget.limit().filter(|_| !budget.allows(now))?;
        Some(format!(
            "{limit} takeovers and failbacks within an hour: find out why, then say \
             `failover go {service}`"
        ))
    }

    pub(super) fn side_name(&self, number: usize, side: usize) -> String {
        let members = self.promotions[number]
            .as_ref()
            .map_or(&[][..], |promotion| promotion.members(side));
        let names: Vec<&str> = members
            .iter()
            .map(|&position| self.name(number, position))
            .collect();
        names.join(" ")
    }

    fn what(&self, number: usize, note: &Note) -> What {
        let service = self.config.services[number].name.clone();
        let name = |side| self.side_name(number, side);
        match *note {
            Note::Begins { from, to, reason } => What::Promotion {
                service,
                from: name(from),
                to: name(to),
                reason: reason.name().to_owned(),
            },
            Note::Enters { to, step } => What::Step {
                service,
                backend: name(to),
                step: step.name().to_owned(),
            },
            Note::NotFenced(position) => What::NotFenced {
                service,
                backend: self.name(number, position).to_owned(),
            },
            Note::GivesUp { to, step } => What::GivesUp {
                service,
                backend: name(to),
                step: step.name().to_owned(),
            },
            Note::Keeps(holder) => What::Keeps {
                service,
                backend: name(holder),
            },
            Note::Blocked { to, why } => {
                let from = match self.promotions[number].as_ref().map(Promotion::phase) {
                    Some(Phase::Blocked { at, .. } | Phase::Moving(at)) => name(at.from),
                    Some(Phase::Open | Phase::Closed) | None => String::new(),
                };
                What::Blocked {
                    check: what_to_check(&service, &from, &name(to), why),
                    backend: name(to),
                    service,
                }
            }
            Note::Overdue(to) => What::GivesUp {
                service,
                backend: name(to),
                step: Step::Ready.name().to_owned(),
            },
            Note::Serves { from, to, reason } => What::Promoted {
                service,
                from: name(from),
                to: name(to),
                reason: reason.name().to_owned(),
            },
        }
    }
}

fn what_to_check(service: &str, from: &str, to: &str, why: Why) -> String {
    match why {
        Why::Fence => format!(
            "{from} could not be fenced: make sure that it is off, then say `failover go {service}`"
        ),
        Why::Promote => format!(
            "{to} could not be promoted: promote it and say `failover go {service}`, or say \
             `failover go {service} --promoted BACKEND`"
        ),
        Why::Unknown => format!(
            "nobody knows whether {to} is promoted: look, and if it is say `failover go {service}`, \
             else `failover go {service} --promoted BACKEND`"
        ),
    }
}

/// How a change of the holder is told.
pub(super) const fn cause(reason: Reason) -> Cause {
    match reason {
        Reason::Died | Reason::Maintenance => Cause::Takeover,
        Reason::Failback => Cause::Failback,
        Reason::Switch | Reason::Declared => Cause::Switch,
    }
}
