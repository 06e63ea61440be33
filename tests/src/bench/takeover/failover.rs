//! Our configuration.

use std::fmt::Write as _;
use std::time::Duration;

use lab::{Family, Lab};

use super::client::Traffic;
use super::system::Settings;
use super::world::{APPLICATION_PORT, PORT};

/// The service's name.
pub(super) const SERVICE: &str = "bench";

/// What sees a process that died or hangs; the heartbeats see its host.
const CHECK: &str = r#"interval = "10ms"
    timeout = "10ms"
    fall = 2"#;

/// What follows the `[agent]` table. Without settings the agent's own heartbeats.
pub(super) fn config(lab: &Lab, traffic: Traffic, settings: Option<Settings>) -> String {
    let protocol = match traffic {
        Traffic::Udp => "udp",
        Traffic::Tcp | Traffic::Stream => "tcp",
    };
    let forward = lab.options().forward.as_str();
    let mut config = format!(
        r#"
[[service]]
name = "{SERVICE}"
address = "{}"
port = {PORT}
protocol = "{protocol}"
forward = "{forward}"
failback = "auto"
hold_down = "0ms"
"#,
        lab.vip(Family::V4),
    );
    config.push_str(&settings.map(heartbeat).unwrap_or_default());
    config.push_str(&checks(traffic));
    for (host, priority) in lab.backends().zip(1..) {
        let (name, address) = (host.name(), host.address(Family::V4));
        // Writing to a string cannot fail.
        let _written = write!(
            config,
            r#"
    [[service.backend]]
    name = "{name}"
    address = "{address}"
    priority = {priority}
"#
        );
    }
    config
}

fn heartbeat(settings: Settings) -> String {
    let Settings {
        interval,
        timeout,
        fall,
    } = settings;
    format!(
        r#"
    [service.heartbeat]
    kind = "icmp"
    interval = "{}"
    timeout = "{}"
    fall = {fall}
    rise = 20
"#,
        us(interval),
        us(timeout),
    )
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

fn us(duration: Duration) -> String {
    format!("{}us", duration.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_as_the_agent_reads_them() {
        let text = heartbeat(Settings {
            interval: Duration::from_micros(100),
            timeout: Duration::from_millis(3),
            fall: 2,
        });
        for line in [
            "[service.heartbeat]",
            "interval = \"100us\"",
            "timeout = \"3000us\"",
            "fall = 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
