//! The figures at the end, for people and for programs.

use std::path::{Path, PathBuf};

use lab::Record;
use serde::Serialize;

use crate::phase::{Phase, Seen, Times, change_over, longest_silence, requests};
use crate::screen::{Screen, Tone, count, duration};

/// All figures; serialised, what `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    udp: Figures,
    http: Figures,
    /// The picture.
    svg: PathBuf,
}

/// Those of one stream.
#[derive(Debug, Serialize)]
struct Figures {
    /// That of the phase `takeover`.
    takeover_us: Option<u64>,
    sent: usize,
    answered: usize,
    lost: usize,
    phases: Vec<PhaseFigures>,
}

/// Those of one phase: of the requests that were sent in it.
#[derive(Debug, Serialize)]
struct PhaseFigures {
    name: &'static str,
    /// [`change_over`], which says what counts in which phase.
    takeover_us: Option<u64>,
    sent: usize,
    answered: usize,
    lost: usize,
    /// [`longest_silence`].
    longest_silence_us: u64,
}

impl Report {
    /// The figures of what was seen.
    pub(crate) fn new(seen: &Seen, svg: PathBuf) -> Self {
        Self {
            udp: Figures::new(&seen.udp, seen.times),
            http: Figures::new(&seen.http, seen.times),
            svg,
        }
    }

    /// Whether both streams saw the takeover and the failback.
    pub(crate) fn succeeded(&self) -> bool {
        let changed = |figures: &Figures, phase: Phase| {
            let figures = figures.phases.iter().find(|row| row.name == phase.name());
            figures.is_some_and(|row| row.takeover_us.is_some())
        };
        [&self.udp, &self.http]
            .into_iter()
            .all(|figures| changed(figures, Phase::Takeover) && changed(figures, Phase::Failback))
    }

    /// Shows them as a table.
    pub(crate) fn show(&self, screen: Screen) {
        let heading = format!(
            "{:<6}{:<10}{:>10}{:>10}{:>8}{:>17}{:>14}",
            "", "phase", "sent", "answered", "lost", "longest silence", "change-over"
        );
        screen.line("");
        screen.line(screen.paint(Tone::Strong, heading));
        for (name, figures) in [("UDP", &self.udp), ("HTTP", &self.http)] {
            for (number, row) in figures.phases.iter().enumerate() {
                let name = if number == 0 { name } else { "" };
                screen.line(row.line(name));
            }
        }
        screen.line("");
        let notes = "\
change-over: at a takeover, from the cut cable to the first answer of the standby;
at a failback, from its last answer to the first of the primary, so hardly less than
the time between two requests";
        screen.line(screen.paint(Tone::Quiet, notes));
        screen.line("");
        if self.succeeded() {
            for (name, figures) in [("UDP", &self.udp), ("HTTP", &self.http)] {
                let took = figures.takeover_us.map(from_us).unwrap_or_default();
                let took = screen.paint(Tone::Good, took);
                screen.line(format_args!(
                    "{name}: {took} from the cut cable to the first answer of the standby; {} of {} requests lost",
                    count(figures.lost),
                    count(figures.sent)
                ));
            }
        } else {
            let failed = "FAILED: the service did not go to the standby and back";
            screen.line(screen.paint(Tone::Bad, failed));
        }
        screen.line(format_args!("picture: {}", short(&self.svg).display()));
    }
}

impl Figures {
    fn new(record: &Record, times: Times) -> Self {
        let phases = Phase::ALL.map(|phase| PhaseFigures::new(record, times, phase));
        Self {
            takeover_us: change_over(record, times, Phase::Takeover).map(|ns| ns / 1_000),
            sent: record.sent(),
            answered: record.answered(),
            lost: record.lost(),
            phases: phases.into(),
        }
    }
}

impl PhaseFigures {
    fn new(record: &Record, times: Times, phase: Phase) -> Self {
        let sent = requests(record, times, phase);
        Self {
            name: phase.name(),
            takeover_us: change_over(record, times, phase).map(|ns| ns / 1_000),
            sent: sent.sent(),
            answered: sent.answered(),
            lost: sent.lost(),
            longest_silence_us: longest_silence(record, times, phase).us(),
        }
    }

    fn line(&self, stream: &str) -> String {
        format!(
            "{stream:<6}{:<10}{:>10}{:>10}{:>8}{:>17}{:>14}",
            self.name,
            count(self.sent),
            count(self.answered),
            count(self.lost),
            from_us(self.longest_silence_us),
            self.takeover_us.map_or_else(|| "-".to_owned(), from_us),
        )
    }
}

fn from_us(us: u64) -> String {
    duration(us * 1_000)
}

/// The path as a person here would type it.
fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path)
}
