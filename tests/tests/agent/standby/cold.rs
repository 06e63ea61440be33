//! A server that is started when it is needed, and stopped after that.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Family, Lab, Options, Scripts, Server, client::http_get, printed, server::Protocol, wait,
};

use super::{config, events, held_by};
use crate::world::{REQUEST, SOON};

const PORT: u16 = 80;

#[test]
fn it_is_started_serves_and_is_stopped() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    printed::add_addresses(&lab)?;
    let at = [Ipv4Addr::new(10, 0, 0, 11).into()];
    let mut primary = Server::start_at(&lab.primary, &at, Protocol::Http, PORT)?;
    let scripts = Scripts::new()?;
    let b = Ipv4Addr::new(10, 0, 0, 12).into();
    scripts.add_server("on-b", &lab.standby, b, ("http", PORT))?;
    let text = printed::configuration("A server that is started at need")?;
    let agent = Agent::start_printed(&lab, text, scripts.directory())?;
    let served_by = |name: &str| {
        wait::until(SOON, &format!("{name} answers"), || {
            http_get(&lab.client, printed::service(PORT), "/", REQUEST)
                .is_ok_and(|body| body.trim() == name)
        })
        .with_context(|| agent.log())
    };
    served_by("primary")?;
    ensure!(scripts.lines("done").is_empty(), "started without need");
    primary.kill()?;
    served_by("standby")?;
    held_by(&agent, "b", "waiting")?;
    primary.restart()?;
    served_by("primary")?;
    held_by(&agent, "a", "best")?;
    wait::until(SOON, "it is stopped", || {
        scripts.lines("done") == ["started", "stopped"]
    })
    .with_context(|| agent.log())?;
    ensure!(events(&agent, "failback", &[("from", "b"), ("to", "a")])? == 1);
    Ok(())
}

/// A machine that is off: it hears nothing but the packet that wakes it.
fn sleep_until_woken(socket: &UdpSocket, mac: &str) -> Result<SocketAddr> {
    let octets = mac.split(':').map(|octet| u8::from_str_radix(octet, 16));
    let mac: Vec<u8> = octets.collect::<Result<_, _>>()?;
    let magic = [vec![0xff; 6], mac.repeat(16)].concat();
    let mut packet = [0; 1500];
    let (length, from) = socket.recv_from(&mut packet)?;
    ensure!(
        packet[..length] == magic,
        "another packet: {:?}",
        &packet[..length]
    );
    Ok(from)
}

#[test]
fn a_machine_is_woken() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let mut primary = Server::start(&lab.primary, Protocol::Http, PORT)?;
    let mac = lab.standby.mac()?;
    let asleep = lab.standby.run(|| UdpSocket::bind("0.0.0.0:9"))?;
    asleep.set_read_timeout(Some(Duration::from_millis(300)))?;
    let keys =
        format!("standby = \"cold\"\nstart = {{ wake = \"{mac}\", broadcast = \"10.77.2.255\" }}");
    let agent = Agent::start(&lab, &config(&lab, PORT, "", "", &keys))?;
    ensure!(
        sleep_until_woken(&asleep, &mac).is_err(),
        "woken without need"
    );
    asleep.set_read_timeout(Some(SOON))?;
    primary.kill()?;
    let from = sleep_until_woken(&asleep, &mac).with_context(|| agent.log())?;
    ensure!(from.ip().to_string() == "10.77.2.1", "{from}");
    let _standby = Server::start(&lab.standby, Protocol::Http, PORT)?;
    held_by(&agent, "standby", "waiting")?;
    let vip = SocketAddr::new(lab.vip(Family::V4), PORT);
    ensure!(http_get(&lab.client, vip, "/", REQUEST)?.trim() == "standby");
    let sent = [("hook", "start"), ("text", "sent to 10.77.2.255")];
    ensure!(events(&agent, "hook", &sent)? == 1);
    Ok(())
}
