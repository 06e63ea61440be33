//! A child process that ends with its guard, and also if this process is killed.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::clock;

/// A running child. Killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the command.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        // SAFETY: between fork and exec the closure makes one system call and
        // allocates nothing.
        unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into)) };
        Ok(Self {
            child: spawn_from_lasting_thread(command)?,
        })
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; returns the moment just before, [`clock::now_ns`].
    pub fn signal(&self, signal: Signal) -> io::Result<u64> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        let before = clock::now_ns();
        kill(Pid::from_raw(id), signal)?;
        Ok(before)
    }

    /// Stops it with SIGSTOP and waits until all its threads have stopped.
    /// Returns the moment just before.
    pub fn stop(&self) -> io::Result<u64> {
        let before = self.signal(Signal::SIGSTOP)?;
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        waitid(Id::Pid(Pid::from_raw(id)), WaitPidFlag::WSTOPPED)?;
        Ok(before)
    }

    /// Kills it as `kill -9` does and waits; returns the moment just before. The
    /// kernel closes its sockets. No error if it has ended already.
    pub fn kill(&mut self) -> io::Result<u64> {
        let before = clock::now_ns();
        self.child.kill()?;
        self.child.wait()?;
        Ok(before)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing more can be done about a child that cannot be killed.
        let _killed = self.kill();
    }
}

/// The kernel sends the parent-death signal when the *thread* that forked ends,
/// and tests, runtimes and [`crate::Namespace::run`] use short-lived ones. One
/// thread that never ends does all the forking.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The other side waits for this reply.
                let _received = reply.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (reply, answer) = mpsc::channel();
    let spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    spawner.send((command, reply)).map_err(io::Error::other)?;
    drop(spawner);
    answer.recv().map_err(io::Error::other)?
}
