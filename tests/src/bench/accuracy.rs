//! `bench accuracy`: how often a healthy backend is taken for dead, and how long it
//! takes to see a real death, for a grid of settings.
//!
//! Both backends are healthy while the director is stressed in every way there is: so
//! whatever is taken for dead is alive, unless the port of the switch shows that the lab
//! had held it up. Then the primary hangs again and again, first under the same stress,
//! then without any. A lab is built for each setting; they are measured one after another,
//! because they would disturb each other.

mod chart;
mod death;
mod detection;
mod grid;
mod mirror;
mod row;
mod stress;
mod table;
mod watch;
mod worker;
mod world;

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum as _, value_parser};
use lab::Interrupt;

pub(crate) use self::stress::{MEMORY_PRESSURE, memory_pressure};

use self::mirror::Mirror;
use self::row::Row;
use self::stress::{Part, Stress};
use self::world::World;
use crate::output::{self, require_root, say};
use crate::settings::{Settings, duration, positive};
use crate::statistics::or_dash;

/// What to measure and where to put it. Without a choice of intervals and timeouts: a
/// grid with the default in it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long the healthy backends are watched, for each setting.
    #[arg(long, default_value = "1", value_parser = positive)]
    minutes: f64,
    /// The same for the default setting, if not as long as the others.
    #[arg(long, value_name = "MINUTES", value_parser = positive)]
    default_minutes: Option<f64>,
    /// From one heartbeat to the next; may be repeated.
    #[arg(long, value_parser = duration)]
    interval: Vec<Duration>,
    /// How long a backend is unheard of before it is dead, 2 to 14 intervals; may be
    /// repeated.
    #[arg(long, value_parser = duration)]
    timeout: Vec<Duration>,
    /// How many in a row must be unanswered.
    #[arg(long, default_value_t = Settings::DEFAULT.fall, value_parser = value_parser!(u32).range(2..=14))]
    fall: u32,
    /// Real deaths for each setting, under stress, and again without.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Only this part of the stress; may be repeated. Without a choice: all of it.
    #[arg(long, value_enum)]
    stress: Vec<Part>,
    /// Megabits a second of bulk traffic. The lab's switch and backends work on the same
    /// CPUs: more than those can do is late for everybody, and no backend is healthy.
    #[arg(long, default_value_t = 400, value_parser = value_parser!(u32).range(1..=34_000))]
    bulk_rate: u32,
    #[command(flatten)]
    output: output::Rows,
    #[command(flatten)]
    picture: output::Picture,
}

/// Measures and prints. Fails only if it cannot measure: false takeovers are a result.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    require_root()?;
    let grid = grid::grid(&arguments.interval, &arguments.timeout, arguments.fall);
    ensure!(
        !grid.is_empty(),
        "no timeout goes with the interval: choose 2 to 14 intervals"
    );
    let mut rows = Vec::new();
    for settings in grid {
        let row = match arguments.measure(settings, interrupt) {
            Ok(row) => row,
            Err(error) => {
                interrupt.check()?;
                // What took hours must not be lost.
                say(format_args!(
                    "{settings}: {error:#}; going on with the next"
                ));
                continue;
            }
        };
        say(format_args!(
            "{settings}: {} false takeovers in {:.1} minutes, detection p50 {} us",
            row.false_takeovers,
            row.minutes,
            or_dash(row.detection_us.map(|summary| summary.p50)),
        ));
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "nothing was measured");
    arguments.output.show(&rows, |to| print(to, &rows))?;
    arguments.picture.show(|path| chart::draw(&rows, path))
}

impl Arguments {
    fn stress(&self) -> &[Part] {
        if self.stress.is_empty() {
            Part::value_variants()
        } else {
            &self.stress
        }
    }

    fn measure(&self, settings: Settings, interrupt: &Interrupt) -> Result<Row> {
        let minutes = match self.default_minutes {
            Some(minutes) if settings == Settings::DEFAULT => minutes,
            _ => self.minutes,
        };
        say(format_args!("{settings}: watching for {minutes} minutes"));
        let duration = Duration::from_secs_f64(60.0 * minutes);
        let world = World::new(settings)?;
        world.wait_until_healthy(interrupt)?;
        let known = world.events.count();
        let mut mirror = Mirror::start(&world)?;
        let mut stress = Stress::start(&world, self.stress(), self.bulk_rate)?;
        let watch = watch::watch(
            &world,
            settings,
            &mut stress,
            &mut mirror,
            duration,
            known,
            interrupt,
        )?;
        drop(mirror);
        let stressed = detection::detect(&world, self.runs, interrupt)?;
        drop(stress);
        let quiet = detection::detect(&world, self.runs, interrupt)?;
        let backends = u32::try_from(world.lab.backends().count())?;
        Ok(Row::new(settings, backends, watch, &stressed, &quiet))
    }
}

fn print(to: &mut dyn Write, rows: &[Row]) -> Result<()> {
    writeln!(to, "{}", table::table(rows))?;
    writeln!(
        to,
        "\nmicroseconds from the fault to the latch: smallest / middle / 99th percentile / largest"
    )?;
    writeln!(
        to,
        "an hour: where none was seen, the most there may be (95% confidence); late: the lab held \
         a backend up for half of its lease or more, which does not count\n"
    )?;
    for remark in table::remarks(rows) {
        writeln!(to, "{remark}")?;
    }
    Ok(())
}
