//! Redis on a host, as Debian brings it.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::host::Host;
use crate::process::Process;
use crate::topology::Family;
use crate::wait;

/// Where it listens.
pub const PORT: u16 = 6379;

/// For a start, or to follow.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. Killed when dropped.
pub struct Redis {
    process: Process,
    _directory: TempDir,
}

impl Redis {
    /// A server that keeps everything in memory, and waits until it answers.
    pub fn start(host: &Host, replica_of: Option<&Host>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        // The server as redis-tools brings it, without a service that Debian starts.
        let mut command = host.command("redis-check-rdb");
        command
            .arg0("redis-server")
            .args([
                "--port",
                "6379",
                "--bind",
                "0.0.0.0",
                "--protected-mode",
                "no",
            ])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ])
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null());
        if let Some(primary) = replica_of {
            let address = primary.address(Family::V4).to_string();
            command.args(["--replicaof", &address, "6379"]);
        }
        let redis = Self {
            process: Process::spawn(command).context("cannot run redis-check-rdb")?,
            _directory: directory,
        };
        wait::until(PATIENCE, "redis answers", || {
            cli(host, host, &["ping"]).is_ok_and(|answer| answer == "PONG")
        })?;
        Ok(redis)
    }

    /// Its process, to kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Waits until the server of a host has a replica that follows.
pub fn followed(host: &Host) -> Result<()> {
    wait::until(PATIENCE, "the replica follows", || {
        cli(host, host, &["wait", "1", "100"]).is_ok_and(|count| count == "1")
    })
}

/// The first line of what a server answers, asked from a host.
pub fn cli(from: &Host, server: &Host, arguments: &[&str]) -> Result<String> {
    let answer = all(from, server, arguments)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// The names of keys.
pub fn keys(from: &Host, server: &Host, pattern: &str) -> Result<Vec<String>> {
    let answer = all(from, server, &["keys", pattern])?;
    Ok(answer.lines().map(str::to_owned).collect())
}

fn all(from: &Host, server: &Host, arguments: &[&str]) -> Result<String> {
    let address = server.address(Family::V4).to_string();
    let mut command = from.command("redis-cli");
    let output = command
        .args(["-e", "-h", &address])
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}
