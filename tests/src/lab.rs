//! Builds the network and takes it down again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::host::Host;
use crate::iproute::{forwarding_ports, ip, offloads_off};
use crate::machine;
use crate::namespace::Namespace;
use crate::topology::{Cable, Family, Options, Role};
use crate::wait;
use crate::xdp::{Port, Program, Programs};

/// Far more than the kernel ever takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network of its own. Dropping it removes everything; what was started on
/// its hosts keeps the namespaces alive, nameless, until it is dropped too.
pub struct Lab {
    /// Sends requests.
    pub client: Host,
    /// Runs the agent.
    pub director: Host,
    /// The backend that serves.
    pub primary: Host,
    /// The backend that takes over.
    pub standby: Host,
    /// One more, if asked for.
    pub third: Option<Host>,
    options: Options,
    /// `pass` on the bridge's end of every cable: XDP transmits into a veth only
    /// if the other end has a program too.
    _ports: Vec<Port>,
    /// The one of the director's `eth0`.
    director_port: Port,
}

impl Lab {
    /// Builds the network; needs root.
    pub fn new(options: Options) -> Result<Self> {
        machine::require_root()?;
        machine::mount_bpffs()?;
        machine::remove_stale();
        let programs = Programs::load()?;
        let net = Arc::new(Namespace::new("net")?);
        // The switch has no addresses and needs none.
        net.sysctl(&[("ipv6/conf/default/disable_ipv6", "1")])?;
        let mut wiring: Vec<_> = options.bridges().iter().map(add_bridge).collect();
        let mut places = Vec::new();
        for plan in options.plans() {
            let namespace = Arc::new(Namespace::new(plan.name)?);
            namespace.sysctl(&plan.settings())?;
            wiring.extend(
                plan.cables()
                    .iter()
                    .map(|cable| add_cable(cable, &namespace)),
            );
            places.push((plan, namespace));
        }
        ip(&net, &wiring)?;

        let mut ports = Vec::new();
        let mut hosts = Vec::new();
        for (plan, namespace) in places {
            for cable in plan.cables() {
                ports.push((plan.role, programs.attach(&net, cable.port)?));
                offloads_off(&namespace, cable.interface)?;
            }
            let eth0 = match plan.role {
                Role::Director => None,
                // The program there takes packets out of the tunnel.
                Role::Backend if options.forward.is_tunnel() => None,
                Role::Client | Role::Backend => Some(programs.attach(&namespace, "eth0")?),
            };
            ip(&namespace, &plan.lines())?;
            hosts.push(Host {
                plan,
                namespace,
                net: Arc::clone(&net),
                eth0,
            });
        }

        wait::until(PATIENCE, "all ports of the bridges forward", || {
            forwarding_ports(&net).is_ok_and(|forwarding| forwarding == ports.len())
        })?;

        let of_director = ports.iter().position(|(role, _)| *role == Role::Director);
        let (_, director_port) = ports.remove(of_director.context("no director")?);
        let mut hosts = hosts.into_iter();
        let mut take = || hosts.next().context("the plan has too few hosts");
        Ok(Self {
            client: take()?,
            director: take()?,
            primary: take()?,
            standby: take()?,
            third: hosts.next(),
            options,
            _ports: ports.into_iter().map(|(_, port)| port).collect(),
            director_port,
        })
    }

    /// How it was built.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// The address of the service.
    #[must_use]
    pub fn vip(&self, family: Family) -> IpAddr {
        family.vip()
    }

    /// The director's interfaces, for the agent's configuration.
    #[must_use]
    pub fn director_interfaces(&self) -> Vec<&'static str> {
        self.director
            .plan
            .cables()
            .iter()
            .map(|cable| cable.interface)
            .collect()
    }

    /// From now on every IPv4 echo request that leaves the director's `eth0` is
    /// answered at the other end of its cable, whoever it is for.
    pub fn reflect_echoes(&self) -> Result<()> {
        self.director_port.swap(Program::Reflect)
    }

    /// The backends in the order of their priorities.
    pub fn backends(&self) -> impl Iterator<Item = &Host> {
        [&self.primary, &self.standby]
            .into_iter()
            .chain(&self.third)
    }
}

fn add_bridge(name: &&str) -> String {
    format!("link add {name} up type bridge mcast_snooping 0")
}

fn add_cable(cable: &Cable, host: &Namespace) -> String {
    let Cable {
        interface,
        port,
        bridge,
    } = cable;
    let host = host.name();
    format!("link add {port} up master {bridge} type veth peer name {interface} netns {host}")
}
