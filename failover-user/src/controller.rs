//! What the agent decides: probe outcomes, neighbours and the operator's words
//! in, the desired state of the maps and the events out. No I/O and no clock.

mod adoption;
mod death;
mod error;
mod maintenance;
mod sharing;
mod slots;
mod standby;
pub mod status;

use std::{net::IpAddr, time::Duration};

use bytemuck::Zeroable as _;
use failover_common::{
    Address, Be16, Forward, Hold, Holds, Reverse, ReverseKey, Service, ServiceBackend,
};

pub use self::{adoption::Past, error::SwitchError, maintenance::Anchor, standby::Job};
use crate::{
    budget::Budget,
    config::{self, Config},
    damping::Damping,
    dataplane::State,
    event::{Event, What},
    health::{BackendHealth, Sign},
    network::Reach,
    policy::{self, Cause, Eligibility, Outage, Policy, Step},
    promotion::{Phase, Promotion, Reason},
    store::Maintenance,
};

/// A backend as the agent sees it.
struct Backend {
    /// Index of its entry in the `BACKENDS` map.
    index: u32,
    health: BackendHealth,
    /// Newest outcome of each check, for people.
    outcomes: Vec<String>,
    /// If the hold `expired` is set, or was set by somebody else: why.
    death: Option<death::Death>,
    /// When the newest probe of each check was started, those before serving
    /// included, if it passed.
    fresh: Vec<Option<Duration>>,
    maintenance: Option<Maintenance>,
    damping: Option<Damping>,
}

/// Decides for all services and backends. `now` is `CLOCK_MONOTONIC` everywhere.
pub struct Controller {
    config: Config,
    backends: Vec<Backend>,
    policies: Vec<Policy>,
    /// By number of the service, if it has warm or cold standbys.
    promotions: Vec<Option<Promotion>>,
    /// By number of the service: why nothing happens by itself.
    frozen: Vec<Option<String>>,
    /// By number of the service: why the holder has changed, until it is told.
    reasons: Vec<Option<Reason>>,
    /// By number of the service, if it has no promotion, which has its own.
    budgets: Vec<Budget>,
    /// Services that were told to have nobody.
    outages: Vec<bool>,
    /// By number of the service, if backends of one tier serve together: the row of the
    /// first tier in `SHARES`.
    shares: Vec<Option<u32>>,
    anchor: Anchor,
    /// When it was last looked for what is over.
    expired_at: Duration,
    desired: State,
    events: Vec<Event>,
}

impl Controller {
    /// Goes on from what the maps hold: who serves goes on serving.
    #[must_use]
    pub fn new(config: Config, current: &State, now: Duration) -> Self {
        Self::recalled(config, current, &Past::Nothing, Anchor::default(), now)
    }

    /// What the maps should hold.
    #[must_use]
    pub fn desired(&self) -> &State {
        &self.desired
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes the events that have come up since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// A probe of check `check` of backend `backend` has ended; `text` says how.
    /// Returns whether the backend's holds have changed: then [`Self::settle`] is due.
    pub fn probed(
        &mut self,
        backend: usize,
        check: usize,
        sign: Sign,
        text: String,
        now: Duration,
    ) -> bool {
        let Some(state) = self.backends.get_mut(backend) else {
            return false;
        };
        // A check that counts only before serving is no health.
        let Some(outcome) = state.outcomes.get_mut(check) else {
            return false;
        };
        *outcome = text;
        let changed = state.health.observe(check, sign).is_some();
        let failed = !state.health.is_up();
        let held = changed && self.hold(backend, &[(Hold::CheckFailed, failed)], now);
        // Not to be cut short: both look at what the probe says.
        self.checked(backend, sign, now) | held
    }

    /// The way to a backend has changed. Returns whether its holds have.
    pub fn reached(&mut self, backend: usize, reach: &Reach, now: Duration) -> bool {
        let Some(state) = self.backends.get(backend) else {
            return false;
        };
        let (next_hop, no_neighbour, link_down) = match reach {
            Reach::Resolved(next_hop) => (Some(next_hop), false, false),
            Reach::NoNeighbour { last } => (last.as_ref(), true, false),
            Reach::LinkDown { last } => (last.as_ref(), false, true),
        };
        if let (Some(next_hop), Some(entry)) =
            (next_hop, self.desired.backends.get_mut(&state.index))
        {
            entry.ifindex = next_hop.ifindex;
            entry.egress = next_hop.egress;
            entry.dst_mac[..6].copy_from_slice(&next_hop.dst_mac);
            entry.src_mac[..6].copy_from_slice(&next_hop.src_mac);
            entry.source = next_hop.source.map_or_else(Address::default, Address::from);
            // No packet is longer, though an interface may be said to take more.
            entry.mtu = next_hop.mtu.min(u16::MAX.into());
        }
        let holds = [
            (Hold::NoNeighbour, no_neighbour),
            (Hold::LinkDown, link_down),
        ];
        self.hold(backend, &holds, now)
    }

    /// Runs the policy of every service after holds have changed. Until then the
    /// maps may be brought to [`Self::desired`] only if a hold was set.
    pub fn settle(&mut self, now: Duration) {
        self.damp(now);
        self.promote(now);
        for number in 0..self.policies.len() {
            let eligibility = self.eligibility(number);
            let step = self.policies[number].update(&eligibility, now);
            self.take(number, &step, now);
            if self.promotions[number].is_some() {
                // The order follows who may serve, not only who serves.
                self.place(number);
            }
        }
    }

    /// Does what time alone brings about.
    pub fn advance(&mut self, now: Duration) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        let mut promotions = self.promotions.iter().flatten();
        let settle = due(self.expiry()) || promotions.any(|it| due(it.deadline()));
        self.expire(now);
        for number in 0..self.policies.len() {
            if self.policies[number]
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                let step = self.policies[number].advance(now);
                self.take(number, &step, now);
            }
        }
        if settle {
            self.settle(now);
        }
    }

    /// When [`Self::advance`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let policies = self.policies.iter().filter_map(Policy::deadline);
        let promotions = self.promotions.iter().flatten();
        policies
            .chain(promotions.filter_map(Promotion::deadline))
            .chain(self.expiry())
            .min()
    }

    /// The operator moves a service; returns from whom to whom.
    ///
    /// # Errors
    ///
    /// There is no such service or backend, or the policy refuses.
    pub fn switch(
        &mut self,
        service: &str,
        to: Option<&str>,
        now: Duration,
    ) -> Result<(String, String), SwitchError> {
        let number = self.service(service)?;
        let position = to.map(|to| self.position(number, to)).transpose()?;
        let from = self.policies[number].serving();
        let from = self.name(number, from).to_owned();
        if let Some(to) = self.switch_holder(number, position, now)? {
            return Ok((from, to));
        }
        let step =
            self.policies[number]
                .switch(position)
                .map_err(|refusal| SwitchError::Refused {
                    service: service.to_owned(),
                    refusal,
                })?;
        self.take(number, &step, now);
        let to = self
            .name(number, self.policies[number].serving())
            .to_owned();
        Ok((from, to))
    }

    /// Sets or clears holds; returns whether anything changed.
    fn hold(&mut self, backend: usize, changes: &[(Hold, bool)], now: Duration) -> bool {
        let index = self.backends[backend].index;
        let Some(entry) = self.desired.backends.get_mut(&index) else {
            return false;
        };
        let before = Holds(entry.holds);
        let after = changes
            .iter()
            .fold(before, |holds, (hold, set)| holds.with(*hold, *set));
        if after == before {
            return false;
        }
        if before.is_empty() {
            entry.held_at = nanoseconds(now);
        }
        entry.holds = after.0;
        self.count_death(backend, before, after, now);
        self.events.push(Event::new(
            now,
            What::Holds {
                backend: self.config.backends[backend].name.clone(),
                holds: after.iter().map(|hold| hold.name().to_owned()).collect(),
                reason: self.reason(backend, after),
            },
        ));
        true
    }

    /// Why a backend is held, in words: the checks that say so.
    fn reason(&self, backend: usize, holds: Holds) -> Option<String> {
        if !holds.contains(Hold::CheckFailed) {
            return None;
        }
        let state = &self.backends[backend];
        let config = &self.config.backends[backend];
        let failed = state
            .health
            .checks()
            .iter()
            .zip(&config.checks)
            .zip(&state.outcomes);
        let words: Vec<String> = failed
            .filter(|((health, _), _)| !health.is_up())
            .map(|((_, check), outcome)| format!("{}: {outcome}", check.kind))
            .collect();
        Some(words.join(", "))
    }

    fn take(&mut self, number: usize, step: &Step, now: Duration) {
        let service = self.config.services[number].name.clone();
        let reason = self.reasons[number].take();
        let lost = self.policies[number].state() == policy::State::Lost;
        // While nobody may serve, nobody serves.
        let moved = step
            .moved
            .filter(|_| !(lost && self.promotions[number].is_some()));
        if let Some(moved) = moved
            && moved.cause != Cause::Switch
        {
            self.budgets[number].spend(now);
            let pinned = !self.budgets[number].allows(now);
            self.policies[number].pin(pinned);
        }
        let name = |position| self.name(number, position).to_owned();
        let mut events = Vec::new();
        if let Some(moved) = moved {
            let (from, to) = (name(moved.from), name(moved.to));
            let cause = reason.map_or(moved.cause, standby::cause);
            events.push(match cause {
                Cause::Takeover => What::Takeover {
                    timeline: self.timeline(number, moved.from),
                    service: service.clone(),
                    from,
                    to,
                },
                Cause::Failback => What::Failback {
                    service: service.clone(),
                    from,
                    to,
                },
                Cause::Switch => What::Switch {
                    service: service.clone(),
                    from,
                    to,
                },
            });
        }
        // On the way to another holder nobody serves, and that is told already.
        let phase = self.promotions[number].as_ref().map(Promotion::phase);
        let open = phase.is_none_or(|phase| phase == Phase::Open);
        let keeps = name(self.policies[number].serving());
        match step.outage {
            Some(Outage::Begins) if open => {
                self.outages[number] = true;
                events.push(What::Outage { service, keeps });
            }
            Some(Outage::Ends) if std::mem::take(&mut self.outages[number]) => {
                events.push(What::OutageEnds { service });
            }
            Some(Outage::Begins | Outage::Ends) | None => {}
        }
        self.events
            .extend(events.into_iter().map(|what| Event::new(now, what)));
        if step.order.is_some() || step.moved.is_some_and(|moved| moved.cause == Cause::Switch) {
            self.place(number);
        }
    }

    /// Whether each backend of a service may serve, by position.
    fn eligibility(&self, number: usize) -> Vec<Eligibility> {
        let of = |backend: &config::ServiceBackend| {
            let index = self.backends[backend.backend].index;
            let entry = self.desired.backends.get(&index);
            entry.map_or_else(Eligibility::default, |entry| Eligibility {
                eligible: entry.holds == 0,
                held_at: entry.held_at,
            })
        };
        self.config.services[number]
            .backends
            .iter()
            .map(of)
            .collect()
    }

    /// Puts a service and its reverse entries into the desired state.
    fn place(&mut self, number: usize) {
        let config = &self.config.services[number];
        let policy = &self.policies[number];
        let mut service = Service {
            forward: config.forward as u8,
            switched: u8::from(policy.state() == policy::State::Switched),
            passive: u8::from(config.passive),
            flows: u8::from(config.keeps_flows()),
            on_failure: config.on_failure as u8,
            during_switch: config
                .standby
                .as_ref()
                .map_or(0, |standby| standby.during_switch as u8),
            silence: config.silence.map_or(0, nanoseconds),
            shares: self.shares[number].map_or(0, |row| row + 1),
            ..Service::zeroed()
        };
        // Who is not promoted is not even in the order: it cannot be chosen as the one
        // that was held last, either.
        let promotion = self.promotions[number].as_ref();
        let may_serve = |position: &usize| promotion.is_none_or(|it| it.may_serve(*position));
        let order = policy.order().into_iter().filter(may_serve);
        for (slot, position) in service.backends.iter_mut().zip(order) {
            let backend = &config.backends[position];
            *slot = ServiceBackend {
                index: self.backends[backend.backend].index,
                port: Be16::new(backend.port),
                tier: config.tier(position),
                pair: self.pair(number, position),
                ..ServiceBackend::zeroed()
            };
            service.len += 1;
        }
        self.desired.services.insert(config.key(), service);
        if config.forward != Forward::Nat {
            return;
        }
        for (position, backend) in config.backends.iter().enumerate() {
            let key = ReverseKey {
                address: self.address(backend.backend).into(),
                port: Be16::new(backend.port),
                protocol: config.protocol.number(),
                reserved: [0; 5],
            };
            let reverse = Reverse {
                address: config.address.into(),
                port: Be16::new(config.port),
                passive: service.passive,
                flows: service.flows,
                index: self.backends[backend.backend].index,
                pair: self.pair(number, position),
                padding: [0; 4],
            };
            self.desired.reverse.insert(key, reverse);
        }
    }

    /// Index into the `PAIRS` map of a service and the backend at `position`.
    fn pair(&self, number: usize, position: usize) -> u32 {
        let before = &self.config.services[..number];
        let before: usize = before.iter().map(|service| service.backends.len()).sum();
        u32::try_from(before + position).unwrap_or(u32::MAX)
    }

    fn address(&self, backend: usize) -> IpAddr {
        self.config.backends[backend].address
    }

    /// Names of a service's backends, by position.
    fn names(&self, number: usize) -> impl Iterator<Item = &str> {
        let backends = &self.config.services[number].backends;
        backends
            .iter()
            .map(|backend| self.config.backends[backend.backend].name.as_str())
    }

    fn service(&self, name: &str) -> Result<usize, SwitchError> {
        let mut services = self.config.services.iter();
        let number = services.position(|candidate| candidate.name == name);
        number.ok_or_else(|| SwitchError::NoService(name.to_owned()))
    }

    fn position(&self, number: usize, backend: &str) -> Result<usize, SwitchError> {
        let position = self.names(number).position(|name| name == backend);
        position.ok_or_else(|| SwitchError::NoBackend {
            service: self.config.services[number].name.clone(),
            backend: backend.to_owned(),
            present: self.names(number).collect::<Vec<_>>().join(", "),
        })
    }

    fn name(&self, number: usize, position: usize) -> &str {
        let backend = self.config.services[number].backends[position].backend;
        &self.config.backends[backend].name
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
