//! PostgreSQL on a host, as Debian brings it, without a cluster of Debian's own.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::User;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::client::connect;
use crate::host::Host;
use crate::process::Process;
use crate::topology::Family;
use crate::wait;

/// Where it listens.
pub const PORT: u16 = 5432;

/// It does not run as root.
const USER: &str = "postgres";

/// For a start, a copy, or to follow.
const PATIENCE: Duration = Duration::from_secs(30);

/// For a connection to a host that answers: a SYN that is lost on the way from one server
/// to the next must not count as their time.
const CONNECT: Duration = Duration::from_millis(100);

/// Everybody may do everything: nobody else is in the lab.
const ACCESS: &str = "host all all 0.0.0.0/0 trust\nhost replication all 0.0.0.0/0 trust\n";

/// A running server. Killed, and its data removed, when dropped.
pub struct Postgres {
    process: Process,
    data: TempDir,
}

impl Postgres {
    /// A primary, and a standby that follows it. What the primary acknowledges is on both
    /// disks: neither waits less for them than by default.
    pub fn pair(primary: &Host, standby: &Host) -> Result<(Self, Self)> {
        let data = directory()?;
        let path = data.path();
        run(program(primary, "initdb")?
            .args(["--no-locale", "--encoding=UTF8", "--auth=trust", "--pgdata"])
            .arg(path))?;
        File::options()
            .append(true)
            .open(path.join("pg_hba.conf"))?
            .write_all(ACCESS.as_bytes())?;
        let first = Self::start(primary, data, &["-c", "synchronous_standby_names=*"])?;

        let data = directory()?;
        let address = primary.address(Family::V4).to_string();
        run(program(standby, "pg_basebackup")?
            .args([
                "--host",
                &address,
                "--checkpoint=fast",
                "--write-recovery-conf",
            ])
            .arg("--pgdata")
            .arg(data.path()))?;
        let second = Self::start(standby, data, &[])?;
        wait::until(PATIENCE, "the standby follows", || {
            let count = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            ask(primary, primary, count).is_ok_and(|count| count == ["1"])
        })?;
        Ok((first, second))
    }

    fn start(host: &Host, data: TempDir, settings: &[&str]) -> Result<Self> {
        let mut command = program(host, "postgres")?;
        command
            .arg("-D")
            .arg(data.path())
            .args(["-c", "listen_addresses=*", "-c", "unix_socket_directories="])
            .args(settings)
            .stdout(Stdio::null())
            .stderr(File::create(data.path().join("log"))?);
        let process = Process::spawn(command).context("cannot run setpriv")?;
        let server = Self { process, data };
        wait::until(PATIENCE, "PostgreSQL answers", || {
            ask(host, host, "SELECT 1").is_ok()
        })
        .with_context(|| server.log())?;
        Ok(server)
    }

    /// A shell command that kills it and everything it started, as a loss of power would.
    #[must_use]
    pub fn kill_command(&self) -> String {
        // Its children would end by themselves, but a moment later.
        let pid = self.process.id();
        format!("kill -9 {pid} $(cat /proc/{pid}/task/{pid}/children) 2>/dev/null; true")
    }

    /// Does that.
    pub fn kill(&mut self) -> Result<()> {
        Command::new("sh")
            .args(["-c", &self.kill_command()])
            .status()?;
        self.process.kill()?;
        Ok(())
    }

    /// Whether it runs no more.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_some())
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }
}

/// A session.
pub struct Session {
    runtime: Runtime,
    client: Client,
    limit: Duration,
}

impl Session {
    /// Connects from a host; `limit` is for what follows a connection, and for each
    /// statement.
    pub fn open(from: &Host, to: SocketAddr, limit: Duration) -> Result<Self> {
        let stream = connect(from, to, CONNECT)?;
        stream.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let stream = TcpStream::from_std(stream)?;
            let mut config = Config::new();
            config.user(USER).dbname(USER);
            let connecting = config.connect_raw(stream, NoTls);
            let (client, connection) = timeout(limit, connecting).await??;
            tokio::spawn(connection);
            anyhow::Ok(client)
        })?;
        Ok(Self {
            runtime,
            client,
            limit,
        })
    }

    /// Runs a statement, in a transaction of its own; the first column of what it returns.
    pub fn query(&self, statement: &str) -> Result<Vec<String>> {
        let messages = self.runtime.block_on(async {
            let answer = self.client.simple_query(statement);
            timeout(self.limit, answer).await
        })??;
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(messages.iter().filter_map(value).collect())
    }
}

/// Asks the server of a host itself.
pub fn ask(from: &Host, server: &Host, statement: &str) -> Result<Vec<String>> {
    let to = SocketAddr::new(server.address(Family::V4), PORT);
    Session::open(from, to, PATIENCE)?.query(statement)
}

/// One of PostgreSQL's programs, of the newest version there is.
fn program(host: &Host, name: &str) -> Result<Command> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .max_by_key(number)
        .context("PostgreSQL is missing: cargo xtask setup installs it")?;
    let mut command = host.command("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        // Or a change of the user takes away what Process relies on.
        .args(["--pdeathsig", "keep"])
        .arg(newest.join("bin").join(name))
        .current_dir("/");
    Ok(command)
}

fn directory() -> Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("postgres-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()?;
    let user = User::from_name(USER)?.context("there is no user postgres")?;
    let own = |path: &Path| chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    own(directory.path())?;
    Ok(directory)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot run setpriv")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", errors.trim());
    Ok(())
}
