//! Child processes, with errors that say which one failed.

use std::{
    env,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Uid;

/// The cargo that started us, so that a task never mixes two versions.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs to the end. The child's stdout becomes our stderr: stdout carries only
/// what a task was asked for (`demo --json` is piped into other programs).
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// Whether it starts and succeeds; what it prints is of no interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command the way a person would type it, for messages.
pub(crate) fn line(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Where cargo puts a binary of this profile (`debug` or `release`).
///
/// Found from our own place, `<target directory>/debug/xtask`: that is right for
/// `CARGO_TARGET_DIR`, for `build.target-dir` and for the default alike.
pub(crate) fn binary(profile: &str, name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the target directory")?;
    let target = own
        .ancestors()
        .nth(2)
        .context("xtask is not in a target directory")?;
    Ok(target.join(profile).join(name))
}
