//! What keeps a standby from being promoted until a person has looked.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{process::Process, wait};
use nix::{fcntl::OFlag, sys::stat::Mode, unistd::mkfifo};

use super::{
    backend, done, events, held_by, service,
    steps::{MANUAL, When, World},
};
use crate::world::SOON;

const NOBODY: (&str, When) = ("", When::Never);

/// What the store says cannot be true, or it is gone: nothing happens by itself.
#[test]
fn a_store_that_contradicts_the_maps() -> Result<()> {
    let rows = [
        ("damaged", "{ \"vers", "could not be read"),
        (
            "somebody else",
            r#"{"version":1,"services":{"db":{"promotion":{"holder":"standby"}}},"backends":{}}"#,
            "primary serves, but standby was promoted last",
        ),
        (
            "somebody unknown",
            r#"{"version":1,"services":{"db":{"promotion":{"holder":"x"}}},"backends":{}}"#,
            "`x` is not one of the service any more",
        ),
    ];
    for (description, text, says) in rows {
        let mut world = World::new("warm", MANUAL, NOBODY)?;
        world.agent.kill9()?;
        let file = world
            .agent
            .config_path()
            .with_file_name("state")
            .join("state.json");
        std::fs::write(file, text)?;
        world.agent.restart()?;
        world.served_by("primary").context(description)?;
        let waits = service(&world.agent)["waits_for"].to_string();
        ensure!(waits.contains(says), "{description}: {waits}");
        world.lab.primary.cut_link()?;
        sleep(Duration::from_millis(500));
        ensure!(world.runs().is_empty(), "{description}: {:?}", world.runs());
        done(&world.agent, &["go", "db"])?;
        world.served_by("standby").context(description)?;
    }
    Ok(())
}

/// Without a fence nobody is promoted; the old primary keeps the service if it is back.
#[test]
fn a_fence_that_fails() -> Result<()> {
    let world = World::new("warm", MANUAL, NOBODY)?;
    world
        .scripts
        .add("fence", "echo no power switch >&2; exit 1")?;
    world.lab.primary.cut_link()?;
    held_by(&world.agent, "primary", "blocked")?;
    ensure!(world.runs().is_empty(), "{:?}", world.runs());
    let status = world.agent.cli(&["status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(
        status.contains("WAITS FOR A PERSON: primary could not be fenced"),
        "{status}"
    );
    let failed = [
        ("hook", "fence"),
        ("outcome", "failed"),
        ("text", "exit status: 1: no power switch"),
    ];
    ensure!(events(&world.agent, "hook", &failed)? == 3, "two retries");
    world.lab.primary.restore_link()?;
    world.served_by("primary")?;
    held_by(&world.agent, "primary", "best")
}

/// No hook runs before its step is on disk; whoever has nothing to do with hooks does not
/// wait for the disk.
#[test]
fn a_disk_that_hangs() -> Result<()> {
    let world = World::new("warm", MANUAL, NOBODY)?;
    let state = world.agent.config_path().with_file_name("state");
    let next = state.join("state.json.new");
    // To write to it is to wait for a reader.
    mkfifo(&next, Mode::S_IRWXU)?;
    world.lab.primary.cut_link()?;
    let answers = || {
        let mut command = world.agent.client_command();
        command.args(["status"]).stdout(Stdio::null());
        let mut status = Process::spawn(command)?;
        wait::until(SOON, "status is answered", || {
            status.ended().is_ok_and(|status| status.is_some())
        })
    };
    for _ in 0..10 {
        answers()?;
        sleep(Duration::from_millis(50));
    }
    let holds = backend(&world.agent, "primary")["holds"].to_string();
    ensure!(holds.contains("expired"), "{holds}");
    let step = service(&world.agent)["state"].clone();
    ensure!(step == "fence", "{step}");
    ensure!(world.runs().is_empty(), "{:?}", world.runs());

    // It is let go, and the next attempt finds a file.
    let _reader = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&next)?;
    fs::remove_file(&next)?;
    world.served_by("standby")?;
    ensure!(world.runs() == ["fence primary", "promote standby"]);
    Ok(())
}
