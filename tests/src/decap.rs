//! `failover decap` on a backend.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::machine::{self, BPFFS};
use crate::namespace::Namespace;

/// Tunnels end on `eth0` of a host until this is dropped; with pins of its own.
pub struct Decap {
    namespace: Arc<Namespace>,
    binary: PathBuf,
    pin_path: PathBuf,
}

impl Decap {
    /// Ends the tunnels of these directors: addresses and networks, with commas.
    pub fn start(host: &Host, from: &str) -> Result<Self> {
        let decap = Self {
            namespace: Arc::clone(&host.namespace),
            binary: match std::env::var_os("FAILOVER_BIN") {
                Some(path) => path.into(),
                None => machine::binary("failover")?,
            },
            pin_path: Path::new(BPFFS).join(machine::unique_name()),
        };
        decap.attach(from)?;
        Ok(decap)
    }

    /// The same for other directors, in place of those before.
    pub fn attach(&self, from: &str) -> Result<()> {
        let done = self
            .command()
            .args(["--interface", "eth0", "--from", from])
            .output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(())
    }

    /// A `failover decap` with these pins on this host.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.namespace.command(&self.binary);
        command.args(["decap", "--pin-path"]).arg(&self.pin_path);
        command
    }

    /// What `failover decap --json` shows.
    pub fn status(&self) -> Result<Value> {
        let shown = self.command().arg("--json").output()?;
        ensure!(shown.status.success(), "{shown:?}");
        serde_json::from_slice(&shown.stdout).context("not JSON")
    }

    /// How many packets met this verdict.
    pub fn count(&self, verdict: &str) -> Result<u64> {
        let status = self.status()?;
        let verdicts = status[0]["verdicts"].as_array();
        verdicts
            .and_then(|all| all.iter().find(|row| row["verdict"] == verdict))
            .and_then(|row| row["packets"].as_u64())
            .with_context(|| format!("no {verdict} in {status}"))
    }
}

impl Drop for Decap {
    fn drop(&mut self) {
        // In a panic already, or the next test run sweeps it away.
        let _detached = self.command().arg("--detach").output();
    }
}
