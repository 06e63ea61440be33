//! The configuration file: TOML in, a [`Config`] that can only be valid out.
//!
//! `raw` mirrors the file key by key, `validate` turns it into the types here,
//! `conflicts` holds what services may not share. The first mistake ends the
//! reading; its [`Error`] names the file, the line and what to write instead.

mod agent;
mod check;
mod conflicts;
mod damping;
mod error;
mod flow;
mod heartbeat;
mod hook;
mod raw;
mod silence;
mod source;
mod standby;
mod validate;
mod value;

#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use failover_common::{Be16, FLOWS_PER_NEW, Forward, HeartbeatKind, OnFailure, ServiceKey};

pub use self::{
    error::Error,
    hook::{Action, Hook, Method, Verb},
    standby::{Hooks, Member, Standby},
};
use self::{error::Problem, source::Source};

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The agent itself.
    pub agent: Agent,
    /// The services in the order of the file, at least one and at most
    /// [`failover_common::MAX_SERVICES`]; no two share a name or a
    /// [`Service::key`].
    pub services: Vec<Service>,
    /// Every server once, in the order in which the file first names them; at
    /// most [`failover_common::MAX_BACKENDS`].
    pub backends: Vec<Backend>,
}

/// How the agent runs: `[agent]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Interfaces XDP is attached to: at least one, each once, by names the
    /// kernel would accept. That they exist is for [`Config::check_interfaces`].
    pub interfaces: Vec<String>,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// Directory in bpffs that holds the pins; absolute.
    pub pin_path: PathBuf,
    /// Unix socket of the API; absolute, and short enough for one.
    pub api: PathBuf,
    /// Group whose members may use the API, besides root. That it exists is not
    /// checked.
    pub api_group: Option<String>,
    /// Directory of what must not be forgotten; absolute.
    pub state: PathBuf,
    /// Most flows that are remembered, where any are; see [`Service::keeps_flows`].
    pub flows: u32,
    /// How backends that flap are damped; none: not at all.
    pub damping: Option<crate::damping::Spec>,
    origin: Origin,
}

/// How XDP is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver where that works, otherwise generic.
    Auto,
    /// In the driver.
    Native,
    /// In the network stack: slower, for every driver.
    Generic,
}

/// A VIP, protocol and port, and who serves it: `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique; 1 to [`failover_common::NAME_LEN`] bytes without white space.
    pub name: String,
    /// The VIP. It belongs to no backend.
    pub address: IpAddr,
    /// 0: every port that has no service of its own.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How packets reach a backend.
    pub forward: Forward,
    /// Who moves the service back to a backend of better priority.
    pub failback: Failback,
    /// How long that backend must have been healthy before; zero: not at all.
    pub hold_down: Duration,
    /// What becomes of flows whose backend dies; of UDP they always go on.
    pub on_failure: OnFailure,
    /// Whether what clients' traffic shows of a backend's death counts: refused
    /// connections, unreachable ports, SYNs without an answer; and whether SYNs are
    /// rescued. Only with `nat` and one port.
    pub passive: bool,
    /// How long packets may go to a backend and nothing come back before that is
    /// a death, while nobody sends heartbeats: 1 ms to 4 s, and at least two of
    /// their intervals; none: for ever. Only with `nat`.
    pub silence: Option<Duration>,
    /// Automatic takeovers and failbacks an hour before a person must say go; none:
    /// any number.
    pub budget: Option<u16>,
    /// How the holder changes, if a backend is warm or cold; then no other service has
    /// one of its backends.
    pub standby: Option<Standby>,
    /// Told of every change.
    pub notify: Option<Hook>,
    /// Sorted by priority, the best first: at least one and at most
    /// [`failover_common::MAX_BACKENDS_PER_SERVICE`], each of them once.
    pub backends: Vec<ServiceBackend>,
}

impl Service {
    /// Its key in the `SERVICES` map.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        service_key(self.address, self.port, self.protocol)
    }

    /// Whether backends of one tier serve together. Where somebody must be promoted
    /// first, one serves.
    #[must_use]
    pub fn shares(&self) -> bool {
        let mut pairs = self.backends.windows(2);
        self.standby.is_none() && pairs.any(|pair| pair[0].priority == pair[1].priority)
    }

    /// Whether the data path remembers which backend has which flow.
    #[must_use]
    pub fn keeps_flows(&self) -> bool {
        self.shares()
            || self.failback == Failback::Drain
            || self.on_failure != OnFailure::Forward
            || self.forward == Forward::FullNat
    }

    /// The backends, by tier, the best first.
    pub fn tiers(&self) -> impl Iterator<Item = &[ServiceBackend]> {
        self.backends.chunk_by(|a, b| a.priority == b.priority)
    }

    /// Number of the tier of the backend at `position`.
    #[must_use]
    pub fn tier(&self, position: usize) -> u8 {
        let before = self.backends[..=position].windows(2);
        let steps = before.filter(|pair| pair[0].priority != pair[1].priority);
        // There are 16 backends at most.
        u8::try_from(steps.count()).unwrap_or(u8::MAX)
    }
}

/// A backend in a service: `[[service.backend]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceBackend {
    /// Index into [`Config::backends`].
    pub backend: usize,
    /// Port on the backend; 0, the port the client asked for, exactly if the
    /// service's is 0.
    pub port: u16,
    /// The tier, 1 the best. Those of one tier are as good as each other.
    pub priority: u8,
    /// Its share of what its tier serves: 1 to 100.
    pub weight: u8,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its IP protocol number (IANA, Assigned Internet Protocol Numbers).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The word for it in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Who moves a service back to a backend of better priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failback {
    /// The agent, once it was healthy for [`Service::hold_down`].
    Auto,
    /// The agent likewise, but flows stay where they are until they end.
    Drain,
    /// The operator, with `failover switch`.
    Manual,
}

/// A server. Its name is its identity: services that list the same name share
/// the server and its health.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Unique; 1 to [`failover_common::NAME_LEN`] bytes without white space.
    pub name: String,
    /// Of the family of every service that uses it, but for those with a tunnel. Two names may share one:
    /// two servers on one host.
    pub address: IpAddr,
    /// The checks of all services that use it, each once; at least one. All
    /// must pass.
    pub checks: Vec<Check>,
    /// Those that must pass besides before it serves after a promotion.
    pub ready: Vec<Check>,
    /// What renews its lease; the services that use it agree on it.
    pub heartbeat: Heartbeat,
}

/// What renews the lease of a backend: `[service.heartbeat]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// What is sent. With [`HeartbeatKind::None`] there is no lease; the rest means
    /// nothing, and is always the same.
    pub kind: HeartbeatKind,
    /// Where to, for the kinds that have a port; otherwise 0.
    pub port: u16,
    /// From one heartbeat to the next: 50 us to 1 s.
    pub interval: Duration,
    /// How long the lease lasts from when the newest answered heartbeat was sent: 2
    /// to 14 intervals, at most 4 s; zero where `fall` is 0.
    pub timeout: Duration,
    /// Heartbeats in a row that must be unanswered before the lease is over: 2 to
    /// 14, or 0 with the kinds whose silence means nothing ([`HeartbeatKind::Udp`]
    /// and [`HeartbeatKind::None`]).
    pub fall: u32,
    /// Heartbeats in a row that must be answered before there is a new one: 1 to
    /// 1,000,000.
    pub rise: u32,
}

impl Heartbeat {
    /// What a service gets that says nothing about heartbeats.
    pub const DEFAULT: Self = Self {
        kind: HeartbeatKind::Icmp,
        port: 0,
        interval: Duration::from_micros(200),
        timeout: Duration::from_micros(800),
        fall: 3,
        rise: 20,
    };
}

/// A health check of a backend: `[[service.check]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked of the backend.
    pub kind: CheckKind,
    /// From the start of a probe to the start of the next: 1 ms to a day.
    pub interval: Duration,
    /// How long a probe may take: above zero, at most `interval`.
    pub timeout: Duration,
    /// Probes in a row that must fail before the check does; at least 1.
    pub fall: u32,
    /// Probes in a row that must pass before the check does; at least 1.
    pub rise: u32,
}

/// What a [`Check`] asks of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// An answer to an echo request.
    Icmp,
    /// A connection.
    Tcp {
        /// Never 0.
        port: u16,
    },
    /// A response of success to `GET`; the `Host` is the backend's address.
    Http {
        /// Never 0.
        port: u16,
        /// From the `/` on, with the query if there is one (RFC 9112, section
        /// 3.2.1); visible ASCII only.
        path: String,
    },
}

impl std::fmt::Display for CheckKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Icmp => write!(f, "icmp"),
            Self::Tcp { port } => write!(f, "tcp {port}"),
            Self::Http { port, path } => write!(f, "http {port}{path}"),
        }
    }
}

impl Config {
    /// Reads and validates the file at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not UTF-8 or is not valid.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|error| Error::unread(path, &error))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, path),
            Err(error) => Err(Error::not_utf8(path, &bytes, error.valid_up_to())),
        }
    }

    /// Validates `text`, the content of `file`: the name is for messages only,
    /// nothing is read.
    ///
    /// # Errors
    ///
    /// If it is not valid.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        let source = Source { file, text };
        validate::config(source.raw()?, source)
    }

    /// Flows that there must be room for: none if no service needs them.
    #[must_use]
    pub fn flows(&self) -> u32 {
        let kept = self.services.iter().any(Service::keeps_flows);
        if kept { self.agent.flows } else { 0 }
    }

    /// Of them, flows with a port of the director's: new ones have one too.
    #[must_use]
    pub fn nat_flows(&self) -> u32 {
        let mut forwards = self.services.iter().map(|service| service.forward);
        if forwards.any(|forward| forward == Forward::FullNat) {
            self.agent.flows + self.agent.flows / FLOWS_PER_NEW
        } else {
            0
        }
    }

    /// Tiers of all services of which one has backends that serve together.
    #[must_use]
    pub fn share_rows(&self) -> u32 {
        let shared = self.services.iter().filter(|service| service.shares());
        let tiers: usize = shared.map(|service| service.tiers().count()).sum();
        // 16 a service at most.
        u32::try_from(tiers).unwrap_or(u32::MAX)
    }

    /// Checks that every interface of `[agent]` is one of those `present` on
    /// this host.
    ///
    /// # Errors
    ///
    /// For the first that is not, with its line and those that are.
    pub fn check_interfaces(&self, present: &[String]) -> Result<(), Error> {
        let Agent {
            interfaces, origin, ..
        } = &self.agent;
        for (name, line) in interfaces.iter().zip(&origin.interface_lines) {
            if !present.contains(name) {
                let (name, present) = (name.clone(), present.to_vec());
                return Err(Error::at(
                    &origin.file,
                    *line,
                    Problem::NoInterface { name, present },
                ));
            }
        }
        Ok(())
    }
}

/// Where the agent's table was written, for errors that are only found later.
#[derive(Clone, Debug)]
struct Origin {
    file: PathBuf,
    /// Of each interface.
    interface_lines: Vec<usize>,
}

/// Where something is written is no part of what it says: a reload that only
/// moved a line changes nothing.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

fn service_key(address: IpAddr, port: u16, protocol: Protocol) -> ServiceKey {
    ServiceKey {
        address: address.into(),
        port: Be16::new(port),
        protocol: protocol.number(),
        reserved: [0; 5],
    }
}
