//! The peer: `HAProxy` on the director, set to be as fast as it can.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::process::Process;
use lab::{Family, Lab};
use tempfile::TempDir;

use super::fault::Fault;
use super::system::System;
use super::world::{APPLICATION_PORT, PORT};

/// The shortest interval of checks that it accepts.
pub(super) const INTERVAL: Duration = Duration::from_millis(1);

/// A running one. Killed when dropped.
pub(super) struct Haproxy {
    system: System,
    directory: TempDir,
    process: Option<Process>,
    checks: Checks,
}

/// How it looks after its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    /// A connection can be made: the quickest.
    Connection,
    /// The application answers: what notices one that hangs.
    Application,
}

impl Checks {
    /// The quickest that notice this fault at all.
    fn for_fault(fault: Fault) -> Self {
        if fault == Fault::ProcessStopped {
            Self::Application
        } else {
            Self::Connection
        }
    }
}

/// What a configuration says of the lab.
pub(super) struct Places<'a> {
    pub(super) vip: SocketAddr,
    /// The best first.
    pub(super) servers: &'a [(&'a str, SocketAddr)],
    pub(super) socket: &'a Path,
}

/// The whole file. Peers are as fast as their documentation allows: one failed
/// check or connection marks a server down, its connections are closed at once,
/// and a request whose connection fails is tried with the next server.
pub(super) fn config(places: &Places<'_>, connect: Duration, checks: Checks) -> String {
    let Places {
        vip,
        servers,
        socket,
    } = places;
    let socket = socket.display();
    let (connect, interval) = (connect.as_millis(), INTERVAL.as_millis());
    let check = match checks {
        Checks::Connection => String::new(),
        Checks::Application => format!(
            "  option tcp-check\n  \
             tcp-check connect port {APPLICATION_PORT}\n  \
             tcp-check send GET\\ /\\ HTTP/1.0\\r\\n\\r\\n\n  \
             tcp-check expect string 200\n"
        ),
    };
    let mut config = format!(
        "global\n  \
           nbthread 1\n  \
           maxconn 8000\n  \
           stats socket {socket}\n\
         defaults\n  \
           mode tcp\n  \
           timeout connect {connect}ms\n  \
           timeout client 10s\n  \
           timeout server 10s\n  \
           retries 3\n  \
           option redispatch 1\n\
         listen bench\n  \
           bind {vip}\n\
         {check}  \
           default-server check inter {interval}ms fastinter {interval}ms downinter {interval}ms \
           fall 1 rise 1 on-marked-down shutdown-sessions \
           observe layer4 error-limit 1 on-error mark-down\n"
    );
    for (place, (name, address)) in servers.iter().enumerate() {
        let backup = if place == 0 { "" } else { " backup" };
        // Writing to a string cannot fail.
        let _written = writeln!(config, "  server {name} {address}{backup}");
    }
    config
}

/// Whether it is installed.
pub(super) fn is_there() -> bool {
    binary().is_some()
}

impl Haproxy {
    /// Gives the service address to the director and starts it there.
    pub(super) fn start(lab: &Lab, system: System) -> Result<Self> {
        let vip = format!("{}/32", lab.vip(Family::V4));
        let added = lab
            .director
            .command("ip")
            .args(["address", "add", &vip, "dev", "eth0"])
            .output()?;
        ensure!(
            added.status.success(),
            "cannot add {vip}: {}",
            String::from_utf8_lossy(&added.stderr).trim()
        );
        // It opens a connection for each one of the client, as often.
        lab.director
            .namespace()
            .sysctl(super::world::MANY_CONNECTIONS)?;
        let mut haproxy = Self {
            system,
            directory: tempfile::Builder::new().prefix("bench-").tempdir()?,
            process: None,
            checks: Checks::Connection,
        };
        haproxy.run(lab)?;
        Ok(haproxy)
    }

    /// Starts it again if it needs other checks to notice this fault.
    pub(super) fn prepare(&mut self, lab: &Lab, fault: Fault) -> Result<()> {
        let checks = Checks::for_fault(fault);
        if checks == self.checks {
            return Ok(());
        }
        self.checks = checks;
        self.run(lab)
    }

    /// Whether both servers are up in its eyes.
    pub(super) fn is_healthy(&self) -> bool {
        self.states()
            .is_ok_and(|states| states.len() == 2 && states.iter().all(|state| state == "UP"))
    }

    fn run(&mut self, lab: &Lab) -> Result<()> {
        // The old one first: it has the address.
        drop(self.process.take());
        let servers: Vec<_> = lab
            .backends()
            .map(|host| {
                let address = SocketAddr::new(host.address(Family::V4), PORT);
                (host.name(), address)
            })
            .collect();
        let places = Places {
            vip: SocketAddr::new(lab.vip(Family::V4), PORT),
            servers: &servers,
            socket: &self.socket(),
        };
        let text = config(&places, self.system.connect_timeout(), self.checks);
        let file = self.directory.path().join("haproxy.cfg");
        fs::write(&file, text)?;
        let haproxy = binary().context("haproxy is not installed")?;
        let log = fs::File::create(self.directory.path().join("haproxy.log"))?;
        // The priority that the lab's servers have, so that it does not lose
        // against us for want of a processor.
        let mut command: Command = lab.director.command("chrt");
        command
            .args(["--fifo", "1"])
            .arg(haproxy)
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(Process::spawn(command).context("cannot run haproxy")?);
        Ok(())
    }

    /// Of each server, as `show stat` says it.
    fn states(&self) -> Result<Vec<String>> {
        let mut socket = UnixStream::connect(self.socket())?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        // Everything about servers only.
        socket.write_all(b"show stat -1 4 -1\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(states(&answer))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("haproxy.sock")
    }

    /// All it has said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("haproxy.log")).unwrap_or_default()
    }
}

/// The column `status` of its CSV.
fn states(csv: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split(',').position(|name| name == "status") else {
        return Vec::new();
    };
    lines
        .filter_map(|line| line.split(',').nth(column).map(str::to_owned))
        .collect()
}

/// Debian puts it where only root's `PATH` goes.
fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join("haproxy"))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests;
