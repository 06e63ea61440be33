//! Backends that know of no way back to the clients, and need none.

use std::{io::ErrorKind, net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Family, Forward, Options, Stream,
    client::{TcpClient, udp_request},
};

use crate::world::{PORT, SOON, World};

/// Lines of several segments of full size, and how many of them: 4 MB.
const LINE: usize = 8192;
const LINES: usize = 512;

fn options(two_armed: bool) -> Options {
    Options {
        forward: Forward::FullNat,
        two_armed,
        ..Options::default()
    }
}

fn vip(world: &World, family: Family) -> SocketAddr {
    SocketAddr::new(world.lab.vip(family), PORT)
}

/// Whoever answers, it is not by a route of his.
fn ensure_no_way_back(world: &World) -> Result<()> {
    for family in Family::ALL {
        let client = world.lab.client.address(family).to_string();
        let mut command = world.lab.primary.command("ip");
        let output = command.args(["route", "get", &client]).output()?;
        ensure!(!output.status.success(), "{family:?}: {output:?}");
    }
    Ok(())
}

/// Segments of full size, datagrams of every size. Then the primary's cable is pulled: TCP
/// is told, and begins anew at the standby; UDP goes on there.
fn check(two_armed: bool) -> Result<()> {
    let world = World::new(options(two_armed), "")?;
    ensure_no_way_back(&world)?;
    for family in Family::ALL {
        let mut connection = TcpClient::connect(&world.lab.client, vip(&world, family), SOON)?;
        let line: String = ('a'..='z').cycle().take(LINE).collect();
        for number in 0..LINES {
            let answer = connection
                .request(&line, SOON)
                .with_context(|| format!("{family:?}, line {number}: {}", world.agent.log()))?;
            ensure!(answer == format!("primary {line}"), "{family:?}: {answer}");
        }
        let headers = if family == Family::V4 { 28 } else { 48 };
        for length in [1, 2, 200, 1500 - headers - "primary ".len()] {
            let payload = "x".repeat(length);
            let answer = udp_request(&world.lab.client, vip(&world, family), &payload, SOON);
            ensure!(
                answer == Some(format!("primary {payload}")),
                "{family:?}: {length} bytes"
            );
        }
    }
    let connections = world.connections()?;
    let streams =
        Family::ALL.map(|family| Stream::udp(&world.lab.client, vip(&world, family), 500));
    sleep(Duration::from_millis(200));
    world.lab.primary.cut_link()?;
    world.served_by("standby")?;
    for (family, stream) in Family::ALL.into_iter().zip(streams) {
        let record = stream?.stop();
        ensure!(
            record.answered_by("primary") > 0 && record.answered_by("standby") > 0,
            "{family:?}: {} of {} were answered",
            record.answered(),
            record.sent()
        );
    }
    for mut connection in connections {
        let error = connection.request("gone?", SOON).err();
        let kind = error.map(|error| error.kind());
        let is_told = matches!(
            kind,
            Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        );
        ensure!(is_told, "{kind:?}");
    }
    Ok(())
}

#[test]
fn no_way_back_to_clients() -> Result<()> {
    check(false)
}

#[test]
fn no_way_back_to_clients_two_armed() -> Result<()> {
    check(true)
}

/// Connections keep their ports over a restart of the agent, and while there is none.
#[test]
fn connections_outlive_the_agent() -> Result<()> {
    let mut world = World::new(options(false), "")?;
    let mut connections = world.connections()?;
    for restarts in [false, true] {
        if restarts {
            world.agent.restart()?;
        } else {
            world.agent.kill9()?;
        }
        for connection in &mut connections {
            let answer = connection.request("still there?", SOON)?;
            ensure!(answer == "primary still there?", "{restarts}: {answer}");
        }
    }
    world.served_by("primary")
}

/// A host that gives the ports to anybody is told what to write.
#[test]
fn ports_that_the_host_gives_away() -> Result<()> {
    let mut world = World::new(options(false), "")?;
    world.agent.terminate()?;
    let give = |range: &str| {
        let sysctl = ("ipv4/ip_local_port_range", range);
        world.lab.director.namespace().sysctl(&[sysctl])
    };
    for range in ["1024 60999", "32000 60999", "1024 16384"] {
        give(range)?;
        let refused = world.agent.restart();
        let error = format!("{:#}", refused.expect_err("the agent refuses"));
        let what = format!(
            "fullnat needs the ports 16384 to 32764, which this host gives to anybody \
             (net.ipv4.ip_local_port_range is {range})"
        );
        ensure!(error.contains(&what), "{range}: {error}");
    }
    give("32765 60999")?;
    world.agent.restart()?;
    world.served_by("primary")
}
