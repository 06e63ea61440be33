//! The packet path: the real program, in the real kernel, on frames that are
//! given to it (`BPF_PROG_TEST_RUN`), in a namespace with real interfaces,
//! routes and neighbours.

mod before;
mod budget;
#[path = "../../../fuzz/check.rs"]
mod check;
mod control;
mod decap;
mod flows;
mod frame;
mod fuzz;
mod killed;
mod limit;
mod model;
mod mortals;
mod mutations;
mod nat;
mod network;
mod pieces;
mod race;
mod ring;
mod rows;
mod selection;
mod services;
mod slots;
mod state;
mod tunnel;
mod visits;
mod world;

use anyhow::{Context as _, Result, ensure};
use failover_common::{BackendCounters, Counter, NewsKind, Verdict};
use lab::clock::now_ns;

use crate::rows::Row;
use crate::world::{World, in_still_world, in_world};

/// Shortest frame that the kernel runs a program on, bytes (`ETH_HLEN`).
const SHORTEST: usize = 14;

#[test]
fn the_table() -> Result<()> {
    let rows = rows::all();
    println!("{} rows", rows.len());
    in_world(|world| {
        let mut failed = Vec::new();
        for row in &rows {
            if let Err(error) = check(world, row) {
                failed.push(format!("{}: {error:#}", row.description));
            }
        }
        ensure!(
            failed.is_empty(),
            "{} rows:\n{}",
            failed.len(),
            failed.join("\n")
        );
        Ok(())
    })?;
    for verdict in Verdict::ALL {
        // These take more than another packet: `a_tunnel_needs_room_in_front`,
        // `a_stage_that_is_not_there`, `ports_that_are_all_taken`.
        let elsewhere = matches!(
            verdict,
            Verdict::NoRoom | Verdict::NoStage | Verdict::NoPort
        );
        ensure!(
            elsewhere || rows.iter().any(|row| row.verdict == verdict),
            "no row for {verdict:?}"
        );
    }
    Ok(())
}

fn check(world: &mut World, row: &Row) -> Result<()> {
    let before = world.prepare(&row.before)?;
    let mut counters = world.backend_counters()?;
    let began = now_ns();
    let outcome = world.run(&row.input, row.ingress)?;
    let times = (began, now_ns());
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
    let mut events = world.events();
    for event in &mut events {
        let has_time = event.kind != NewsKind::NextHopMissing as u32;
        ensure!(
            !has_time || (times.0..=times.1).contains(&event.at),
            "{event:?} is not of {times:?}"
        );
        event.at = 0;
    }
    let mut expected = Vec::from_iter(row.event);
    expected.extend(World::news_of(&before, &row.changes));
    ensure!(
        events == expected,
        "told the agent {events:?} instead of {expected:?}"
    );
    world.ensure_changed(&before, &row.changes, times)?;
    world.ensure_no_syn_is_taken()
}

fn one_packet(row: &Row) -> BackendCounters {
    let one = Counter {
        packets: 1,
        bytes: row.output.len() as u64,
    };
    let mut counters = BackendCounters::default();
    match row.verdict {
        Verdict::ReturnedTx | Verdict::ReturnedRedirect => counters.returned = one,
        _ => counters.forwarded = one,
    }
    counters
}

#[test]
fn what_the_verifier_takes() -> Result<()> {
    lab::machine::require_root()?;
    budget::check()
}

#[test]
fn truncated_at_every_length() -> Result<()> {
    let rows = rows::all();
    in_world(|world| {
        ensure!(world.run(&[0; SHORTEST - 1], network::FRONT).is_err());
        for row in &rows {
            for length in (SHORTEST..row.input.len()).filter(|&at| is_cut(at, row.input.len())) {
                check_truncated(world, row, length)
                    .with_context(|| format!("{} cut to {length} bytes", row.description))?;
            }
        }
        Ok(())
    })
}

/// Every length that ends in or near the headers, or near the end; some in between.
fn is_cut(at: usize, length: usize) -> bool {
    at < 160 || at + 20 >= length || at.is_multiple_of(61)
}

/// What is cut is passed or dropped as it is, unless only padding was cut off.
fn check_truncated(world: &mut World, row: &Row, length: usize) -> Result<()> {
    let before = world.prepare(&row.before)?;
    let cut = &row.input[..length];
    let outcome = world.run(cut, row.ingress)?;
    if !mutations::is_whole(cut) {
        ensure!(!outcome.sent(), "{:?}", outcome.verdict);
        let events = world.events();
        ensure!(events.is_empty(), "told the agent {events:?}");
        world.ensure_changed(&before, &[], (0, 0))?;
    }
    if !outcome.sent() {
        ensure!(outcome.frame == cut, "a byte changed");
    }
    Ok(())
}

/// What libFuzzer looks for, of every frame that is here anyway.
#[test]
fn what_is_read_is_inside_the_packet() {
    for row in rows::all() {
        for length in 0..=row.input.len() {
            check::check(&row.input[..length]);
        }
        check::check(&row.output);
    }
}

#[test]
fn any_mutation() -> Result<()> {
    in_world(mutations::check)
}

#[test]
fn any_frame_is_as_the_model_says() -> Result<()> {
    in_still_world(fuzz::check)
}

#[test]
fn answers_that_time_is_exceeded_are_bounded() -> Result<()> {
    in_world(limit::exceeded)
}

#[test]
fn the_choice_is_that_of_the_model() -> Result<()> {
    in_world(selection::check)
}

#[test]
fn slots_of_the_table_of_syns() -> Result<()> {
    in_world(slots::check)
}

#[test]
fn tunnels_spread_flows() -> Result<()> {
    in_world(tunnel::check_spread)
}

#[test]
fn a_tunnel_needs_room_in_front() -> Result<()> {
    in_world(tunnel::check_room)
}

#[test]
fn a_stage_that_is_not_there() -> Result<()> {
    in_world(|world| {
        let rows = rows::all();
        let row_of = |verdict| {
            let row = rows.iter().find(|row| row.verdict == verdict);
            row.with_context(|| format!("no row for {verdict:?}"))
        };
        let (echo, plain) = (row_of(Verdict::EchoAnswered)?, row_of(Verdict::NoService)?);
        world.remove_stages()?;
        for (row, verdict) in [(echo, Verdict::NoStage), (plain, Verdict::NoService)] {
            let outcome = world.run(&row.input, row.ingress)?;
            ensure!(
                outcome.verdict == verdict && outcome.frame == row.input,
                "{}: {outcome:?}",
                row.description
            );
        }
        Ok(())
    })
}

#[test]
fn answers_to_what_is_too_big_are_bounded() -> Result<()> {
    in_world(limit::too_big)
}

#[test]
fn a_flood_pushes_out_no_flow() -> Result<()> {
    in_world(flows::check_flood)
}

#[test]
fn more_flows_than_there_is_room_for() -> Result<()> {
    in_world(flows::check_full)
}

#[test]
fn who_accepts_a_connection_has_it() -> Result<()> {
    in_world(flows::check_accepted)
}

#[test]
fn a_port_is_given_to_one_flow() -> Result<()> {
    in_world(nat::check_race)
}

#[test]
fn a_port_is_free_again() -> Result<()> {
    in_world(nat::check_reuse)
}

#[test]
fn ports_that_are_all_taken() -> Result<()> {
    in_world(nat::check_exhausted)
}

#[test]
fn a_port_that_was_forgotten() -> Result<()> {
    in_world(nat::check_forgotten)
}

#[test]
fn the_end_of_a_tunnel() -> Result<()> {
    decap::check_table()
}

#[test]
fn the_end_of_a_tunnel_truncated_at_every_length() -> Result<()> {
    decap::check_truncated()
}

#[test]
fn one_death_is_told_once() -> Result<()> {
    in_world(race::queues)?;
    in_world(race::queue_and_sender)?;
    in_world(race::second)
}

#[test]
fn a_hold_is_cleared_while_it_is_set() -> Result<()> {
    in_world(race::clear)
}

#[test]
fn a_flood_of_news_leaves_room_for_a_death() -> Result<()> {
    in_world(ring::check)
}

#[test]
fn a_syn_that_is_noted_late_is_repeated_too() -> Result<()> {
    in_world(visits::check)
}

#[test]
fn an_agent_that_is_killed_leaves_no_false_death() -> Result<()> {
    in_world(killed::check)
}
