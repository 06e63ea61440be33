//! A lab in which one host is as many backends as are wanted.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::{Agent, Family, Interrupt, Lab, Options};

use super::{Load, Peer};
use crate::events::Events;
use crate::service::{SLOW_CHECKS, Service};

/// The network of the backends: behind one router, so that the kernel's neighbour
/// table, which holds about a thousand, has one entry for all of them.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 0);
const LENGTH: u8 = 16;

/// Of the first service; each has its own.
const PORT: u16 = 7000;

/// Most backends of a service.
const PER_SERVICE: usize = failover_common::MAX_BACKENDS_PER_SERVICE;

/// For everything to be healthy: a thousand checks have to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) events: Events,
    // Last: it takes the namespaces away.
    _lab: Lab,
}

impl World {
    /// Builds it; nothing is known to be healthy yet.
    pub(super) fn new(load: Load) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        let router = lab.primary.address(Family::V4);
        // Every address of the network is one of the host's own.
        let own = format!("route add local {NETWORK}/{LENGTH} dev lo");
        lab.primary.configure(&[own])?;
        let way = format!("route add {NETWORK}/{LENGTH} via {router}");
        lab.director.configure(&[way])?;
        match load.peer {
            Peer::Wire => lab.reflect_echoes()?,
            Peer::Host => {}
        }
        let agent = Agent::start(&lab, &config(&lab, load))?;
        Ok(Self {
            events: Events::follow(&agent)?,
            agent,
            _lab: lab,
        })
    }

    /// Waits until every backend is eligible.
    pub(super) fn wait_until_healthy(&self, interrupt: &Interrupt) -> Result<()> {
        let begin = Instant::now();
        loop {
            interrupt.check()?;
            let status = self.agent.status()?;
            let backends = status["backends"].as_array().context("no backends")?;
            let held = backends.iter().find(|backend| backend["eligible"] != true);
            let Some(held) = held else {
                return Ok(());
            };
            if begin.elapsed() > PATIENCE {
                bail!("not healthy within {PATIENCE:?}: {held}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Heartbeats that were answered since the agent began.
    pub(super) fn answered(&self) -> Result<u64> {
        crate::status::verdict(&self.agent.status()?, "heartbeat_answered")
    }
}

fn config(lab: &Lab, load: Load) -> String {
    let backends: Vec<_> = (1..=load.backends).map(backend).collect();
    let services = backends.chunks(PER_SERVICE).zip(PORT..);
    services
        .map(|(backends, port)| {
            Service {
                name: &format!("service-{port}"),
                address: lab.vip(Family::V4),
                port,
                protocol: "udp",
                forward: lab.options().forward,
                heartbeat: &load.settings.table(),
                checks: SLOW_CHECKS,
                backends,
            }
            .tables()
        })
        .collect()
}

/// Name and address.
fn backend(number: u16) -> (String, IpAddr) {
    let address = Ipv4Addr::from_bits(NETWORK.to_bits() | u32::from(number));
    (format!("backend-{number}"), address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (number, expected) in [(1, "10.78.0.1"), (256, "10.78.1.0"), (4096, "10.78.16.0")] {
            assert_eq!(backend(number).1.to_string(), expected);
        }
    }
}
