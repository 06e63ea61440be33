//! A lab with a healthy primary and a healthy standby, between which only the
//! heartbeats decide.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::client::udp_request;
use lab::server::Protocol;
use lab::{Agent, Family, Host, Interrupt, Lab, Options, Server};

use crate::events::Events;
use crate::service::{SLOW_CHECKS, Service};
use crate::settings::Settings;
use crate::status::verdict;

/// The service whose takeovers are counted: answers to datagrams.
pub(super) const SERVICE: &str = "service";
pub(super) const PORT: u16 = 7000;

/// The service of the bulk traffic, on the same backends.
const BULK: &str = "bulk";
pub(super) const BULK_PORT: u16 = 7100;

/// The backend that serves while nothing is wrong.
pub(super) const PRIMARY: &str = "primary";

/// For everything to be healthy again.
const PATIENCE: Duration = Duration::from_secs(20);

/// For one request.
const REQUEST: Duration = Duration::from_millis(100);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The network, the servers and the agent.
pub(super) struct World {
    pub(super) agent: Arc<Agent>,
    pub(super) events: Events,
    _servers: Vec<Server>,
    // Last: it takes the namespaces away.
    pub(super) lab: Lab,
}

/// What the agent has counted since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// Heartbeats that were answered, by all backends.
    pub(super) answered: u64,
    /// How long it runs, milliseconds.
    pub(super) uptime_ms: u64,
}

impl World {
    /// Builds it; nothing is known to be healthy yet.
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        let mut servers = Vec::new();
        for host in lab.backends() {
            let addresses = [host.address(Family::V4)];
            servers.push(Server::start_at(host, &addresses, Protocol::Udp, PORT)?);
            servers.push(Server::start_at(
                host,
                &addresses,
                Protocol::Sink,
                BULK_PORT,
            )?);
        }
        let agent = Agent::start(&lab, &config(&lab, settings))?;
        Ok(Self {
            events: Events::follow(&agent)?,
            agent: Arc::new(agent),
            _servers: servers,
            lab,
        })
    }

    /// Where a service is.
    pub(super) fn vip(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.lab.vip(Family::V4), port)
    }

    /// Waits until everything is healthy and the primary serves.
    pub(super) fn wait_until_healthy(&self, interrupt: &Interrupt) -> Result<()> {
        let begin = Instant::now();
        while !self.is_healthy() {
            interrupt.check()?;
            if begin.elapsed() > PATIENCE {
                let log = self.agent.log();
                let lines: Vec<_> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(8)..].join("\n");
                bail!("not healthy within {PATIENCE:?}\n{end}");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The agent's counters.
    pub(super) fn counters(&self) -> Result<Counters> {
        let status = self.agent.status()?;
        Ok(Counters {
            answered: verdict(&status, "heartbeat_answered")?,
            uptime_ms: status["uptime_ms"].as_u64().context("no uptime")?,
        })
    }

    fn is_healthy(&self) -> bool {
        let status = self.agent.status().unwrap_or_default();
        let all = |list: &str, good: fn(&serde_json::Value) -> bool| {
            let list = status[list].as_array();
            list.is_some_and(|list| !list.is_empty() && list.iter().all(good))
        };
        all("services", |service| service["serving"] == PRIMARY)
            && all("backends", |backend| backend["eligible"] == true)
            && udp_request(&self.lab.client, self.vip(PORT), "hello", REQUEST)
                .is_some_and(|answer| answer == "primary hello")
    }
}

fn config(lab: &Lab, settings: Settings) -> String {
    let backend = |host: &Host| (host.name().to_owned(), host.address(Family::V4));
    let backends: Vec<_> = lab.backends().map(backend).collect();
    let service = |name, port, protocol| {
        Service {
            name,
            address: lab.vip(Family::V4),
            port,
            protocol,
            forward: lab.options().forward,
            heartbeat: &settings.table(),
            checks: SLOW_CHECKS,
            backends: &backends,
        }
        .tables()
    };
    service(SERVICE, PORT, "udp") + &service(BULK, BULK_PORT, "tcp")
}
