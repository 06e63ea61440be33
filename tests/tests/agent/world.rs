//! A lab with servers, an agent and a configuration for both families and both
//! protocols.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use lab::{
    Agent, Family, Forward, Host, Lab, Options, Server,
    client::{TcpClient, udp_request},
    server::Protocol,
    wait,
};
use serde_json::Value;

/// The port of every service; a TCP and a UDP server listen there.
pub(crate) const PORT: u16 = 7000;
/// For something that must happen: generous, the machine is shared.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// For one request.
pub(crate) const REQUEST: Duration = Duration::from_millis(300);

/// Checks that settle in some tens of milliseconds.
const CHECKS: &str = r#"
[[service.check]]
kind = "icmp"
interval = "20ms"
timeout = "20ms"
[[service.check]]
kind = "tcp"
interval = "20ms"
timeout = "20ms"
"#;

/// For tests that are about what checks find out.
pub(crate) const NO_HEARTBEATS: &str = "[service.heartbeat]\nkind = \"none\"";

/// Four services, `tcp-V4` and so on, and whoever is behind them.
pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) primary: [Server; 2],
    pub(crate) standby: [Server; 2],
    // Last: it takes the namespaces away.
    pub(crate) lab: Lab,
}

impl World {
    /// With checks that settle quickly; `policy` goes into every service.
    pub(crate) fn new(options: Options, policy: &str) -> Result<Self> {
        Self::with(options, policy, CHECKS)
    }

    pub(crate) fn with(options: Options, policy: &str, checks: &str) -> Result<Self> {
        let lab = Lab::new(options)?;
        let primary = servers(&lab.primary)?;
        let standby = servers(&lab.standby)?;
        let agent = Agent::start(&lab, &services(&lab, policy, checks))?;
        let world = Self {
            agent,
            primary,
            standby,
            lab,
        };
        world.served_by("primary").context("at the start")?;
        Ok(world)
    }

    /// Waits until every service is answered by `name`, on real requests.
    pub(crate) fn served_by(&self, name: &str) -> Result<()> {
        for family in Family::ALL {
            let vip = SocketAddr::new(self.lab.vip(family), PORT);
            let wanted = format!("{name} hello");
            wait::until(
                SOON,
                &format!("UDP {family:?} is answered by {name}"),
                || udp_request(&self.lab.client, vip, "hello", REQUEST).as_ref() == Some(&wanted),
            )
            .with_context(|| self.agent.log())?;
            wait::until(
                SOON,
                &format!("TCP {family:?} is answered by {name}"),
                || {
                    let answer = TcpClient::connect(&self.lab.client, vip, REQUEST)
                        .and_then(|mut connection| connection.request("hello", REQUEST));
                    answer.is_ok_and(|answer| answer == wanted)
                },
            )
            .with_context(|| self.agent.log())?;
        }
        Ok(())
    }

    /// A connection to each TCP service.
    pub(crate) fn connections(&self) -> Result<Vec<TcpClient>> {
        let connect = |family: Family| {
            let vip = SocketAddr::new(self.lab.vip(family), PORT);
            let mut connection = TcpClient::connect(&self.lab.client, vip, SOON)?;
            let answer = connection.request("hello", SOON)?;
            if answer != "primary hello" {
                bail!("{family:?}: {answer}");
            }
            Ok(connection)
        };
        Family::ALL.into_iter().map(connect).collect()
    }
}

/// A UDP and a TCP server on a host.
fn servers(host: &Host) -> Result<[Server; 2]> {
    Ok([
        Server::start(host, Protocol::Udp, PORT)?,
        Server::start(host, Protocol::Tcp, PORT)?,
    ])
}

fn services(lab: &Lab, policy: &str, checks: &str) -> String {
    let mut config = String::new();
    for family in Family::ALL {
        for protocol in ["tcp", "udp"] {
            let service = Service {
                name: format!("{protocol}-{family:?}"),
                port: PORT,
                protocol,
                family,
                policy,
                heartbeat: NO_HEARTBEATS,
                checks: if protocol == "tcp" { checks } else { "" },
            };
            service.write(lab, &mut config);
        }
    }
    config
}

/// A service with a primary and a standby, for a configuration.
pub(crate) struct Service<'a> {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: &'a str,
    pub(crate) family: Family,
    pub(crate) policy: &'a str,
    pub(crate) heartbeat: &'a str,
    pub(crate) checks: &'a str,
}

impl Service<'_> {
    pub(crate) fn write(&self, lab: &Lab, config: &mut String) {
        self.write_with(lab, "", config);
    }

    /// The same with more keys of each backend.
    pub(crate) fn write_with(&self, lab: &Lab, of_backend: &str, config: &mut String) {
        let Self {
            name,
            port,
            protocol,
            family,
            policy,
            heartbeat,
            checks,
        } = self;
        let forward = lab.options().forward.as_str();
        let vip = lab.vip(*family);
        let (primary, standby) = (lab.primary.address(*family), lab.standby.address(*family));
        // Without checks of its own, a service relies on those of the others
        // that use the same backends; an icmp check is the default.
        write!(
            config,
            r#"
[[service]]
name = "{name}"
address = "{vip}"
port = {port}
protocol = "{protocol}"
forward = "{forward}"
{policy}
{heartbeat}
{checks}
[[service.backend]]
name = "primary-{family:?}"
address = "{primary}"
{of_backend}
[[service.backend]]
name = "standby-{family:?}"
address = "{standby}"
{of_backend}
"#
        )
        .expect("a String takes it");
    }
}

/// The agent's binary.
pub(crate) fn binary() -> Result<std::path::PathBuf> {
    match std::env::var_os("FAILOVER_BIN") {
        Some(path) => Ok(path.into()),
        None => lab::machine::binary("failover"),
    }
}

/// The element of a status table with this name.
pub(crate) fn named<'a>(status: &'a Value, table: &str, name: &str) -> &'a Value {
    status[table]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["name"] == name))
        .unwrap_or(&Value::Null)
}

/// Both forwarding modes, one interface and two.
pub(crate) fn layouts() -> [Options; 3] {
    let nat = Options::default();
    [
        nat,
        Options {
            two_armed: true,
            ..nat
        },
        Options {
            forward: Forward::Dsr,
            ..nat
        },
    ]
}
