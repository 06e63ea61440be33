//! The state of everything, for `failover status`.

use std::time::Duration;

use failover_common::Holds;
use serde::{Deserialize, Serialize};

use super::Controller;
use crate::{
    policy::State,
    promotion::{Phase, Promotion},
};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Number of packets.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// All that `failover status` shows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it runs, milliseconds.
    pub uptime_ms: u64,
    /// Interfaces with our program.
    pub interfaces: Vec<InterfaceStatus>,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// The backends, in the order of the configuration.
    pub backends: Vec<BackendStatus>,
    /// What became of the packets: name of the verdict, and how many.
    pub verdicts: Vec<VerdictStatus>,
    /// Writes to the control maps since the agent began.
    pub map_writes: u64,
}

/// An interface.
#[derive(Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// `native`, `generic` or `detached`.
    pub xdp: String,
}

/// A service.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// The VIP.
    pub address: String,
    /// 0: every port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The backend that serves; of a tier that shares all that do, with commas.
    pub serving: String,
    /// `best`, `waiting` (for a failback), `switched` or `lost` (none is eligible); with
    /// warm or cold standbys also `closed` (nobody could be promoted), `blocked` (a
    /// person must look), or the step of a promotion.
    pub state: String,
    /// Who was promoted last, and who is to be; only with warm or cold standbys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionStatus>,
    /// What a person has to check and say before anything happens by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Takeovers and failbacks of the last hour that count for `takeovers_per_hour`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// Names of its backends, the best first.
    pub backends: Vec<String>,
}

/// Who is promoted.
#[derive(Debug, Serialize, Deserialize)]
pub struct PromotionStatus {
    /// Who was promoted last.
    pub holder: String,
    /// Who is to be, if anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long it has been at the step, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Backends that were promoted once and have to become standbys again: by their
    /// `demote`, else by a person, who then says `failover enable`.
    pub to_rejoin: Vec<String>,
}

/// A budget.
#[derive(Debug, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// How many there were.
    pub spent: usize,
    /// How many there may be.
    pub limit: usize,
}

/// A backend.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it may serve.
    pub eligible: bool,
    /// Why not.
    pub holds: Vec<String>,
    /// What the operator said when it was drained or disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds until it is enabled by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled_in_s: Option<u64>,
    /// Its penalty, if backends that flap are damped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// The newest outcome of each check.
    pub checks: Vec<CheckStatus>,
    /// Flows that it has, if a service keeps any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
    /// From clients to it.
    pub forwarded: Traffic,
    /// From it to clients (`nat`).
    pub returned: Traffic,
}

/// A check of a backend.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckStatus {
    /// What is checked.
    pub kind: String,
    /// What the check thinks.
    pub up: bool,
    /// The newest outcome.
    pub outcome: String,
}

/// A verdict's counter.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerdictStatus {
    /// Its name.
    pub verdict: String,
    /// How often.
    #[serde(flatten)]
    pub traffic: Traffic,
}

impl Controller {
    /// The services' and backends' part of the status; counters are zero.
    #[must_use]
    pub fn status(&self, now: Duration) -> Status {
        let services = self.config.services.iter().enumerate();
        let backends = self.config.backends.iter().enumerate();
        Status {
            services: services
                .map(|(number, service)| ServiceStatus {
                    name: service.name.clone(),
                    address: service.address.to_string(),
                    port: service.port,
                    protocol: service.protocol.name().to_owned(),
                    serving: self.serving(number),
                    state: self.state(number).to_owned(),
                    promotion: self.promotion_status(number, now),
                    waits_for: self.waits_for(number, now),
                    budget: self.budget_status(number, now),
                    backends: self.names(number).map(str::to_owned).collect(),
                })
                .collect(),
            backends: backends
                .map(|(number, backend)| self.backend_status(number, backend, now))
                .collect(),
            ..Status::default()
        }
    }

    /// Index of a backend's entry in the maps.
    #[must_use]
    pub fn index(&self, backend: usize) -> u32 {
        self.backends[backend].index
    }

    /// One word for where a service stands.
    fn state(&self, number: usize) -> &'static str {
        let state = match self.policies[number].state() {
            State::Best => "best",
            State::Waiting { .. } => "waiting",
            State::Switched => "switched",
            State::Lost => "lost",
        };
        let Some(promotion) = &self.promotions[number] else {
            return state;
        };
        match promotion.phase() {
            Phase::Open if promotion.holder() == 0 || state == "lost" => state,
            Phase::Open if promotion.is_switched() => "switched",
            Phase::Open => "waiting",
            Phase::Closed => "closed",
            Phase::Moving(at) => at.step.name(),
            Phase::Blocked { .. } => "blocked",
        }
    }

    fn promotion_status(&self, number: usize, now: Duration) -> Option<PromotionStatus> {
        let promotion = self.promotions[number].as_ref()?;
        let at = match promotion.phase() {
            Phase::Open | Phase::Closed => None,
            Phase::Moving(at) | Phase::Blocked { at, .. } => Some(at),
        };
        let since = at.map(|at| now.saturating_sub(at.since).as_millis());
        let names = self.names(number).enumerate();
        let dirty = names.filter(|(position, _)| {
            promotion.is_dirty(*position) && promotion.side(*position) != Some(promotion.holder())
        });
        Some(PromotionStatus {
            holder: self.side_name(number, promotion.holder()),
            to: at.map(|at| self.side_name(number, at.to)),
            reason: at.map(|at| at.reason.name().to_owned()),
            since_ms: since.and_then(|since| u64::try_from(since).ok()),
            to_rejoin: dirty.map(|(_, name)| name.to_owned()).collect(),
        })
    }

    fn budget_status(&self, number: usize, now: Duration) -> Option<BudgetStatus> {
        let promotion = self.promotions[number].as_ref();
        let budget = promotion.map_or(&self.budgets[number], Promotion::budget);
        let spent = budget.spent(now).count();
        budget.limit().map(|limit| BudgetStatus { spent, limit })
    }

    fn backend_status(
        &self,
        number: usize,
        backend: &crate::config::Backend,
        now: Duration,
    ) -> BackendStatus {
        let state = &self.backends[number];
        let entry = self.desired.backends.get(&state.index);
        let holds = Holds(entry.map_or(0, |entry| entry.holds));
        let checks = backend.checks.iter().zip(state.health.checks());
        let maintenance = state.maintenance.as_ref();
        let until = maintenance.and_then(|maintenance| maintenance.until);
        let left = until.map(|until| self.anchor.monotonic(until).saturating_sub(now));
        BackendStatus {
            name: backend.name.clone(),
            address: backend.address.to_string(),
            eligible: holds.is_empty(),
            holds: holds.iter().map(|hold| hold.name().to_owned()).collect(),
            reason: maintenance.and_then(|maintenance| maintenance.reason.clone()),
            enabled_in_s: left.map(|left| left.as_secs()),
            penalty: state.damping.map(|damping| damping.penalty(now).round()),
            checks: checks
                .zip(&state.outcomes)
                .map(|((check, health), outcome)| CheckStatus {
                    kind: check.kind.to_string(),
                    up: health.is_up(),
                    outcome: outcome.clone(),
                })
                .collect(),
            flows: None,
            forwarded: Traffic::default(),
            returned: Traffic::default(),
        }
    }
}
