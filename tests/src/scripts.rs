//! Programs for hooks to run.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::host::Host;
use crate::machine;

/// A directory of programs for hooks to run, with what they leave there. A server that one
/// of them has started ends with it.
pub struct Scripts(TempDir);

impl Scripts {
    /// An empty one; it is removed when this is dropped.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// A shell script; `$DIR` is the directory. Returns its path.
    pub fn add(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path(name);
        let directory = self.0.path().display();
        fs::write(&path, format!("#!/bin/sh\nDIR={directory}\n{text}\n"))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(path.display().to_string())
    }

    /// A script that starts and stops a server on a host, as `systemctl start nginx` and
    /// `systemctl stop nginx` would there; either may be repeated. What was done is in
    /// `done`, a line each. Returns its path.
    pub fn add_server(
        &self,
        name: &str,
        host: &Host,
        address: IpAddr,
        (protocol, port): (&str, u16),
    ) -> Result<String> {
        let script = format!(
            r#"case "$*" in
'systemctl start nginx')
    [ ! -e $DIR/pid ] || exit 0
    setsid ip netns exec {namespace} {server} --name {host} --bind-address {address} \
        {protocol} {port} >/dev/null 2>&1 </dev/null &
    echo $! > $DIR/pid
    echo started >> $DIR/done;;
'systemctl stop nginx')
    [ -e $DIR/pid ] || exit 0
    kill $(cat $DIR/pid)
    rm $DIR/pid
    echo stopped >> $DIR/done;;
*)
    exit 1;;
esac"#,
            namespace = host.namespace().name(),
            server = machine::binary("lab-server")?.display(),
            host = host.name(),
        );
        self.add(name, &script)
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Lines of a file in the directory.
    #[must_use]
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        // What a hook has started is nobody's child.
        if let Some(Ok(pid)) = self.lines("pid").first().map(|pid| pid.parse()) {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
