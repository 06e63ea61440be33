//! `cargo xtask demo`.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, setup};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "the demo makes network namespaces: run `cargo xtask demo` as root"
    );
    setup::ensure()?;
    command::run(command::cargo().args(["build", "--release"]).args([
        "--package",
        "failover-user",
        "--package",
        "failover-tests",
        "--bins",
    ]))?;

    // exec, not spawn: Ctrl-C, the exit code and the terminal are then the
    // demo's own, and it can clean up its namespaces.
    let error = Command::new(command::binary("release", "demo")?)
        .args(args)
        .env("FAILOVER_BIN", command::binary("release", "failover")?)
        .exec();
    Err(error).context("cannot start the demo")
}
