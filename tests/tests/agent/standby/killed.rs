//! The agent is killed at each step of a promotion, and another one goes on. The
//! hooks themselves kill it: nothing of the agent is changed for these tests.

use std::{net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Family, Lab, Options, Server, client::TcpClient, server::Protocol, wait};

use super::{Scripts, config, done, held_by, service};
use crate::world::{PORT, REQUEST, SOON};

/// How a promotion ends whose agent was killed by a hook.
enum End {
    /// The next agent runs the hook again and finishes.
    Resumes,
    /// Nobody knows whether it ran: a person says.
    Asks,
}

struct World {
    agent: Agent,
    scripts: Scripts,
    _primary: Server,
    _standby: Server,
    lab: Lab,
}

impl World {
    /// Each hook writes a line when it begins and one when it ends; `killer` kills the
    /// agent in between, once.
    fn new(killer: &str, when: &str, keys: &str) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        let primary = Server::start(&lab.primary, Protocol::Tcp, PORT)?;
        let standby = Server::start(&lab.standby, Protocol::Tcp, PORT)?;
        let scripts = Scripts::new()?;
        let kill = "[ -e $DIR/killed ] || { touch $DIR/killed; kill -9 $PPID; sleep 0.2; }";
        let hook = |name: &str| {
            let kill = if name == killer { kill } else { "" };
            let (before, after) = if when == "before" {
                (kill, "")
            } else {
                ("", kill)
            };
            let log = format!("{before}\necho $FAILOVER_BACKEND >> $DIR/{name}.log\n{after}");
            scripts
                .add(name, &log)
                .map(|path| format!("{name}.command = [{path:?}]\n"))
        };
        let hooks = ["fence", "promote", "demote"].map(hook);
        let hooks: String = hooks.into_iter().collect::<Result<_>>()?;
        let keys = format!("failback = \"manual\"\n{keys}\n{hooks}");
        let agent = Agent::start(&lab, &config(&lab, PORT, &keys, "", "standby = \"warm\""))?;
        let world = Self {
            agent,
            scripts,
            _primary: primary,
            _standby: standby,
            lab,
        };
        world.served_by("primary")?;
        Ok(world)
    }

    fn served_by(&self, name: &str) -> Result<()> {
        let vip = SocketAddr::new(self.lab.vip(Family::V4), PORT);
        wait::until(SOON, &format!("{name} answers"), || self.answers(vip, name))
            .with_context(|| self.agent.log())
    }

    fn answers(&self, vip: SocketAddr, name: &str) -> bool {
        let answer = TcpClient::connect(&self.lab.client, vip, REQUEST)
            .and_then(|mut client| client.request("hello", REQUEST));
        answer.is_ok_and(|answer| answer == format!("{name} hello"))
    }
}

#[test]
fn at_each_hook() -> Result<()> {
    let rows = [
        ("fence", "before", End::Resumes),
        ("fence", "after", End::Resumes),
        ("promote", "before", End::Asks),
        ("promote", "after", End::Asks),
    ];
    for (killer, when, end) in rows {
        let row = format!("{when} {killer}");
        let mut world = World::new(killer, when, "")?;
        world.lab.primary.cut_link()?;
        wait::until(SOON, "the agent is killed", || world.agent.pid().is_none())
            .with_context(|| format!("{row}: {}", world.agent.log()))?;
        // Nobody serves without being promoted, whatever the agent.
        let vip = SocketAddr::new(world.lab.vip(Family::V4), PORT);
        ensure!(!world.answers(vip, "standby"), "{row}: it serves");
        world.agent.restart()?;
        match end {
            End::Resumes => {}
            End::Asks => {
                held_by(&world.agent, "standby", "blocked").context(row.clone())?;
                let says = service(&world.agent)["waits_for"].to_string();
                ensure!(says.contains("failover go db"), "{row}: {says}");
                // Not even if the old primary comes back.
                world.lab.primary.restore_link()?;
                sleep(Duration::from_millis(300));
                held_by(&world.agent, "standby", "blocked").context(row.clone())?;
                ensure!(!world.answers(vip, "primary"), "{row}: the old one serves");
                done(&world.agent, &["go", "db"])?;
            }
        }
        world.served_by("standby").context(row.clone())?;
        let promoted = world.scripts.lines("promote.log");
        ensure!(promoted.len() <= 1, "{row}: promoted twice");
        ensure!(
            world
                .scripts
                .lines("fence.log")
                .first()
                .is_some_and(|it| it == "primary")
        );
    }
    Ok(())
}

/// Checks that only a promoted backend passes spare the person.
#[test]
fn checks_show_that_it_is_promoted() -> Result<()> {
    let ready = "ready = [{ kind = \"tcp\", interval = \"20ms\", timeout = \"20ms\" }]";
    let mut world = World::new("promote", "after", ready)?;
    world.lab.primary.cut_link()?;
    wait::until(SOON, "the agent is killed", || world.agent.pid().is_none())?;
    world.agent.restart()?;
    world.served_by("standby")?;
    ensure!(world.scripts.lines("promote.log").len() == 1);
    // And the next agent knows who holds it, also from nothing but the store.
    world.agent.kill9()?;
    world.agent.restart()?;
    world.served_by("standby")?;
    held_by(&world.agent, "standby", "waiting")
}

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
        let mut world = World::new("nobody", "before", "")?;
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
        ensure!(
            world.scripts.lines("fence.log").is_empty(),
            "{description}: it was fenced"
        );
        ensure!(
            world.scripts.lines("promote.log").is_empty(),
            "{description}: promoted"
        );
        done(&world.agent, &["go", "db"])?;
        world.served_by("standby").context(description)?;
    }
    Ok(())
}

/// Without a fence nobody is promoted; the old primary keeps the service if it is back.
#[test]
fn a_fence_that_fails() -> Result<()> {
    let world = World::new("nobody", "before", "")?;
    world
        .scripts
        .add("fence", "echo no power switch >&2; exit 1")?;
    world.lab.primary.cut_link()?;
    held_by(&world.agent, "primary", "blocked")?;
    ensure!(world.scripts.lines("promote.log").is_empty());
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
    ensure!(
        super::events(&world.agent, "hook", &failed)? == 3,
        "two retries"
    );
    world.lab.primary.restore_link()?;
    world.served_by("primary")?;
    held_by(&world.agent, "primary", "best")
}
