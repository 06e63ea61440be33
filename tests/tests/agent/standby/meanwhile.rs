//! What clients meet on the way to a warm standby (`during_switch`): real connections, a
//! promotion that takes until the test lets it end.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    thread::scope,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Family, Lab, Options, Scripts, Server, client::TcpClient, server::Protocol, wait,
};

use super::{backend, config, service};
use crate::world::{PORT, SOON};

/// Linux sends a SYN again after a second (RFC 6298, section 2.1).
const REPETITION: Duration = Duration::from_secs(1);

/// Nobody takes so long to say something at once, on a busy machine either, and no kernel
/// repeats anything by then that a client has just sent.
const AT_ONCE: Duration = Duration::from_millis(500);

struct World {
    agent: Agent,
    scripts: Scripts,
    primary: Server,
    _standby: Server,
    lab: Lab,
}

impl World {
    /// `keys` are of the service.
    fn new(keys: &str) -> Result<Self> {
        let lab = Lab::new(Options::default())?;
        let primary = Server::start(&lab.primary, Protocol::Tcp, PORT)?;
        let standby = Server::start(&lab.standby, Protocol::Tcp, PORT)?;
        let scripts = Scripts::new()?;
        let promote = scripts.add("promote", "until [ -e $DIR/go ]; do sleep 0.02; done")?;
        let keys = format!("failback = \"manual\"\n{keys}");
        let warm = format!("standby = \"warm\"\npromote.command = [{promote:?}]");
        let agent = Agent::start(&lab, &config(&lab, PORT, &keys, "", &warm))?;
        let world = Self {
            agent,
            scripts,
            primary,
            _standby: standby,
            lab,
        };
        wait::until(SOON, "the primary answers", || {
            world.connected().is_ok_and(|by| by == "primary")
        })
        .with_context(|| world.agent.log())?;
        Ok(world)
    }

    fn connect(&self) -> io::Result<TcpClient> {
        let vip = SocketAddr::new(self.lab.vip(Family::V4), PORT);
        TcpClient::connect(&self.lab.client, vip, SOON)
    }

    /// Connects and asks who is there.
    fn connected(&self) -> io::Result<String> {
        let answer = self.connect()?.request("hello", SOON)?;
        Ok(answer.trim_end_matches(" hello").to_owned())
    }

    /// Waits until the primary is given up, and the standby is being promoted.
    fn given_up(&self) -> Result<()> {
        let promotes = || service(&self.agent)["state"] == "promote";
        wait::until(SOON, "the standby is being promoted", promotes)
            .with_context(|| self.agent.log())
    }

    /// Lets the promotion end.
    fn promote(&self) -> Result<()> {
        Ok(fs::write(self.scripts.directory().join("go"), "")?)
    }

    /// How many packets had this verdict.
    fn count(&self, verdict: &str) -> Result<u64> {
        let status = self.agent.status()?;
        let verdicts = status["verdicts"].as_array().context("no verdicts")?;
        let row = verdicts.iter().find(|row| row["verdict"] == verdict);
        Ok(row.map_or(0, |row| row["packets"].as_u64().unwrap_or(0)))
    }

    /// Clients that connect while nobody serves wait until `meanwhile` is over and the standby
    /// is promoted. Returns how long that took at most.
    fn ensure_wait(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<Duration> {
        scope(|scope| {
            let clients: Vec<_> = (0..5).map(|_| scope.spawn(|| self.timed())).collect();
            meanwhile()?;
            for client in &clients {
                ensure!(!client.is_finished(), "{}", self.agent.log());
            }
            self.promote()?;
            let mut longest = Duration::ZERO;
            for client in clients {
                let (by, took) = client.join().expect("it does not panic");
                ensure!(by? == "standby", "{}", self.agent.log());
                ensure!(took >= REPETITION, "nobody repeats so soon: {took:?}");
                longest = longest.max(took);
            }
            Ok(longest)
        })
    }

    /// Who is there, and how long it took.
    fn timed(&self) -> (io::Result<String>, Duration) {
        let began = Instant::now();
        let by = self.connected();
        (by, began.elapsed())
    }
}

fn is<T>(result: &io::Result<T>, kinds: &[ErrorKind]) -> bool {
    result
        .as_ref()
        .is_err_and(|error| kinds.contains(&error.kind()))
}

/// `reset`: clients hear at once that nobody is there, and the standby has them after that.
#[test]
fn clients_are_reset() -> Result<()> {
    let world = World::new("during_switch = \"reset\"")?;
    let mut old = world.connect()?;
    old.request("hello", SOON)?;
    world.lab.primary.cut_link()?;
    world.given_up()?;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let (by, took) = world.timed();
        ensure!(is(&by, &[ErrorKind::ConnectionRefused]), "{by:?}");
        longest = longest.max(took);
    }
    println!("refused after {longest:?} at most");
    ensure!(longest < AT_ONCE, "refused after {longest:?}");
    let began = Instant::now();
    let over = old.request("there?", SOON);
    let took = began.elapsed();
    ensure!(is(&over, &[ErrorKind::ConnectionReset]), "{over:?}");
    println!("told after {took:?}");
    ensure!(took < AT_ONCE, "told after {took:?}");
    ensure!(world.count("switch_reset")? >= 21);
    ensure!(world.count("switch_held")? == 0);
    world.promote()?;
    wait::until(SOON, "the standby answers", || {
        world.connected().is_ok_and(|by| by == "standby")
    })
    .with_context(|| world.agent.log())
}

/// `hold`, and without a word: the primary's host is gone. Who connects meanwhile waits for
/// the standby; a connection that is lost is told by it, and not before.
#[test]
fn clients_wait() -> Result<()> {
    for (keys, verdict, other) in [
        ("during_switch = \"hold\"", "switch_held", "no_backend"),
        ("", "no_backend", "switch_held"),
    ] {
        let world = World::new(keys)?;
        let mut old = world.connect()?;
        old.request("hello", SOON)?;
        world.lab.primary.cut_link()?;
        world.given_up()?;
        let before = world.count(other)?;
        let took = world.ensure_wait(|| {
            let hangs = old.request("there?", AT_ONCE);
            ensure!(is(&hangs, &[ErrorKind::WouldBlock]), "{verdict}: {hangs:?}");
            Ok(())
        })?;
        println!("{verdict}: connected after {took:?}");
        let over = old.request("there?", SOON);
        let told = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        ensure!(is(&over, &told), "{verdict}: {over:?}");
        ensure!(world.count(verdict)? > 5);
        ensure!(world.count(other)? == before);
        ensure!(world.count("switch_reset")? == 0);
    }
    Ok(())
}

/// The primary's process is killed, and its host refuses: with `hold` clients hear nothing of
/// that, else they do until it is given up.
#[test]
fn a_closed_port() -> Result<()> {
    let mut world = World::new("during_switch = \"hold\"")?;
    world.primary.kill()?;
    let took = world.ensure_wait(|| world.given_up())?;
    println!("connected after {took:?}");
    ensure!(world.count("switch_held")? >= 5);

    let mut world = World::new("patience = \"1m\"")?;
    world.primary.kill()?;
    let (by, _) = world.timed();
    ensure!(is(&by, &[ErrorKind::ConnectionRefused]), "{by:?}");
    Ok(())
}

/// A primary that is back before it is given up still has its connections.
#[test]
fn a_holder_that_comes_back() -> Result<()> {
    for during_switch in ["reset", "hold"] {
        let world = World::new(&format!(
            "patience = \"1m\"\nduring_switch = \"{during_switch}\""
        ))?;
        let mut old = world.connect()?;
        old.request("hello", SOON)?;
        world.lab.primary.cut_link()?;
        wait::until(SOON, "the primary is held", || {
            backend(&world.agent, "primary")["eligible"] == false
        })?;
        let hangs = old.request("there?", AT_ONCE);
        ensure!(is(&hangs, &[ErrorKind::WouldBlock]), "{hangs:?}");
        world.lab.primary.restore_link()?;
        // The answer to the first one.
        let answer = old.request("still?", SOON)?;
        ensure!(answer == "primary there?", "{during_switch}: {answer}");
        ensure!(service(&world.agent)["promotion"]["holder"] == "primary");
    }
    Ok(())
}
