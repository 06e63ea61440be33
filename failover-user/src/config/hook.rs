//! Hooks: what is run outside of the agent for one step of a takeover.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use toml::Spanned;

use super::{
    error::{Error, Problem, StandbyProblem},
    raw,
    source::Source,
    value,
};

const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 2;
const MAX_RETRIES: u32 = 100;
const BACKOFF: Duration = Duration::from_secs(1);

/// What systemd calls the kinds of units that can be started (systemd.unit(5)).
const UNITS: [&str; 8] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
];

/// Longest name of a unit, bytes (systemd.unit(5)).
const UNIT_LEN: usize = 255;

/// What is run for one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// What.
    pub action: Action,
    /// How long one attempt may take; above zero.
    pub timeout: Duration,
    /// Attempts after the first one failed.
    pub retries: u32,
    /// Pause before the second attempt; it doubles with each.
    pub backoff: Duration,
    /// `fence` only: nobody is promoted unless it succeeded.
    pub required: bool,
}

/// What a [`Hook`] does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Runs a program.
    Command {
        /// Absolute.
        program: PathBuf,
        /// Its arguments, as they are.
        arguments: Vec<String>,
    },
    /// Sends an HTTP request; a status of 2xx is success.
    Http {
        /// The server.
        to: SocketAddr,
        /// From the `/` on, visible ASCII.
        path: String,
        /// `POST` or `PUT`.
        method: Method,
    },
    /// Starts or stops a unit of this machine's systemd.
    Systemd {
        /// Its name, with its kind.
        unit: String,
        /// Which of the two.
        verb: Verb,
    },
    /// Wakes a machine by its network card (Wake-on-LAN).
    Wake {
        /// The card's hardware address.
        mac: [u8; 6],
        /// Who hears of it: the broadcast address of the card's network.
        broadcast: Ipv4Addr,
    },
}

/// What systemd is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Start the unit.
    Start,
    /// Stop it.
    Stop,
}

/// Method of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
}

impl Hook {
    /// Validates the hook that the file calls `name`.
    pub(super) fn new(
        raw: Spanned<raw::Table<raw::Hook>>,
        name: &'static str,
        source: Source<'_>,
    ) -> Result<Self, Error> {
        let table = raw.span();
        let raw::Hook {
            command,
            http,
            method,
            systemd,
            wake,
            broadcast,
            timeout,
            retries,
            backoff,
            required,
        } = raw.into_inner().0;
        let refuse = |problem| Err(source.error(table.clone(), Problem::Standby(problem)));
        let without = |kind| {
            value::refuse(
                "method",
                method.as_ref().filter(|_| kind != "http"),
                kind,
                source,
            )?;
            let broadcast = broadcast.as_ref().filter(|_| kind != "wake");
            value::refuse("broadcast", broadcast, kind, source)
        };
        let action = match (command, http, systemd, wake) {
            (Some(command), None, None, None) => {
                without("command")?;
                self::command(command, source)?
            }
            (None, Some(http), None, None) => {
                without("http")?;
                self::http(&http, method.as_ref(), source)?
            }
            (None, None, Some(unit), None) => {
                without("systemd")?;
                systemd_unit(unit, name, source)?
            }
            (None, None, None, Some(_)) if name != "start" => {
                return refuse(StandbyProblem::OnlyStart);
            }
            (None, None, None, Some(mac)) => {
                without("wake")?;
                let broadcast =
                    value::required(broadcast, "broadcast", "\"10.0.0.255\"", &table, source)?;
                self::wake(&mac, &broadcast, source)?
            }
            (None, None, None, None) => return refuse(StandbyProblem::NoAction { hook: name }),
            _ => return refuse(StandbyProblem::SeveralActions { hook: name }),
        };
        let timeout = match timeout {
            None => TIMEOUT,
            Some(raw) => match value::duration(&raw, "timeout", source)? {
                Duration::ZERO => {
                    let text = raw.get_ref().0.clone();
                    let problem = StandbyProblem::NoTime { text };
                    return Err(source.error(raw.span(), Problem::Standby(problem)));
                }
                timeout => timeout,
            },
        };
        // Nobody knows what half of a promotion is; whether to try it again is for
        // who knows the server.
        let usual = if name == "promote" { 0 } else { RETRIES };
        let retries = retries.map_or(Ok(usual), |raw| {
            value::number(&raw, "retries", 0, MAX_RETRIES, source)
        })?;
        let backoff =
            backoff.map_or(Ok(BACKOFF), |raw| value::duration(&raw, "backoff", source))?;
        if let Some(required) = required.as_ref().filter(|_| name != "fence") {
            let problem = Problem::Standby(StandbyProblem::OnlyFence);
            return Err(source.error(required.span(), problem));
        }
        Ok(Self {
            action,
            timeout,
            retries,
            backoff,
            required: required.is_none_or(Spanned::into_inner),
        })
    }
}

fn command(raw: Spanned<Vec<Spanned<String>>>, source: Source<'_>) -> Result<Action, Error> {
    let list = raw.span();
    let mut words = raw.into_inner().into_iter();
    let Some(program) = words.next() else {
        return Err(source.error(list, Problem::Standby(StandbyProblem::EmptyCommand)));
    };
    let program = value::path(&program, "command", "/usr/local/sbin/promote", source)?;
    let mut arguments = Vec::new();
    for word in words {
        if word.get_ref().contains('\0') {
            let problem = Problem::Standby(StandbyProblem::Zero);
            return Err(source.error(word.span(), problem));
        }
        arguments.push(word.into_inner());
    }
    Ok(Action::Command { program, arguments })
}

/// Addresses only: a name server may be what has just failed.
fn http(
    raw: &Spanned<String>,
    method: Option<&Spanned<String>>,
    source: Source<'_>,
) -> Result<Action, Error> {
    let methods = [("POST", Method::Post), ("PUT", Method::Put)];
    let method = method.map_or(Ok(Method::Post), |method| {
        value::keyword(method, "method", &methods, source)
    })?;
    let url = raw.get_ref();
    let parsed = url.strip_prefix("http://").and_then(|rest| {
        let (server, path) = rest.split_at(rest.find('/')?);
        let visible = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let to: SocketAddr = server.parse().ok()?;
        (visible && to.port() != 0).then(|| (to, path.to_owned()))
    });
    let Some((to, path)) = parsed else {
        let problem = StandbyProblem::Url { url: url.clone() };
        return Err(source.error(raw.span(), Problem::Standby(problem)));
    };
    Ok(Action::Http { to, path, method })
}

/// What keeps a server from serving stops the unit; all else starts one.
fn systemd_unit(
    raw: Spanned<String>,
    hook: &'static str,
    source: Source<'_>,
) -> Result<Action, Error> {
    let unit = raw.get_ref();
    let (stem, kind) = unit.rsplit_once('.').unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":_.\\@-".contains(&byte);
    let valid = !stem.is_empty() && stem.bytes().all(fits) && unit.len() <= UNIT_LEN;
    if !valid || !UNITS.contains(&kind) {
        let problem = StandbyProblem::Unit { unit: unit.clone() };
        return Err(source.error(raw.span(), Problem::Standby(problem)));
    }
    let verb = match hook {
        "fence" | "stop" => Verb::Stop,
        _ => Verb::Start,
    };
    let unit = raw.into_inner();
    Ok(Action::Systemd { unit, verb })
}

fn wake(
    raw: &Spanned<String>,
    broadcast: &Spanned<String>,
    source: Source<'_>,
) -> Result<Action, Error> {
    let Some(mac) = hardware_address(raw.get_ref()) else {
        let mac = raw.get_ref().clone();
        let problem = Problem::Standby(StandbyProblem::Mac { mac });
        return Err(source.error(raw.span(), problem));
    };
    let address = broadcast.get_ref();
    match address.parse::<Ipv4Addr>() {
        Ok(broadcast) if !broadcast.is_unspecified() => Ok(Action::Wake { mac, broadcast }),
        Ok(_) | Err(_) => {
            let address = address.clone();
            let problem = Problem::Standby(StandbyProblem::Broadcast { address });
            Err(source.error(broadcast.span(), problem))
        }
    }
}

/// Six octets of one card: not those of a group, nor none.
fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let octet = |part: &str| {
        let hexadecimal = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal
            .then(|| u8::from_str_radix(part, 16).ok())
            .flatten()
    };
    let octets: Vec<u8> = text.split(':').map(octet).collect::<Option<_>>()?;
    let mac: [u8; 6] = octets.try_into().ok()?;
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}
