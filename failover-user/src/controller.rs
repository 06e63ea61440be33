//! What the agent decides: probe outcomes, neighbours and the operator's words
//! in, the desired state of the maps and the events out. No I/O and no clock.

mod death;
mod slots;
pub mod status;

use std::{net::IpAddr, time::Duration};

use bytemuck::Zeroable as _;
use failover_common::{
    Address, Be16, Forward, Hold, Holds, Reverse, ReverseKey, Service, ServiceBackend,
};
use thiserror::Error;

use crate::{
    config::{self, Config},
    dataplane::State,
    event::{Event, What},
    health::{BackendHealth, Sign, Thresholds},
    network::Reach,
    policy::{self, Cause, Eligibility, Outage, Policy, Refusal, Spec, Step},
};

/// Why `failover switch` did nothing.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// No such service.
    #[error("no service `{0}`: failover status lists them")]
    NoService(String),
    /// No such backend in the service.
    #[error("service `{service}` has no backend `{backend}`: it has {present}")]
    NoBackend {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// What there is.
        present: String,
    },
    /// The policy refuses.
    #[error("service `{service}` stays where it is: {refusal}")]
    Refused {
        /// The service.
        service: String,
        /// Why.
        refusal: Refusal,
    },
}

/// A backend as the agent sees it.
struct Backend {
    /// Index of its entry in the `BACKENDS` map.
    index: u32,
    health: BackendHealth,
    /// Newest outcome of each check, for people.
    outcomes: Vec<String>,
    /// If the hold `expired` is set, or was set by somebody else: why.
    death: Option<death::Death>,
}

/// Decides for all services and backends. `now` is `CLOCK_MONOTONIC` everywhere.
pub struct Controller {
    config: Config,
    backends: Vec<Backend>,
    policies: Vec<Policy>,
    desired: State,
    events: Vec<Event>,
}

impl Controller {
    /// Goes on from what the maps hold: who serves goes on serving.
    #[must_use]
    pub fn new(config: Config, current: &State, now: Duration) -> Self {
        let indexes = slots::assign(&config.backends, current);
        let mut controller = Self {
            backends: Vec::new(),
            policies: Vec::new(),
            desired: State::default(),
            events: Vec::new(),
            config,
        };
        for (backend, &index) in controller.config.backends.iter().zip(&indexes) {
            let entry = slots::entry(backend, index, current);
            let checks = backend.checks.iter().map(|check| Thresholds {
                rise: check.rise,
                fall: check.fall,
            });
            let health = if current.backends.get(&index) == Some(&entry) {
                BackendHealth::adopted(checks, !Holds(entry.holds).contains(Hold::CheckFailed))
            } else {
                BackendHealth::new(checks)
            };
            controller.backends.push(Backend {
                index,
                health,
                outcomes: vec!["no probe yet".to_owned(); backend.checks.len()],
                death: None,
            });
            controller.desired.backends.insert(index, entry);
        }
        for number in 0..controller.backends.len() {
            controller.adopt_death(number);
        }
        for number in 0..controller.config.services.len() {
            let policy = controller.adopt(number, current, now);
            controller.policies.push(policy);
            let step = controller.policies[number].advance(now);
            controller.take(number, &step, now);
            controller.place(number);
        }
        controller
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
        if let Some(outcome) = state.outcomes.get_mut(check) {
            *outcome = text;
        }
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
        for number in 0..self.policies.len() {
            let eligibility = self.eligibility(number);
            let step = self.policies[number].update(&eligibility, now);
            self.take(number, &step, now);
        }
    }

    /// Does what time alone brings about.
    pub fn advance(&mut self, now: Duration) {
        for number in 0..self.policies.len() {
            if self.policies[number]
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                let step = self.policies[number].advance(now);
                self.take(number, &step, now);
            }
        }
    }

    /// When [`Self::advance`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.policies.iter().filter_map(Policy::deadline).min()
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
        let number = self
            .config
            .services
            .iter()
            .position(|candidate| candidate.name == service)
            .ok_or_else(|| SwitchError::NoService(service.to_owned()))?;
        let names: Vec<&str> = self.names(number).collect();
        let position = match to {
            None => None,
            Some(to) => Some(names.iter().position(|name| *name == to).ok_or_else(|| {
                SwitchError::NoBackend {
                    service: service.to_owned(),
                    backend: to.to_owned(),
                    present: names.join(", "),
                }
            })?),
        };
        let from = names[self.policies[number].serving()].to_owned();
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
        let name = |position| self.name(number, position).to_owned();
        let mut events = Vec::new();
        if let Some(moved) = step.moved {
            let (from, to) = (name(moved.from), name(moved.to));
            events.push(match moved.cause {
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
        match step.outage {
            Some(Outage::Begins) => events.push(What::Outage {
                keeps: name(self.policies[number].serving()),
                service,
            }),
            Some(Outage::Ends) => events.push(What::OutageEnds { service }),
            None => {}
        }
        self.events
            .extend(events.into_iter().map(|what| Event::new(now, what)));
        if step.order.is_some() || step.moved.is_some_and(|moved| moved.cause == Cause::Switch) {
            self.place(number);
        }
    }

    fn adopt(&self, number: usize, current: &State, now: Duration) -> Policy {
        let service = &self.config.services[number];
        let spec = Spec {
            failback: match service.failback {
                config::Failback::Auto => policy::Failback::Auto,
                config::Failback::Manual => policy::Failback::Manual,
            },
            hold_down: service.hold_down,
        };
        let eligibility = self.eligibility(number);
        let Some(found) = current.services.get(&service.key()) else {
            return Policy::new(spec, &eligibility, now);
        };
        let used = &found.backends[..usize::from(found.len).min(found.backends.len())];
        let order: Vec<usize> = used
            .iter()
            .filter_map(|entry| {
                let of = |backend: &config::ServiceBackend| self.backends[backend.backend].index;
                service
                    .backends
                    .iter()
                    .position(|backend| of(backend) == entry.index)
            })
            .collect();
        Policy::adopted(spec, &order, found.switched != 0, &eligibility, now)
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
            silence: config.silence.map_or(0, nanoseconds),
            ..Service::zeroed()
        };
        for (slot, position) in service.backends.iter_mut().zip(policy.order()) {
            let backend = &config.backends[position];
            *slot = ServiceBackend {
                index: self.backends[backend.backend].index,
                port: Be16::new(backend.port),
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
                reserved: 0,
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
