//! The kernel decides: heartbeats, leases and what traffic shows, on real faults.

use std::{net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Family, Forward, Lab, Options, Record, Server, Stream,
    client::{TcpClient, udp_request},
    server::Protocol,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::world::{PORT, REQUEST, SOON, Service, named};

/// Checks that say nothing within the time of a test.
const SLOW_CHECKS: &str = r#"
[[service.check]]
kind = "icmp"
interval = "60s"
timeout = "60s"
"#;

/// Both protocols over IPv4, a primary and a standby, with heartbeats.
pub(crate) struct World {
    pub(crate) agent: Agent,
    primary: [Server; 2],
    _standby: [Server; 2],
    pub(crate) lab: Lab,
}

impl World {
    pub(crate) fn new(options: Options, heartbeat: &str) -> Result<Self> {
        Self::with(options, heartbeat, SLOW_CHECKS)
    }

    pub(crate) fn with(options: Options, heartbeat: &str, checks: &str) -> Result<Self> {
        let lab = Lab::new(options)?;
        let servers = |host| -> Result<[Server; 2]> {
            Ok([
                Server::start(host, Protocol::Udp, PORT)?,
                Server::start(host, Protocol::Tcp, PORT)?,
            ])
        };
        let (primary, standby) = (servers(&lab.primary)?, servers(&lab.standby)?);
        let mut config = String::new();
        for protocol in ["tcp", "udp"] {
            Service {
                name: protocol.to_owned(),
                port: PORT,
                protocol,
                family: Family::V4,
                policy: "hold_down = \"0s\"",
                heartbeat,
                checks,
            }
            .write(&lab, &mut config);
        }
        let agent = Agent::start(&lab, &config)?;
        let world = Self {
            agent,
            primary,
            _standby: standby,
            lab,
        };
        world.served_by("primary")?;
        Ok(world)
    }

    pub(crate) fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.lab.vip(Family::V4), PORT)
    }

    pub(crate) fn served_by(&self, name: &str) -> Result<()> {
        let wanted = format!("{name} hello");
        wait::until(SOON, &format!("UDP is answered by {name}"), || {
            udp_request(&self.lab.client, self.vip(), "hello", REQUEST).as_ref() == Some(&wanted)
        })
        .with_context(|| self.agent.log())?;
        wait::until(SOON, &format!("TCP is answered by {name}"), || {
            let answer = TcpClient::connect(&self.lab.client, self.vip(), REQUEST)
                .and_then(|mut connection| connection.request("hello", REQUEST));
            answer.is_ok_and(|answer| answer == wanted)
        })
        .with_context(|| self.agent.log())
    }

    /// The events of one kind, so far.
    pub(crate) fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let output = self.agent.cli(&["events", "--json"])?;
        let lines = String::from_utf8(output.stdout)?;
        let events = lines.lines().map(serde_json::from_str::<Value>);
        let mut events = events.collect::<Result<Vec<_>, _>>()?;
        events.retain(|event| event["event"] == kind);
        Ok(events)
    }

    /// The deaths of the primary. The standby, once it is left alone, has nobody who
    /// testifies that this machine is just busy.
    fn deaths(&self) -> Result<Vec<Value>> {
        let mut expired = self.events("expired")?;
        expired.retain(|event| event["backend"] == "primary-V4");
        Ok(expired)
    }

    fn has_hold(&self, hold: &str) -> Result<bool> {
        let status = self.agent.status()?;
        let backend = named(&status, "backends", "primary-V4");
        let holds = backend["holds"].as_array().context("no holds")?;
        Ok(holds.iter().any(|found| found == hold))
    }
}

/// Patient enough for a machine that stalls while other tests run.
pub(crate) const FAST: &str = r#"
[service.heartbeat]
kind = "icmp"
interval = "5ms"
timeout = "60ms"
"#;

#[derive(Clone, Copy, Debug)]
enum Fault {
    LinkCut,
    HostFrozen,
}

/// The standby answers, one death is told, with its times in order; the primary
/// comes back when its heartbeats are answered again.
fn check(options: Options, heartbeat: &str, fault: Fault) -> Result<()> {
    let world = World::new(options, heartbeat)?;
    let stream = Stream::udp(&world.lab.client, world.vip(), 2000)?;
    sleep(Duration::from_millis(200));
    let at = match fault {
        Fault::LinkCut => world.lab.primary.cut_link()?,
        Fault::HostFrozen => world.lab.primary.freeze()?,
    };
    world.served_by("standby")?;
    ensure!(world.has_hold("expired")?, "{:?}", world.agent.status()?);
    match fault {
        Fault::LinkCut => world.lab.primary.restore_link()?,
        Fault::HostFrozen => world.lab.primary.thaw()?,
    };
    world.served_by("primary")?;
    let seen: Record = stream.stop();
    let first = seen.first_answer_by("standby").context("no answer")?;
    let expired = world.deaths()?;
    println!(
        "{fault:?}: {} us from the fault to the standby, {} lost of {}, {expired:?}",
        (first - at) / 1000,
        seen.lost(),
        seen.sent()
    );
    ensure!(expired.len() == 1, "one death, one event: {expired:?}");
    let time = |key: &str| expired[0][key].as_u64().context(key.to_owned());
    let (answered, unanswered) = (time("answered_ns")?, time("unanswered_ns")?);
    let latched = time("latched_ns")?;
    ensure!(answered < unanswered && unanswered < latched && at < latched);
    ensure!(time("passed_ns").is_err() || time("passed_ns")? >= latched);
    ensure!(world.events("takeover")?.len() == 2, "both services moved");
    ensure!(world.events("failback")?.len() == 2, "both came back");
    Ok(())
}

#[test]
fn link_cut() -> Result<()> {
    check(Options::default(), FAST, Fault::LinkCut)
}

#[test]
fn host_frozen_two_armed() -> Result<()> {
    let options = Options {
        two_armed: true,
        ..Options::default()
    };
    check(options, FAST, Fault::HostFrozen)
}

#[test]
fn dsr_link_cut() -> Result<()> {
    let options = Options {
        forward: Forward::Dsr,
        ..Options::default()
    };
    check(options, FAST, Fault::LinkCut)
}

#[test]
fn syn_heartbeats() -> Result<()> {
    let heartbeat = FAST.replace("icmp", "tcp-syn") + &format!("port = {PORT}\n");
    check(Options::default(), &heartbeat, Fault::HostFrozen)
}

/// What a client's first SYN waits for the second one, if nobody helps.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// Connections that are opened from the moment of the fault on. Each must be
/// accepted, by the standby, before the client has to send its SYN again.
fn check_connects(options: Options, fault: impl FnOnce(&mut World) -> Result<u64>) -> Result<()> {
    let mut world = World::new(options, FAST)?;
    fault(&mut world)?;
    let client = &world.lab.client;
    let vip = world.vip();
    let connections = std::thread::scope(|scope| {
        let connect = |n: u64| {
            scope.spawn(move || -> Result<(Duration, String)> {
                sleep(Duration::from_millis(n));
                let begin = std::time::Instant::now();
                let mut connection = TcpClient::connect(client, vip, SOON)?;
                let took = begin.elapsed();
                Ok((took, connection.request("hello", SOON)?))
            })
        };
        let threads: Vec<_> = (0..30).map(connect).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        joined.collect::<Result<Vec<_>>>()
    })
    .with_context(|| format!("{} {}", world.agent.log(), world.agent.status().unwrap()))?;
    let longest = connections.iter().map(|(took, _)| *took).max();
    println!("longest connect: {longest:?}");
    for (took, answer) in connections {
        ensure!(answer == "standby hello", "{answer}");
        ensure!(took < RETRANSMISSION, "a connect took {took:?}");
    }
    Ok(())
}

#[test]
fn connects_survive_a_cut_link() -> Result<()> {
    check_connects(Options::default(), |world| world.lab.primary.cut_link())
}

#[test]
fn connects_survive_a_killed_process() -> Result<()> {
    let two_armed = Options {
        two_armed: true,
        ..Options::default()
    };
    check_connects(two_armed, |world| world.primary[1].kill())?;

    // A port that was closed must accept connections before it serves again.
    let mut world = World::new(two_armed, FAST)?;
    for server in &mut world.primary {
        server.kill()?;
    }
    world.served_by("standby")?;
    for server in &mut world.primary {
        server.restart()?;
    }
    world.served_by("primary")
}

/// The one datagram that finds the port closed is answered, by the standby.
#[test]
fn a_datagram_survives_a_killed_process() -> Result<()> {
    for two_armed in [false, true] {
        let options = Options {
            two_armed,
            ..Options::default()
        };
        let mut world = World::new(options, FAST)?;
        world.primary[0].kill()?;
        let payload = "n".repeat(500);
        let answer = udp_request(&world.lab.client, world.vip(), &payload, SOON);
        ensure!(
            answer == Some(format!("standby {payload}")),
            "{answer:?} {}",
            world.agent.log()
        );
    }
    Ok(())
}

/// Nobody sends heartbeats: in `nat` the traffic shows the death, and the next agent
/// knows of it.
#[test]
fn traffic_decides_without_an_agent() -> Result<()> {
    let mut world = World::new(Options::default(), FAST)?;
    let stream = Stream::udp(&world.lab.client, world.vip(), 2000)?;
    sleep(Duration::from_millis(100));
    world.agent.kill9()?;
    sleep(Duration::from_millis(100));
    let at = world.lab.primary.cut_link()?;
    wait::until(SOON, "UDP is answered by standby", || {
        udp_request(&world.lab.client, world.vip(), "hello", REQUEST)
            .is_some_and(|answer| answer == "standby hello")
    })?;
    let seen: Record = stream.stop();
    let first = seen.first_answer_by("standby").context("no answer")?;
    println!("{} us without an agent", (first - at) / 1000);
    world.agent.restart()?;
    ensure!(world.has_hold("expired")?, "{:?}", world.agent.status()?);
    world.lab.primary.restore_link()?;
    world.served_by("primary")
}

/// By DSR the answers do not pass: without heartbeats nothing moves, and with the
/// agent's return the death is found.
#[test]
fn dsr_waits_for_the_agent() -> Result<()> {
    let options = Options {
        forward: Forward::Dsr,
        ..Options::default()
    };
    let world = World::new(options, FAST)?;
    world.agent.signal(Signal::SIGSTOP)?;
    sleep(Duration::from_millis(50));
    let stream = Stream::udp(&world.lab.client, world.vip(), 2000)?;
    world.lab.primary.cut_link()?;
    sleep(Duration::from_millis(300));
    let seen: Record = stream.stop();
    ensure!(
        seen.first_answer_by("standby").is_none(),
        "moved without an agent"
    );
    world.agent.signal(Signal::SIGCONT)?;
    world.served_by("standby")
}

/// Every backend falls silent at once: our own side is in doubt, and who serves goes
/// on serving.
#[test]
fn doubt_moves_nothing() -> Result<()> {
    let slow = "[service.heartbeat]\ninterval = \"100ms\"\ntimeout = \"1s\"\n";
    let world = World::new(Options::default(), slow)?;
    // At the same moment, as far as heartbeats can tell: within two of them.
    world.lab.primary.freeze()?;
    world.lab.standby.freeze()?;
    wait::until(SOON, "the interface is in doubt", || {
        world.events("doubt").is_ok_and(|doubts| !doubts.is_empty())
    })?;
    sleep(Duration::from_millis(100));
    ensure!(world.events("expired")?.is_empty(), "{}", world.agent.log());
    world.lab.standby.thaw()?;
    world.lab.primary.thaw()?;
    wait::until(SOON, "the doubt is over", || {
        world.events("doubt").is_ok_and(|doubts| doubts.len() == 2)
    })?;
    world.served_by("primary")?;
    ensure!(
        world.events("takeover")?.is_empty(),
        "{}",
        world.agent.log()
    );
    Ok(())
}

/// The port closes, the host lives: heartbeats that ask for the port see it at once.
fn check_closed(kind: &str, timeout: &str) -> Result<()> {
    let heartbeat =
        format!("[service.heartbeat]\nkind = \"{kind}\"\ninterval = \"5ms\"\n{timeout}");
    // DSR: clients' traffic shows nothing.
    let options = Options {
        forward: Forward::Dsr,
        ..Options::default()
    };
    let mut world = World::new(options, &format!("{heartbeat}port = {PORT}\n"))?;
    for server in &mut world.primary {
        server.kill()?;
    }
    world.served_by("standby")?;
    let expired = world.deaths()?;
    ensure!(
        expired.len() == 1 && expired[0]["signal"] == "closed",
        "{expired:?}"
    );
    for server in &mut world.primary {
        server.restart()?;
    }
    world.served_by("primary")
}

#[test]
fn a_closed_port_resets_a_syn() -> Result<()> {
    check_closed("tcp-syn", "timeout = \"60ms\"\n")
}

#[test]
fn a_closed_port_refuses_a_datagram() -> Result<()> {
    check_closed("udp", "")
}

/// The process hangs, its host lives: SYNs pile up once its queue is full.
#[test]
fn syns_pile_up() -> Result<()> {
    let world = World::new(Options::default(), FAST)?;
    world.primary[1].stop()?;
    let (client, vip) = (&world.lab.client, world.vip());
    // More than the queue of a server holds.
    let held: Vec<_> = (0..400)
        .map_while(|_| TcpClient::connect(client, vip, Duration::from_millis(20)).ok())
        .collect();
    println!("{} connections were accepted", held.len());
    wait::until(SOON, "TCP moves to the standby", || {
        TcpClient::connect(client, vip, Duration::from_millis(20))
            .and_then(|mut connection| connection.request("hello", REQUEST))
            .is_ok_and(|answer| answer == "standby hello")
    })
    .with_context(|| world.agent.log())?;
    let expired = world.deaths()?;
    ensure!(
        expired.len() == 1 && expired[0]["signal"] == "syns",
        "{expired:?}"
    );
    world.primary[1].cont()?;
    drop(held);
    world.served_by("primary")
}
