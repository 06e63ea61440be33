//! `bench sender`: what heartbeats cost, to many backends or to few very often.
//!
//! All backends are addresses behind one next hop, so the lab stays small while the
//! agent has as much to do as with so many hosts. Nothing else happens meanwhile.
//!
//! The kernel of the lab does the work of switch and backends in the name of who sends.
//! So it is measured twice: with a host that answers, and with a wire that does, which
//! leaves little but what a director of its own would have to do.

mod cpu;
mod row;
mod table;
mod world;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum, value_parser};
use lab::Interrupt;

use self::cpu::Usage;
use self::row::{Row, Sample};
use self::world::World;
use crate::output::{self, require_root, say};
use crate::settings::{Settings, duration, positive};

/// So many backends, so often.
const LOADS: [(u16, Duration); 3] = [
    (1000, Duration::from_millis(10)),
    (100, Duration::from_micros(500)),
    (10, Duration::from_micros(100)),
];

/// The timeout, intervals: what the agent takes without a word about it.
const TIMEOUT: u32 = 4;

/// After the start, for everything but the heartbeats to be over.
const SETTLE: Duration = Duration::from_millis(500);

/// Between two looks at whether it was interrupted.
const TURN: Duration = Duration::from_millis(20);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// The other end of the director's cable, at once.
    Wire,
    /// The kernel of a host behind a switch.
    Host,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
struct Load {
    backends: u16,
    settings: Settings,
    peer: Peer,
}

/// What to measure and where to put it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long each is measured.
    #[arg(long, default_value = "10", value_parser = positive)]
    seconds: f64,
    /// Measure only this: so many backends, with `--interval`.
    #[arg(long, requires = "interval", value_parser = value_parser!(u16).range(1..=4096))]
    backends: Option<u16>,
    /// From one heartbeat to a backend to the next.
    #[arg(long, requires = "backends", value_parser = duration)]
    interval: Option<Duration>,
    /// Only what is answered by this; may be repeated.
    #[arg(long, value_enum)]
    peer: Vec<Peer>,
    #[command(flatten)]
    output: output::Rows,
}

/// Measures and prints. Fails only if it cannot measure.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    require_root()?;
    let mut rows = Vec::new();
    for (backends, interval) in arguments.loads() {
        for &peer in arguments.peers() {
            let what = format!("{backends} backends every {interval:?}, {}", peer.name());
            say(format_args!("{what}"));
            let load = Load {
                backends,
                settings: Settings {
                    interval,
                    timeout: interval * TIMEOUT,
                    fall: Settings::DEFAULT.fall,
                },
                peer,
            };
            let row = measure(load, arguments.duration(), interrupt);
            rows.push(row.with_context(|| format!("with {what}"))?);
        }
    }
    arguments.output.show(&rows, |to| print(to, &rows))
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Host => "host",
        }
    }
}

impl Arguments {
    fn loads(&self) -> Vec<(u16, Duration)> {
        // Each requires the other.
        let chosen = self.backends.zip(self.interval);
        chosen.map_or_else(|| LOADS.to_vec(), |chosen| vec![chosen])
    }

    fn peers(&self) -> &[Peer] {
        if self.peer.is_empty() {
            Peer::value_variants()
        } else {
            &self.peer
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn measure(load: Load, duration: Duration, interrupt: &Interrupt) -> Result<Row> {
    let mut world = World::new(load)?;
    world.wait_until_healthy(interrupt)?;
    sleep(SETTLE, interrupt)?;
    let known = world.events.count();
    let before = sample(&mut world)?;
    sleep(duration, interrupt)?;
    let after = sample(&mut world)?;
    world.events.catch_up(&world.agent)?;
    let events = world.events.since(known);
    Row::new(load, before, after, &events)
}

fn sample(world: &mut World) -> Result<Sample> {
    let answered = world.answered()?;
    let pid = world.agent.pid().context("the agent has ended")?;
    Ok(Sample {
        at: Instant::now(),
        answered,
        thread: Usage::of_thread(pid, "heartbeat")?,
        process: Usage::of_process(pid)?,
    })
}

fn sleep(time: Duration, interrupt: &Interrupt) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        interrupt.check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(TURN));
    }
}

fn print(to: &mut dyn Write, rows: &[Row]) -> Result<()> {
    writeln!(to, "{}", table::table(rows))?;
    writeln!(
        to,
        "\npercent of one CPU; the thread's is also what the network of the lab does in its name: \
         much of it where a host answers, little where the wire does"
    )?;
    for row in rows.iter().filter(|row| row.is_limited()) {
        writeln!(
            to,
            "{} backends every {} us, {}: the thread has no time left, so heartbeats were left out; \
             each took {:.1} us of it",
            row.backends,
            row.interval_us,
            row.peer.name(),
            row.thread_us()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use failover_user::config::Heartbeat;

    use super::*;

    #[test]
    fn the_default_timeout() {
        let default = Heartbeat::DEFAULT;
        assert_eq!(default.interval * TIMEOUT, default.timeout);
    }
}
