//! Hooks: what is run outside of the agent for one step of a takeover.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

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
            timeout,
            retries,
            backoff,
            required,
        } = raw.into_inner().0;
        let refuse = |problem| Err(source.error(table.clone(), Problem::Standby(problem)));
        let action = match (command, http) {
            (Some(command), None) => {
                value::refuse("method", method.as_ref(), "command", source)?;
                self::command(command, source)?
            }
            (None, Some(http)) => {
                let methods = [("POST", Method::Post), ("PUT", Method::Put)];
                let method = method.map_or(Ok(Method::Post), |method| {
                    value::keyword(&method, "method", &methods, source)
                })?;
                self::http(&http, method, source)?
            }
            (None, None) => return refuse(StandbyProblem::NoAction { hook: name }),
            (Some(_), Some(_)) => return refuse(StandbyProblem::TwoActions { hook: name }),
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
fn http(raw: &Spanned<String>, method: Method, source: Source<'_>) -> Result<Action, Error> {
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
