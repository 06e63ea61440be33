//! `bench takeover`: what a client notices of a takeover, with us and with
//! `HAProxy`, on the same lab.
//!
//! Measured is what the client sees, never what a system says. A run is: all is
//! well, requests flow, the fault comes at a random moment, the standby answers,
//! the fault is repaired. A lab is built once for each system, way of forwarding
//! and kind of traffic.

mod cell;
mod chart;
mod client;
mod failover;
mod fault;
mod goals;
mod haproxy;
mod row;
mod seen;
mod system;
mod table;
mod world;

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, value_parser};
use lab::{Forward, Interrupt, machine};

use self::cell::{Cell, Plan};
use self::client::Traffic;
use self::fault::Fault;
use self::row::{Key, Row};
use self::system::System;
use self::world::World;
use crate::output::{self, require_root, say};
use crate::settings::{Settings, duration};

/// What to measure and where to put it. Without a choice of faults, traffic,
/// systems or forwarding: all of them.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Runs of each system with each fault.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u16).range(1..))]
    runs: u16,
    /// Only this fault; may be repeated.
    #[arg(long, value_enum)]
    fault: Vec<Fault>,
    /// Only this traffic; may be repeated.
    #[arg(long, value_enum)]
    traffic: Vec<Traffic>,
    /// Only this system; may be repeated.
    #[arg(long, value_enum)]
    system: Vec<System>,
    /// Only `nat` or `dsr`.
    #[arg(long, value_parser = forward)]
    forward: Vec<Forward>,
    /// From one of our heartbeats to the next.
    #[arg(long, default_value = "100us", value_parser = duration)]
    interval: Duration,
    /// How long a lease lasts from when the newest answered heartbeat was sent.
    #[arg(long, default_value = "300us", value_parser = duration)]
    timeout: Duration,
    /// How many in a row must be unanswered.
    #[arg(long, default_value_t = 2)]
    fall: u32,
    /// Measure ours also with its default heartbeats.
    #[arg(long)]
    default_settings: bool,
    /// Datagrams a second.
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u32).range(1..=100_000))]
    udp_rate: u32,
    /// Connections a second.
    #[arg(long, default_value_t = 4_000, value_parser = value_parser!(u32).range(1..=20_000))]
    tcp_rate: u32,
    /// Requests a second on the connection that lasts.
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u32).range(1..=20_000))]
    stream_rate: u32,
    #[command(flatten)]
    output: output::Rows,
    #[command(flatten)]
    picture: output::Picture,
}

/// Measures and prints. Fails only if it cannot measure: a slow takeover, or none
/// at all, is a result.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    require_root()?;
    let awake = machine::stay_awake()?;
    if awake.is_none() {
        say(format_args!(
            "this kernel cannot keep processors from sleeping: times are longer, for all systems"
        ));
    }
    let mut rows = Vec::new();
    for traffic in arguments.traffic() {
        for forward in arguments.forward() {
            for system in arguments.systems() {
                arguments.lab(system, forward, traffic, interrupt, &mut rows)?;
            }
        }
    }
    ensure!(!rows.is_empty(), "nothing was measured");
    arguments.show(&rows)
}

impl Arguments {
    /// Measures all faults with one system in one lab.
    fn lab(
        &self,
        system: System,
        forward: Forward,
        traffic: Traffic,
        interrupt: &Interrupt,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let faults = self.faults().filter(|fault| fault.applies(system, forward));
        let faults: Vec<_> = faults.collect();
        if faults.is_empty() || !system.can(traffic, forward) {
            return Ok(());
        }
        let build = || World::new(system, traffic, forward, self.settings());
        let mut world = build()?;
        for fault in faults {
            let key = Key {
                system,
                forward,
                traffic,
                fault,
            };
            let plan = Plan {
                fault,
                traffic,
                rate: match traffic {
                    Traffic::Udp => self.udp_rate,
                    Traffic::Tcp => self.tcp_rate,
                    Traffic::Stream => self.stream_rate,
                },
                runs: self.runs.into(),
            };
            let mut cell = Cell::default();
            let progress = |cell: &Cell| say_progress(key, plan.runs, cell);
            let done = plan.measure(&mut world, interrupt, &mut cell, progress);
            interrupt.check()?;
            let row = Row::new(key, self.settings(), &cell);
            say(format_args!("{}", finished(&row)));
            rows.push(row);
            if let Err(error) = done {
                // What it did to this lab must not be measured with the next
                // fault.
                say(format_args!(
                    "{} {}: {error:#}; going on with a new lab",
                    system.name(),
                    fault.name()
                ));
                drop(world);
                world = build()?;
            }
        }
        Ok(())
    }

    fn show(&self, rows: &[Row]) -> Result<()> {
        self.output.show(rows, |to| print(to, rows))?;
        self.picture.show(|path| chart::draw(rows, path))
    }

    fn settings(&self) -> Settings {
        Settings {
            interval: self.interval,
            timeout: self.timeout,
            fall: self.fall,
        }
    }

    fn faults(&self) -> impl Iterator<Item = Fault> {
        let chosen = |fault: &Fault| self.fault.is_empty() || self.fault.contains(fault);
        Fault::ALL.into_iter().filter(chosen)
    }

    fn traffic(&self) -> impl Iterator<Item = Traffic> {
        let chosen = |traffic: &Traffic| self.traffic.is_empty() || self.traffic.contains(traffic);
        Traffic::ALL.into_iter().filter(chosen)
    }

    fn forward(&self) -> impl Iterator<Item = Forward> {
        let chosen = |forward: &Forward| self.forward.is_empty() || self.forward.contains(forward);
        [Forward::Nat, Forward::Dsr].into_iter().filter(chosen)
    }

    /// Those asked for; without a choice those that are there.
    fn systems(&self) -> Vec<System> {
        if !self.system.is_empty() {
            return self.system.clone();
        }
        let mut systems = vec![System::Failover];
        if self.default_settings {
            systems.push(System::FailoverDefault);
        }
        if haproxy::is_there() {
            systems.extend([System::Haproxy, System::Haproxy5ms]);
        } else {
            say(format_args!(
                "HAProxy is not installed: its rows will be missing"
            ));
        }
        systems
    }
}

fn print(to: &mut dyn Write, rows: &[Row]) -> Result<()> {
    writeln!(to, "{}", table::table(rows))?;
    writeln!(
        to,
        "\nmicroseconds: smallest / middle / 99th percentile / largest"
    )?;
    for row in rows {
        for remark in table::remarks(row) {
            writeln!(
                to,
                "note: {} {} {} {}: {remark}",
                row.system.name(),
                row.forward.as_str(),
                row.traffic.name(),
                row.fault.name()
            )?;
        }
    }
    writeln!(to)?;
    for goal in goals::goals(rows) {
        let verdict = if goal.met { "pass" } else { "MISS" };
        writeln!(to, "{verdict}  {}", goal.text)?;
    }
    Ok(())
}

fn say_progress(key: Key, runs: usize, cell: &Cell) {
    let takeover = cell.runs.last().and_then(|run| run.takeover);
    let newest = takeover.map_or_else(
        || "no takeover".to_owned(),
        |takeover| format!("{} us", takeover.takeover_us),
    );
    say(format_args!(
        "{} {} {} {}: {}/{runs} {newest}",
        key.system.name(),
        key.forward.as_str(),
        key.traffic.name(),
        key.fault.name(),
        cell.runs.len(),
    ));
}

fn finished(row: &Row) -> String {
    let middle = row
        .takeover_us
        .map_or_else(|| "-".to_owned(), |summary| format!("{} us", summary.p50));
    format!(
        "{} {} {} {}: p50 {middle}, {} requests lost in {} runs",
        row.system.name(),
        row.forward.as_str(),
        row.traffic.name(),
        row.fault.name(),
        row.lost,
        row.runs
    )
}

fn forward(text: &str) -> Result<Forward, String> {
    match text {
        "nat" => Ok(Forward::Nat),
        "dsr" => Ok(Forward::Dsr),
        _ => Err("write nat or dsr".to_owned()),
    }
}
