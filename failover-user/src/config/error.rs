mod flow;
mod standby;

use std::{
    fmt::{self, Write as _},
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use failover_common::{MAX_BACKENDS, MAX_BACKENDS_PER_SERVICE, MAX_SERVICES, NAME_LEN};

pub(super) use self::{flow::FlowProblem, standby::StandbyProblem};
use super::{
    source::line_at,
    value::{INTERFACE_LEN, SOCKET_LEN},
};

/// Why a configuration is refused: one line that names the file, the line in it
/// and what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {}", .file.display(), Line(*.line), OneLine(.problem))]
pub struct Error {
    file: PathBuf,
    /// From 1; none if the file could not be read.
    line: Option<usize>,
    problem: Box<Problem>,
}

impl Error {
    pub(super) fn at(file: &Path, line: usize, problem: Problem) -> Self {
        Self {
            file: file.to_owned(),
            line: Some(line),
            problem: Box::new(problem),
        }
    }

    pub(super) fn unread(file: &Path, error: &io::Error) -> Self {
        let problem = match error.kind() {
            io::ErrorKind::NotFound => Problem::NotThere,
            _ => Problem::Unreadable {
                reason: error.to_string(),
            },
        };
        Self {
            file: file.to_owned(),
            line: None,
            problem: Box::new(problem),
        }
    }

    pub(super) fn not_utf8(file: &Path, bytes: &[u8], offset: usize) -> Self {
        Self::at(file, line_at(bytes, offset), Problem::NotUtf8 { offset })
    }
}

/// What is wrong, and what to write instead. `first` is the line of what came
/// before it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    // The file.
    #[error("no such file: write it, or name another one")]
    NotThere,
    #[error("cannot read it: {reason}")]
    Unreadable { reason: String },
    #[error("not UTF-8 at byte {offset}: save the file as UTF-8")]
    NotUtf8 { offset: usize },

    // TOML.
    #[error("not TOML: {message}")]
    Syntax { message: String },
    #[error("duplicate key `{key}`: write it once")]
    KeyTwice { key: String },
    #[error("unknown key {key}: expected {expected}")]
    UnknownKey { key: String, expected: String },
    #[error("found `{found}`: write {expected}")]
    WrongType { found: String, expected: String },
    #[error("`{header}` can be there more than once: write [{header}]")]
    OneTable { header: String },
    #[error("`{header}` can be there only once: write {}", .header.replace("[[", "[").replace("]]", "]"))]
    ManyTables { header: String },

    // What is missing.
    #[error("missing table `[agent]`: write it with interfaces = [\"eth0\"]")]
    NoAgent,
    #[error("missing service: write at least one [[service]]")]
    NoService,
    #[error("service `{service}` has no backend: write at least one [[service.backend]]")]
    NoBackend { service: String },
    #[error("missing key `{key}`: write {key} = {example}")]
    MissingKey {
        key: &'static str,
        example: &'static str,
    },
    #[error(
        "missing key `port`: service `{service}` serves every port, write the one {purpose}, \
         as in port = 80"
    )]
    MissingPort {
        service: String,
        purpose: &'static str,
    },

    // Single values.
    #[error("unknown {key} `{value}`: expected one of {choices}")]
    UnknownValue {
        key: &'static str,
        value: String,
        choices: String,
    },
    #[error("`{key}` is {value}: write a number from {min} to {max}")]
    Range {
        key: &'static str,
        value: i64,
        min: i64,
        max: i64,
    },
    #[error("`{key}` is empty: write a word, as in {key} = \"{example}\"")]
    Empty {
        key: &'static str,
        example: &'static str,
    },
    #[error("name of {len} bytes: write at most {NAME_LEN}")]
    NameTooLong { len: usize },
    #[error("name `{name}` has white space or a control character: write {instead:?}")]
    NameCharacter { name: String, instead: String },
    #[error("`{key}` is `{path}`: write an absolute path, as in {key} = \"{example}\"")]
    NotAbsolute {
        key: &'static str,
        path: String,
        example: &'static str,
    },
    #[error(
        "`api` has {len} bytes: write at most {SOCKET_LEN}, a unix socket has room for no more"
    )]
    SocketTooLong { len: usize },
    #[error(
        "`path` is `{path}`: write one that starts with `/` and is visible ASCII, \
         as in path = \"/healthz\""
    )]
    HttpPath { path: String },

    // Durations.
    #[error("missing unit in {key} = {text}: write {key} = \"{text}ms\", or with us, s or m")]
    MissingUnit { key: &'static str, text: String },
    #[error("unknown unit `{unit}` in {key} = \"{text}\": expected one of `us`, `ms`, `s`, `m`")]
    UnknownUnit {
        key: &'static str,
        text: String,
        unit: String,
    },
    #[error("{key} = \"{text}\" is not a duration: write a number and its unit, as in \"500ms\"")]
    NotADuration { key: &'static str, text: String },
    #[error("{key} = \"{text}\" is too long: write \"{}\" or less", duration(*.max))]
    TooLong {
        key: &'static str,
        text: String,
        max: Duration,
    },
    #[error(
        "an interval of zero would check without a pause: write interval = \"{}\" or more",
        duration(*.min)
    )]
    IntervalZero { min: Duration },
    #[error("interval = \"{text}\" is too short: write interval = \"{}\" or more", duration(*.min))]
    IntervalTooShort { text: String, min: Duration },
    #[error(
        "a timeout of zero fails every check: write timeout = \"{}\" or less, above zero",
        duration(*.interval)
    )]
    TimeoutZero { interval: Duration },
    #[error(
        "timeout = \"{text}\" is longer than the interval of {0}, so a new probe would start \
         before the last one is decided: write timeout = \"{0}\" or less",
        duration(*.interval)
    )]
    TimeoutTooLong { text: String, interval: Duration },
    #[error(
        "timeout = \"{text}\" is too short for an interval of {}: write timeout = \"{}\" or more",
        duration(*.interval), duration(*.min)
    )]
    LeaseTooShort {
        text: String,
        interval: Duration,
        min: Duration,
    },
    #[error(
        "timeout = \"{text}\" is longer than {intervals} intervals of {}, and no more heartbeats \
         are remembered: write timeout = \"{}\" or less, or a longer interval",
        duration(*.interval), duration(*.max)
    )]
    LeaseTooLong {
        text: String,
        interval: Duration,
        intervals: u32,
        max: Duration,
    },
    #[error(
        "passive = true, but the service is on every port, and a client that asks for one that \
         nobody serves would show that the backend is dead: write passive = false, or a port"
    )]
    PassiveEveryPort,
    #[error("silence = \"{text}\": write silence = \"{}\" or more, or \"off\"", duration(*.min))]
    Silence { text: String, min: Duration },
    #[error(
        "silence = \"{text}\" is less than two heartbeats take at an interval of {}: write \
         silence = \"{}\" or more, or \"off\"",
        duration(*.interval), duration(*.min)
    )]
    SilenceBetweenHeartbeats {
        text: String,
        interval: Duration,
        min: Duration,
    },

    // Interfaces.
    #[error("no interfaces: write at least one, as in interfaces = [\"eth0\"]")]
    NoInterfaces,
    #[error("empty interface name: write one, as in \"eth0\"")]
    InterfaceEmpty,
    #[error("interface `{name}` has {len} bytes: write a name of at most {INTERFACE_LEN}")]
    InterfaceTooLong { name: String, len: usize },
    #[error("`{name}` cannot be an interface: write a name without white space, `/` and `:`")]
    InterfaceName { name: String },
    #[error("duplicate interface `{name}`: write it once")]
    InterfaceTwice { name: String },
    #[error("no interface `{name}`: interfaces here: {}", list(.present))]
    NoInterface { name: String, present: Vec<String> },

    // Addresses.
    #[error("`{text}` is not an address: write an IPv4 or IPv6 one, as in {key} = \"10.0.0.100\"")]
    NotAnAddress { key: &'static str, text: String },
    #[error("{address} is {kind}: write the address of {of}")]
    AddressKind {
        address: IpAddr,
        kind: &'static str,
        of: &'static str,
    },
    #[error("`{text}` is an IPv4 address mapped into IPv6: write \"{v4}\"")]
    Mapped { text: String, v4: Ipv4Addr },
    #[error(
        "{address} is not of the family of service `{service}`: write an {family} address, \
         or forward = \"ipip\""
    )]
    MixedFamilies {
        address: IpAddr,
        service: String,
        family: &'static str,
    },
    #[error(
        "{vip} is also backend `{backend}` (line {first}): write an address that no server has"
    )]
    VipIsBackend {
        vip: IpAddr,
        backend: String,
        first: usize,
    },
    #[error("{address} is also service `{service}` (line {first}): write the server's own address")]
    BackendIsVip {
        address: IpAddr,
        service: String,
        first: usize,
    },

    // Keys that exclude each other.
    #[error("`{key}` has no meaning for kind `{kind}`: remove it")]
    NotForKind {
        key: &'static str,
        kind: &'static str,
    },
    #[error("`{key}` with forward = \"{forward}\", but it is for \"nat\" only: remove it")]
    NatOnly {
        key: &'static str,
        forward: &'static str,
    },
    #[error(
        "port {port} with forward = \"{forward}\", which cannot change it: write {service}, \
         or no port"
    )]
    KeptPort {
        port: u16,
        service: u16,
        forward: &'static str,
    },
    #[error("port {port} for service `{service}`, which serves every port: write no port")]
    EveryPort { port: u16, service: String },

    // Flows.
    #[error(transparent)]
    Flow(FlowProblem),

    // Standbys and hooks.
    #[error(transparent)]
    Standby(StandbyProblem),
    #[error(
        "{key} = {value} is not below suppress = {suppress}, so that a backend would be damped for \
         ever: write a smaller one"
    )]
    Damping {
        key: &'static str,
        value: u32,
        suppress: u32,
    },
    #[error("{key} = \"{text}\" is too short: write {key} = \"{}\" or more", duration(*.min))]
    TooShort {
        key: &'static str,
        text: String,
        min: Duration,
    },

    // What services may not share.
    #[error("duplicate service name `{name}` (line {first}): write another name")]
    ServiceTwice { name: String, first: usize },
    #[error(
        "{what} is already service `{service}` (line {first}): \
         write another address, port or protocol"
    )]
    SameKey {
        what: String,
        service: String,
        first: usize,
    },
    #[error("duplicate backend name `{name}` (line {first}): write another name")]
    BackendTwice { name: String, first: usize },
    #[error(
        "backend `{name}` has address {address} on line {first}: write that, \
         or another name if it is another server"
    )]
    TwoAddresses {
        name: String,
        address: IpAddr,
        first: usize,
    },
    #[error(
        "service `{service}` has another heartbeat for backend `{backend}` than service `{other}` \
         (line {first}), and a backend has one lease: write the same [service.heartbeat] in both, \
         or give the server a second name"
    )]
    TwoHeartbeats {
        backend: String,
        service: String,
        other: String,
        first: usize,
    },
    #[error(
        "service `{service}` sends heartbeats to port {port} of backend `{backend}` and service \
         `{other}` (line {first}) to port {known}, and a backend has one lease: write \
         port = {known} in [service.heartbeat] of both, or give the server a second name"
    )]
    TwoHeartbeatPorts {
        backend: String,
        service: String,
        port: u16,
        other: String,
        known: u16,
        first: usize,
    },
    #[error(
        "backend `{name}` (line {first}) has this address and port in this service already: \
         write another address or port"
    )]
    SameServer { name: String, first: usize },
    #[error(
        "answers from {what} already go back as service `{service}` (line {first}): {}, \
         or forward = \"dsr\" in one of the two services",
        if *.every_port { "write a port for each service" } else { "write another port for this backend" }
    )]
    ReverseCollision {
        what: String,
        every_port: bool,
        service: String,
        first: usize,
    },

    #[error(
        "answers from {what} already go back as service `{service}` (line {first}): write \
         another port for this backend, or forward = \"fullnat\" in both services"
    )]
    TwoNats {
        what: String,
        service: String,
        first: usize,
    },

    // Limits of the maps.
    #[error("too many services: write at most {MAX_SERVICES}")]
    TooManyServices,
    #[error("too many backends: write at most {MAX_BACKENDS} names")]
    TooManyBackends,
    #[error("too many backends in service `{service}`: write at most {MAX_BACKENDS_PER_SERVICE}")]
    TooManyInService { service: String },
    #[error(
        "too many backends in services that forward by `nat`: write at most {MAX_SERVICES} \
         in all, or forward = \"dsr\""
    )]
    TooManyReverse,
}

/// A duration as the file would have it: humantime writes days and hours, which
/// it does not know.
fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
    ];
    match units
        .into_iter()
        .find(|(_, unit)| nanos.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => format!("{}.{:03}us", nanos / 1000, nanos % 1000),
    }
}

/// Names in quotes.
pub(super) fn list<S: fmt::Display>(names: &[S]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// A message with the control characters of what it quotes escaped: it stays
/// one line, and a terminal shows what is there.
struct OneLine<'a>(&'a Problem);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string().chars().try_for_each(|character| {
            if character.is_control() {
                write!(f, "{}", character.escape_default())
            } else {
                f.write_char(character)
            }
        })
    }
}
