//! What the product costs and what it is good for, in figures: one module a
//! subcommand.
//!
//! Everything that is set up is owned by guards, so that it is removed however a
//! benchmark ends: done, failed, interrupted, by a panic.

mod drawing;
mod output;
mod service;
mod settings;
mod statistics;
mod takeover;

use std::io::{self, Write as _};
use std::process::ExitCode;

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
}

fn main() -> ExitCode {
    let bench = Bench::parse();
    let interrupt = match Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&error),
    };
    let done = match &bench {
        Bench::Takeover(arguments) => takeover::run(arguments, &interrupt),
    };
    match done {
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
