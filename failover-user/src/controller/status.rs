//! The state of everything, for `failover status`.

use failover_common::Holds;
use serde::{Deserialize, Serialize};

use super::Controller;
use crate::policy::State;

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
    /// The backend that serves.
    pub serving: String,
    /// `best`, `waiting` (for a failback), `switched` or `lost` (none is eligible).
    pub state: String,
    /// Names of its backends, the best first.
    pub backends: Vec<String>,
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
    /// The newest outcome of each check.
    pub checks: Vec<CheckStatus>,
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
    pub fn status(&self) -> Status {
        let services = self.config.services.iter().enumerate();
        let backends = self.config.backends.iter().enumerate();
        Status {
            services: services
                .map(|(number, service)| ServiceStatus {
                    name: service.name.clone(),
                    address: service.address.to_string(),
                    port: service.port,
                    protocol: service.protocol.name().to_owned(),
                    serving: self
                        .name(number, self.policies[number].serving())
                        .to_owned(),
                    state: match self.policies[number].state() {
                        State::Best => "best",
                        State::Waiting { .. } => "waiting",
                        State::Switched => "switched",
                        State::Lost => "lost",
                    }
                    .to_owned(),
                    backends: self.names(number).map(str::to_owned).collect(),
                })
                .collect(),
            backends: backends
                .map(|(number, backend)| self.backend_status(number, backend))
                .collect(),
            ..Status::default()
        }
    }

    /// Index of a backend's entry in the maps.
    #[must_use]
    pub fn index(&self, backend: usize) -> u32 {
        self.backends[backend].index
    }

    fn backend_status(&self, number: usize, backend: &crate::config::Backend) -> BackendStatus {
        let state = &self.backends[number];
        let entry = self.desired.backends.get(&state.index);
        let holds = Holds(entry.map_or(0, |entry| entry.holds));
        let checks = backend.checks.iter().zip(state.health.checks());
        BackendStatus {
            name: backend.name.clone(),
            address: backend.address.to_string(),
            eligible: holds.is_empty(),
            holds: holds.iter().map(|hold| hold.name().to_owned()).collect(),
            checks: checks
                .zip(&state.outcomes)
                .map(|((check, health), outcome)| CheckStatus {
                    kind: check.kind.to_string(),
                    up: health.is_up(),
                    outcome: outcome.clone(),
                })
                .collect(),
            forwarded: Traffic::default(),
            returned: Traffic::default(),
        }
    }
}
