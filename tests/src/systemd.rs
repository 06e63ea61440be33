//! A host's own systemd: the real one, process 1 of namespaces of its own, with the
//! units that a test writes and its D-Bus.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::host::Host;
use crate::machine;
use crate::process::Process;
use crate::wait;

/// It takes 0.2 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts itself into a control group of its own, so that systemd finds none of this
/// machine's, and goes on as its process 1.
const BOOT: &str = r#"
mount --make-rprivate /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$2"
echo $$ > "/sys/fs/cgroup/$2/cgroup.procs"
exec unshare --fork --kill-child --pid --mount --cgroup --ipc --uts sh -ec "$3" init "$1"
"#;

/// Takes everything but its own directory away from systemd's pen, which would set up
/// the machine that it takes this for.
const INIT: &str = r#"
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/dbus
[ ! -e /dev/console ] || mount --bind "$1/log" /dev/console
mount --bind "$1" "$1"
mount -o remount,bind,ro /
export SYSTEMD_UNIT_PATH="$1" container=lab
exec /lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=no
"#;

/// Removes the control groups that are left.
const CLEAR: &str = r#"
mount --make-rprivate /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +
"#;

/// The bus, as Debian has it but for what needs the rest of the machine.
const UNITS: [(&str, &str); 3] = [
    ("lab.target", "Wants=dbus.service"),
    (
        "dbus.socket",
        "[Socket]\nListenStream=/run/dbus/system_bus_socket\nListenStream=DIRECTORY/bus",
    ),
    (
        "dbus.service",
        "Requires=dbus.socket\n[Service]\nType=notify\nExecStart=/usr/bin/dbus-daemon --system \
         --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only",
    ),
];

/// Runs on a host, and with it what it started, until dropped.
pub struct Systemd {
    process: Process,
    directory: TempDir,
    group: String,
}

impl Systemd {
    /// Starts it, with `units` beside its own ones: pairs of a name, such as
    /// `web.service`, and the text from within the section `[Unit]` on.
    pub fn start(host: &Host, units: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("systemd-").tempdir()?;
        let path = directory.path();
        for (name, text) in UNITS.iter().chain(units) {
            let text = text.replace("DIRECTORY", &path.display().to_string());
            let text = format!("[Unit]\nDefaultDependencies=no\n{text}\n");
            fs::write(path.join(name), text)?;
        }
        fs::write(path.join("log"), "")?;
        let group = machine::unique_name();
        let mut command = host.command("unshare");
        command
            .args(["--mount", "sh", "-ec", BOOT, "boot"])
            .arg(path)
            .args([&group, INIT]);
        let systemd = Self {
            process: Process::spawn(command).context("cannot run unshare")?,
            directory,
            group,
        };
        wait::until(PATIENCE, "systemd is on its bus", || systemd.answers())
            .with_context(|| fs::read_to_string(systemd.path("log")).unwrap_or_default())?;
        Ok(systemd)
    }

    /// The address of its bus.
    #[must_use]
    pub fn bus(&self) -> String {
        format!("unix:path={}", self.path("bus").display())
    }

    fn answers(&self) -> bool {
        let mut command = Command::new("busctl");
        command
            .arg(format!("--address={}", self.bus()))
            .args(["status", "org.freedesktop.systemd1"]);
        command.output().is_ok_and(|output| output.status.success())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn clear(&self) -> Result<()> {
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-ec", CLEAR, "clear", &self.group])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // With it the kernel ends all that runs in its namespaces; that takes a moment.
        let _ended = self.process.kill();
        let _cleared = wait::until(PATIENCE, "all has ended", || self.clear().is_ok());
    }
}
