//! The agent under test, as the process that users run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::Lab;
use crate::machine::{self, BPFFS};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait;

/// How long a start or an orderly end may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Goes on as a program that finds only its own things at the usual places: sockets,
/// pins, the store, and in /usr/local/sbin what is in the directory given.
const ROOM: &str = r#"
mount --make-rprivate /
mkdir "$1/netns"
mount --rbind /run/netns "$1/netns"
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount --move "$1/netns" /run/netns
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /var/lib
mount --bind "$2" /usr/local/sbin
shift 2
exec "$@"
"#;

/// `failover run` on the director, with a configuration, an API socket and pins
/// of its own. When dropped it is killed and everything it set up is detached.
pub struct Agent {
    namespace: Arc<Namespace>,
    binary: PathBuf,
    directory: TempDir,
    pin_path: PathBuf,
    /// The `[agent]` table that every configuration starts with.
    preamble: String,
    environment: Vec<(String, String)>,
    /// What it finds in /usr/local/sbin, if it runs in a [`ROOM`].
    programs: Option<PathBuf>,
    process: Option<Process>,
}

impl Agent {
    /// Starts the binary named by `FAILOVER_BIN`, else the workspace's, and waits
    /// until it answers `status`.
    ///
    /// `config` goes on where the `[agent]` table (`interfaces`, `pin_path`,
    /// `api` and `state`, all set here) ends: more keys of that table come first in it, then
    /// the services.
    pub fn start(lab: &Lab, config: &str) -> Result<Self> {
        Self::start_binary(lab, &binary()?, config)
    }

    /// Starts it with this configuration and nothing else. All files are at their usual
    /// places, which only it sees, and are gone with it: another start knows nothing of
    /// this one. Its hooks find those of `programs` in /usr/local/sbin.
    pub fn start_printed(lab: &Lab, config: &str, programs: &Path) -> Result<Self> {
        let mut agent = Self::new(lab, &binary()?)?;
        agent.preamble = String::new();
        agent.programs = Some(programs.to_owned());
        agent.write_config(config)?;
        agent.restart()?;
        Ok(agent)
    }

    /// The same as [`Agent::start`] with a given binary.
    pub fn start_binary(lab: &Lab, binary: &Path, config: &str) -> Result<Self> {
        let mut agent = Self::new(lab, binary)?;
        agent.write_config(config)?;
        agent.restart()?;
        Ok(agent)
    }

    fn new(lab: &Lab, binary: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("failover-").tempdir()?;
        let pin_path = Path::new(BPFFS).join(machine::unique_name());
        let preamble = format!(
            "[agent]\ninterfaces = {:?}\npin_path = \"{}\"\napi = \"{}\"\nstate = \"{}\"\n",
            lab.director_interfaces(),
            pin_path.display(),
            directory.path().join("api.sock").display(),
            directory.path().join("state").display(),
        );
        Ok(Self {
            namespace: Arc::clone(&lab.director.namespace),
            binary: binary.to_owned(),
            directory,
            pin_path,
            preamble,
            environment: Vec::new(),
            programs: None,
            process: None,
        })
    }

    /// Replaces the configuration file, for a reload or a restart.
    pub fn write_config(&self, config: &str) -> Result<()> {
        let path = self.config_path();
        fs::write(&path, format!("{}{config}", self.preamble))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Runs another binary from the next [`Agent::restart`] on: an upgrade.
    pub fn set_binary(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// Sets a variable of its environment from the next [`Agent::restart`] on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the agent, again if need be, and waits until it answers `status`.
    /// One that still runs is terminated first.
    pub fn restart(&mut self) -> Result<()> {
        self.terminate()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = self.command();
        command
            .arg("run")
            .arg("-c")
            .arg(self.config_path())
            .env("RUST_LOG", "info")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Process::spawn(command)
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        self.process = Some(process);
        self.wait_for_status()
            .with_context(|| format!("the agent did not start; its log:\n{}", self.log()))
    }

    /// What `failover status --json` prints.
    pub fn status(&self) -> Result<Value> {
        let output = self.cli(&["status", "--json"])?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "failover status: {}",
            errors.trim()
        );
        serde_json::from_slice(&output.stdout).context("failover status --json printed no JSON")
    }

    /// Runs `failover --api SOCKET <arguments>` to its end.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.client_command()
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {}", self.binary.display()))
    }

    /// The start of a command to the agent, `failover --api SOCKET`, for those
    /// that go on, such as `events --follow`; see [`Process`].
    #[must_use]
    pub fn client_command(&self) -> Command {
        let mut command = self.namespace.command(&self.binary);
        command.arg("--api").arg(self.api());
        command
    }

    /// Kills it as `kill -9` does; returns the moment just before.
    pub fn kill9(&mut self) -> Result<u64> {
        let mut process = self.process.take().context("the agent does not run")?;
        process.kill().context("cannot kill the agent")
    }

    /// Asks it to end (SIGTERM) and waits. No error if it does not run.
    pub fn terminate(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        if process.ended()?.is_none() {
            process.signal(Signal::SIGTERM)?;
        }
        let gone = || process.ended().ok().flatten().is_some();
        wait::until(PATIENCE, "the agent ends after SIGTERM", gone)
    }

    /// Sends a signal, such as SIGHUP for a reload or SIGSTOP for a stall.
    pub fn signal(&self, signal: Signal) -> Result<u64> {
        let process = self.process.as_ref().context("the agent does not run")?;
        process.signal(signal).context("cannot signal the agent")
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&mut self) -> Option<u32> {
        let process = self.process.as_mut()?;
        let running = process.ended().ok()?.is_none();
        running.then(|| process.child().id())
    }

    /// All it has logged, over restarts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where its programs and maps are pinned.
    #[must_use]
    pub fn pin_path(&self) -> &Path {
        &self.pin_path
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("failover.toml")
    }

    fn command(&self) -> Command {
        let Some(programs) = &self.programs else {
            return self.namespace.command(&self.binary);
        };
        let mut command = self.namespace.command("unshare");
        command.args(["--mount", "sh", "-ec", ROOM, "room"]).args([
            self.directory.path(),
            programs,
            &self.binary,
        ]);
        command
    }

    fn api(&self) -> PathBuf {
        match (&self.programs, &self.process) {
            (Some(_), Some(process)) => {
                format!("/proc/{}/root/run/failover.sock", process.id()).into()
            }
            (Some(_) | None, _) => self.directory.path().join("api.sock"),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("agent.log")
    }

    fn wait_for_status(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(refused) = self.status() else {
                return Ok(());
            };
            if let Some(process) = &mut self.process
                && let Some(status) = process.ended()?
            {
                bail!("it ended with {status}");
            }
            if Instant::now() >= deadline {
                return Err(refused.context(format!("no status within {PATIENCE:?}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.take());
        if thread::panicking() {
            eprintln!("log of the agent:\n{}", self.log());
        }
        if self.programs.is_some() {
            // The kernel takes the pins away with the room.
            return;
        }
        let mut detach = self.namespace.command(&self.binary);
        detach.args(["detach", "--pin-path"]).arg(&self.pin_path);
        // A safety net, also under a broken agent: whatever it says, the pins go,
        // and with them the links and programs.
        let _said = detach.stdin(Stdio::null()).output();
        let _removed = fs::remove_dir_all(&self.pin_path);
    }
}

/// The binary named by `FAILOVER_BIN`, else the workspace's.
fn binary() -> Result<PathBuf> {
    match std::env::var_os("FAILOVER_BIN") {
        Some(path) => Ok(path.into()),
        None => machine::binary("failover"),
    }
}
