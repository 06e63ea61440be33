//! What an agent begins with: the maps as it finds them, and what an earlier agent
//! remembered.

use std::{collections::HashSet, time::Duration};

use bytemuck::Zeroable as _;
use failover_common::{Hold, Holds, Service, ServiceKey};

use super::{Anchor, Backend, Controller, sharing, slots};
use crate::{
    budget::Budget,
    config::{self, Config, Standby},
    dataplane::State,
    event::{Event, What},
    health::{BackendHealth, Thresholds},
    policy::{self, Policy},
    promotion::{self, Fence, Memory, Move, Phase, Promotion},
    store::{Kept, KeptService},
};

/// What is known of the past.
#[derive(Debug)]
pub enum Past {
    /// Nothing: there was no agent before.
    Nothing,
    /// There was one, and nobody knows what it knew.
    Unreadable,
    /// This.
    Kept(Kept),
}

/// What an earlier agent left of a service.
enum Left<'a> {
    /// Nothing: it is new.
    Nothing,
    /// The store cannot be read.
    Unreadable,
    /// This.
    Memory(&'a Memory, Vec<Duration>),
}

/// Who is promoted, as the store and the maps say, where they do not agree.
const GO: &str = "make sure that no other backend is promoted, then say `failover go SERVICE \
                  --promoted BACKEND`";

impl Controller {
    /// Goes on from what the maps hold and what an earlier agent knew.
    #[must_use]
    pub fn recalled(
        config: Config,
        current: &State,
        past: &Past,
        anchor: Anchor,
        now: Duration,
    ) -> Self {
        let indexes = slots::assign(&config.backends, current);
        let mut controller = Self {
            backends: Vec::new(),
            policies: Vec::new(),
            promotions: Vec::new(),
            frozen: vec![None; config.services.len()],
            reasons: vec![None; config.services.len()],
            budgets: Vec::new(),
            outages: vec![false; config.services.len()],
            shares: sharing::rows(&config),
            anchor,
            expired_at: now,
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
                fresh: vec![None; backend.checks.len() + backend.ready.len()],
                maintenance: None,
                damping: None,
            });
            controller.desired.backends.insert(index, entry);
        }
        let kept = match past {
            Past::Nothing | Past::Unreadable => None,
            Past::Kept(kept) => Some(kept),
        };
        for number in 0..controller.backends.len() {
            controller.adopt_death(number);
            let name = &controller.config.backends[number].name;
            let kept = kept.and_then(|kept| kept.backends.get(name));
            controller.recall(number, kept, now);
        }
        let addresses = controller.config.services.iter().map(|s| s.address);
        controller.desired.services.extend(
            addresses.map(|address| (ServiceKey::of_address(address.into()), Service::zeroed())),
        );
        for number in 0..controller.config.services.len() {
            let service = &controller.config.services[number];
            let kept = kept.and_then(|kept| kept.services.get(&service.name));
            let spent = kept.map_or(&[][..], |kept| &kept.spent).iter();
            let spent: Vec<_> = spent.map(|at| anchor.monotonic(*at)).collect();
            let budget = service.budget.filter(|_| service.standby.is_none());
            let budget = Budget::new(budget.map(usize::from), spent.iter().copied());
            controller.budgets.push(budget);
            let left = match (past, kept) {
                (Past::Unreadable, _) => Left::Unreadable,
                (
                    _,
                    Some(KeptService {
                        promotion: Some(memory),
                        ..
                    }),
                ) => Left::Memory(memory, spent),
                (Past::Nothing | Past::Kept(_), _) => Left::Nothing,
            };
            let promotion = controller.adopt_promotion(number, left, current, now);
            if let Some((_, Some(reason))) = &promotion {
                let service = service.name.clone();
                let reason = reason.clone();
                controller.frozen[number] = Some(reason.clone());
                let what = What::Frozen { service, reason };
                controller.events.push(Event::new(now, what));
            }
            controller.promotions.push(promotion.map(|(it, _)| it));
            // Before anything is written: who is not promoted never serves.
            controller.noted(number, &[], now);
            let policy = controller.adopt(number, current, now);
            controller.policies.push(policy);
            let step = controller.policies[number].advance(now);
            controller.take(number, &step, now);
            controller.tabulate(number);
            controller.place(number);
        }
        controller.release_unpromoted(now);
        controller
    }

    /// A backend whose service promotes nobody any more has nothing to wait for.
    fn release_unpromoted(&mut self, now: Duration) {
        let services = self.config.services.iter();
        let promoting = services.filter(|service| service.standby.is_some());
        let members: HashSet<usize> = promoting
            .flat_map(|service| service.backends.iter().map(|listed| listed.backend))
            .collect();
        for backend in 0..self.backends.len() {
            if !members.contains(&backend) {
                self.hold(backend, &[(Hold::NotPromoted, false)], now);
            }
        }
    }

    /// The promotion of a service, and why nothing may happen by itself, if so.
    fn adopt_promotion(
        &self,
        number: usize,
        left: Left<'_>,
        current: &State,
        now: Duration,
    ) -> Option<(Promotion, Option<String>)> {
        let service = &self.config.services[number];
        let spec = spec(service, service.standby.as_ref()?, &self.config.backends);
        let fresh = Promotion::new(spec.clone(), now);
        let found = current.services.get(&service.key());
        let used = found.map_or(&[][..], |found| {
            &found.backends[..usize::from(found.len).min(found.backends.len())]
        });
        let position = used.first().and_then(|first| {
            let of = |backend: &config::ServiceBackend| self.backends[backend.backend].index;
            let mut backends = service.backends.iter();
            backends.position(|backend| of(backend) == first.index)
        });
        let serving = position.and_then(|position| fresh.side(position));
        let frozen = |why: String| {
            let promotion = match serving {
                Some(side) => Promotion::held_by(spec.clone(), side, now),
                None => Promotion::unknown(spec.clone(), now),
            };
            Some((promotion, Some(format!("{why}: {GO}"))))
        };
        let name = |side: usize| self.name(number, fresh.members(side)[0]);
        let memory = match left {
            Left::Unreadable => {
                return frozen("what is known of promotions could not be read".to_owned());
            }
            Left::Nothing => {
                return match serving {
                    None | Some(0) => Some((fresh, None)),
                    Some(side) => frozen(format!(
                        "{} serves, and nothing is known of its promotion",
                        name(side)
                    )),
                };
            }
            Left::Memory(memory, spent) => {
                let names: Vec<&str> = self.names(number).collect();
                match Promotion::restored(spec.clone(), memory, spent, &names, now) {
                    Ok(promotion) => promotion,
                    Err(error) => return frozen(error.to_string()),
                }
            }
        };
        let consistent = serving.is_none_or(|side| match memory.phase() {
            Phase::Open | Phase::Closed => side == memory.holder(),
            Phase::Moving(Move { from, to, .. })
            | Phase::Blocked {
                at: Move { from, to, .. },
                ..
            } => side == from || side == to,
        });
        if let Some(side) = serving.filter(|_| !consistent) {
            let (serves, promoted) = (name(side), name(memory.holder()));
            return frozen(format!("{serves} serves, but {promoted} was promoted last"));
        }
        let why = memory.is_frozen().then(|| GO.to_owned());
        Some((memory, why))
    }

    fn adopt(&self, number: usize, current: &State, now: Duration) -> Policy {
        let service = &self.config.services[number];
        let spec = policy::Spec {
            failback: failback(service.failback),
            hold_down: service.hold_down,
        };
        let tiers = service.backends.iter().map(|backend| backend.priority);
        let eligibility = self.eligibility(number);
        let Some(found) = current.services.get(&service.key()) else {
            let policy = Policy::new(spec, &eligibility, now);
            return policy.in_tiers(tiers, service.shares());
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
        let policy = Policy::adopted(spec, &order, found.switched != 0, &eligibility, now);
        policy.in_tiers(tiers, service.shares())
    }
}

fn spec(
    service: &config::Service,
    standby: &Standby,
    backends: &[config::Backend],
) -> promotion::Spec {
    let members = standby.members.iter().zip(&service.backends);
    let members = members.map(|(member, backend)| {
        let config::Hooks {
            start,
            promote,
            fence,
            demote,
            stop,
        } = &member.hooks;
        promotion::Member {
            kind: member.kind,
            start: start.is_some(),
            promote: promote.is_some(),
            demote: demote.is_some(),
            stop: stop.is_some(),
            fence: match fence {
                None => Fence::None,
                Some(fence) if fence.required => Fence::Required,
                Some(_) => Fence::Optional,
            },
            ready: !backends[backend.backend].ready.is_empty(),
            stands_in_for: member.stands_in_for,
        }
    });
    promotion::Spec {
        members: members.collect(),
        failback: failback(service.failback),
        hold_down: service.hold_down,
        patience: standby.patience,
        ready_timeout: standby.ready_timeout,
        budget: service.budget.map(usize::from),
    }
}

const fn failback(failback: config::Failback) -> policy::Failback {
    match failback {
        config::Failback::Auto | config::Failback::Drain => policy::Failback::Auto,
        config::Failback::Manual => policy::Failback::Manual,
    }
}
