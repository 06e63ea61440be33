//! `cargo xtask demo`.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, ensure};

use crate::{command, lab, setup};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    ensure!(
        command::is_root(),
        "the demo makes network namespaces: run `cargo xtask demo` as root"
    );
    setup::ensure()?;
    lab::become_program("demo", args)
}
