//! A lab with servers and the system under test.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::client::{TcpClient, udp_request};
use lab::closing::ClosingWatch;
use lab::{Agent, Family, Forward, Host, Lab, Options, Server};

use super::client::Traffic;
use super::failover::{self, Checks};
use super::fault::Fault;
use super::haproxy::Haproxy;
use super::seen::Death;
use super::system::System;
use crate::settings::Settings;
use lab::Interrupt;

/// Of the service, and of the servers.
pub(super) const PORT: u16 = 7000;

/// Where the application, which is one with the server, answers checks.
pub(super) const APPLICATION_PORT: u16 = 7001;

/// For hosts that open thousands of connections a second: the port of one that
/// is over can be had again after a second.
pub(super) const MANY_CONNECTIONS: &[(&str, &str)] = &[
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/ip_local_port_range", "10000 65535"),
];

/// For everything to be healthy again.
const PATIENCE: Duration = Duration::from_secs(15);

/// For one request.
const REQUEST: Duration = Duration::from_millis(100);

/// How many looks in a row must show that all is well.
const LOOKS: u32 = 5;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The network, the servers and what moves the service between them.
pub(super) struct World {
    traffic: Traffic,
    /// Of our heartbeats; none: the agent's own.
    settings: Option<Settings>,
    checks: Checks,
    mover: Mover,
    pub(super) primary: Server,
    _standby: Server,
    closing: ClosingWatch,
    // Last: it takes the namespaces away.
    pub(super) lab: Lab,
}

enum Mover {
    Failover(Agent),
    Haproxy(Haproxy),
}

impl World {
    /// Builds it; nothing is known to be healthy yet.
    pub(super) fn new(
        system: System,
        traffic: Traffic,
        forward: Forward,
        settings: Settings,
    ) -> Result<Self> {
        let lab = Lab::new(Options {
            forward,
            ..Options::default()
        })?;
        lab.client.namespace().sysctl(MANY_CONNECTIONS)?;
        let vip = lab.vip(Family::V4);
        let application = |host| application(host, traffic, forward, vip);
        let (primary, standby) = (application(&lab.primary)?, application(&lab.standby)?);
        let settings = (system == System::Failover).then_some(settings);
        let checks = Checks::Slow;
        let mover = match system {
            System::Failover | System::FailoverDefault => {
                let config = failover::config(&lab, traffic, settings, checks);
                Mover::Failover(Agent::start(&lab, &config)?)
            }
            System::Haproxy | System::Haproxy5ms => Mover::Haproxy(Haproxy::start(&lab, system)?),
        };
        Ok(Self {
            traffic,
            settings,
            checks,
            mover,
            primary,
            _standby: standby,
            closing: ClosingWatch::new()?,
            lab,
        })
    }

    /// Where the service is.
    pub(super) fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.lab.vip(Family::V4), PORT)
    }

    /// Before the first run with this fault.
    pub(super) fn prepare(&mut self, fault: Fault) -> Result<()> {
        match &mut self.mover {
            Mover::Failover(agent) => {
                let checks = Checks::for_fault(fault);
                if checks != self.checks {
                    self.checks = checks;
                    agent.write_config(&failover::config(
                        &self.lab,
                        self.traffic,
                        self.settings,
                        checks,
                    ))?;
                    agent.terminate()?;
                    agent.restart()?;
                }
                Ok(())
            }
            Mover::Haproxy(haproxy) => haproxy.prepare(&self.lab, fault),
        }
    }

    /// Waits until everything is healthy and the primary serves.
    pub(super) fn wait_until_healthy(&self, interrupt: &Interrupt) -> Result<()> {
        let begin = Instant::now();
        let mut asked = false;
        let mut good = 0;
        while good < LOOKS {
            interrupt.check()?;
            good = if self.is_healthy() { good + 1 } else { 0 };
            let waited = begin.elapsed();
            if waited > PATIENCE {
                bail!("not healthy within {PATIENCE:?}\n{}", self.last_words());
            }
            if waited > PATIENCE / 3
                && !asked
                && let Mover::Failover(agent) = &self.mover
            {
                // It should have by itself.
                asked = true;
                let _answer = agent.cli(&["switch", failover::SERVICE, "--to", "primary"])?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Kills the primary's server; the moment when its port closed.
    pub(super) fn kill_primary(&mut self) -> Result<u64> {
        self.closing.start(self.primary.pid())?;
        self.primary.kill()?;
        self.closing.closed_at()
    }

    /// The agent, if there is one.
    pub(super) fn agent(&mut self) -> Result<&mut Agent> {
        match &mut self.mover {
            Mover::Failover(agent) => Ok(agent),
            Mover::Haproxy(_) => bail!("HAProxy has no agent"),
        }
    }

    /// The lab and, if there is one, the agent.
    pub(super) fn lab_and_agent(&self) -> Result<(&Lab, &Agent)> {
        match &self.mover {
            Mover::Failover(agent) => Ok((&self.lab, agent)),
            Mover::Haproxy(_) => bail!("HAProxy has no agent"),
        }
    }

    /// What our agent knows of the first death after `fault_ns`. One that was killed
    /// has forgotten.
    pub(super) fn death(&self, fault_ns: u64) -> Result<Option<Death>> {
        let Mover::Failover(agent) = &self.mover else {
            return Ok(None);
        };
        let output = agent.cli(&["events", "--json"])?;
        for line in String::from_utf8(output.stdout)?.lines() {
            let event: serde_json::Value = serde_json::from_str(line)?;
            let latched_ns = event["latched_ns"].as_u64().unwrap_or(0);
            if event["event"] == "expired" && latched_ns >= fault_ns {
                return Ok(Some(Death {
                    latch_us: (latched_ns - fault_ns) / 1_000,
                    seen_by: event["signal"].as_str().unwrap_or("-").to_owned(),
                }));
            }
        }
        Ok(None)
    }

    fn is_healthy(&self) -> bool {
        let believed = match &self.mover {
            Mover::Failover(agent) => {
                let status = agent.status().unwrap_or_default();
                let backends = status["backends"].as_array();
                let eligible = |all: &Vec<serde_json::Value>| {
                    all.iter().all(|backend| backend["eligible"] == true)
                };
                status["services"][0]["serving"] == "primary" && backends.is_some_and(eligible)
            }
            Mover::Haproxy(haproxy) => haproxy.is_healthy(),
        };
        believed
            && self
                .request()
                .is_some_and(|answer| answer == "primary hello")
    }

    fn request(&self) -> Option<String> {
        match self.traffic {
            Traffic::Udp => udp_request(&self.lab.client, self.vip(), "hello", REQUEST),
            Traffic::Tcp | Traffic::Stream => {
                TcpClient::connect(&self.lab.client, self.vip(), REQUEST)
                    .and_then(|mut connection| connection.request("hello", REQUEST))
                    .ok()
            }
        }
    }

    /// The end of what the system has logged.
    fn last_words(&self) -> String {
        let log = match &self.mover {
            Mover::Failover(agent) => agent.log(),
            Mover::Haproxy(haproxy) => haproxy.log(),
        };
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// A server, and where it answers checks.
fn application(host: &Host, traffic: Traffic, forward: Forward, vip: IpAddr) -> Result<Server> {
    let own = host.address(Family::V4);
    // Where packets arrive and nowhere else: the fewer threads, the faster it dies. By
    // DSR clients' packets are for the VIP; checks are for the server's own address.
    let addresses: &[IpAddr] = match forward {
        Forward::Nat | Forward::FullNat => &[own],
        Forward::Dsr | Forward::Ipip | Forward::Gue => &[vip, own],
    };
    let checks = SocketAddr::new(own, APPLICATION_PORT);
    Server::start_checked(host, addresses, traffic.protocol(), PORT, checks)
        .with_context(|| format!("no server on {}", host.name()))
}
