//! `cargo xtask ci`: what has to pass before a change is merged.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::{command, setup};

pub(crate) fn run() -> Result<ExitCode> {
    setup::ensure()?;
    setup::components()?;

    command::run(command::cargo().args(["fmt", "--all", "--check"]))?;
    lint()?;
    document()?;

    // Literally what the README tells people to type. Its last line is ours
    // too, and so is its exit code.
    let status = Command::new("cargo")
        .args(["xtask", "test"])
        .status()
        .context("cannot start `cargo xtask test`")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn lint() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    command::run(
        command::cargo()
            .args([
                "clippy",
                "--workspace",
                "--exclude",
                "failover-ebpf",
                "--all-targets",
            ])
            .args(deny),
    )?;
    // The eBPF program is linted for the host. For its own target, clippy needs
    // a `core` of exactly its own version: Debian has one but no clippy, rustup
    // the reverse. Linting does not link, so a program without `main` passes;
    // it only must not need an unwinder. Compiler errors for the real target
    // stop failover-user's build script above.
    let ebpf = ["clippy", "--package", "failover-ebpf"];
    command::run(
        command::cargo()
            .args(ebpf)
            .args(["--lib", "--bins"])
            .args(deny)
            .env("CARGO_PROFILE_DEV_PANIC", "abort"),
    )?;
    command::run(
        command::cargo()
            .args(ebpf)
            .args(["--lib", "--profile", "test"])
            .args(deny),
    )
}

fn document() -> Result<()> {
    // The library only of failover-ebpf: its binaries carry names that the
    // agent and the lab have too, and would overwrite their pages.
    let selections: [&[&str]; 2] = [
        &["--workspace", "--exclude", "failover-ebpf"],
        &["--package", "failover-ebpf", "--lib"],
    ];
    for selection in selections {
        command::run(
            command::cargo()
                .args(["doc", "--no-deps", "--document-private-items"])
                .args(selection)
                .env("RUSTDOCFLAGS", "-D warnings"),
        )?;
    }
    Ok(())
}
