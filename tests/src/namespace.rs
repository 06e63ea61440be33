//! A network namespace that lives as long as its guard.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::machine;

/// A named network namespace, removed when dropped, also by a panic.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes the namespace `fo-<pid>-<n>-<label>`. Its loopback is down.
    pub fn new(label: &str) -> Result<Self> {
        let name = format!("{}-{label}", machine::unique_name());
        let added = {
            // The first `ip netns add` of a machine mounts /run/netns.
            let _one_at_a_time = machine::lock()?;
            Command::new("ip").args(["netns", "add", &name]).output()
        };
        let added = added.context("cannot run ip (Debian package iproute2)")?;
        ensure!(
            added.status.success(),
            "ip netns add {name}: {}",
            String::from_utf8_lossy(&added.stderr).trim()
        );
        let path = Path::new(machine::NETNS).join(&name);
        match File::open(&path) {
            Ok(file) => Ok(Self {
                name,
                file: Arc::new(file),
            }),
            Err(error) => {
                machine::remove_namespace(&name);
                Err(error).with_context(|| format!("cannot open {}", path.display()))
            }
        }
    }

    /// The name `ip netns` knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` in a thread inside the namespace and waits for it. Sockets
    /// made by `work` stay in the namespace wherever they are used later.
    ///
    /// # Panics
    ///
    /// If `work` does, with the same message.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            enter(&self.file);
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `work` in a thread inside the namespace, which lives on at least
    /// until the thread ends.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let file = Arc::clone(&self.file);
        thread::spawn(move || {
            enter(&file);
            work()
        })
    }

    /// A command whose process will be in the namespace. Unlike with `ip netns
    /// exec` it keeps the mounts of this process, so /sys/fs/bpf is the real one.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let file = Arc::clone(&self.file);
        let join = move || setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into);
        let mut command = Command::new(program);
        // SAFETY: between fork and exec `join` makes one system call and
        // allocates nothing.
        unsafe { command.pre_exec(join) };
        command
    }

    /// Writes kernel settings: pairs of a path below /proc/sys/net and a value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                let path = Path::new("/proc/sys/net").join(key);
                fs::write(&path, value)
                    .with_context(|| format!("cannot write {value} to {}", path.display()))?;
            }
            Ok(())
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        machine::remove_namespace(&self.name);
    }
}

/// Moves the calling thread into a namespace.
fn enter(file: &File) {
    setns(file, CloneFlags::CLONE_NEWNET).expect("root can enter its own network namespace");
}
