//! What the kernel knows is used at once, not at the next check.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use lab::{Family, Options, client::udp_request, wait};

use crate::world::{PORT, World, named};

/// No check will run again during the test.
const RARE: &str = r#"
[[service.check]]
kind = "icmp"
interval = "10m"
timeout = "1s"
"#;

/// Far below the interval of the checks.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn a_backend_with_a_new_mac_goes_on_serving() -> Result<()> {
    let world = World::with(Options::default(), "", RARE)?;
    world.lab.primary.change_mac()?;
    let vip = SocketAddr::new(world.lab.vip(Family::V4), PORT);
    wait::until(AT_ONCE, "the primary answers at its new MAC", || {
        udp_request(&world.lab.client, vip, "hello", Duration::from_millis(100)).as_deref()
            == Some("primary hello")
    })?;
    let status = world.agent.status()?;
    ensure!(
        named(&status, "services", "udp-V4")["state"] == "best",
        "{status}"
    );
    Ok(())
}

#[test]
fn a_link_that_goes_down_holds_the_backends_behind_it() -> Result<()> {
    let world = World::with(
        Options {
            two_armed: true,
            ..Options::default()
        },
        "",
        RARE,
    )?;
    let set = |state: &str| {
        world
            .lab
            .director
            .command("ip")
            .args(["link", "set", "eth1", state])
            .status()
    };
    ensure!(set("down")?.success());
    let held = |wanted: bool| {
        let status = world.agent.status().unwrap_or_default();
        ["primary-V4", "standby-V4"].iter().all(|name| {
            let holds = named(&status, "backends", name)["holds"].to_string();
            holds.contains("link_down") == wanted
        })
    };
    wait::until(AT_ONCE, "both backends are held for the link", || {
        held(true)
    })?;
    ensure!(set("up")?.success());
    wait::until(AT_ONCE, "both backends are released", || held(false))
}
