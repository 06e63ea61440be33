//! The command line against a real agent.

use std::{
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{Options, process::Process, wait};
use serde_json::Value;

use crate::world::{SOON, World, named};

/// The exit code of a command and a part of what it says.
#[track_caller]
fn check(world: &World, arguments: &[&str], code: i32, says: &str) {
    let output = world.agent.cli(arguments).expect("it runs");
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(says), "{arguments:?}: {text}");
}

#[test]
fn commands() -> Result<()> {
    let world = World::new(Options::default(), "")?;
    let config = world.agent.config_path();
    let config = config.to_str().context("the path is UTF-8")?;
    check(&world, &["status"], 0, "primary-V6");
    check(&world, &["check", config], 0, "ok, 4 services, 4 backends");
    check(&world, &["check", "/nowhere.toml"], 1, "/nowhere.toml");
    check(&world, &["events"], 0, "agent started");
    check(&world, &["switch", "nobody"], 1, "no service `nobody`");
    check(
        &world,
        &["switch", "udp-V4", "--to", "nobody"],
        1,
        "it has primary-V4, standby-V4",
    );
    check(
        &world,
        &["switch", "udp-V4", "--to", "primary-V4"],
        1,
        "the backend already serves",
    );
    check(&world, &["frobnicate"], 2, "unrecognized subcommand");
    check(&world, &["run", "-c", config], 1, "an agent is running");
    check(
        &world,
        &["switch", "udp-V4", "--json"],
        0,
        r#""to":"standby-V4""#,
    );
    check(
        &world,
        &["switch", "udp-V4"],
        0,
        "switched from standby-V4 to primary-V4",
    );
    for arguments in [&["status", "--json"][..], &["check", config, "--json"]] {
        let output = world.agent.cli(arguments)?;
        let _: Value = serde_json::from_slice(&output.stdout).context("nothing but JSON")?;
    }
    let socket = config.replace("failover.toml", "api.sock");
    let mode = std::fs::metadata(&socket)
        .with_context(|| socket.clone())?
        .permissions()
        .mode();
    ensure!(
        mode & 0o777 == 0o600,
        "only root may use the API, but {mode:o}"
    );
    Ok(())
}

#[test]
fn events_follow_a_takeover() -> Result<()> {
    let world = World::new(Options::default(), "")?;
    let mut command = world.agent.client_command();
    command
        .args(["events", "--follow", "--json"])
        .stdout(Stdio::piped());
    let mut process = Process::spawn(command)?;
    world.lab.primary.freeze()?;
    world.served_by("standby")?;
    std::thread::sleep(Duration::from_millis(300));
    process.kill()?;
    let mut text = String::new();
    let mut output = process.child().stdout.take().context("it is piped")?;
    output.read_to_string(&mut text)?;
    let events: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    for service in ["tcp-V4", "udp-V4", "tcp-V6", "udp-V6"] {
        let count = events
            .iter()
            .filter(|event| event["event"] == "takeover" && event["service"] == service)
            .count();
        ensure!(count == 1, "{count} takeovers of {service}:\n{text}");
    }
    Ok(())
}

#[test]
fn two_services_share_the_health_of_a_backend() -> Result<()> {
    let mut world = World::new(Options::default(), "")?;
    // Only the TCP service has a check that sees this; the UDP one moves too.
    world.primary[1].kill()?;
    wait::until(SOON, "both services move", || {
        let status = world.agent.status().unwrap_or_default();
        ["tcp-V4", "udp-V4"]
            .iter()
            .all(|name| named(&status, "services", name)["serving"] == "standby-V4")
    })
}

#[test]
fn an_interface_that_does_not_exist_is_named() -> Result<()> {
    let mut world = World::new(Options::default(), "")?;
    world.agent.terminate()?;
    let path = world.agent.config_path();
    let text = std::fs::read_to_string(&path)?.replace("\"eth0\"", "\"eth7\"");
    std::fs::write(&path, text)?;
    let output = world.lab.director.command(
        lab::machine::binary("failover")?
            .to_str()
            .context("the path is UTF-8")?,
    );
    let mut output = output;
    let output = output.arg("run").arg("-c").arg(&path).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(
        text.contains("eth7") && text.contains("failover.toml:"),
        "{text}"
    );
    world.served_by("primary").context("the data path goes on")
}

/// `nat` needs the director to forward: without, nobody would get an answer.
#[test]
fn forwarding_that_is_off_is_named() -> Result<()> {
    let mut world = World::new(Options::default(), "")?;
    world.agent.terminate()?;
    let set = |value: &str| {
        let sysctl = ("ipv4/conf/eth0/forwarding", value);
        world.lab.director.namespace().sysctl(&[sysctl])
    };
    set("0")?;
    let refused = world.agent.restart();
    let error = format!("{:#}", refused.expect_err("the agent refuses"));
    ensure!(
        error.contains("sysctl -w net.ipv4.conf.eth0.forwarding=1"),
        "{error}"
    );
    set("1")?;
    world.agent.restart()?;
    world.served_by("primary")
}

#[test]
fn a_group_may_use_the_api() -> Result<()> {
    let lab = lab::Lab::new(Options::default())?;
    let mut config = "api_group = \"adm\"\n".to_owned();
    let service = crate::world::Service {
        name: "udp".to_owned(),
        port: crate::world::PORT,
        protocol: "udp",
        family: lab::Family::V4,
        heartbeat: crate::world::NO_HEARTBEATS,
        policy: "",
        checks: "",
    };
    service.write(&lab, &mut config);
    let agent = lab::Agent::start(&lab, &config)?;
    let socket = agent.config_path().with_file_name("api.sock");
    let metadata = std::fs::metadata(&socket)?;
    let group = nix::unistd::Group::from_name("adm")?.context("Debian has it")?;
    ensure!(metadata.permissions().mode() & 0o777 == 0o660);
    ensure!(metadata.gid() == group.gid.as_raw());
    Ok(())
}
