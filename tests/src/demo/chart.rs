//! The picture of the takeover: one dot an answer, one panel a stream.

use std::path::Path;

use anyhow::{Result, anyhow};
use lab::Record;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::phase::{PRIMARY, Phase, STANDBY, Seen, Times, change_over, longest_silence};
use crate::screen::duration;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Plane>;
type Failure = Box<dyn std::error::Error>;

/// Pixels.
const SIZE: (u32, u32) = (1280, 780);
const HEADER: u32 = 104;
const UDP_PANEL: u32 = 390;
const LEFT: i32 = 40;

const INK: RGBColor = RGBColor(31, 41, 55);
const FAINT: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);
/// Blue and orange: told apart also by those who do not see red and green.
const BLUE: RGBColor = RGBColor(37, 99, 235);
const ORANGE: RGBColor = RGBColor(234, 120, 12);
const ALARM: RGBColor = RGBColor(200, 30, 45);

/// Half the time shown, milliseconds; the first that leaves the silence room, or
/// the last: there is a dot for each answer.
const HALVES: [f64; 7] = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// Pixels from the title of a panel down to its upper edge.
const TITLE: i32 = 20;

/// Pixels the label of a silence needs.
const LABEL: i32 = 160;

/// One stream around the fault. Milliseconds from the fault, and microseconds of
/// response time.
struct Panel {
    title: &'static str,
    half: f64,
    /// Arrival, response time, host.
    answers: Vec<(f64, f64, RGBColor)>,
    /// When the requests that got no answer were sent.
    lost: Vec<f64>,
    silence: (f64, f64),
    silence_text: String,
    /// The end of the axis of response times; longer ones are drawn there.
    slowest: f64,
    radius: i32,
}

/// Draws what was seen around the fault as SVG.
pub(crate) fn draw(seen: &Seen, path: &Path) -> Result<()> {
    // The error of the backend is not Send, which anyhow wants.
    try_draw(seen, path).map_err(|error| anyhow!("{error}"))
}

fn try_draw(seen: &Seen, path: &Path) -> Result<(), Failure> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, panels) = root.split_vertically(HEADER);
    let (upper, lower) = panels.split_vertically(UDP_PANEL);
    draw_header(&header, seen)?;
    let half = half(seen);
    Panel::new("UDP", &seen.udp, seen.times, half, 3).draw(&root, &upper, false)?;
    Panel::new("HTTP", &seen.http, seen.times, half, 4).draw(&root, &lower, true)?;
    root.present()?;
    Ok(())
}

/// So that there is something to see on both sides of the longer silence.
fn half(seen: &Seen) -> f64 {
    let silences = [&seen.udp, &seen.http]
        .map(|record| longest_silence(record, seen.times, Phase::Takeover).us());
    let [udp, http] = silences.map(|us| milliseconds(us.saturating_mul(1_000), 0));
    let wanted = 1.25 * udp.max(http);
    let fitting = HALVES.into_iter().find(|&half| half >= wanted);
    fitting.unwrap_or(HALVES[HALVES.len() - 1])
}

fn draw_header(area: &Area<'_>, seen: &Seen) -> Result<(), Failure> {
    let title = match change_over(&seen.udp, seen.times, Phase::Takeover) {
        Some(took) => format!(
            "The primary dies; {} later the standby answers",
            duration(took)
        ),
        None => "The primary dies, and the standby does not answer".to_owned(),
    };
    area.draw_text(&title, &text(34, INK, HPos::Left), (LEFT, 36))?;
    let mut x = LEFT + 6;
    for (label, colour, width) in [
        ("answer of the primary", BLUE, 216),
        ("answer of the standby", ORANGE, 220),
    ] {
        area.draw(&Circle::new((x, 76), 5, colour.filled()))?;
        area.draw_text(label, &text(19, FAINT, HPos::Left), (x + 14, 76))?;
        x += width;
    }
    area.draw(&PathElement::new([(x, 69), (x, 83)], ALARM.stroke_width(2)))?;
    area.draw_text(
        "request without an answer, when it was sent",
        &text(19, FAINT, HPos::Left),
        (x + 12, 76),
    )?;
    Ok(())
}

impl Panel {
    fn new(title: &'static str, record: &Record, times: Times, half: f64, radius: i32) -> Self {
        let at = |ns| milliseconds(ns, times.fault_ns);
        let shown = |ms: &f64| ms.abs() <= half;
        let mut answers = Vec::new();
        let mut lost = Vec::new();
        for request in &record.requests {
            match &request.answer {
                Some(answer) => {
                    let took = 1e3 * milliseconds(answer.at_ns, request.sent_ns);
                    let colour = match &*answer.host {
                        PRIMARY => BLUE,
                        STANDBY => ORANGE,
                        _ => INK,
                    };
                    answers.push((at(answer.at_ns), took, colour));
                }
                None => lost.push(at(request.sent_ns)),
            }
        }
        answers.retain(|(ms, _, _)| shown(ms));
        lost.retain(shown);
        let silence = longest_silence(record, times, Phase::Takeover);
        Self {
            title,
            half,
            slowest: slowest(answers.iter().map(|(_, took, _)| *took)),
            answers,
            lost,
            silence: (
                at(silence.from_ns).clamp(-half, half),
                at(silence.to_ns).clamp(-half, half),
            ),
            silence_text: duration(silence.to_ns - silence.from_ns),
            radius,
        }
    }

    fn draw(&self, root: &Area<'_>, area: &Area<'_>, last: bool) -> Result<(), Failure> {
        let top = self.slowest;
        let mut chart = ChartBuilder::on(area)
            .margin_left(LEFT)
            .margin_right(40)
            .margin_top(34)
            .margin_bottom(if last { 12 } else { 4 })
            .x_label_area_size(if last { 56 } else { 30 })
            .y_label_area_size(52)
            .build_cartesian_2d(-self.half..self.half, 0.0..top)?;
        let (from, to) = self.silence;
        chart.draw_series([Rectangle::new(
            [(from, 0.0), (to, top)],
            ALARM.mix(0.09).filled(),
        )])?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(FAINT)
            .x_labels(11)
            .y_labels(5)
            .x_label_formatter(&|ms| match *ms {
                0.0 => "0".to_owned(),
                ms => format!("{ms:+}"),
            })
            .y_label_formatter(&|us| format!("{us:.0}"))
            .label_style(text(18, FAINT, HPos::Center));
        if last {
            mesh.x_desc("milliseconds from the moment the primary's cable is cut")
                .axis_desc_style(text(20, FAINT, HPos::Center));
        }
        mesh.draw()?;

        self.draw_requests(&mut chart)?;

        let (x, y) = chart.backend_coord(&(0.0, top));
        let above = y - TITLE;
        root.draw_text(
            &format!("{}: response time in microseconds", self.title),
            &text(20, INK, HPos::Left),
            (LEFT, above),
        )?;
        if !last {
            let right = i32::try_from(SIZE.0)? - LEFT;
            root.draw_text(
                "slower answers are at the upper edge",
                &text(18, FAINT, HPos::Right),
                (right, above),
            )?;
            root.draw_text(
                "the cable is cut",
                &text(20, ALARM, HPos::Center),
                (x, above),
            )?;
        }
        let (from, y) = chart.backend_coord(&(from.max(0.0), 0.6 * top));
        let (to, _) = chart.backend_coord(&(to, 0.6 * top));
        self.draw_silence(root, from, to, y)
    }

    fn draw_requests(&self, chart: &mut Chart<'_, '_>) -> Result<(), Failure> {
        let (top, mark) = (self.slowest, ALARM.mix(0.75).stroke_width(1));
        let lost = self.lost.iter();
        chart.draw_series(lost.map(|&ms| PathElement::new([(ms, 0.0), (ms, top / 20.0)], mark)))?;
        chart.draw_series(self.answers.iter().map(|&(ms, took, colour)| {
            let place = (ms, took.min(top));
            Circle::new(place, self.radius, colour.mix(0.7).filled())
        }))?;
        let fault = [(0.0, 0.0), (0.0, top)];
        chart.draw_series([PathElement::new(fault, ALARM.stroke_width(2))])?;
        Ok(())
    }

    /// Writes the length of the silence into its band, which is between these
    /// pixels, or beside it.
    fn draw_silence(&self, root: &Area<'_>, from: i32, to: i32, y: i32) -> Result<(), Failure> {
        let (x, anchor) = if to - from < LABEL {
            let corner = (to + 8, y - 20);
            let paper = [corner, (corner.0 + LABEL, y + 38)];
            root.draw(&Rectangle::new(paper, WHITE.mix(0.85).filled()))?;
            (to + 16, HPos::Left)
        } else {
            (i32::midpoint(from, to), HPos::Center)
        };
        let length = text(32, ALARM, anchor);
        root.draw_text(&self.silence_text, &length, (x, y))?;
        root.draw_text("nobody answered", &text(19, ALARM, anchor), (x, y + 25))?;
        Ok(())
    }
}

/// A round number above nearly all response times.
fn slowest(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable_by(f64::total_cmp);
    let most = times.get(times.len() * 97 / 100).copied().unwrap_or(100.0);
    let wanted = 1.3 * most;
    let power = 10_f64.powf(wanted.max(1.0).log10().floor());
    let rounded = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|factor| factor * power);
    let fitting = rounded.into_iter().find(|&end| end >= wanted);
    fitting.unwrap_or(wanted)
}

fn text(size: u32, colour: RGBColor, anchor: HPos) -> TextStyle<'static> {
    TextStyle {
        font: ("sans-serif", size).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(anchor, VPos::Center),
    }
}

/// From one moment to another, which may be the earlier one.
#[expect(
    clippy::cast_precision_loss,
    reason = "a pixel is far more than the nanoseconds lost, for days"
)]
fn milliseconds(ns: u64, since_ns: u64) -> f64 {
    if ns >= since_ns {
        (ns - since_ns) as f64 / 1e6
    } else {
        -((since_ns - ns) as f64 / 1e6)
    }
}
