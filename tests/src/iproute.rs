//! Configures the network with the tools an administrator would use.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::namespace::Namespace;

/// Runs the lines as one `ip -batch` inside the namespace.
pub fn ip(namespace: &Namespace, lines: &[String]) -> Result<()> {
    let batch = lines.join("\n");
    let mut command = namespace.command("ip");
    command.args(["-batch", "-"]);
    run(command, &batch).with_context(|| format!("in {}:\n{batch}", namespace.name()))
}

/// Makes an interface send real checksums and whole packets only. Native XDP on
/// a veth drops the mark "checksum still to be filled in", and the receiver then
/// discards the packet.
pub(crate) fn offloads_off(namespace: &Namespace, interface: &str) -> Result<()> {
    let mut command = namespace.command("ethtool");
    command.args([
        "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
    ]);
    run(command, "")
}

/// How many ports the bridges of a namespace forward to. The kernel enables a
/// port a moment after the cable has both ends up.
pub(crate) fn forwarding_ports(namespace: &Namespace) -> Result<usize> {
    let output = namespace
        .command("bridge")
        .args(["-json", "link"])
        .output()?;
    let ports: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).context("bridge printed no JSON")?;
    Ok(ports
        .iter()
        .filter(|port| port["state"] == "forwarding")
        .count())
}

fn run(mut command: Command, input: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}: cargo xtask setup installs it"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that ends early says why on standard error.
        let _closed = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
