//! `[[service.check]]`.

use std::time::Duration;

use toml::Spanned;

use super::{
    Check, CheckKind,
    error::{Error, Problem},
    raw,
    source::Source,
    value,
};

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(200);
const FALL: u32 = 2;
const RISE: u32 = 3;
const PATH: &str = "/";

/// Shortest interval. Checks are for what takes a round trip of an application;
/// what is faster is for a heartbeat.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// A check of a service, still without the backend it is for.
#[derive(Debug)]
pub(super) struct Draft {
    kind: DraftKind,
    interval: Duration,
    timeout: Duration,
    fall: u32,
    rise: u32,
}

/// A port of none is the backend's.
#[derive(Debug)]
enum DraftKind {
    Icmp,
    Tcp { port: Option<u16> },
    Http { port: Option<u16>, path: String },
}

/// The words for the kinds in the file.
#[derive(Clone, Copy)]
enum Kind {
    Icmp,
    Tcp,
    Http,
}

impl Draft {
    /// What a service without a check gets.
    pub(super) fn icmp() -> Self {
        let kind = DraftKind::Icmp;
        Self {
            kind,
            interval: INTERVAL,
            timeout: TIMEOUT,
            fall: FALL,
            rise: RISE,
        }
    }

    /// Validates a check of `service`, which is on `service_port`.
    pub(super) fn new(
        raw: Spanned<raw::Check>,
        service: &str,
        service_port: u16,
        source: Source<'_>,
    ) -> Result<Self, Error> {
        let table = raw.span();
        let raw::Check {
            kind,
            port,
            path,
            interval,
            timeout,
            fall,
            rise,
        } = raw.into_inner();

        let kind = value::required(kind, "kind", "\"icmp\"", &table, source)?;
        let choices = [
            ("icmp", Kind::Icmp),
            ("tcp", Kind::Tcp),
            ("http", Kind::Http),
        ];
        let kind = match value::keyword(&kind, "kind", &choices, source)? {
            Kind::Icmp => {
                value::refuse("port", port.as_ref(), "icmp", source)?;
                value::refuse("path", path.as_ref(), "icmp", source)?;
                DraftKind::Icmp
            }
            Kind::Tcp => {
                value::refuse("path", path.as_ref(), "tcp", source)?;
                DraftKind::Tcp {
                    port: self::port(port, source)?,
                }
            }
            Kind::Http => {
                let port = self::port(port, source)?;
                DraftKind::Http {
                    port,
                    path: self::path(path, source)?,
                }
            }
        };
        if service_port == 0
            && let DraftKind::Tcp { port: None } | DraftKind::Http { port: None, .. } = kind
        {
            let problem = Problem::MissingPort {
                service: service.to_owned(),
                purpose: "to check",
            };
            return Err(source.error(table, problem));
        }

        let interval = self::interval(interval, source)?;
        let timeout = self::timeout(timeout, interval, source)?;
        let threshold = |key, default, value: Option<Spanned<i64>>| {
            value.map_or(Ok(default), |value| {
                value::number(&value, key, 1, u32::MAX, source)
            })
        };
        let fall = threshold("fall", FALL, fall)?;
        let rise = threshold("rise", RISE, rise)?;
        Ok(Self {
            kind,
            interval,
            timeout,
            fall,
            rise,
        })
    }

    /// The check of a backend that serves on `backend_port`.
    pub(super) fn of(&self, backend_port: u16) -> Check {
        let Self {
            kind,
            interval,
            timeout,
            fall,
            rise,
        } = self;
        let kind = match kind {
            DraftKind::Icmp => CheckKind::Icmp,
            DraftKind::Tcp { port } => CheckKind::Tcp {
                port: port.unwrap_or(backend_port),
            },
            DraftKind::Http { port, path } => CheckKind::Http {
                port: port.unwrap_or(backend_port),
                path: path.clone(),
            },
        };
        Check {
            kind,
            interval: *interval,
            timeout: *timeout,
            fall: *fall,
            rise: *rise,
        }
    }
}

fn port(port: Option<Spanned<i64>>, source: Source<'_>) -> Result<Option<u16>, Error> {
    port.map(|port| value::number(&port, "port", 1, u16::MAX, source))
        .transpose()
}

/// A request target in origin form (RFC 9112, section 3.2.1).
fn path(path: Option<Spanned<String>>, source: Source<'_>) -> Result<String, Error> {
    let Some(path) = path else {
        return Ok(PATH.to_owned());
    };
    let text = path.get_ref();
    // A fragment never goes to the server (RFC 9110, section 7.1).
    if text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        Ok(path.into_inner())
    } else {
        Err(source.error(path.span(), Problem::HttpPath { path: text.clone() }))
    }
}

fn interval(
    raw: Option<Spanned<raw::DurationText>>,
    source: Source<'_>,
) -> Result<Duration, Error> {
    let Some(raw) = raw else {
        return Ok(INTERVAL);
    };
    let interval = value::duration(&raw, "interval", source)?;
    let problem = if interval.is_zero() {
        Problem::IntervalZero { min: MIN_INTERVAL }
    } else if interval < MIN_INTERVAL {
        Problem::IntervalTooShort {
            text: raw.get_ref().0.clone(),
            min: MIN_INTERVAL,
        }
    } else {
        return Ok(interval);
    };
    Err(source.error(raw.span(), problem))
}

fn timeout(
    raw: Option<Spanned<raw::DurationText>>,
    interval: Duration,
    source: Source<'_>,
) -> Result<Duration, Error> {
    let Some(raw) = raw else {
        return Ok(TIMEOUT.min(interval));
    };
    let timeout = value::duration(&raw, "timeout", source)?;
    let problem = if timeout.is_zero() {
        Problem::TimeoutZero { interval }
    } else if timeout > interval {
        Problem::TimeoutTooLong {
            text: raw.get_ref().0.clone(),
            interval,
        }
    } else {
        return Ok(timeout);
    };
    Err(source.error(raw.span(), problem))
}
