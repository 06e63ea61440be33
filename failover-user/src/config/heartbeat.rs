//! `[service.heartbeat]`.

use std::{ops::Range, time::Duration};

use failover_common::{HeartbeatKind, RING};
use toml::Spanned;

use super::{
    Heartbeat,
    error::{Error, Problem},
    raw,
    source::Source,
    value,
};

/// Shortest interval. It is about one round trip through two network stacks, so
/// that less would not show a death sooner; it is 20,000 packets a second to
/// each backend already.
const MIN_INTERVAL: Duration = Duration::from_micros(50);

/// Longest interval. A check is as quick then, and asks for more.
const MAX_INTERVAL: Duration = Duration::from_secs(1);

/// Longest timeout: the data path has 32 bits for its nanoseconds.
const MAX_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(MAX_TIMEOUT.as_nanos() <= u32::MAX as u128);
const _: () = assert!(MAX_INTERVAL.as_nanos() * TIMEOUT as u128 <= MAX_TIMEOUT.as_nanos());

/// The timeout by default, intervals: three heartbeats, the default of `fall`, have
/// gone out by then, and the last one had an interval for its answer.
const TIMEOUT: u32 = 4;

/// The shortest timeout, intervals: less would be over before a second heartbeat
/// is out.
const MIN_TIMEOUT: u32 = 2;

/// Most unanswered heartbeats whose oldest the data path still knows the send
/// time of, see [`failover_common::Pulse::oldest`]. More can neither be waited
/// for nor be older.
const REMEMBERED: u32 = RING - 2;

/// Least `fall`: with 1, a single lost packet would be a death.
const MIN_FALL: i64 = 2;

/// Most `rise`, minutes even at the default interval. To stay away longer after
/// a death is for `hold_down`.
const MAX_RISE: u32 = 1_000_000;

/// The heartbeat of a service, still without the backend it is for.
#[derive(Debug)]
pub(super) struct Draft {
    /// A port of 0 is the backend's, if the kind has one.
    heartbeat: Heartbeat,
    /// Where the table is written, bytes; none: it is not.
    table: Option<Range<usize>>,
}

impl Draft {
    /// Validates the heartbeat of `service`, which is on `service_port`.
    pub(super) fn new(
        raw: Option<Spanned<raw::Table<raw::Heartbeat>>>,
        service: &str,
        service_port: u16,
        source: Source<'_>,
    ) -> Result<Self, Error> {
        let Some(raw) = raw else {
            return Ok(Self {
                heartbeat: Heartbeat::DEFAULT,
                table: None,
            });
        };
        let table = raw.span();
        let heartbeat = heartbeat(raw.into_inner().0, source)?;
        if service_port == 0 && heartbeat.port == 0 && has_port(heartbeat.kind) {
            let problem = Problem::MissingPort {
                service: service.to_owned(),
                purpose: "to send heartbeats to",
            };
            return Err(source.error(table, problem));
        }
        Ok(Self {
            heartbeat,
            table: Some(table),
        })
    }

    /// From one heartbeat to the next; none: none are sent.
    pub(super) fn interval(&self) -> Option<Duration> {
        let Heartbeat { kind, interval, .. } = self.heartbeat;
        (kind != HeartbeatKind::None).then_some(interval)
    }

    /// The heartbeat of a backend that serves on `backend_port`.
    pub(super) fn of(&self, backend_port: u16) -> Heartbeat {
        let mut heartbeat = self.heartbeat;
        if has_port(heartbeat.kind) && heartbeat.port == 0 {
            heartbeat.port = backend_port;
        }
        heartbeat
    }

    /// Where the table is written, bytes.
    pub(super) fn table(&self) -> Option<Range<usize>> {
        self.table.clone()
    }
}

/// What renews the lease of a backend, as a service wants it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) heartbeat: Heartbeat,
    /// The service's name.
    pub(super) service: String,
    /// Where it says so, bytes: the table, or the backend if that is not written.
    pub(super) place: Range<usize>,
}

impl Lease {
    /// Refuses what another service wants for the same `backend` if it is not the
    /// same.
    pub(super) fn agree(
        &self,
        other: &Self,
        backend: &str,
        source: Source<'_>,
    ) -> Result<(), Error> {
        let (known, wanted) = (self.heartbeat, other.heartbeat);
        if wanted == known {
            return Ok(());
        }
        let backend = backend.to_owned();
        let (first, service) = (self.service.clone(), other.service.clone());
        let line = source.line(self.place.clone());
        let port = wanted.port;
        let problem = if wanted == (Heartbeat { port, ..known }) {
            Problem::TwoHeartbeatPorts {
                backend,
                service,
                port,
                other: first,
                known: known.port,
                first: line,
            }
        } else {
            Problem::TwoHeartbeats {
                backend,
                service,
                other: first,
                first: line,
            }
        };
        Err(source.error(other.place.clone(), problem))
    }
}

/// Whether heartbeats of this kind go to a port.
const fn has_port(kind: HeartbeatKind) -> bool {
    match kind {
        HeartbeatKind::None | HeartbeatKind::Icmp => false,
        HeartbeatKind::TcpSyn | HeartbeatKind::Udp => true,
    }
}

fn heartbeat(raw: raw::Heartbeat, source: Source<'_>) -> Result<Heartbeat, Error> {
    let raw::Heartbeat {
        kind,
        port,
        interval,
        timeout,
        fall,
        rise,
    } = raw;
    let kinds = [
        ("icmp", HeartbeatKind::Icmp),
        ("tcp-syn", HeartbeatKind::TcpSyn),
        ("udp", HeartbeatKind::Udp),
        ("none", HeartbeatKind::None),
    ];
    let kind = kind.map_or(Ok(Heartbeat::DEFAULT.kind), |kind| {
        value::keyword(&kind, "kind", &kinds, source)
    })?;
    match kind {
        HeartbeatKind::Icmp => value::refuse("port", port.as_ref(), "icmp", source)?,
        HeartbeatKind::TcpSyn => {}
        HeartbeatKind::Udp => {
            value::refuse("timeout", timeout.as_ref(), "udp", source)?;
            value::refuse("fall", fall.as_ref(), "udp", source)?;
        }
        HeartbeatKind::None => {
            value::refuse("port", port.as_ref(), "none", source)?;
            value::refuse("interval", interval.as_ref(), "none", source)?;
            value::refuse("timeout", timeout.as_ref(), "none", source)?;
            value::refuse("fall", fall.as_ref(), "none", source)?;
            value::refuse("rise", rise.as_ref(), "none", source)?;
        }
    }
    let port = port.map_or(Ok(0), |port| {
        value::number(&port, "port", 1, u16::MAX, source)
    })?;
    let interval = self::interval(interval, source)?;
    let (timeout, fall) = match kind {
        HeartbeatKind::Icmp | HeartbeatKind::TcpSyn => {
            let timeout = self::timeout(timeout, interval, source)?;
            let fall = fall.map_or(Ok(Heartbeat::DEFAULT.fall), |fall| {
                value::number(&fall, "fall", MIN_FALL, REMEMBERED, source)
            })?;
            (timeout, fall)
        }
        HeartbeatKind::Udp | HeartbeatKind::None => (Duration::ZERO, 0),
    };
    let rise = rise.map_or(Ok(Heartbeat::DEFAULT.rise), |rise| {
        value::number(&rise, "rise", 1, MAX_RISE, source)
    })?;
    Ok(Heartbeat {
        kind,
        port,
        interval,
        timeout,
        fall,
        rise,
    })
}

fn interval(
    raw: Option<Spanned<raw::DurationText>>,
    source: Source<'_>,
) -> Result<Duration, Error> {
    let Some(raw) = raw else {
        return Ok(Heartbeat::DEFAULT.interval);
    };
    let interval = value::duration_to(MAX_INTERVAL, &raw, "interval", source)?;
    if interval < MIN_INTERVAL {
        let problem = Problem::IntervalTooShort {
            text: raw.get_ref().0.clone(),
            min: MIN_INTERVAL,
        };
        return Err(source.error(raw.span(), problem));
    }
    Ok(interval)
}

fn timeout(
    raw: Option<Spanned<raw::DurationText>>,
    interval: Duration,
    source: Source<'_>,
) -> Result<Duration, Error> {
    let Some(raw) = raw else {
        return Ok(interval * TIMEOUT);
    };
    let timeout = value::duration_to(MAX_TIMEOUT, &raw, "timeout", source)?;
    let min = interval * MIN_TIMEOUT;
    let max = interval * REMEMBERED;
    let text = raw.get_ref().0.clone();
    let problem = if timeout < min {
        Problem::LeaseTooShort {
            text,
            interval,
            min,
        }
    } else if timeout > max {
        Problem::LeaseTooLong {
            text,
            interval,
            intervals: REMEMBERED,
            max,
        }
    } else {
        return Ok(timeout);
    };
    Err(source.error(raw.span(), problem))
}
