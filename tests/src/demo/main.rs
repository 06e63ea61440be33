//! A takeover to look at: a client, a director with the real agent, a primary and
//! its standby; the primary dies and comes back under steady traffic.
//!
//! Everything it sets up is owned by guards, so that it is removed however the
//! demo ends: done, failed, interrupted, by a panic. Measured is what the client
//! sees, never what the agent says.

mod chart;
mod phase;
mod report;
mod scenario;
mod screen;
mod standby;
mod timeline;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;

use crate::report::Report;
use crate::screen::Screen;
use crate::standby::Scenario;
use lab::Interrupt;

/// What a shell expects of a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// Shows a takeover: the primary dies under steady traffic, the standby serves, the
/// primary comes back.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Print one JSON object on standard output, and the rest on standard error.
    #[arg(long)]
    json: bool,

    /// Show a standby that must be promoted or started first, instead.
    #[arg(long)]
    scenario: Option<Scenario>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&error),
    };
    match run(&arguments, &interrupt) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whatever failed, it failed because it was interrupted: Ctrl-C reaches
        // the processes in the lab too.
        Err(_) if interrupt.came() => {
            let _gone = writeln!(io::stderr(), "\ninterrupted; everything is removed again");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => fail(&error),
    }
}

/// Whether the service went to the standby and came back.
fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "it makes network namespaces and loads XDP programs: it needs root (sudo -E cargo xtask demo)"
    );
    let screen = Screen::new(arguments.json);
    if let Some(scenario) = arguments.scenario {
        let outcome = standby::play(scenario, screen, interrupt)?;
        if arguments.json {
            print(&outcome)?;
        }
        return Ok(outcome.succeeded());
    }
    let seen = scenario::play(screen, interrupt)?;

    let directory = directory()?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let svg = directory.join("takeover.svg");
    chart::draw(&seen, &svg).with_context(|| format!("cannot draw {}", svg.display()))?;

    let report = Report::new(&seen, svg);
    report.show(screen);
    if arguments.json {
        print(&report)?;
    }
    Ok(report.succeeded())
}

fn print(report: &impl Serialize) -> Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, report)?;
    writeln!(stdout)?;
    Ok(())
}

/// `target/demo` of the target directory this binary was built in.
fn directory() -> Result<PathBuf> {
    let binary = std::env::current_exe().context("cannot find the running executable")?;
    let target = binary.ancestors().nth(2);
    Ok(target
        .context("the executable is in no target directory")?
        .join("demo"))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _gone = writeln!(io::stderr(), "demo: {error:#}");
    ExitCode::FAILURE
}
