//! `bench datapath`: what a packet costs in the kernel, by what it is and what becomes of it.
//!
//! The real program on real maps, without a network: the kernel runs it many times over on
//! frames in memory (`BPF_PROG_TEST_RUN`). The time is what the thread used, by the
//! kernel's account; waiting is not in it. A run is taken in turns with one of a program
//! that only passes, in the same harness and on the same frames, so that both meet the same
//! machine. What counts is the shortest: everything else that happens only adds.

mod case;
mod frame;
mod harness;
mod row;
mod table;
mod world;

use std::io::Write;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, value_parser};
use failover_common::{Counter, Verdict};
use lab::Interrupt;

use self::case::{Case, Timed};
use self::harness::{Floor, Harness};
use self::row::Row;
use self::world::{World, in_world};
use crate::output::{self, require_root, say};

/// What to measure and where to put it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Measure only cases whose name contains this, such as `nat-v4-tcp`; may be repeated.
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// How often each case is measured; the shortest counts.
    #[arg(long, default_value = "15", value_parser = value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Packets in a run.
    #[arg(long, default_value = "100000", value_parser = value_parser!(u32).range(1..=100_000_000))]
    packets: u32,
    #[command(flatten)]
    output: output::Rows,
}

impl Arguments {
    fn wants(&self, case: &Case) -> bool {
        let name = case.name();
        self.case.is_empty() || self.case.iter().any(|part| name.contains(part))
    }
}

/// Measures and prints. Fails only if it cannot measure.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    require_root()?;
    let cases: Vec<_> = case::all().filter(|case| arguments.wants(case)).collect();
    ensure!(
        !cases.is_empty(),
        "no case has such a name; without `--case` all are measured"
    );
    let rows = in_world(|world| {
        let mut harness = Harness::load(case::most_frames())?;
        let measure = |case: &Case| {
            interrupt.check()?;
            say(format_args!("{}", case.name()));
            measure(case, world, &mut harness, arguments)
                .with_context(|| format!("with {}", case.name()))
        };
        cases.iter().map(measure).collect::<Result<Vec<_>>>()
    })?;
    arguments.output.show(&rows, |to| print(to, &rows))
}

fn measure(
    case: &Case,
    world: &mut World,
    harness: &mut Harness,
    arguments: &Arguments,
) -> Result<Row> {
    world.place(case)?;
    harness.set_frames(&case.frames())?;
    if case.keeps_flows() {
        // The first packet begins a flow, with the second one it is known.
        harness.set_program(world.program()?)?;
        harness.time(2 * case.scale.services, case.ingress())?;
    }
    let before = world.verdicts()?;
    let (mut times, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..arguments.runs {
        harness.set_floor(Floor::Pass)?;
        floor.push(harness.time(arguments.packets, case.ingress())?);
        match case.timed() {
            Timed::Floor(program) => harness.set_floor(program)?,
            Timed::Program(_) => harness.set_program(world.program()?)?,
        }
        times.push(harness.time(arguments.packets, case.ingress())?);
    }
    if let Timed::Program(verdict) = case.timed() {
        let packets = u64::from(arguments.runs) * u64::from(arguments.packets);
        ensure_only(&before, &world.verdicts()?, verdict, packets)?;
    }
    Row::new(case, arguments.packets, &times, &floor)
}

/// That so many packets had this verdict, and none another.
fn ensure_only(
    before: &[(Verdict, Counter)],
    after: &[(Verdict, Counter)],
    verdict: Verdict,
    packets: u64,
) -> Result<()> {
    for ((found, before), (_, after)) in before.iter().zip(after) {
        let expected = if *found == verdict { packets } else { 0 };
        let counted = after.packets - before.packets;
        ensure!(
            counted == expected,
            "{counted} packets were {found:?}, not {expected}"
        );
    }
    Ok(())
}

fn print(to: &mut dyn Write, rows: &[Row]) -> Result<()> {
    writeln!(to, "{}", table::table(rows))?;
    writeln!(
        to,
        "\nns a packet, shortest run; in brackets the middle one is so much above it; \
         but for `pass` without what a program that only passes takes"
    )?;
    let stages = table::stages(rows);
    if !stages.is_empty() {
        writeln!(to, "\n{}", stages.join("\n"))?;
    }
    Ok(())
}
