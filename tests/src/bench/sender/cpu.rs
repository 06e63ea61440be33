//! What a thread or a process has used so far, by the kernel's account.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// By itself, and by the kernel for it. A network of namespaces works in the name
    /// of who sends.
    pub(super) user: Duration,
    pub(super) system: Duration,
    /// How often it slept.
    pub(super) sleeps: u64,
}

impl Usage {
    /// All threads of a process; without their sleeps, which the kernel counts for
    /// each thread.
    pub(super) fn of_process(pid: u32) -> Result<Self> {
        let (user, system) = times(&read(&process(pid).join("stat"))?)?;
        Ok(Self {
            user,
            system,
            sleeps: 0,
        })
    }

    /// The thread of this name.
    pub(super) fn of_thread(pid: u32, name: &str) -> Result<Self> {
        for task in fs::read_dir(process(pid).join("task"))? {
            let task = task?.path();
            if read(&task.join("comm"))?.trim_end() == name {
                let (user, system) = times(&read(&task.join("stat"))?)?;
                return Ok(Self {
                    user,
                    system,
                    sleeps: sleeps(&read(&task.join("status"))?)?,
                });
            }
        }
        Err(anyhow::anyhow!("process {pid} has no thread `{name}`"))
    }

    /// Since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            sleeps: self.sleeps.saturating_sub(earlier.sleeps),
        }
    }
}

/// User and system time in a `stat` of proc(5).
fn times(stat: &str) -> Result<(Duration, Duration)> {
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut time = || -> Result<Duration> {
        let ticks: u32 = fields.next().context("too short")?.parse()?;
        Ok(TICK * ticks)
    };
    Ok((time()?, time()?))
}

/// `USER_HZ` is 100 wherever Linux has XDP.
const TICK: Duration = Duration::from_millis(10);

/// The voluntary ones in a `status` of proc(5).
fn sleeps(status: &str) -> Result<u64> {
    let key = "voluntary_ctxt_switches:";
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    Ok(line.context("no context switches")?.trim().parse()?)
}

fn process(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_proc_writes_them() -> Result<()> {
        let stat = "17 (a b) c) S 1 17 17 0 -1 4194560 99 0 0 0 250 1000 0 0 20 0 5 0 1 2 3";
        let expected = (Duration::from_millis(2_500), Duration::from_secs(10));
        assert_eq!(times(stat)?, expected);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(sleeps(status)?, 150);
        assert!(times("17 (x) S 1").is_err() && sleeps("Name:\tx\n").is_err());
        Ok(())
    }

    #[test]
    fn of_this_process() -> Result<()> {
        let name = "measured";
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || wait.recv())?;
        let pid = std::process::id();
        // The name is set by the thread itself.
        let found = lab::wait::until(Duration::from_secs(5), "the thread is found", || {
            Usage::of_thread(pid, name).is_ok()
        });
        drop(done);
        let _ended = thread.join();
        found?;
        Usage::of_process(pid)?;
        assert!(Usage::of_thread(pid, "nobody").is_err());
        Ok(())
    }
}
