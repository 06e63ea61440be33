//! Services that keep flows, on real connections.

mod steady;

use std::{
    io::{ErrorKind, Read as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Family, Forward, Lab, Options, Server, client::TcpClient, server::Protocol, wait,
};
use serde_json::Value;

use crate::lease::FAST;
use crate::world::{PORT, REQUEST, SOON, Service, named};

const NAMES: [&str; 2] = ["primary", "standby"];

/// Of each service, the same on both backends.
const TOGETHER: &str = "priority = 1";

/// Two hosts that serve over both families and both protocols.
struct World {
    agent: Agent,
    _servers: Vec<Server>,
    lab: Lab,
}

impl World {
    fn new(options: Options, policy: &str, of_backend: &str) -> Result<Self> {
        let lab = Lab::new(options)?;
        let mut servers = Vec::new();
        for host in [&lab.primary, &lab.standby] {
            servers.push(Server::start(host, Protocol::Udp, PORT)?);
            servers.push(Server::start(host, Protocol::Tcp, PORT)?);
        }
        let mut config = "flows = 65536\n".to_owned();
        for family in Family::ALL {
            for protocol in ["tcp", "udp"] {
                Service {
                    name: format!("{protocol}-{family:?}"),
                    port: PORT,
                    protocol,
                    family,
                    policy,
                    heartbeat: FAST,
                    checks: "",
                }
                .write_with(&lab, of_backend, &mut config);
            }
        }
        let agent = Agent::start(&lab, &config)?;
        let world = Self {
            agent,
            _servers: servers,
            lab,
        };
        for family in Family::ALL {
            wait::until(SOON, "the service is there", || {
                connect(&world.lab, family).is_ok()
            })
            .with_context(|| world.agent.log())?;
        }
        Ok(world)
    }

    fn vip(&self, family: Family) -> SocketAddr {
        vip(&self.lab, family)
    }

    /// Connections until each backend has at least `each`.
    fn connections(&self, family: Family, each: usize) -> Result<Vec<Connection>> {
        let mut all: Vec<Connection> = Vec::new();
        let count = |all: &[Connection], name| all.iter().filter(|one| one.by == name).count();
        while NAMES.iter().any(|name| count(&all, *name) < each) {
            ensure!(all.len() < 50 * each, "one backend alone serves");
            all.push(connect(&self.lab, family)?);
        }
        Ok(all)
    }

    fn new_ones_go_to(&self, name: &str) -> Result<()> {
        new_ones_go_to(&self.lab, name).with_context(|| self.agent.log())
    }

    fn status(&self) -> Result<Value> {
        self.agent.status()
    }

    fn said(&self, arguments: &[&str]) -> Result<()> {
        let output = self.agent.cli(arguments)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }
}

fn vip(lab: &Lab, family: Family) -> SocketAddr {
    SocketAddr::new(lab.vip(family), PORT)
}

/// A new connection, and who has it.
fn connect(lab: &Lab, family: Family) -> Result<Connection> {
    let mut client = TcpClient::connect(&lab.client, vip(lab, family), SOON)?;
    let answer = client.request("hello", SOON)?;
    let mut names = NAMES.into_iter();
    let by = names.find(|name| answer == format!("{name} hello"));
    let by = by.with_context(|| answer.clone())?;
    Ok(Connection { client, by })
}

/// Waits until all new connections are with `name`.
fn new_ones_go_to(lab: &Lab, name: &str) -> Result<()> {
    for family in Family::ALL {
        let what = format!("{family:?}: new connections go to {name}");
        wait::until(SOON, &what, || {
            let mut tries = 0..8;
            tries.all(|_| connect(lab, family).is_ok_and(|one| one.by == name))
        })?;
    }
    Ok(())
}

struct Connection {
    client: TcpClient,
    by: &'static str,
}

impl Connection {
    /// Whoever had it still has it.
    fn ensure_alive(&mut self) -> Result<()> {
        let answer = self.client.request("still there?", SOON)?;
        let wanted = format!("{} still there?", self.by);
        ensure!(answer == wanted, "{answer} instead of {wanted}");
        Ok(())
    }
}

/// A UDP socket that asks more than once.
fn datagrams(world: &World, family: Family) -> Result<UdpSocket> {
    let socket = world.lab.client.run(|| {
        let any = match family {
            Family::V4 => "0.0.0.0:0",
            Family::V6 => "[::]:0",
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(world.vip(family))?;
        socket.set_read_timeout(Some(REQUEST))?;
        Ok::<_, std::io::Error>(socket)
    });
    Ok(socket?)
}

fn asked(socket: &UdpSocket) -> Option<String> {
    socket.send(b"who").ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.strip_suffix(" who").map(str::to_owned)
}

/// Backends of one tier share the load. One dies: clients that wait for it, in `read()`,
/// hear of it at once; flows of the other one go on; datagrams move.
fn check_death(options: Options) -> Result<()> {
    let world = World::new(options, "hold_down = \"0s\"", TOGETHER)?;
    let serving = named(&world.status()?, "services", "tcp-V4")["serving"].clone();
    ensure!(serving == "primary-V4, standby-V4", "{serving}");
    for family in Family::ALL {
        let mut connections = world.connections(family, 4)?;
        let sockets = (0..12).map(|_| datagrams(&world, family));
        let sockets = sockets.collect::<Result<Vec<_>>>()?;
        let had = sockets
            .iter()
            .map(|socket| asked(socket).context("no answer"));
        let had = had.collect::<Result<Vec<_>>>()?;
        ensure!(had.iter().any(|name| name == "primary"), "{had:?}");
        ensure!(had.iter().any(|name| name == "standby"), "{had:?}");

        // Blocked, without a word to say.
        let waiting = world.lab.client.run(|| -> Result<Vec<TcpStream>> {
            let stream = |_| TcpStream::connect_timeout(&world.vip(family), SOON);
            Ok((0..24).map(stream).collect::<Result<_, _>>()?)
        })?;
        let readers: Vec<_> = waiting
            .into_iter()
            .map(|mut stream| {
                thread::spawn(move || {
                    stream.set_read_timeout(Some(SOON / 4))?;
                    let error = stream.read(&mut [0; 1]).err().map(|error| error.kind());
                    Ok::<_, std::io::Error>((error, Instant::now()))
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        world.lab.primary.cut_link()?;
        let cut = Instant::now();
        let mut told = Vec::new();
        for reader in readers {
            let (error, at) = reader.join().expect("it does not panic")?;
            match error {
                Some(ErrorKind::ConnectionReset) => told.push(at - cut),
                // The standby's: nobody says anything.
                Some(ErrorKind::WouldBlock) => {}
                other => anyhow::bail!("{family:?}: {other:?}"),
            }
        }
        println!("{family:?}: {} of 24 were told, after {told:?}", told.len());
        ensure!(
            (1..24).contains(&told.len()),
            "{family:?}: {} of 24",
            told.len()
        );
        // Leases of 60 ms here, and a machine that runs other tests.
        let last = told.iter().max().copied().unwrap_or_default();
        ensure!(
            last < Duration::from_secs(1),
            "{family:?}: the last after {last:?}"
        );

        for connection in &mut connections {
            if connection.by == "standby" {
                connection.ensure_alive()?;
            } else {
                let error = connection.client.request("gone?", SOON).err();
                let kind = error.map(|error| error.kind());
                ensure!(
                    matches!(
                        kind,
                        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                    ),
                    "{family:?}: {kind:?}"
                );
            }
        }
        for (socket, had) in sockets.iter().zip(&had) {
            // What was sent to the primary may still be answered by nobody.
            wait::until(SOON, "the flow is with the standby", || {
                asked(socket).as_deref() == Some("standby")
            })
            .with_context(|| format!("{family:?}: it was with {had}"))?;
        }
        world.lab.primary.restore_link()?;
        wait::until(SOON, "both serve again", || {
            world.connections(family, 1).is_ok()
        })?;
        // A flow that has moved stays.
        for socket in &sockets {
            let by = asked(socket);
            ensure!(
                by.as_deref() == Some("standby"),
                "{family:?}: {by:?}: {}",
                world.agent.log()
            );
        }
    }
    Ok(())
}

#[test]
fn a_death_in_a_tier_nat() -> Result<()> {
    check_death(Options::default())
}

#[test]
fn a_death_in_a_tier_dsr() -> Result<()> {
    check_death(Options {
        forward: Forward::Dsr,
        ..Options::default()
    })
}

/// New flows go elsewhere, old ones stay; and so they do over a restart of the agent.
#[test]
fn a_drained_backend_keeps_its_flows() -> Result<()> {
    let mut world = World::new(Options::default(), "", TOGETHER)?;
    let mut all = Vec::new();
    for family in Family::ALL {
        all.extend(world.connections(family, 3)?);
        world.said(&["drain", &format!("primary-{family:?}")])?;
    }
    world.new_ones_go_to("standby")?;
    let left = all.iter().filter(|one| one.by == "primary").count();
    wait::until(SOON, "status counts what is left", || {
        let status = world.status().unwrap_or_default();
        let of = |name| named(&status, "backends", name)["flows"].as_u64();
        let both = of("primary-V4").zip(of("primary-V6"));
        both.is_some_and(|(v4, v6)| v4 + v6 == left as u64)
    })?;
    world.agent.kill9()?;
    all.iter_mut().try_for_each(Connection::ensure_alive)?;
    world.agent.restart()?;
    world.new_ones_go_to("standby")?;
    all.iter_mut().try_for_each(Connection::ensure_alive)?;
    for family in Family::ALL {
        world.said(&["disable", &format!("primary-{family:?}")])?;
    }
    for connection in &mut all {
        let answer = connection.client.request("still there?", SOON);
        ensure!(
            answer.is_ok() == (connection.by == "standby"),
            "{}: {answer:?}",
            connection.by
        );
    }
    Ok(())
}

/// With `failback = "drain"` no connection is lost on the way back, nor by a switch.
#[test]
fn the_way_back_loses_nothing() -> Result<()> {
    let policy = "failback = \"drain\"\nhold_down = \"100ms\"";
    let world = World::new(Options::default(), policy, "")?;
    world.new_ones_go_to("primary")?;
    world.lab.primary.cut_link()?;
    world.new_ones_go_to("standby")?;
    let mut all = Vec::new();
    for family in Family::ALL {
        let some = (0..5).map(|_| connect(&world.lab, family));
        all.extend(some.collect::<Result<Vec<_>>>()?);
    }
    world.lab.primary.restore_link()?;
    world.new_ones_go_to("primary")?;
    all.iter_mut().try_for_each(Connection::ensure_alive)?;
    for family in Family::ALL {
        all.push(connect(&world.lab, family)?);
        world.said(&["switch", &format!("tcp-{family:?}")])?;
    }
    world.new_ones_go_to("standby")?;
    all.iter_mut().try_for_each(Connection::ensure_alive)?;
    let held: Vec<&str> = all.iter().map(|connection| connection.by).collect();
    ensure!(
        held.contains(&"primary") && held.contains(&"standby"),
        "{held:?}"
    );
    Ok(())
}

/// Asked for, a primary and a standby reset too.
#[test]
fn an_idle_client_of_a_dead_primary_is_told() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let mut servers = Vec::new();
    for host in [&lab.primary, &lab.standby] {
        servers.push(Server::start(host, Protocol::Tcp, PORT)?);
    }
    let mut config = String::new();
    Service {
        name: "tcp".to_owned(),
        port: PORT,
        protocol: "tcp",
        family: Family::V4,
        policy: "on_failure = \"reset\"",
        heartbeat: FAST,
        checks: "",
    }
    .write(&lab, &mut config);
    let agent = Agent::start(&lab, &config)?;
    let vip = SocketAddr::new(lab.vip(Family::V4), PORT);
    let mut stream = lab.client.run(|| TcpStream::connect_timeout(&vip, SOON))?;
    stream.set_read_timeout(Some(SOON))?;
    thread::sleep(Duration::from_millis(50));
    lab.primary.cut_link()?;
    let error = stream.read(&mut [0; 1]).expect_err("nobody sends anything");
    ensure!(
        error.kind() == ErrorKind::ConnectionReset,
        "{error}: {}",
        agent.log()
    );
    Ok(())
}
