//! Our configuration.

use lab::{Family, Forward, Lab};

use super::client::Traffic;
use super::fault::Fault;
use super::world::{APPLICATION_PORT, PORT};
use crate::service::Service;
use crate::settings::Settings;

/// The service's name.
pub(super) const SERVICE: &str = "bench";

/// The traffic lease, as fast as the rest of the settings.
const SILENCE: &str = "silence = \"8ms\"\n";

/// How often an application is asked whether it works; the heartbeats see its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    /// Every 10 ms: something else sees the fault.
    Slow,
    /// Every millisecond, as `HAProxy` does: nothing else sees it.
    Fast,
}

impl Checks {
    pub(super) fn for_fault(fault: Fault) -> Self {
        if fault == Fault::ProcessStopped {
            Self::Fast
        } else {
            Self::Slow
        }
    }

    /// Both the interval and the timeout.
    fn interval(self) -> &'static str {
        match self {
            Self::Slow => "10ms",
            Self::Fast => "1ms",
        }
    }
}

/// What follows the `[agent]` table. Without settings the agent's own heartbeats.
pub(super) fn config(
    lab: &Lab,
    traffic: Traffic,
    settings: Option<Settings>,
    checks: Checks,
) -> String {
    let backends: Vec<_> = lab
        .backends()
        .map(|host| (host.name().to_owned(), host.address(Family::V4)))
        .collect();
    // By DSR no answers pass, and the key is refused.
    let silence = match lab.options().forward {
        Forward::Nat => SILENCE,
        _ => "",
    };
    let heartbeat = settings.map(|settings| format!("{silence}{}", settings.table()));
    let heartbeat = heartbeat.unwrap_or_default();
    Service {
        name: SERVICE,
        address: lab.vip(Family::V4),
        port: PORT,
        protocol: match traffic {
            Traffic::Udp => "udp",
            Traffic::Tcp | Traffic::Stream => "tcp",
        },
        forward: lab.options().forward,
        heartbeat: &heartbeat,
        checks: &tables(traffic, checks),
        backends: &backends,
    }
    .tables()
}

fn tables(traffic: Traffic, checks: Checks) -> String {
    let interval = checks.interval();
    let of_the_service = match traffic {
        Traffic::Udp => "icmp",
        Traffic::Tcp | Traffic::Stream => "tcp",
    };
    format!(
        r#"
    [[service.check]]
    kind = "{of_the_service}"
    interval = "{interval}"
    timeout = "{interval}"
    fall = 2

    [[service.check]]
    kind = "http"
    port = {APPLICATION_PORT}
    path = "/"
    interval = "{interval}"
    timeout = "{interval}"
    fall = 2
"#
    )
}
