//! The programs that make a lab, built with the agent that they run.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::command;

/// Builds all of it and goes on as `program`.
pub(crate) fn become_program(program: &str, args: &[OsString]) -> Result<ExitCode> {
    command::run(command::cargo().args(["build", "--release"]).args([
        "--package",
        "failover-user",
        "--package",
        "failover-tests",
        "--bins",
    ]))?;

    // exec, not spawn: Ctrl-C, the exit code and the terminal are then the
    // program's own, and it can clean up its namespaces.
    let error = Command::new(command::binary("release", program)?)
        .args(args)
        .env("FAILOVER_BIN", command::binary("release", "failover")?)
        .exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}
