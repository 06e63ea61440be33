//! What the lab needs of the machine it runs on: root, a BPF file system, the
//! workspace's binaries, and an end to what crashed runs left behind.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Where programs and maps are pinned.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Where `ip netns` keeps the names of namespaces.
pub(crate) const NETNS: &str = "/run/netns";

/// Every namespace and pin of the lab starts with this, then the process id of
/// its owner and a hyphen.
const PREFIX: &str = "fo-";

/// Fails, in one line, for anybody but root.
pub fn require_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "namespace tests need root: sudo -E cargo xtask test"
    );
    Ok(())
}

/// A name nothing else on this machine has: `fo-<pid>-<n>`.
pub(crate) fn unique_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{n}", std::process::id())
}

/// Held while something is done that two test processes must not do at once,
/// such as the first mount of a directory. Released when dropped.
pub(crate) fn lock() -> Result<File> {
    let path = "/run/failover-lab.lock";
    let file = File::create(path).with_context(|| format!("cannot create {path}"))?;
    file.lock().with_context(|| format!("cannot lock {path}"))?;
    Ok(file)
}

/// Mounts a BPF file system at [`BPFFS`] if there is none.
pub fn mount_bpffs() -> Result<()> {
    let _one_at_a_time = lock()?;
    if statfs(BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("cannot mount a BPF file system at {BPFFS}"))
}

/// Removes the namespaces and pins of processes that are no more.
pub(crate) fn remove_stale() {
    for name in stale_names(NETNS) {
        remove_namespace(&name);
    }
    for name in stale_names(BPFFS) {
        // Somebody else may be removing it at this moment.
        let _gone = fs::remove_dir_all(Path::new(BPFFS).join(name));
    }
}

/// Takes the name away; the kernel frees the namespace when its last user ends.
pub(crate) fn remove_namespace(name: &str) {
    let path = Path::new(NETNS).join(name);
    // Failing means that it is gone already, which is what is wanted.
    let _unmounted = umount2(&path, MntFlags::MNT_DETACH);
    let _removed = fs::remove_file(&path);
}

/// Finds a binary of this workspace beside the running one: a test lives in
/// `target/<profile>/deps`, the demo in `target/<profile>`.
pub fn binary(name: &str) -> Result<PathBuf> {
    let current = std::env::current_exe().context("cannot find the running executable")?;
    for directory in current.ancestors().skip(1).take(2) {
        let candidate = directory.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{name} is not built: cargo build --workspace (cargo xtask test does it)")
}

/// Asks for real-time scheduling of this thread and those it starts: what is
/// measured is the network, not how busy this machine is with other things.
/// Without it the figures are worse, not wrong, so a refusal is no error.
pub fn prefer_this_thread() {
    use nix::libc;
    // The lowest real-time priority: below the agent's sender of heartbeats.
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads `lowest`, which outlives it, and nothing else.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
}

/// Keeps every processor from sleeping while it is held (PM QoS): the lab's hosts share
/// a few that would sleep between two packets, and to wake a virtual one takes tens of
/// microseconds. None: this kernel has no such device.
pub fn stay_awake() -> Result<Option<File>> {
    let path = "/dev/cpu_dma_latency";
    let mut file = match File::options().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open {path}")),
    };
    // Microseconds that a wake-up may take (Documentation/power/pm_qos_interface.rst).
    file.write_all(&0_i32.to_ne_bytes())
        .with_context(|| format!("cannot write {path}"))?;
    Ok(Some(file))
}

fn stale_names(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()))
        .collect()
}

/// The process id in a name of the lab's.
fn owner(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_lab_have_an_owner() {
        for (name, expected) in [
            ("fo-12-0-client", Some("12")),
            ("fo-12-0", Some("12")),
            ("fo-12", None),
            ("fo-x-0", None),
            ("failover", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
        let mine = unique_name();
        assert_eq!(owner(&mine), Some(std::process::id().to_string().as_str()));
    }
}
