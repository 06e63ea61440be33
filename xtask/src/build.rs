//! `cargo xtask build`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{command, setup};

pub(crate) fn run(release: bool) -> Result<ExitCode> {
    setup::ensure()?;
    let mut build = command::cargo();
    // The default members: everything but the eBPF program, which
    // failover-user/build.rs builds for its own target.
    build.arg("build");
    if release {
        build.arg("--release");
    }
    command::run(&mut build)?;
    Ok(ExitCode::SUCCESS)
}
