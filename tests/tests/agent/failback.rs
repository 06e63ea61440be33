//! The way back, and services without anyone to serve them.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use lab::{Options, clock, wait};

use crate::world::{SOON, World, named};

#[test]
fn automatic_failback_waits_for_the_hold_down() -> Result<()> {
    let world = World::new(Options::default(), "hold_down = \"1s\"")?;
    world.lab.primary.cut_link()?;
    world.served_by("standby")?;
    let repaired = world.lab.primary.restore_link()?;
    world.served_by("primary")?;
    let took = Duration::from_nanos(clock::now_ns() - repaired);
    ensure!(took >= Duration::from_secs(1), "after {took:?}");
    Ok(())
}

#[test]
fn manual_failback_waits_for_the_operator() -> Result<()> {
    let world = World::new(
        Options::default(),
        "failback = \"manual\"\nhold_down = \"100ms\"",
    )?;
    world.lab.primary.freeze()?;
    world.served_by("standby")?;
    world.lab.primary.thaw()?;
    let eligible = || {
        let status = world.agent.status().unwrap_or_default();
        ["primary-V4", "primary-V6"]
            .iter()
            .all(|name| named(&status, "backends", name)["eligible"] == true)
    };
    wait::until(SOON, "the primary is eligible again", eligible)?;
    sleep(Duration::from_millis(500));
    world.served_by("standby")?;
    for service in ["tcp-V4", "udp-V4", "tcp-V6", "udp-V6"] {
        let output = world.agent.cli(&["switch", service])?;
        ensure!(output.status.success(), "{output:?}");
    }
    world.served_by("primary")
}

#[test]
fn a_switch_stays_and_survives_the_agent() -> Result<()> {
    let mut world = World::new(Options::default(), "hold_down = \"100ms\"")?;
    for family in ["V4", "V6"] {
        for protocol in ["tcp", "udp"] {
            let service = format!("{protocol}-{family}");
            let to = format!("standby-{family}");
            let output = world.agent.cli(&["switch", &service, "--to", &to])?;
            ensure!(output.status.success(), "{output:?}");
        }
    }
    world.served_by("standby")?;
    world.agent.kill9()?;
    world.agent.restart()?;
    sleep(Duration::from_millis(500));
    world.served_by("standby")
}

#[test]
fn the_last_serving_backend_keeps_the_service() -> Result<()> {
    let mut world = World::new(Options::default(), "hold_down = \"100ms\"")?;
    world.lab.primary.cut_link()?;
    world.served_by("standby")?;
    // Only the TCP server dies: the UDP one answers on, and shows who is asked.
    world.standby[1].kill()?;
    let lost = || {
        let status = world.agent.status().unwrap_or_default();
        let service = named(&status, "services", "udp-V4");
        service["state"] == "lost" && service["serving"] == "standby-V4"
    };
    wait::until(SOON, "status says that the service is lost", lost)?;
    let vip = std::net::SocketAddr::new(world.lab.vip(lab::Family::V4), crate::world::PORT);
    let answer = lab::client::udp_request(&world.lab.client, vip, "hello", SOON);
    ensure!(answer.as_deref() == Some("standby hello"), "{answer:?}");
    let text = world.agent.cli(&["status"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    ensure!(text.contains("LOST: NO ELIGIBLE BACKEND"), "{text}");
    // The first to recover serves at once, whoever it is.
    world.lab.primary.restore_link()?;
    world.served_by("primary")
}
