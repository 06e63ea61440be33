//! `cargo xtask`: one command for everything a developer or CI does.
//!
//! This file parses and dispatches; each command lives in its own file.

mod bench;
mod build;
mod ci;
mod command;
mod demo;
mod lab;
mod setup;
mod test;
mod toolchain;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

/// Development tasks. Each installs whatever it needs and does not find.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install the eBPF compiler, its linker and the lab's tools, where missing.
    Setup,
    /// Build the agent and the eBPF program in it.
    Build {
        /// Optimise.
        #[arg(long)]
        release: bool,
    },
    /// Build and run the demo (needs root); ARGS go to it, e.g. `--json`.
    // Without clap's own flag, `--help` reaches the demo.
    #[command(disable_help_flag = true)]
    Demo {
        /// Passed on unchanged.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build and run a benchmark (needs root): `takeover`, `accuracy`, `datapath` or
    /// `sender`; ARGS go to it, e.g. `takeover --runs 5`.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on unchanged.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build and run every test (needs root).
    Test {
        /// Names to filter by, and options of the test harness, e.g. `--nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check formatting, lints and documentation, then run every test.
    Ci,
}

fn main() -> ExitCode {
    run(Task::parse()).unwrap_or_else(|error| {
        // One line: a backtrace of this tool helps nobody.
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The exit code is the task's own: `test` fails without a message of ours
/// below its last line.
fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Setup => setup::run(),
        Task::Build { release } => build::run(release),
        Task::Demo { args } => demo::run(&args),
        Task::Bench { args } => bench::run(&args),
        Task::Test { args } => test::run(&args),
        Task::Ci => ci::run(),
    }
}
