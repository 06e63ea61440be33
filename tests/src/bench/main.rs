//! What the product costs and what it is good for, in figures: one module a
//! subcommand.
//!
//! Everything that is set up is owned by guards, so that it is removed however a
//! benchmark ends: done, failed, interrupted, by a panic.

mod accuracy;
mod datapath;
mod drawing;
mod events;
mod output;
mod sender;
mod service;
mod settings;
mod statistics;
mod status;
mod takeover;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lab::Interrupt;

/// What a shell expects of a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// Measures, in a lab of network namespaces. Progress goes to standard error.
#[derive(Parser)]
#[command(name = "bench")]
enum Bench {
    /// How long a client is without service when the primary fails: with us, and
    /// with the fastest proxy.
    Takeover(takeover::Arguments),
    /// How often a healthy backend is taken for dead, and how soon a dead one is, for
    /// a grid of settings, on a director under stress.
    Accuracy(accuracy::Arguments),
    /// What a packet costs in the kernel, by what it is and what becomes of it.
    Datapath(datapath::Arguments),
    /// What it takes to send heartbeats to many backends, or to few very often.
    Sender(sender::Arguments),
    /// What takes memory away in `accuracy`.
    #[command(name = accuracy::MEMORY_PRESSURE, hide = true)]
    MemoryPressure,
}

fn main() -> ExitCode {
    match Bench::parse() {
        Bench::Takeover(arguments) => measure(|interrupt| takeover::run(&arguments, interrupt)),
        Bench::Accuracy(arguments) => measure(|interrupt| accuracy::run(&arguments, interrupt)),
        Bench::Datapath(arguments) => measure(|interrupt| datapath::run(&arguments, interrupt)),
        Bench::Sender(arguments) => measure(|interrupt| sender::run(&arguments, interrupt)),
        // It has nothing to clean up: any signal ends it.
        Bench::MemoryPressure => {
            accuracy::memory_pressure().map_or_else(|error| fail(&error), |never| match never {})
        }
    }
}

/// Has `work` clean up also when it is interrupted.
fn measure(work: impl FnOnce(&Interrupt) -> Result<()>) -> ExitCode {
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&error),
    };
    match work(&interrupt) {
        Ok(()) => ExitCode::SUCCESS,
        // Whatever failed, it failed because it was interrupted: Ctrl-C reaches
        // the processes in the lab too.
        Err(_) if interrupt.came() => {
            let _gone = writeln!(io::stderr(), "\ninterrupted; everything is removed again");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _gone = writeln!(io::stderr(), "error: {error:#}");
    ExitCode::FAILURE
}
