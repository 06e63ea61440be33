//! A real server on a host, as a process of its own so that it can die like one.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use nix::sys::signal::Signal;

use crate::host::Host;
use crate::machine;
use crate::namespace::Namespace;
use crate::process::Process;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Answers each datagram with `<host name> <datagram>`.
    Udp,
    /// Answers each line with `<host name> <line>` and keeps the connection.
    Tcp,
    /// Answers every request with 200 and the host's name.
    Http,
    /// TCP: accepts connections and throws away whatever comes.
    Sink,
}

/// The line with which `lab-server` says that it listens.
pub const READY: &str = "ready";

/// A running `lab-server`. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    namespace: Arc<Namespace>,
    arguments: Vec<String>,
    process: Process,
}

impl Server {
    /// Starts a server at all addresses of the host (with `dsr` also the service
    /// address) and waits until it listens.
    pub fn start(host: &Host, protocol: Protocol, port: u16) -> Result<Self> {
        Self::start_at(host, &host.plan.service_addresses(), protocol, port)
    }

    /// The same at some addresses only.
    pub fn start_at(
        host: &Host,
        addresses: &[IpAddr],
        protocol: Protocol,
        port: u16,
    ) -> Result<Self> {
        Self::launch(host, addresses, (protocol, port), &[])
    }

    /// The same, and the process answers HTTP at `checks` too: an application with a
    /// port for its health checks.
    pub fn start_checked(
        host: &Host,
        addresses: &[IpAddr],
        protocol: Protocol,
        port: u16,
        checks: SocketAddr,
    ) -> Result<Self> {
        let more = ["--http".to_owned(), checks.to_string()];
        Self::launch(host, addresses, (protocol, port), &more)
    }

    fn launch(
        host: &Host,
        addresses: &[IpAddr],
        (protocol, port): (Protocol, u16),
        more: &[String],
    ) -> Result<Self> {
        let protocol = match protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Http => "http",
            Protocol::Sink => "sink",
        };
        let mut arguments = vec!["--name".to_owned(), host.name().to_owned()];
        for address in addresses {
            arguments.extend(["--bind-address".to_owned(), address.to_string()]);
        }
        arguments.extend_from_slice(more);
        arguments.extend([protocol.to_owned(), port.to_string()]);
        let process = launch(&host.namespace, &arguments)?;
        Ok(Self {
            namespace: Arc::clone(&host.namespace),
            arguments,
            process,
        })
    }

    /// Kills it as `kill -9` does; returns the moment just before. From then on
    /// the host's kernel refuses what arrives for it.
    pub fn kill(&mut self) -> Result<u64> {
        self.process.kill().context("cannot kill a lab-server")
    }

    /// Its process id.
    pub fn pid(&mut self) -> u32 {
        self.process.child().id()
    }

    /// Stops it (SIGSTOP): the host's kernel still accepts, nothing answers.
    /// Returns the moment just before.
    pub fn stop(&self) -> Result<u64> {
        self.process.stop().context("cannot stop a lab-server")
    }

    /// The end of [`Server::stop`].
    pub fn cont(&self) -> Result<u64> {
        self.process
            .signal(Signal::SIGCONT)
            .context("cannot continue a lab-server")
    }

    /// Starts it again, killing it first if it still runs, and waits until it
    /// listens.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = launch(&self.namespace, &self.arguments)?;
        Ok(())
    }
}

fn launch(namespace: &Namespace, arguments: &[String]) -> Result<Process> {
    let mut command = namespace.command(machine::binary("lab-server")?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = Process::spawn(command).context("cannot run lab-server")?;
    let stdout = process
        .child()
        .stdout
        .take()
        .context("lab-server has no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(
        line.trim_end() == READY,
        "lab-server {} did not start",
        arguments.join(" ")
    );
    Ok(process)
}
