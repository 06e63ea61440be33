//! Redis with a replica: a warm standby.

use std::{net::SocketAddr, os::unix::process::CommandExt as _, process::Stdio, time::Instant};

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Family, Host, Lab, Options, client::TcpClient, process::Process, wait};
use tempfile::TempDir;

use super::{Scripts, backend, config, done, events, held_by, service};
use crate::world::{REQUEST, SOON};

const PORT: u16 = 6379;

struct Redis {
    process: Process,
    _directory: TempDir,
}

impl Redis {
    /// A server that keeps everything in memory, and waits until it answers.
    fn start(host: &Host, replica_of: Option<&Host>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // The server as redis-tools brings it, without a service that Debian starts.
        let mut command = host.command("redis-check-rdb");
        command
            .arg0("redis-server")
            .args([
                "--port",
                "6379",
                "--bind",
                "0.0.0.0",
                "--protected-mode",
                "no",
            ])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ])
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null());
        if let Some(primary) = replica_of {
            let address = primary.address(Family::V4).to_string();
            command.args(["--replicaof", &address, "6379"]);
        }
        let redis = Self {
            process: Process::spawn(command).context("cannot run redis-check-rdb")?,
            _directory: directory,
        };
        wait::until(SOON, "redis answers", || {
            cli(host, host, &["ping"]).is_ok_and(|answer| answer == "PONG")
        })?;
        Ok(redis)
    }
}

/// The first line of what a server answers, asked from a host.
fn cli(from: &Host, server: &Host, arguments: &[&str]) -> Result<String> {
    let address = server.address(Family::V4).to_string();
    let mut command = from.command("redis-cli");
    let output = command
        .args(["-e", "-h", &address])
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

struct World {
    agent: Agent,
    primary: Redis,
    _standby: Redis,
    _scripts: Scripts,
    lab: Lab,
    written: u32,
}

impl World {
    fn new(fence: bool) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        let mut primary = Redis::start(&lab.primary, None)?;
        let standby = Redis::start(&lab.standby, Some(&lab.primary))?;
        wait::until(SOON, "the replica follows", || {
            cli(&lab.director, &lab.primary, &["wait", "1", "100"]).is_ok_and(|count| count == "1")
        })?;
        let scripts = Scripts::new()?;
        // As a switch of the power would: it does not ask the server.
        let fence = if fence {
            let pid = primary.process.child().id();
            let fence = scripts.add("fence", &format!("kill -9 {pid} 2>/dev/null; exit 0"))?;
            format!("fence.command = [{fence:?}]")
        } else {
            String::new()
        };
        let cli = "\"/usr/bin/redis-cli\", \"-e\", \"-h\"";
        let (a, b) = (
            lab.primary.address(Family::V4),
            lab.standby.address(Family::V4),
        );
        // What docs/standby.md shows.
        let hooks = |own: std::net::IpAddr, other: std::net::IpAddr| {
            format!(
                "promote.command = [{cli}, \"{own}\", \"replicaof\", \"no\", \"one\"]\n\
                 demote.command = [{cli}, \"{own}\", \"replicaof\", \"{other}\", \"6379\"]\n"
            )
        };
        let text = config(
            &lab,
            PORT,
            "failback = \"manual\"",
            &format!("{}{fence}", hooks(a, b)),
            &format!("standby = \"warm\"\n{}", hooks(b, a)),
        );
        let agent = Agent::start(&lab, &text)?;
        let mut world = Self {
            agent,
            primary,
            _standby: standby,
            _scripts: scripts,
            lab,
            written: 0,
        };
        world.write(20)?;
        Ok(world)
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.lab.vip(Family::V4), PORT)
    }

    /// Writes numbers through the service; each is there twice when this returns.
    fn write(&mut self, count: u32) -> Result<()> {
        let mut client = TcpClient::connect(&self.lab.client, self.vip(), SOON)?;
        for _ in 0..count {
            let answer = client.request(&format!("SET row:{} x", self.written), SOON)?;
            ensure!(answer == "+OK", "{answer}");
            let copies = client.request("WAIT 1 1000", SOON)?;
            ensure!(copies == ":1", "not on the replica: {copies}");
            self.written += 1;
        }
        Ok(())
    }

    /// Waits until one more number can be written, to whoever serves.
    fn writable(&self) -> Result<()> {
        wait::until(SOON, "the service can be written", || {
            TcpClient::connect(&self.lab.client, self.vip(), REQUEST)
                .and_then(|mut client| client.request("SET probe x", REQUEST))
                .is_ok_and(|answer| answer == "+OK")
        })
        .with_context(|| self.agent.log())
    }

    /// Every number that was acknowledged is there.
    fn complete(&self) -> Result<()> {
        let mut client = TcpClient::connect(&self.lab.client, self.vip(), SOON)?;
        for row in 0..self.written {
            let answer = client.request(&format!("EXISTS row:{row}"), SOON)?;
            ensure!(answer == ":1", "row {row} of {} is lost", self.written);
        }
        Ok(())
    }

    fn role(&self, host: &Host) -> Result<String> {
        cli(&self.lab.director, host, &["role"])
    }
}

#[test]
fn the_replica_is_promoted_and_nothing_is_lost() -> Result<()> {
    let mut world = World::new(true)?;
    let holds = &backend(&world.agent, "standby")["holds"];
    ensure!(holds == &serde_json::json!(["not_promoted"]), "{holds}");
    let before = Instant::now();
    world.primary.process.kill()?;
    world.writable()?;
    println!(
        "{} rows, writable again after {:?}",
        world.written,
        before.elapsed()
    );
    world.complete()?;
    held_by(&world.agent, "standby", "waiting")?;
    ensure!(world.role(&world.lab.standby)? == "master");
    ensure!(
        events(
            &world.agent,
            "hook",
            &[("hook", "promote"), ("outcome", "done")]
        )? == 1
    );
    Ok(())
}

/// The old primary was only cut off. It comes back, and still takes itself for the
/// primary: it gets no packet, then it becomes a replica.
#[test]
fn an_old_primary_that_comes_back_gets_nothing() -> Result<()> {
    let mut world = World::new(false)?;
    world.lab.primary.cut_link()?;
    world.writable()?;
    world.complete()?;
    let sent = |world: &World| backend(&world.agent, "primary")["forwarded"]["packets"].clone();
    let before = sent(&world);
    world.lab.primary.restore_link()?;
    // Once it answers its hook makes a replica of it, which has all rows again.
    wait::until(SOON, "the old primary follows", || {
        world
            .role(&world.lab.primary)
            .is_ok_and(|role| role == "slave")
    })
    .with_context(|| world.agent.log())?;
    world.write(20)?;
    world.complete()?;
    ensure!(sent(&world) == before, "packets went to the old primary");
    ensure!(backend(&world.agent, "primary")["holds"] == serde_json::json!(["not_promoted"]));

    // The way back, as the operator wants it.
    let none = serde_json::json!([]);
    wait::until(SOON, "the old primary is a standby again", || {
        service(&world.agent)["promotion"]["to_rejoin"] == none
    })?;
    done(&world.agent, &["switch", "db"])?;
    held_by(&world.agent, "primary", "best")?;
    world.complete()?;
    world.write(20)?;
    ensure!(world.role(&world.lab.standby)? == "slave");
    ensure!(world.role(&world.lab.primary)? == "master");
    Ok(())
}

/// With a fence it has no chance at all: it is dead before the other one is promoted.
#[test]
fn with_a_fence_it_is_dead_first() -> Result<()> {
    let mut world = World::new(true)?;
    world.lab.primary.cut_link()?;
    world.writable()?;
    ensure!(world.primary.process.ended()?.is_some(), "it lives on");
    ensure!(
        events(
            &world.agent,
            "hook",
            &[("hook", "fence"), ("outcome", "done")]
        )? == 1
    );
    world.lab.primary.restore_link()?;
    world.complete()?;
    held_by(&world.agent, "standby", "waiting")
}
