//! A server that is started when it is needed, and stopped after that.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Family, Lab, Options, Server, client::http_get, machine, server::Protocol, wait};

use super::{Scripts, config, events, held_by};
use crate::world::{REQUEST, SOON};

const PORT: u16 = 8080;

#[test]
fn it_is_started_serves_and_is_stopped() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let mut primary = Server::start(&lab.primary, Protocol::Http, PORT)?;
    let scripts = Scripts::new()?;
    let binary = machine::binary("lab-server")?;
    let host = lab.standby.namespace().name();
    let address = lab.standby.address(Family::V4);
    let start = scripts.add(
        "start",
        &format!(
            "setsid ip netns exec {host} {} --name standby --bind-address {address} http {PORT} \
             >/dev/null 2>&1 </dev/null & echo $! >> $DIR/pid",
            binary.display()
        ),
    )?;
    let stop = scripts.add(
        "stop",
        "kill $(tail -n1 $DIR/pid) && echo stopped >> $DIR/stopped",
    )?;
    let text = config(
        &lab,
        PORT,
        "hold_down = \"300ms\"",
        "",
        &format!("standby = \"cold\"\nstart.command = [{start:?}]\nstop.command = [{stop:?}]"),
    );
    let agent = Agent::start(&lab, &text)?;
    let vip = SocketAddr::new(lab.vip(Family::V4), PORT);
    let served_by = |name: &str| {
        wait::until(SOON, &format!("{name} answers"), || {
            http_get(&lab.client, vip, "/", REQUEST).is_ok_and(|body| body.trim() == name)
        })
        .with_context(|| agent.log())
    };
    served_by("primary")?;
    ensure!(scripts.lines("pid").is_empty(), "started without need");
    primary.kill()?;
    served_by("standby")?;
    held_by(&agent, "standby", "waiting")?;
    primary.restart()?;
    served_by("primary")?;
    held_by(&agent, "primary", "best")?;
    wait::until(SOON, "it is stopped", || {
        !scripts.lines("stopped").is_empty()
    })
    .with_context(|| agent.log())?;
    ensure!(scripts.lines("pid").len() == 1, "started more than once");
    ensure!(
        events(
            &agent,
            "failback",
            &[("from", "standby"), ("to", "primary")]
        )? == 1
    );
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
