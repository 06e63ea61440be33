//! Drained and disabled backends, and services that change hands too often.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Options, wait};

use super::{backend, done};
use crate::world::{SOON, World};

/// The holds of a backend.
fn holds(world: &World, name: &str) -> String {
    backend(&world.agent, name)["holds"].to_string()
}

#[test]
fn what_is_disabled_stays_so_over_a_restart() -> Result<()> {
    let mut world = World::new(Options::default(), "hold_down = \"100ms\"")?;
    for family in ["V4", "V6"] {
        let name = format!("primary-{family}");
        done(&world.agent, &["disable", &name, "--reason", "new disk"])?;
    }
    world.served_by("standby")?;
    world.agent.kill9()?;
    world.agent.restart()?;
    world.served_by("standby")?;
    ensure!(holds(&world, "primary-V4") == "[\"disabled\"]");
    ensure!(backend(&world.agent, "primary-V4")["reason"] == "new disk");
    let status = world.agent.cli(&["status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(status.contains("disabled (new disk)"), "{status}");
    let past = super::events(&world.agent, "maintenance", &[("state", "disabled")])?;
    ensure!(past == 2, "events are kept too: {past}");
    for family in ["V4", "V6"] {
        done(&world.agent, &["enable", &format!("primary-{family}")])?;
    }
    world.served_by("primary")?;
    let again = world.agent.cli(&["enable", "primary-V4"])?;
    ensure!(again.status.code() == Some(1), "{again:?}");
    let nobody = world.agent.cli(&["drain", "nobody"])?;
    ensure!(String::from_utf8_lossy(&nobody.stderr).contains("no backend `nobody`"));
    Ok(())
}

#[test]
fn what_is_drained_for_a_time_comes_back() -> Result<()> {
    let mut world = World::new(Options::default(), "hold_down = \"0s\"")?;
    done(&world.agent, &["drain", "standby-V4", "--for", "5s"])?;
    ensure!(holds(&world, "standby-V4") == "[\"drained\"]");
    // Its time goes on while no agent runs.
    world.agent.kill9()?;
    world.agent.restart()?;
    ensure!(holds(&world, "standby-V4") == "[\"drained\"]");
    wait::until(SOON, "it is enabled", || {
        holds(&world, "standby-V4") == "[]"
    })
    .with_context(|| world.agent.log())
}

#[test]
fn after_the_budget_a_person_says_go() -> Result<()> {
    let world = World::new(
        Options::default(),
        "hold_down = \"0s\"\ntakeovers_per_hour = 1",
    )?;
    world.lab.primary.cut_link()?;
    world.served_by("standby")?;
    world.lab.primary.restore_link()?;
    wait::until(SOON, "the primary is back", || {
        holds(&world, "primary-V4") == "[]" && holds(&world, "primary-V6") == "[]"
    })?;
    std::thread::sleep(Duration::from_millis(300));
    world
        .served_by("standby")
        .context("it would be the second change")?;
    for service in ["tcp-V4", "udp-V4", "tcp-V6", "udp-V6"] {
        done(&world.agent, &["go", service])?;
    }
    world.served_by("primary")
}
