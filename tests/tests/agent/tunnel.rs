//! Packets inside others, to backends that take them out with `failover decap`.

use std::{fmt::Write as _, net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Decap, Family, Forward, Host, Lab, Options, Server, Stream,
    client::{TcpClient, udp_request},
    server::Protocol,
    wait,
};

use crate::world::{NO_HEARTBEATS, PORT, REQUEST, SOON, named};

/// The director's side of the backends' network.
const DIRECTORS: &str = "10.77.2.1,fd77:2::/64";

/// Lines of several segments of full size, and how many of them: 4 MB.
const LINE: usize = 8192;
const LINES: usize = 512;

/// A lab where services of both families reach backends by their addresses of one.
struct World {
    agent: Agent,
    primary: Decap,
    standby: Decap,
    _servers: [Server; 4],
    // Last: it takes the namespaces away.
    lab: Lab,
}

impl World {
    fn new(forward: Forward, outer: Family, heartbeat: &str) -> Result<Self> {
        let lab = Lab::new(Options {
            forward,
            ..Options::default()
        })?;
        let server = |host: &Host, protocol| Server::start(host, protocol, PORT);
        let servers = [
            server(&lab.primary, Protocol::Udp)?,
            server(&lab.primary, Protocol::Tcp)?,
            server(&lab.standby, Protocol::Udp)?,
            server(&lab.standby, Protocol::Tcp)?,
        ];
        let primary = Decap::start(&lab.primary, DIRECTORS)?;
        let standby = Decap::start(&lab.standby, DIRECTORS)?;
        let agent = Agent::start(&lab, &services(&lab, forward, outer, heartbeat))?;
        Ok(Self {
            agent,
            primary,
            standby,
            _servers: servers,
            lab,
        })
    }

    /// Waits until the services of a family are answered by `name`.
    fn served_by(&self, family: Family, name: &str) -> Result<()> {
        let vip = SocketAddr::new(self.lab.vip(family), PORT);
        let wanted = format!("{name} hello");
        wait::until(SOON, &format!("{family:?} is answered by {name}"), || {
            udp_request(&self.lab.client, vip, "hello", REQUEST).as_ref() == Some(&wanted)
        })
        .with_context(|| self.agent.log())
    }

    fn verdict(&self, name: &str) -> Result<u64> {
        let status = self.agent.status()?;
        let verdicts = status["verdicts"].as_array().context("no verdicts")?;
        let row = verdicts.iter().find(|row| row["verdict"] == name);
        Ok(row.and_then(|row| row["packets"].as_u64()).unwrap_or(0))
    }

    /// What the client's kernel has learnt of the way to a service.
    fn learnt_mtu(&self, family: Family) -> Result<String> {
        let vip = self.lab.vip(family).to_string();
        let mut command = self.lab.client.command("ip");
        let output = command.args(["route", "get", &vip]).output()?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn services(lab: &Lab, forward: Forward, outer: Family, heartbeat: &str) -> String {
    let mut config = String::new();
    let (primary, standby) = (lab.primary.address(outer), lab.standby.address(outer));
    for family in Family::ALL {
        for protocol in ["tcp", "udp"] {
            write!(
                config,
                r#"
[[service]]
name = "{protocol}-{family:?}"
address = "{}"
port = {PORT}
protocol = "{protocol}"
forward = "{}"
{heartbeat}
[[service.check]]
kind = "tcp"
port = {PORT}
interval = "20ms"
timeout = "20ms"
[[service.backend]]
name = "primary"
address = "{primary}"
[[service.backend]]
name = "standby"
address = "{standby}"
"#,
                lab.vip(family),
                forward.as_str(),
            )
            .expect("a String takes it");
        }
    }
    config
}

/// UDP, and TCP whose segments are of full size: the client's kernel learns what fits
/// from the director. Then the primary's cable is pulled while requests come.
fn check(forward: Forward, outer: Family, overhead: usize) -> Result<()> {
    let world = World::new(forward, outer, NO_HEARTBEATS)?;
    for family in Family::ALL {
        world.served_by(family, "primary")?;
    }
    for family in Family::ALL {
        let told = world.verdict("tunnel_too_big_answered")?;
        let vip = SocketAddr::new(world.lab.vip(family), PORT);
        let mut connection = TcpClient::connect(&world.lab.client, vip, SOON)?;
        let line: String = ('a'..='z').cycle().take(LINE).collect();
        for number in 0..LINES {
            let answer = connection
                .request(&line, SOON)
                .with_context(|| format!("{family:?}, line {number}: {}", world.agent.log()))?;
            ensure!(answer == format!("primary {line}"), "{family:?}: {answer}");
        }
        ensure!(
            world.verdict("tunnel_too_big_answered")? > told,
            "{family:?}: nothing was too big"
        );
        let learnt = world.learnt_mtu(family)?;
        ensure!(
            learnt.contains(&format!("mtu {}", 1500 - overhead)),
            "{family:?}: {learnt}"
        );
        // A datagram that fits exactly, and one that has to be cut by the client.
        let headers = if family == Family::V4 { 28 } else { 48 };
        for length in [1500 - overhead - headers, 200] {
            let payload = "x".repeat(length);
            let answer = udp_request(&world.lab.client, vip, &payload, SOON);
            ensure!(
                answer == Some(format!("primary {payload}")),
                "{family:?}: {length} bytes"
            );
        }
    }
    ensure!(world.primary.count("decapsulated")? > 0);
    ensure!(world.standby.count("decapsulated")? == 0);
    let vip = |family| SocketAddr::new(world.lab.vip(family), PORT);
    let streams = Family::ALL.map(|family| Stream::udp(&world.lab.client, vip(family), 500));
    sleep(Duration::from_millis(200));
    world.lab.primary.cut_link()?;
    for family in Family::ALL {
        world.served_by(family, "standby")?;
    }
    for (family, stream) in Family::ALL.into_iter().zip(streams) {
        let record = stream?.stop();
        ensure!(
            record.answered_by("primary") > 0 && record.answered_by("standby") > 0,
            "{family:?}: {} of {} were answered",
            record.answered(),
            record.sent()
        );
    }
    ensure!(world.standby.count("decapsulated")? > 0);
    Ok(())
}

#[test]
fn ipip_over_ipv4() -> Result<()> {
    check(Forward::Ipip, Family::V4, 20)
}

#[test]
fn ipip_over_ipv6() -> Result<()> {
    check(Forward::Ipip, Family::V6, 40)
}

#[test]
fn gue_over_ipv4() -> Result<()> {
    check(Forward::Gue, Family::V4, 28)
}

#[test]
fn gue_over_ipv6() -> Result<()> {
    check(Forward::Gue, Family::V6, 48)
}

/// The lease moves a tunnel's services as it does those of `dsr`.
#[test]
fn a_lease_that_is_over_moves_tunnels() -> Result<()> {
    let heartbeat = "[service.heartbeat]\ninterval = \"2ms\"\ntimeout = \"20ms\"";
    let world = World::new(Forward::Ipip, Family::V4, heartbeat)?;
    world.served_by(Family::V6, "primary")?;
    world.lab.primary.cut_link()?;
    world.served_by(Family::V6, "standby")?;
    let status = world.agent.status()?;
    let holds = named(&status, "backends", "primary")["holds"].to_string();
    ensure!(holds.contains("expired"), "{status}");
    Ok(())
}

/// Only the directors' tunnels end; who they are changes without a packet lost; and
/// it all works on without a process, until it is detached.
#[test]
fn decap_is_for_directors_only() -> Result<()> {
    let world = World::new(Forward::Gue, Family::V4, NO_HEARTBEATS)?;
    let vip = SocketAddr::new(world.lab.vip(Family::V4), PORT);
    let answered = || udp_request(&world.lab.client, vip, "hello", REQUEST).is_some();
    world.served_by(Family::V4, "primary")?;

    let stream = Stream::udp(&world.lab.client, vip, 1000)?;
    sleep(Duration::from_millis(100));
    for _ in 0..5 {
        world.primary.attach("10.77.2.0/24")?;
    }
    sleep(Duration::from_millis(100));
    let record = stream.stop();
    ensure!(record.lost() == 0, "{} lost", record.lost());

    world.primary.attach("10.77.9.9,fd77:2::1")?;
    ensure!(!answered(), "not of a director");
    ensure!(world.primary.count("stranger")? > 0);
    ensure!(world.primary.count("decapsulated")? == 0, "counted anew");
    let status = world.primary.status()?;
    ensure!(
        status[0]["interface"] == "eth0"
            && status[0]["directors"] == serde_json::json!(["10.77.9.9", "fd77:2::1"]),
        "{status}"
    );

    world.primary.attach(DIRECTORS)?;
    ensure!(answered());
    let shown = world.primary.command().output()?;
    let text = String::from_utf8(shown.stdout)?;
    ensure!(
        text.contains("eth0: tunnels of 10.77.2.1, fd77:2::/64 end here"),
        "{text}"
    );

    let ends_with = |arguments: &[&str], code| -> Result<()> {
        let output = world.primary.command().args(arguments).output()?;
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {output:?}"
        );
        Ok(())
    };
    ends_with(&["--interface", "eth9", "--from", "10.0.0.1"], 1)?;
    ends_with(&["--interface", "eth0", "--from", "10.0.0.1/33"], 2)?;
    ends_with(&["--interface", "eth0"], 2)?;
    ends_with(&["--from", "10.0.0.1"], 2)?;
    ends_with(
        &["--detach", "--interface", "eth0", "--from", "10.0.0.1"],
        2,
    )?;
    ends_with(&["--detach", "--interface", "eth9"], 0)?;
    ensure!(answered(), "nothing of it changed anything");

    ends_with(&["--detach", "--interface", "eth0"], 0)?;
    ensure!(world.primary.status()? == serde_json::json!([]));
    Ok(())
}
