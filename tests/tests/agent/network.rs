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

/// Its way is remembered by then; the agent sees that the neighbour changed.
#[test]
fn a_client_with_a_new_mac_is_answered() -> Result<()> {
    let world = World::with(Options::default(), "", RARE)?;
    let vip = SocketAddr::new(world.lab.vip(Family::V4), PORT);
    let answered = || {
        udp_request(&world.lab.client, vip, "hello", Duration::from_millis(20)).as_deref()
            == Some("primary hello")
    };
    wait::until(AT_ONCE, "the client is answered", answered)?;
    world.lab.client.change_mac()?;
    wait::until(AT_ONCE, "the client is answered at its new MAC", answered)
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

/// How XDP is attached to an interface, by `status`.
fn xdp(world: &World, interface: &str) -> String {
    let status = world.agent.status().unwrap_or_default();
    let mode = &named(&status, "interfaces", interface)["xdp"];
    mode.as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_interface_that_is_made_anew_gets_the_program_again() -> Result<()> {
    let options = Options {
        two_armed: true,
        ..Options::default()
    };
    let world = World::with(options, "", RARE)?;
    ensure!(xdp(&world, "eth1") == "native");
    let ip = |arguments: &str| {
        let arguments = arguments.split(' ');
        world.lab.director.command("ip").args(arguments).status()
    };
    ensure!(ip("link delete eth1")?.success());
    wait::until(AT_ONCE, "status says that it is gone", || {
        xdp(&world, "eth1") == "detached"
    })?;
    ensure!(ip("link add eth1 type veth peer name other")?.success());
    wait::until(AT_ONCE, "the new one has the program", || {
        xdp(&world, "eth1") == "native"
    })
}

#[test]
fn generic_mode_serves_too() -> Result<()> {
    let world = World::new(Options::default(), "")?;
    let World {
        mut agent,
        lab,
        primary,
        standby,
    } = world;
    agent.terminate()?;
    let done = agent
        .client_command()
        .args(["detach", "--pin-path"])
        .arg(agent.pin_path())
        .output()?;
    ensure!(done.status.success(), "{done:?}");
    let path = agent.config_path();
    let text = std::fs::read_to_string(&path)?.replacen('\n', "\nxdp_mode = \"generic\"\n", 1);
    std::fs::write(&path, text)?;
    agent.restart()?;
    let world = World {
        agent,
        primary,
        standby,
        lab,
    };
    ensure!(xdp(&world, "eth0") == "generic");
    world.served_by("primary")?;
    world.lab.primary.freeze()?;
    world.served_by("standby")
}
