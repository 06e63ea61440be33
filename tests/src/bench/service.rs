//! A service in our configuration.

use std::net::IpAddr;

use lab::Forward;

/// What follows the `[agent]` table, for one service.
pub(crate) struct Service<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'a str,
    pub(crate) forward: Forward,
    /// The table of heartbeats; empty: the agent's own.
    pub(crate) heartbeat: &'a str,
    /// The tables of checks.
    pub(crate) checks: &'a str,
    /// Names and addresses, the best first.
    pub(crate) backends: &'a [(String, IpAddr)],
}

/// Checks that say nothing while something is measured: the heartbeats decide.
pub(crate) const SLOW_CHECKS: &str = r#"
    [[service.check]]
    kind = "icmp"
    interval = "60s"
    timeout = "60s"
"#;

impl Service<'_> {
    /// The tables. The service goes back to a better backend at once.
    pub(crate) fn tables(&self) -> String {
        let Self {
            name,
            address,
            port,
            protocol,
            forward,
            heartbeat,
            checks,
            backends,
        } = self;
        let forward = forward.as_str();
        let backends: String = backends
            .iter()
            .zip(1..)
            .map(|((name, address), priority)| backend(name, *address, priority))
            .collect();
        format!(
            r#"
[[service]]
name = "{name}"
address = "{address}"
port = {port}
protocol = "{protocol}"
forward = "{forward}"
failback = "auto"
hold_down = "0ms"
{heartbeat}{checks}{backends}"#
        )
    }
}

fn backend(name: &str, address: IpAddr, priority: usize) -> String {
    format!(
        r#"
    [[service.backend]]
    name = "{name}"
    address = "{address}"
    priority = {priority}
"#
    )
}
