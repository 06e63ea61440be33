//! Standbys that must be promoted or started, with real servers.

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Family, Lab, wait};
use serde_json::Value;

use crate::world::{SOON, named};

mod cold;
mod distrust;
mod killed;
mod maintenance;
mod meanwhile;
mod postgres;
mod redis;
mod steps;
mod systemd;

/// A service `db` with `primary` and `standby`; `keys` are of the service, and the
/// other two of each backend.
pub(crate) fn config(lab: &Lab, port: u16, keys: &str, primary: &str, standby: &str) -> String {
    format!(
        r#"
[[service]]
name = "db"
address = "{vip}"
port = {port}
{keys}
[[service.check]]
kind = "tcp"
interval = "20ms"
timeout = "20ms"
[[service.backend]]
name = "primary"
address = "{a}"
{primary}
[[service.backend]]
name = "standby"
address = "{b}"
{standby}
"#,
        vip = lab.vip(Family::V4),
        a = lab.primary.address(Family::V4),
        b = lab.standby.address(Family::V4),
    )
}

/// What status says of the only service.
pub(crate) fn service(agent: &Agent) -> Value {
    let status = agent.status().unwrap_or_default();
    status["services"][0].clone()
}

/// What status says of a backend.
pub(crate) fn backend(agent: &Agent, name: &str) -> Value {
    let status = agent.status().unwrap_or_default();
    named(&status, "backends", name).clone()
}

/// Waits until the service is held by `name` and in this state.
pub(crate) fn held_by(agent: &Agent, name: &str, state: &str) -> Result<()> {
    let held = || {
        let service = service(agent);
        service["promotion"]["holder"] == name && service["state"] == state
    };
    wait::until(SOON, &format!("{name} holds the service, {state}"), held)
        .with_context(|| format!("{:#}\n{}", service(agent), agent.log()))
}

/// Runs a command that has to succeed.
pub(crate) fn done(agent: &Agent, arguments: &[&str]) -> Result<()> {
    let output = agent.cli(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(())
}

/// How often an event of this kind was told that has these values.
pub(crate) fn events(agent: &Agent, event: &str, values: &[(&str, &str)]) -> Result<usize> {
    let output = agent.cli(&["events", "--json"])?;
    let text = String::from_utf8(output.stdout)?;
    let events = text.lines().map(serde_json::from_str::<Value>);
    let events: Vec<Value> = events.collect::<Result<_, _>>()?;
    let fits =
        |it: &&Value| it["event"] == event && values.iter().all(|(key, value)| it[*key] == **value);
    Ok(events.iter().filter(fits).count())
}
