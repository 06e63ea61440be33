//! A takeover costs one write, however many services a backend has.

use std::{fs, net::SocketAddr};

use anyhow::{Result, ensure};
use lab::{
    Agent, Family, Forward, Lab, Options, Server, client::udp_request, server::Protocol, wait,
};

use crate::world::{REQUEST, SOON, Service, named};

const SERVICES: u16 = 1000;
const FIRST: u16 = 10_000;
/// Where servers listen: the first, one in the middle, the last.
const LISTENING: [u16; 3] = [FIRST, FIRST + SERVICES / 2, FIRST + SERVICES - 1];

#[test]
fn a_thousand_services_move_with_one_map_write() -> Result<()> {
    let lab = Lab::new(Options {
        forward: Forward::Dsr,
        ..Options::default()
    })?;
    let mut servers = Vec::new();
    for port in LISTENING {
        for host in [&lab.primary, &lab.standby] {
            servers.push(Server::start(host, Protocol::Udp, port)?);
        }
    }
    let mut config = String::new();
    for port in FIRST..FIRST + SERVICES {
        let service = Service {
            name: format!("udp-{port}"),
            port,
            protocol: "udp",
            family: Family::V4,
            heartbeat: crate::world::NO_HEARTBEATS,
            policy: "hold_down = \"100ms\"",
            checks: "[[service.check]]\nkind = \"icmp\"\ninterval = \"20ms\"\ntimeout = \"20ms\"",
        };
        service.write(&lab, &mut config);
    }
    let agent = Agent::start(&lab, &config)?;
    let served_by = |name: &str| {
        let wanted = format!("{name} hello");
        LISTENING.iter().all(|&port| {
            let vip = SocketAddr::new(lab.vip(Family::V4), port);
            udp_request(&lab.client, vip, "hello", REQUEST).as_ref() == Some(&wanted)
        })
    };
    wait::until(SOON, "the primary serves", || served_by("primary"))?;
    // The start's own writes are over when both backends are eligible.
    wait::until(SOON, "both are eligible", || {
        agent.status().is_ok_and(|status| {
            ["primary-V4", "standby-V4"]
                .iter()
                .all(|name| named(&status, "backends", name)["eligible"] == true)
        })
    })?;
    let before = agent.status()?;
    lab.primary.freeze()?;
    wait::until(SOON, "the standby serves", || served_by("standby"))?;
    let after = agent.status()?;
    let serving = after["services"].as_array().map_or(0, |services| {
        services
            .iter()
            .filter(|service| service["serving"] == "standby-V4")
            .count()
    });
    ensure!(serving == usize::from(SERVICES), "{serving} moved");
    let writes = |status: &serde_json::Value| status["map_writes"].as_u64().unwrap_or(u64::MAX);
    ensure!(
        writes(&after) - writes(&before) == 1,
        "{} writes\n{}",
        writes(&after) - writes(&before),
        agent.log()
    );
    lab.primary.thaw()?;
    wait::until(SOON, "the primary serves again", || served_by("primary"))?;
    drop(servers);
    ensure!(fs::exists(agent.pin_path())?);
    Ok(())
}
