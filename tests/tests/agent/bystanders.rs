//! What is not for a service goes on as if we were not there.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lab::{
    Family, Server,
    client::{TcpClient, udp_request},
    server::Protocol,
};

use crate::world::{PORT, REQUEST, SOON, World, layouts};

/// A port of the director's own, as ssh would use.
const OWN: u16 = 2222;

#[test]
fn the_director_itself_stays_reachable() -> Result<()> {
    for options in layouts() {
        let world = World::new(options, "")?;
        let director = &world.lab.director;
        let _own = Server::start(director, Protocol::Tcp, OWN)?;
        for family in Family::ALL {
            for address in [director.address(family), world.lab.vip(family)] {
                let ping = world
                    .lab
                    .client
                    .command("ping")
                    .args([
                        "-n",
                        "-c",
                        "3",
                        "-i",
                        "0.1",
                        "-W",
                        "2",
                        &address.to_string(),
                    ])
                    .output()?;
                ensure!(ping.status.success(), "ping {address}: {ping:?}");
            }
            let own = SocketAddr::new(director.address(family), OWN);
            let answer =
                TcpClient::connect(&world.lab.client, own, SOON)?.request("hello", SOON)?;
            ensure!(answer == "director hello", "{answer}");
            // The VIP's other ports are the director's too: nobody listens.
            let closed = SocketAddr::new(world.lab.vip(family), PORT + 1);
            let refused = TcpClient::connect(&world.lab.client, closed, SOON);
            let kind = refused.err().map(|error| error.kind());
            ensure!(
                kind == Some(std::io::ErrorKind::ConnectionRefused),
                "{kind:?}"
            );
            ensure!(udp_request(&world.lab.client, closed, "hello", REQUEST).is_none());
        }
    }
    Ok(())
}

/// A new neighbour has to ask for the VIP by ARP or neighbour discovery first.
#[test]
fn a_client_that_forgot_the_vip_finds_it_again() -> Result<()> {
    let world = World::new(lab::Options::default(), "")?;
    let flushed = world
        .lab
        .client
        .command("ip")
        .args(["neigh", "flush", "all"])
        .status()?;
    ensure!(flushed.success());
    // Nor does the director know the client: the first answers wait for that.
    let flushed = world
        .lab
        .director
        .command("ip")
        .args(["neigh", "flush", "all"])
        .status()?;
    ensure!(flushed.success());
    world.served_by("primary")
}
