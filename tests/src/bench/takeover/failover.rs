//! Our configuration.

use lab::{Family, Lab};

use super::client::Traffic;
use super::world::{APPLICATION_PORT, PORT};
use crate::service::Service;
use crate::settings::Settings;

/// The service's name.
pub(super) const SERVICE: &str = "bench";

/// What sees a process that died or hangs; the heartbeats see its host.
const CHECK: &str = r#"interval = "10ms"
    timeout = "10ms"
    fall = 2"#;

/// What follows the `[agent]` table. Without settings the agent's own heartbeats.
pub(super) fn config(lab: &Lab, traffic: Traffic, settings: Option<Settings>) -> String {
    let backends: Vec<_> = lab
        .backends()
        .map(|host| (host.name().to_owned(), host.address(Family::V4)))
        .collect();
    Service {
        name: SERVICE,
        address: lab.vip(Family::V4),
        port: PORT,
        protocol: match traffic {
            Traffic::Udp => "udp",
            Traffic::Tcp | Traffic::Stream => "tcp",
        },
        forward: lab.options().forward,
        heartbeat: &settings.map(Settings::table).unwrap_or_default(),
        checks: &checks(traffic),
        backends: &backends,
    }
    .tables()
}

fn checks(traffic: Traffic) -> String {
    let of_the_service = match traffic {
        Traffic::Udp => "icmp",
        Traffic::Tcp | Traffic::Stream => "tcp",
    };
    format!(
        r#"
    [[service.check]]
    kind = "{of_the_service}"
    {CHECK}

    [[service.check]]
    kind = "http"
    port = {APPLICATION_PORT}
    path = "/"
    {CHECK}
"#
    )
}
