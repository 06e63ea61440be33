//! The packet path: the real program, in the real kernel, on frames that are
//! given to it (`BPF_PROG_TEST_RUN`), in a namespace with real interfaces,
//! routes and neighbours.

mod frame;
mod mutations;
mod network;
mod rows;
mod selection;
mod world;

use anyhow::{Context as _, Result, ensure};
use failover_common::{BackendCounters, Counter, Verdict};

use crate::rows::Row;
use crate::world::{World, in_world};

/// Shortest frame that the kernel runs a program on, bytes (`ETH_HLEN`).
const SHORTEST: usize = 14;

#[test]
fn the_table() -> Result<()> {
    let rows = rows::all();
    for verdict in Verdict::ALL {
        ensure!(
            rows.iter().any(|row| row.verdict == verdict),
            "no row for {verdict:?}"
        );
    }
    println!("{} rows", rows.len());
    in_world(|world| {
        for row in &rows {
            check(world, row).with_context(|| row.description.clone())?;
        }
        Ok(())
    })
}

fn check(world: &mut World, row: &Row) -> Result<()> {
    let mut counters = world.backend_counters()?;
    let outcome = world.run(&row.input, row.ingress)?;
    ensure!(
        outcome.verdict == row.verdict,
        "{:?} instead of {:?}",
        outcome.verdict,
        row.verdict
    );
    ensure!(
        outcome.frame == row.output,
        "\n{:02x?} instead of\n{:02x?}",
        outcome.frame,
        row.output
    );
    for (index, expected) in &mut counters {
        if row.backend == Some(*index) {
            *expected += one_packet(row);
        }
    }
    let after = world.backend_counters()?;
    ensure!(after == counters, "{after:?} instead of {counters:?}");
    let events = world.events();
    ensure!(
        events == Vec::from_iter(row.event),
        "told the agent {events:?} instead of {:?}",
        row.event
    );
    Ok(())
}

fn one_packet(row: &Row) -> BackendCounters {
    let one = Counter {
        packets: 1,
        bytes: row.input.len() as u64,
    };
    let mut counters = BackendCounters::default();
    match row.verdict {
        Verdict::ReturnedTx | Verdict::ReturnedRedirect => counters.returned = one,
        _ => counters.forwarded = one,
    }
    counters
}

#[test]
fn truncated_at_every_length() -> Result<()> {
    let rows = rows::all();
    in_world(|world| {
        ensure!(world.run(&[0; SHORTEST - 1], network::FRONT).is_err());
        for row in &rows {
            for length in SHORTEST..row.input.len() {
                check_truncated(world, row, length)
                    .with_context(|| format!("{} cut to {length} bytes", row.description))?;
            }
        }
        Ok(())
    })
}

/// What is cut is passed as it is, unless only padding was cut off.
fn check_truncated(world: &mut World, row: &Row, length: usize) -> Result<()> {
    let cut = &row.input[..length];
    let outcome = world.run(cut, row.ingress)?;
    if !mutations::is_whole(cut) {
        ensure!(
            outcome.verdict.action() == failover_common::Action::Pass,
            "{:?}",
            outcome.verdict
        );
    }
    if !outcome.sent() {
        ensure!(outcome.frame == cut, "a byte changed");
    }
    Ok(())
}

#[test]
fn any_mutation() -> Result<()> {
    in_world(mutations::check)
}

#[test]
fn the_choice_is_that_of_the_model() -> Result<()> {
    in_world(selection::check)
}
