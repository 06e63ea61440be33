//! Packets that are not like most, between real kernels: pings, fragments, ICMP errors
//! and packets that are too long.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Family, Host, Options,
    client::{TcpClient, udp_request},
    wait,
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::world::{PORT, REQUEST, SOON, World};

/// As bytes of UDP: three fragments of Ethernet.
const LONG_DATAGRAM: usize = 4000;

/// A dozen packets: no longer than what the server can send at once.
const LONG_LINE: usize = 16_000;

/// How many of them are asked for.
const LINES: usize = 20;

/// Less than the interfaces', and all that IPv6 asks for.
const SMALL_MTU: &str = "1280";

/// One interface, and two.
fn labs() -> [Options; 2] {
    [false, true].map(|two_armed| Options {
        two_armed,
        ..Options::default()
    })
}

fn vip(world: &World, family: Family) -> SocketAddr {
    SocketAddr::new(world.lab.vip(family), PORT)
}

#[test]
fn a_ping_is_answered_although_the_stack_ignores_it() -> Result<()> {
    let world = World::new(Options::default(), "")?;
    world.lab.director.namespace().sysctl(&[
        ("ipv4/icmp_echo_ignore_all", "1"),
        ("ipv6/icmp/echo_ignore_all", "1"),
    ])?;
    for family in Family::ALL {
        for length in ["0", "56", "1400"] {
            let address = world.lab.vip(family).to_string();
            let arguments = ["-n", "-c", "2", "-i", "0.1", "-W", "2", "-s", length];
            let mut ping = world.lab.client.command("ping");
            let output = ping.args(arguments).arg(&address).output()?;
            ensure!(output.status.success(), "{address}: {output:?}");
        }
    }
    Ok(())
}

#[test]
fn long_datagrams_go_both_ways() -> Result<()> {
    for options in labs() {
        let world = World::new(options, "")?;
        let payload = "x".repeat(LONG_DATAGRAM);
        for family in Family::ALL {
            let answer = || udp_request(&world.lab.client, vip(&world, family), &payload, REQUEST);
            let wanted = format!("primary {payload}");
            wait::until(SOON, "a long datagram is answered", || {
                answer().as_ref() == Some(&wanted)
            })
            .with_context(|| format!("{options:?} {family:?}"))?;
        }
    }
    Ok(())
}

/// What a client's socket is told of one datagram.
fn told(client: &Host, to: SocketAddr, hop_limit: Option<u32>) -> io::Result<usize> {
    client.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(REQUEST))?;
        if let Some(hop_limit) = hop_limit {
            if to.is_ipv4() {
                socket.set_ttl(hop_limit)?;
                setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
            } else {
                let hops = i32::try_from(hop_limit).map_err(io::Error::other)?;
                setsockopt(&socket, sockopt::Ipv6Ttl, &hops)?;
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
            }
        }
        socket.send(b"hello")?;
        socket.recv(&mut [0; 64])
    })
}

#[test]
fn a_closed_port_is_told_to_the_client() -> Result<()> {
    for options in labs() {
        let mut world = World::new(options, "passive = false")?;
        let [udp, _] = &mut world.primary;
        udp.kill()?;
        for family in Family::ALL {
            // The backend's kernel does not say so more than once a second.
            wait::until(SOON, "the client's socket is refused", || {
                let said = told(&world.lab.client, vip(&world, family), None);
                said.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            })
            .with_context(|| format!("{options:?} {family:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_datagram_dies_at_the_director_or_arrives() -> Result<()> {
    for options in labs() {
        let world = World::new(options, "")?;
        for family in Family::ALL {
            let said = told(&world.lab.client, vip(&world, family), Some(1));
            let kind = said.map_err(|error| error.kind());
            ensure!(
                kind == Err(ErrorKind::HostUnreachable),
                "{options:?} {family:?}: {kind:?}"
            );
            let arrived = told(&world.lab.client, vip(&world, family), Some(2));
            ensure!(arrived.is_ok(), "{options:?} {family:?}: {arrived:?}");
        }
    }
    Ok(())
}

/// The way to the client takes less than the backends send: their kernels are told.
#[test]
fn answers_that_are_too_long_become_shorter() -> Result<()> {
    for options in labs() {
        let world = World::new(options, "")?;
        let line = "y".repeat(LONG_LINE);
        for (family, network) in [
            (Family::V4, "change 10.77.1.0/24"),
            (Family::V6, "add fd77:1::/64 metric 100"),
        ] {
            let route = format!("route {network} dev eth0 mtu lock {SMALL_MTU}");
            world.lab.director.configure(&[route])?;
            let mut connection = TcpClient::connect(&world.lab.client, vip(&world, family), SOON)?;
            for number in 0..LINES {
                let answer = connection.request(&line, SOON);
                let length = answer.map(|answer| answer.len());
                ensure!(
                    length
                        .as_ref()
                        .is_ok_and(|l| *l == "primary ".len() + LONG_LINE),
                    "{options:?} {family:?}, line {number}: {length:?}"
                );
            }
        }
        let status = world.agent.status()?;
        let verdicts = status["verdicts"].as_array().context("no verdicts")?;
        let was_told = |row: &serde_json::Value| {
            row["verdict"] == "too_big_passed" && row["packets"].as_u64() > Some(1)
        };
        ensure!(verdicts.iter().any(was_told), "{options:?}: {verdicts:?}");
    }
    Ok(())
}
