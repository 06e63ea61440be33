//! From the file as it is written to a configuration that is valid. Every raw
//! table is taken apart field by field: a new key breaks the build here.

use std::{ops::Range, time::Duration};

use failover_common::{Forward, MAX_BACKENDS_PER_SERVICE, OnFailure};
use toml::Spanned;

use super::{
    Config, Failback, Protocol, Service, ServiceBackend, agent, check,
    conflicts::{Roster, Taken},
    error::{Error, Problem},
    flow,
    heartbeat::{self, Lease},
    hook::Hook,
    raw, silence,
    source::Source,
    standby, value,
};
use crate::promotion::Kind;

/// How long a backend must be well before it gets its service back.
const HOLD_DOWN: Duration = Duration::from_secs(5);

/// What is asked of every backend of a service.
struct Drafts {
    checks: Vec<check::Draft>,
    /// Only before it serves.
    ready: Vec<check::Draft>,
    heartbeat: heartbeat::Draft,
}

impl Drafts {
    fn new(
        check: Vec<Spanned<raw::Check>>,
        ready: Vec<Spanned<raw::Check>>,
        heartbeat: heartbeat::Draft,
        service: &Service,
        source: Source<'_>,
    ) -> Result<Self, Error> {
        let drafts = |checks: Vec<Spanned<raw::Check>>| {
            let draft = |raw| check::Draft::new(raw, &service.name, service.port, source);
            checks.into_iter().map(draft).collect::<Result<Vec<_>, _>>()
        };
        let (mut checks, ready) = (drafts(check)?, drafts(ready)?);
        if checks.is_empty() {
            checks.push(check::Draft::icmp());
        }
        Ok(Self {
            checks,
            ready,
            heartbeat,
        })
    }
}

/// Validates the whole file.
pub(super) fn config(raw: raw::Config, source: Source<'_>) -> Result<Config, Error> {
    let raw::Config { agent, service } = raw;
    let Some(agent) = agent else {
        return Err(source.error(0..0, Problem::NoAgent));
    };
    let end = agent.span();
    let agent = agent::agent(agent, source)?;
    if service.is_empty() {
        return Err(source.error(end, Problem::NoService));
    }
    let mut taken = Taken::new(source);
    let services = service
        .into_iter()
        .map(|raw| self::service(raw, &mut taken, source))
        .collect::<Result<_, _>>()?;
    Ok(Config {
        agent,
        services,
        backends: taken.into_backends(),
    })
}

fn service(
    raw: Spanned<raw::Service>,
    taken: &mut Taken<'_>,
    source: Source<'_>,
) -> Result<Service, Error> {
    let table = raw.span();
    let raw::Service {
        name,
        address,
        port,
        protocol,
        forward,
        failback,
        hold_down,
        on_failure,
        passive,
        silence,
        takeovers_per_hour,
        patience,
        ready_timeout,
        during_switch,
        start,
        promote,
        fence,
        demote,
        stop,
        notify,
        heartbeat,
        check,
        ready,
        backend,
    } = raw.into_inner();

    let name = value::required(name, "name", "\"db\"", &table, source)?;
    value::name(&name, "db", source)?;
    let vip = value::required(address, "address", "\"10.0.0.100\"", &table, source)?;
    let address = value::address(&vip, "the service", source)?;
    let port = value::required(port, "port", "80, or 0 for every port", &table, source)?;
    let port = value::number(&port, "port", 0, u16::MAX, source)?;
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = value::keyword_or(Protocol::Tcp, protocol, "protocol", &protocols, source)?;
    let forwards = Forward::ALL.map(|forward| (forward.name(), forward));
    let forward = value::keyword_or(Forward::Nat, forward, "forward", &forwards, source)?;
    let failbacks = [
        ("auto", Failback::Auto),
        ("drain", Failback::Drain),
        ("manual", Failback::Manual),
    ];
    let failback_place = failback.as_ref().map(Spanned::span);
    let mut flows = flow::Draft::new(on_failure, failback_place, source)?;
    let failback = value::keyword_or(Failback::Auto, failback, "failback", &failbacks, source)?;
    let hold_down = hold_down.map_or(Ok(HOLD_DOWN), |hold_down| {
        value::duration(&hold_down, "hold_down", source)
    })?;
    let name_span = name.span();
    let name = name.into_inner();
    let heartbeat = heartbeat::Draft::new(heartbeat, &name, port, source)?;
    let passive = self::passive(passive, port, forward, source)?;
    let silence = silence::silence(silence, forward, heartbeat.interval(), source)?;
    let budget = takeovers_per_hour
        .map(|raw| value::number(&raw, "takeovers_per_hour", 0, u16::MAX, source))
        .transpose()?;
    let hooks = raw::Hooks {
        start,
        promote,
        fence,
        demote,
        stop,
    };
    let during_switch = standby::during_switch(during_switch, protocol, source)?;
    let times = (patience, ready_timeout);
    let mut standby = standby::Draft::new(&name, times, during_switch, hooks, source)?;
    let notify = notify
        .map(|raw| Hook::new(raw, "notify", source))
        .transpose()?;
    let backends = Vec::with_capacity(backend.len());
    let mut service = Service {
        name,
        address,
        port,
        protocol,
        forward,
        failback,
        hold_down,
        on_failure: OnFailure::Forward,
        passive,
        silence,
        budget,
        standby: None,
        notify,
        backends,
    };
    taken.service(&service, name_span, vip.span())?;

    let ready_place = ready.first().map(Spanned::span);
    let drafts = Drafts::new(check, ready, heartbeat, &service, source)?;
    self::backends(
        backend,
        (&mut service, &mut standby, &mut flows),
        &drafts,
        &table,
        taken,
        source,
    )?;
    service.standby = standby.finish(ready_place)?;
    service.on_failure = flows.finish(&service)?;
    Ok(service)
}

/// [`Service::passive`]: `nat` only, and one port that is open while all is
/// well.
fn passive(
    raw: Option<Spanned<bool>>,
    port: u16,
    forward: Forward,
    source: Source<'_>,
) -> Result<bool, Error> {
    let Some(raw) = raw else {
        return Ok(forward == Forward::Nat && port != 0);
    };
    let problem = match forward {
        Forward::Dsr | Forward::Ipip | Forward::Gue | Forward::FullNat => Problem::NatOnly {
            key: "passive",
            forward: forward.name(),
        },
        Forward::Nat if *raw.get_ref() && port == 0 => Problem::PassiveEveryPort,
        Forward::Nat => return Ok(raw.into_inner()),
    };
    Err(source.error(raw.span(), problem))
}

/// The backends of `service`, into it, and what it takes to promote them.
fn backends(
    raw: Vec<Spanned<raw::Backend>>,
    (service, standbys, flows): (&mut Service, &mut standby::Draft<'_>, &mut flow::Draft<'_>),
    drafts: &Drafts,
    table: &Range<usize>,
    taken: &mut Taken<'_>,
    source: Source<'_>,
) -> Result<(), Error> {
    if raw.is_empty() {
        let problem = Problem::NoBackend {
            service: service.name.clone(),
        };
        return Err(source.error(table.clone(), problem));
    }
    let mut roster = Roster::new(source);
    let promotes = raw.iter().any(|raw| {
        let standby = raw.get_ref().standby.as_ref();
        standby.is_some_and(|standby| matches!(standby.get_ref().as_str(), "warm" | "cold"))
    });
    for (order, raw) in (1_u8..).zip(raw) {
        let table = raw.span();
        if usize::from(order) > MAX_BACKENDS_PER_SERVICE {
            let problem = Problem::TooManyInService {
                service: service.name.clone(),
            };
            return Err(source.error(table, problem));
        }
        let raw::Backend {
            name,
            address,
            port,
            priority,
            weight,
            standby,
            stands_in_for,
            start,
            promote,
            fence,
            demote,
            stop,
        } = raw.into_inner();

        let name = value::required(name, "name", "\"db-a\"", &table, source)?;
        value::name(&name, "db-a", source)?;
        roster.name(&name)?;
        let raw = value::required(address, "address", "\"10.0.0.11\"", &table, source)?;
        let address = value::address(&raw, "the server", source)?;
        let is_mixed = address.is_ipv4() != service.address.is_ipv4();
        if is_mixed && !Forward::is_tunnel(service.forward as u8) {
            let family = if service.address.is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            let problem = Problem::MixedFamilies {
                address,
                service: service.name.clone(),
                family,
            };
            return Err(source.error(raw.span(), problem));
        }
        let place = port.as_ref().map_or(raw.span(), Spanned::span);
        let port = backend_port(port, service, source)?;
        roster.server(address, port, name.get_ref(), place.clone())?;
        let priority = priority.map_or(Ok(order), |raw| {
            value::number(&raw, "priority", 1, u8::MAX, source)
        })?;
        let weight = flows.weight(weight, priority, name.get_ref())?;
        let kinds = [
            ("hot", Kind::Hot),
            ("warm", Kind::Warm),
            ("cold", Kind::Cold),
        ];
        let kind = value::keyword_or(Kind::Hot, standby, "standby", &kinds, source)?;
        let hooks = raw::Hooks {
            start,
            promote,
            fence,
            demote,
            stop,
        };
        standbys.backend(priority, &name, kind, stands_in_for, hooks)?;

        let checks = drafts.checks.iter().map(|check| check.of(port));
        let lease = Lease {
            heartbeat: drafts.heartbeat.of(port),
            service: service.name.clone(),
            place: drafts.heartbeat.table().unwrap_or_else(|| name.span()),
        };
        let place_of = (address, raw.span());
        let backend = taken.backend(&name, promotes, place_of, checks, lease)?;
        taken.ready(backend, drafts.ready.iter().map(|check| check.of(port)));
        taken.serves(service, backend, port, place)?;
        service.backends.push(ServiceBackend {
            backend,
            port,
            priority,
            weight,
        });
    }
    service.backends.sort_by_key(|backend| backend.priority);
    Ok(())
}

/// The port of a backend in `service`: its own only where packets are rewritten.
fn backend_port(
    raw: Option<Spanned<i64>>,
    service: &Service,
    source: Source<'_>,
) -> Result<u16, Error> {
    let Some(raw) = raw else {
        return Ok(service.port);
    };
    let port = value::number(&raw, "port", i64::from(service.port != 0), u16::MAX, source)?;
    let problem = match service.forward {
        _ if port == service.port => return Ok(port),
        // The way back could not tell which port the client had asked for.
        _ if service.port == 0 => Problem::EveryPort {
            port,
            service: service.name.clone(),
        },
        Forward::Dsr | Forward::Ipip | Forward::Gue => Problem::KeptPort {
            port,
            service: service.port,
            forward: service.forward.name(),
        },
        Forward::Nat | Forward::FullNat => return Ok(port),
    };
    Err(source.error(raw.span(), problem))
}
