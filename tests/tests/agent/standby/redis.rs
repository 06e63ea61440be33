//! Redis with a replica: a warm standby, configured as the documentation prints it.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Host, Lab, Options, Redis, Scripts,
    client::TcpClient,
    printed,
    redis::{PORT, cli, followed},
    wait,
};

use super::{backend, done, events, held_by, service};
use crate::world::{REQUEST, SOON};

struct World {
    agent: Agent,
    primary: Redis,
    _standby: Redis,
    _scripts: Scripts,
    lab: Lab,
    written: u32,
}

impl World {
    /// What the documentation prints; without a fence, all but that.
    fn new(fence: bool) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        printed::add_addresses(&lab)?;
        let mut primary = Redis::start(&lab.primary, None)?;
        let standby = Redis::start(&lab.standby, Some(&lab.primary))?;
        followed(&lab.primary)?;
        let scripts = Scripts::new()?;
        // As a switch of the power would: it does not ask the server.
        let pid = primary.process().id();
        scripts.add(
            "power-off",
            &format!("[ \"$1\" = a ] && {{ kill -9 {pid}; true; }}"),
        )?;
        let text = printed::configuration("Redis")?;
        let unfenced: String = text
            .split_inclusive('\n')
            .filter(|line| !line.contains("fence.command"))
            .collect();
        let text = if fence { text } else { &unfenced };
        let agent = Agent::start_printed(&lab, text, scripts.directory())?;
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

    /// Writes numbers through the service; each is there twice when this returns.
    fn write(&mut self, count: u32) -> Result<()> {
        let mut client = TcpClient::connect(&self.lab.client, printed::service(PORT), SOON)?;
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
            TcpClient::connect(&self.lab.client, printed::service(PORT), REQUEST)
                .and_then(|mut client| client.request("SET probe x", REQUEST))
                .is_ok_and(|answer| answer == "+OK")
        })
        .with_context(|| self.agent.log())
    }

    /// Every number that was acknowledged is there.
    fn complete(&self) -> Result<()> {
        let mut client = TcpClient::connect(&self.lab.client, printed::service(PORT), SOON)?;
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
    let holds = &backend(&world.agent, "b")["holds"];
    ensure!(holds == &serde_json::json!(["not_promoted"]), "{holds}");
    let before = Instant::now();
    world.primary.process().kill()?;
    world.writable()?;
    println!(
        "{} rows, writable again after {:?}",
        world.written,
        before.elapsed()
    );
    world.complete()?;
    held_by(&world.agent, "b", "waiting")?;
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
    let sent = |world: &World| backend(&world.agent, "a")["forwarded"]["packets"].clone();
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
    ensure!(backend(&world.agent, "a")["holds"] == serde_json::json!(["not_promoted"]));

    // The way back, as the operator wants it.
    let none = serde_json::json!([]);
    wait::until(SOON, "the old primary is a standby again", || {
        service(&world.agent)["promotion"]["to_rejoin"] == none
    })?;
    done(&world.agent, &["switch", "db"])?;
    held_by(&world.agent, "a", "best")?;
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
    ensure!(world.primary.process().ended()?.is_some(), "it lives on");
    ensure!(
        events(
            &world.agent,
            "hook",
            &[("hook", "fence"), ("outcome", "done")]
        )? == 1
    );
    world.lab.primary.restore_link()?;
    world.complete()?;
    held_by(&world.agent, "b", "waiting")
}
