//! A server that is started when it is needed, and stopped after that.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Family, Lab, Options, Server, client::http_get, machine, server::Protocol, wait};

use super::{Scripts, config, events, held_by};
use crate::world::{REQUEST, SOON};

const PORT: u16 = 8080;

#[test]
fn it_is_started_serves_and_is_stopped() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let mut primary = Server::start(&lab.primary, Protocol::Http, PORT)?;
    let scripts = Scripts::new()?;
    let binary = machine::binary("lab-server")?;
    let host = lab.standby.namespace().name();
    let address = lab.standby.address(Family::V4);
    let start = scripts.add(
        "start",
        &format!(
            "setsid ip netns exec {host} {} --name standby --bind-address {address} http {PORT} \
             >/dev/null 2>&1 </dev/null & echo $! >> $DIR/pid",
            binary.display()
        ),
    )?;
    let stop = scripts.add(
        "stop",
        "kill $(tail -n1 $DIR/pid) && echo stopped >> $DIR/stopped",
    )?;
    let text = config(
        &lab,
        PORT,
        "hold_down = \"300ms\"",
        "",
        &format!("standby = \"cold\"\nstart.command = [{start:?}]\nstop.command = [{stop:?}]"),
    );
    let agent = Agent::start(&lab, &text)?;
    let vip = SocketAddr::new(lab.vip(Family::V4), PORT);
    let served_by = |name: &str| {
        wait::until(SOON, &format!("{name} answers"), || {
            http_get(&lab.client, vip, "/", REQUEST).is_ok_and(|body| body.trim() == name)
        })
        .with_context(|| agent.log())
    };
    served_by("primary")?;
    ensure!(scripts.lines("pid").is_empty(), "started without need");
    primary.kill()?;
    served_by("standby")?;
    held_by(&agent, "standby", "waiting")?;
    primary.restart()?;
    served_by("primary")?;
    held_by(&agent, "primary", "best")?;
    wait::until(SOON, "it is stopped", || {
        !scripts.lines("stopped").is_empty()
    })
    .with_context(|| agent.log())?;
    ensure!(scripts.lines("pid").len() == 1, "started more than once");
    ensure!(
        events(
            &agent,
            "failback",
            &[("from", "standby"), ("to", "primary")]
        )? == 1
    );
    Ok(())
}
