//! Forwarding outlives the agent; and nothing outlives `detach`.

use std::{fs, net::SocketAddr, path::Path, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{Family, Options, Stream, wait};

use crate::world::{PORT, SOON, World, layouts};

/// Requests a second of the steady stream.
const RATE: u32 = 2000;

#[test]
fn agent_killed_restarted_and_upgraded_without_a_loss() -> Result<()> {
    for options in layouts() {
        let mut world = World::new(options, "")?;
        let vip = SocketAddr::new(world.lab.vip(Family::V4), PORT);
        let stream = Stream::udp(&world.lab.client, vip, RATE)?;
        world.agent.kill9()?;
        sleep(Duration::from_millis(300));
        world.agent.restart()?;
        sleep(Duration::from_millis(300));
        let new = another_binary()?;
        world.agent.set_binary(&new.path().join("failover"));
        world.agent.restart()?;
        sleep(Duration::from_millis(300));
        let record = stream.stop();
        ensure!(
            record.sent() > 1000,
            "{options:?}: only {} sent",
            record.sent()
        );
        ensure!(
            record.lost() == 0,
            "{options:?}: {} of {} lost",
            record.lost(),
            record.sent()
        );
        ensure!(
            record.answered_by("primary") == record.sent(),
            "{options:?}: somebody else answered"
        );
        ensure!(
            world.agent.log().contains("went on from what it found"),
            "{}",
            world.agent.log()
        );
    }
    Ok(())
}

/// The same program in another file: what an upgrade installs.
fn another_binary() -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    let binary = crate::world::binary()?;
    fs::copy(binary, directory.path().join("failover"))?;
    Ok(directory)
}

#[test]
fn a_takeover_is_kept_over_a_restart() -> Result<()> {
    let mut world = World::new(Options::default(), "hold_down = \"300ms\"")?;
    world.lab.primary.cut_link()?;
    world.served_by("standby")?;
    world.agent.kill9()?;
    world.served_by("standby").context("without an agent")?;
    world.agent.restart()?;
    world.served_by("standby").context("with a new one")?;
    world.lab.primary.restore_link()?;
    world.served_by("primary")
}

/// A slip of the pen must not cost anybody a directory, or another tool its pins.
#[test]
fn detach_removes_only_what_is_ours() -> Result<()> {
    let mut world = World::new(Options::default(), "")?;
    world.agent.terminate()?;
    let elsewhere = tempfile::tempdir()?;
    let file = elsewhere.path().join("program");
    fs::write(&file, "precious")?;
    let binary = crate::world::binary()?;
    let mut command = world.lab.director.namespace().command(&binary);
    command.args(["detach", "--api", "/nowhere.sock", "--pin-path"]);
    let refused = command.arg(elsewhere.path()).output()?;
    let error = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1), "{error}");
    ensure!(error.contains("must be on a bpf file system"), "{error}");
    ensure!(file.exists());

    let foreign = world.agent.pin_path().join("foreign");
    aya::maps::Array::<_, u64>::create(1, 0)?.pin(&foreign)?;
    let done = detach(&world)?;
    ensure!(done.status.success(), "{done:?}");
    ensure!(foreign.exists(), "another tool's pin is gone");
    ensure!(!world.agent.pin_path().join("links").exists());
    fs::remove_file(foreign)?;
    Ok(())
}

#[test]
fn detach_leaves_nothing() -> Result<()> {
    for options in layouts() {
        let mut world = World::new(options, "")?;
        let refused = detach(&world)?;
        ensure!(!refused.status.success(), "the agent runs: {refused:?}");
        let elsewhere = detach_with(&world, "/nowhere.sock")?;
        ensure!(
            !elsewhere.status.success(),
            "with any socket: {elsewhere:?}"
        );
        world.agent.terminate()?;
        let pins = world.agent.pin_path().to_owned();
        ensure!(pins.join("links").read_dir()?.count() == options_interfaces(&world));
        let done = detach(&world)?;
        ensure!(done.status.success(), "{done:?}");
        ensure!(!pins.exists(), "pins are left in {}", pins.display());
        // The kernel frees a link a moment after its last pin.
        wait::until(SOON, "no program is left", || {
            ip(&world, &["-details", "address", "show"])
                .is_ok_and(|left| !left.contains("prog/xdp"))
        })?;
        let left = ip(&world, &["-details", "address", "show"])?;
        for family in Family::ALL {
            let vip = world.lab.vip(family).to_string();
            ensure!(!left.contains(&format!("{vip}/")), "{vip} is left:\n{left}");
        }
        let again = detach(&world)?;
        ensure!(again.status.success(), "nothing to do is fine: {again:?}");
    }
    Ok(())
}

fn options_interfaces(world: &World) -> usize {
    world.lab.director_interfaces().len()
}

/// `failover detach` with a socket that is not the agent's.
fn detach_with(world: &World, api: &str) -> Result<std::process::Output> {
    let binary = crate::world::binary()?;
    let mut command = world.lab.director.namespace().command(&binary);
    command.args(["detach", "--api", api, "--pin-path"]);
    Ok(command.arg(world.agent.pin_path()).output()?)
}

/// `failover detach`, which needs to be in the director's namespace.
fn detach(world: &World) -> Result<std::process::Output> {
    let pins = world.agent.pin_path();
    Ok(world
        .agent
        .client_command()
        .arg("detach")
        .arg("--pin-path")
        .arg(pins)
        .output()?)
}

fn ip(world: &World, arguments: &[&str]) -> Result<String> {
    let output = world.lab.director.command("ip").args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn state_of_another_version_is_replaced() -> Result<()> {
    let mut world = World::new(Options::default(), "")?;
    world.agent.terminate()?;
    let pins = world.agent.pin_path().to_owned();
    // A layout of the past, and a map of ours that is not what it should be.
    fs::create_dir(pins.join("layout-0"))?;
    let foreign = || aya::maps::Array::<_, u64>::create(1, 0);
    foreign()?.pin(pins.join("layout-0/SERVICES"))?;
    let ours = fs::read_dir(&pins)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("REVERSE").exists())
        .context("no layout of ours")?;
    fs::remove_file(ours.join("SERVICES"))?;
    foreign()?.pin(ours.join("SERVICES"))?;
    world.agent.restart()?;
    world.served_by("primary")?;
    ensure!(
        !Path::new(&pins.join("layout-0")).exists(),
        "the old layout is left"
    );
    let log = world.agent.log();
    ensure!(log.contains("not a map of this version"), "{log}");
    ensure!(
        log.contains("state of another version was replaced"),
        "{log}"
    );
    Ok(())
}
