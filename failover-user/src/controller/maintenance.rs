//! What keeps a backend from serving though it is well: the operator's word, and
//! damping.

use std::time::Duration;

use failover_common::{Hold, Holds};

use super::{Controller, SwitchError};
use crate::{
    damping::Damping,
    event::{Event, What},
    store::{Kept, KeptBackend, KeptDamping, KeptService, Maintenance},
};

/// The holds that come of a death.
const DEATHS: [Hold; 4] = [
    Hold::Expired,
    Hold::CheckFailed,
    Hold::NoNeighbour,
    Hold::LinkDown,
];

/// Wall-clock time of the origin of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anchor(pub Duration);

impl Anchor {
    /// Milliseconds since 1970.
    fn wall(self, at: Duration) -> u64 {
        u64::try_from((self.0 + at).as_millis()).unwrap_or(u64::MAX)
    }

    /// Before the origin: the origin.
    pub(super) fn monotonic(self, wall: u64) -> Duration {
        Duration::from_millis(wall).saturating_sub(self.0)
    }
}

impl Controller {
    /// An operator drains or disables a backend, for a time or until it is enabled.
    /// [`Self::settle`] is due.
    ///
    /// # Errors
    ///
    /// There is no such backend.
    pub fn maintain(
        &mut self,
        backend: &str,
        disabled: bool,
        reason: Option<String>,
        time: Option<Duration>,
        now: Duration,
    ) -> Result<(), SwitchError> {
        let number = self.backend(backend)?;
        let until = time.map(|time| self.anchor.wall(now.saturating_add(time)));
        self.events.push(Event::new(
            now,
            What::Maintenance {
                backend: backend.to_owned(),
                state: if disabled { "disabled" } else { "drained" }.to_owned(),
                reason: reason.clone(),
                for_s: time.map(|time| time.as_secs()),
            },
        ));
        self.backends[number].maintenance = Some(Maintenance {
            disabled,
            reason,
            until,
        });
        self.keep_out(number, now);
        Ok(())
    }

    /// An operator enables a backend again; one that was promoted once counts as a
    /// standby again. [`Self::settle`] is due.
    ///
    /// # Errors
    ///
    /// There is no such backend, or nothing keeps it out.
    pub fn enable(
        &mut self,
        backend: &str,
        reason: Option<String>,
        now: Duration,
    ) -> Result<(), SwitchError> {
        let number = self.backend(backend)?;
        let mut rejoined = false;
        for (service, promotion) in self.promotions.iter_mut().enumerate() {
            let mut backends = self.config.services[service].backends.iter();
            let position = backends.position(|listed| listed.backend == number);
            if let (Some(promotion), Some(position)) = (promotion, position) {
                rejoined |= promotion.is_dirty(position) && promotion.rejoined(position);
            }
        }
        if self.backends[number].maintenance.take().is_none() && !rejoined {
            return Err(SwitchError::Enabled(backend.to_owned()));
        }
        self.enabled(number, reason, now);
        Ok(())
    }

    /// Ends what is over: maintenance, damping, budgets.
    pub(super) fn expire(&mut self, now: Duration) {
        self.expired_at = now;
        for number in 0..self.backends.len() {
            let maintenance = self.backends[number].maintenance.as_ref();
            let until = maintenance.and_then(|maintenance| maintenance.until);
            if until.is_some_and(|until| self.anchor.monotonic(until) <= now) {
                self.backends[number].maintenance = None;
                self.enabled(number, Some("its time is over".to_owned()), now);
            }
        }
        self.damp(now);
        for (number, policy) in self.policies.iter_mut().enumerate() {
            policy.pin(!self.budgets[number].allows(now));
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn expiry(&self) -> Option<Duration> {
        let now = self.expired_at;
        let ends = self.backends.iter().flat_map(|backend| {
            let maintenance = backend.maintenance.as_ref();
            let until = maintenance.and_then(|maintenance| maintenance.until);
            let damped = backend.damping.as_ref().and_then(Damping::until);
            until
                .map(|until| self.anchor.monotonic(until))
                .into_iter()
                .chain(damped)
        });
        let budgets = self.budgets.iter();
        ends.chain(budgets.filter_map(|budget| budget.deadline(now)))
            .filter(|at| *at > now)
            .min()
    }

    /// Counts a death, if that is what the change of the holds is.
    pub(super) fn count_death(
        &mut self,
        backend: usize,
        before: Holds,
        after: Holds,
        now: Duration,
    ) {
        let dead = |holds: Holds| DEATHS.iter().any(|death| holds.contains(*death));
        if let Some(damping) = &mut self.backends[backend].damping
            && dead(after)
            && !dead(before)
        {
            damping.died(now);
        }
    }

    /// Holds or releases those that flap. One that is all there is serves on: better
    /// one that flaps than none.
    pub(super) fn damp(&mut self, now: Duration) {
        for number in 0..self.backends.len() {
            let damped = match &mut self.backends[number].damping {
                Some(damping) => damping.advance(now),
                None => continue,
            };
            // The search is long, and seldom needed.
            let damped = damped && self.can_spare(number);
            self.hold(number, &[(Hold::Damped, damped)], now);
        }
    }

    /// Whether each service of the backend has another one that may serve.
    fn can_spare(&self, backend: usize) -> bool {
        let free = |backend: usize| {
            let index = self.backends[backend].index;
            let entry = self.desired.backends.get(&index);
            entry.is_some_and(|entry| entry.holds == 0)
        };
        self.config.services.iter().all(|service| {
            let mut backends = service.backends.iter().map(|listed| listed.backend);
            let mut others = backends.clone().filter(|other| *other != backend);
            !backends.any(|other| other == backend) || others.any(free)
        })
    }

    /// What must not be forgotten.
    #[must_use]
    pub fn kept(&self, now: Duration) -> Kept {
        let mut kept = Kept::default();
        for (number, service) in self.config.services.iter().enumerate() {
            let promotion = self.promotions[number].as_ref();
            // There may be thousands of them, most with nothing to remember.
            if promotion.is_none() && self.budgets[number].limit().is_none() {
                continue;
            }
            let names: Vec<&str> = self.names(number).collect();
            let budget = promotion.map_or(&self.budgets[number], |promotion| promotion.budget());
            let spent = budget.spent(now).map(|at| self.anchor.wall(at));
            let entry = KeptService {
                promotion: promotion.map(|promotion| promotion.memory(&names)),
                spent: spent.collect(),
            };
            if entry != KeptService::default() {
                kept.services.insert(service.name.clone(), entry);
            }
        }
        for (backend, state) in self.config.backends.iter().zip(&self.backends) {
            let damping = state.damping.filter(|damping| damping.penalty(now) >= 1.0);
            let entry = KeptBackend {
                maintenance: state.maintenance.clone(),
                damping: damping.map(|damping| {
                    let (penalty, at) = damping.counted();
                    KeptDamping {
                        penalty,
                        at: self.anchor.wall(at),
                        damped: damping.is_damped(),
                    }
                }),
            };
            if entry != KeptBackend::default() {
                kept.backends.insert(backend.name.clone(), entry);
            }
        }
        kept
    }

    /// Takes up what an earlier agent knew of a backend.
    pub(super) fn recall(&mut self, number: usize, kept: Option<&KeptBackend>, now: Duration) {
        let state = &mut self.backends[number];
        state.maintenance = kept.and_then(|kept| kept.maintenance.clone());
        let damping = kept.and_then(|kept| kept.damping);
        state.damping = self.config.agent.damping.map(|spec| {
            let Some(KeptDamping {
                penalty,
                at,
                damped,
            }) = damping
            else {
                return Damping::new(spec, 0.0, false, now);
            };
            let age = Duration::from_millis(self.anchor.wall(now).saturating_sub(at));
            let lives = age.as_secs_f64() / spec.half_life.as_secs_f64();
            Damping::new(spec, penalty * (-lives).exp2(), damped, now)
        });
        if self.backends[number].damping.is_none() {
            self.hold(number, &[(Hold::Damped, false)], now);
        }
        self.keep_out(number, now);
    }

    fn enabled(&mut self, number: usize, reason: Option<String>, now: Duration) {
        self.events.push(Event::new(
            now,
            What::Maintenance {
                backend: self.config.backends[number].name.clone(),
                state: "enabled".to_owned(),
                reason,
                for_s: None,
            },
        ));
        self.keep_out(number, now);
    }

    /// The holds say what the operator wants.
    fn keep_out(&mut self, number: usize, now: Duration) {
        let maintenance = self.backends[number].maintenance.as_ref();
        let disabled = maintenance.map(|maintenance| maintenance.disabled);
        let holds = [
            (Hold::Drained, disabled == Some(false)),
            (Hold::Disabled, disabled == Some(true)),
        ];
        self.hold(number, &holds, now);
    }

    fn backend(&self, name: &str) -> Result<usize, SwitchError> {
        let mut backends = self.config.backends.iter();
        let number = backends.position(|backend| backend.name == name);
        number.ok_or_else(|| SwitchError::NobodyOfThatName(name.to_owned()))
    }
}
