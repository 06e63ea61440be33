//! Units of a real systemd as hooks.

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Family, Lab, Options, Server, Systemd, client::TcpClient, machine, server::Protocol,
    wait,
};

use super::events;
use crate::world::{PORT, REQUEST, SOON};

/// Units, and what the hook of `start` comes to: outcome and words.
const ROWS: [(&str, &str, &str); 5] = [
    ("web.service", "done", "done"),
    (
        "fails.service",
        "failed",
        "fails.service: failed: systemctl status fails.service says why",
    ),
    (
        "needs.service",
        "failed",
        "needs.service: dependency: systemctl status needs.service says why",
    ),
    ("hangs.service", "unknown", "did not end within 1s"),
    (
        "missing.service",
        "failed",
        "systemd refuses: Unit missing.service not found.",
    ),
];

/// A service for each row, on ports from [`PORT`] on; all are checked by the first one's
/// server.
fn services(lab: &Lab) -> Result<String> {
    let mut config = String::new();
    for ((unit, ..), port) in ROWS.iter().zip(PORT..) {
        writeln!(
            config,
            r#"
[[service]]
name = "{unit}"
address = "{vip}"
port = {port}
hold_down = "100ms"
check = [{{ kind = "tcp", port = {PORT}, interval = "20ms", timeout = "20ms" }}]
[[service.backend]]
name = "primary-{port}"
address = "{primary}"
[[service.backend]]
name = "standby-{port}"
address = "{standby}"
standby = "cold"
start = {{ systemd = "{unit}", timeout = "1s", retries = 0 }}
stop.systemd = "{unit}""#,
            vip = lab.vip(Family::V4),
            primary = lab.primary.address(Family::V4),
            standby = lab.standby.address(Family::V4),
        )?;
    }
    Ok(config)
}

#[test]
fn units_are_started_and_stopped() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let _primary = Server::start(&lab.primary, Protocol::Tcp, PORT)?;
    let web = format!(
        "[Service]\nExecStart={} --name standby --bind-address {} tcp {PORT}",
        machine::binary("lab-server")?.display(),
        lab.standby.address(Family::V4),
    );
    let systemd = Systemd::start(
        &lab.standby,
        &[
            ("web.service", &web),
            (
                "fails.service",
                "[Service]\nType=oneshot\nExecStart=/bin/false",
            ),
            (
                "needs.service",
                "Requires=fails.service\nAfter=fails.service\n[Service]\nExecStart=/bin/true",
            ),
            (
                "hangs.service",
                "[Service]\nType=oneshot\nExecStart=/bin/sleep 60",
            ),
        ],
    )?;
    let mut agent = Agent::start(&lab, &services(&lab)?)?;
    agent.set_environment("DBUS_SYSTEM_BUS_ADDRESS", &systemd.bus());
    agent.restart()?;
    let served_by = |name: &str| {
        let vip = SocketAddr::new(lab.vip(Family::V4), PORT);
        wait::until(SOON, &format!("{name} answers"), || {
            let answer = TcpClient::connect(&lab.client, vip, REQUEST)
                .and_then(|mut client| client.request("hello", REQUEST));
            answer.is_ok_and(|answer| answer == format!("{name} hello"))
        })
        .with_context(|| agent.log())
    };
    let told = |service: &str, hook: &str, outcome: &str, text: &str| {
        let event = [
            ("service", service),
            ("hook", hook),
            ("outcome", outcome),
            ("text", text),
        ];
        wait::until(
            SOON,
            &format!("{service}: {hook} {outcome}: {text}"),
            || events(&agent, "hook", &event).is_ok_and(|count| count == 1),
        )
        .with_context(|| agent.log())
    };
    served_by("primary")?;
    let at_standby = SocketAddr::new(lab.standby.address(Family::V4), PORT);
    let runs = || TcpClient::connect(&lab.director, at_standby, REQUEST).is_ok();
    ensure!(!runs(), "started without need");
    lab.primary.cut_link()?;
    for (unit, outcome, text) in ROWS {
        told(unit, "start", outcome, text)?;
    }
    served_by("standby")?;
    lab.primary.restore_link()?;
    served_by("primary")?;
    told("web.service", "stop", "done", "done")?;
    ensure!(!runs(), "it is not stopped");

    let nobody = format!(
        "cannot reach systemd: failed to connect to `{}`: No such file or directory (os error 2): \
         start the D-Bus service (dbus) of this machine",
        systemd.bus()
    );
    drop(systemd);
    lab.primary.cut_link()?;
    told("web.service", "start", "failed", &nobody)?;
    lab.primary.restore_link()?;
    served_by("primary")
}
