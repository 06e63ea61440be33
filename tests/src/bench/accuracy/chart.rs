//! The picture: how long a setting takes to see a death, against how often it sees one
//! that is none.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::row::Row;
use crate::drawing::{Area, FAINT, Failure, GRID, INK, text};
use crate::statistics::as_f64;

/// Pixels.
const SIZE: (u32, u32) = (1000, 620);
const HEADER: u32 = 118;
const RADIUS: i32 = 5;
const LABEL: i32 = 17;

/// Down from a point.
const ARROW: [(i32, i32); 5] = [(0, RADIUS), (0, 20), (-4, 15), (0, 20), (4, 15)];

/// Told apart also by those who do not see red and green (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// A setting in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    interval_us: u64,
    timeout_us: u64,
    default: bool,
    /// From the fault to the latch, the middle of the runs, milliseconds.
    detection_ms: f64,
    /// False takeovers an hour; where none was seen, the most there may be.
    per_hour: f64,
    seen: bool,
}

/// Draws the rows as SVG.
pub(super) fn draw(rows: &[Row], path: &Path) -> Result<()> {
    try_draw(rows, path).map_err(|error| anyhow!("{error}"))
}

fn try_draw(rows: &[Row], path: &Path) -> Result<(), Failure> {
    let points: Vec<_> = rows.iter().filter_map(Point::of).collect();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER);
    let lines = lines(&points);
    draw_header(&header, &lines)?;
    if !points.is_empty() {
        draw_body(&body, &points, &lines)?;
    }
    root.present()?;
    Ok(())
}

impl Point {
    /// None if no death was found.
    fn of(row: &Row) -> Option<Self> {
        let seen = row.false_takeovers > 0;
        Some(Self {
            interval_us: row.interval_us,
            timeout_us: row.timeout_us,
            default: row.default,
            detection_ms: as_f64(row.detection_us?.p50.max(1)) / 1e3,
            per_hour: if seen {
                row.false_per_hour
            } else {
                row.unseen_per_hour()
            },
            seen,
        })
    }

    fn place(&self) -> (f64, f64) {
        (self.detection_ms, self.per_hour)
    }
}

/// The points of each interval, in the order of their timeouts.
fn lines(points: &[Point]) -> Vec<Vec<Point>> {
    let mut sorted = points.to_vec();
    sorted.sort_by_key(|point| (point.interval_us, point.timeout_us));
    sorted
        .chunk_by(|one, next| one.interval_us == next.interval_us)
        .map(<[Point]>::to_vec)
        .collect()
}

fn draw_header(area: &Area<'_>, lines: &[Vec<Point>]) -> Result<(), Failure> {
    let title = "What a heartbeat setting buys: time to see a death, false takeovers an hour";
    area.draw_text(title, &text(24, INK, HPos::Left), (24, 28))?;
    let mut x = 24;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let stroke = [(x, 62), (x + 26, 62)];
        area.draw(&PathElement::new(stroke, colour.stroke_width(3)))?;
        let name = format!("every {} us", line[0].interval_us);
        area.draw_text(&name, &text(16, INK, HPos::Left), (x + 34, 62))?;
        x += 60 + 9 * i32::try_from(name.len())?;
    }
    let (seen, unseen) = ((30, 94), (200, 94));
    area.draw(&Circle::new(seen, RADIUS, FAINT.filled()))?;
    area.draw_text("false takeovers", &text(15, FAINT, HPos::Left), (42, 94))?;
    area.draw(&Circle::new(unseen, RADIUS, FAINT.stroke_width(2)))?;
    let note = "none seen: the most there may be (95%). Numbers: timeout, us. Ring: the default.";
    area.draw_text(note, &text(15, FAINT, HPos::Left), (212, 94))?;
    Ok(())
}

fn draw_body(area: &Area<'_>, points: &[Point], lines: &[Vec<Point>]) -> Result<(), Failure> {
    let x = decades(points.iter().map(|point| point.detection_ms));
    let y = decades(points.iter().map(|point| point.per_hour));
    let mut chart = ChartBuilder::on(area)
        .margin_left(16)
        .margin_right(36)
        .margin_top(8)
        .margin_bottom(10)
        .x_label_area_size(46)
        .y_label_area_size(70)
        .build_cartesian_2d(x.clone().log_scale(), y.clone().log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .x_labels(labels(&x))
        .y_labels(labels(&y))
        .x_label_formatter(&|ms| label(*ms))
        .y_label_formatter(&|count| label(*count))
        .x_desc("from the fault to the latch under stress, the middle of the runs, milliseconds")
        .y_desc("false takeovers an hour")
        .label_style(text(15, FAINT, HPos::Center))
        .axis_desc_style(text(15, FAINT, HPos::Center))
        .draw()?;
    for ((line, colour), row) in lines.iter().zip(COLOURS.iter().cycle()).zip(1..) {
        let path: Vec<_> = line.iter().map(Point::place).collect();
        chart.draw_series([PathElement::new(path, colour.stroke_width(2))])?;
        for (point, place) in line.iter().zip(0..) {
            let at = || EmptyElement::at(point.place());
            let inside = if point.seen { *colour } else { WHITE };
            chart.draw_series([at()
                + Circle::new((0, 0), RADIUS, inside.filled())
                + Circle::new((0, 0), RADIUS, colour.stroke_width(2))])?;
            if !point.seen {
                let arrow = PathElement::new(ARROW.to_vec(), colour.stroke_width(1));
                chart.draw_series([at() + arrow])?;
            }
            if point.default {
                let ring = Circle::new((0, 0), RADIUS + 5, INK.stroke_width(2));
                chart.draw_series([at() + ring])?;
            }
            // Each line has its own heights for them: points may lie close together.
            let height = if place % 2 == 0 {
                -LABEL * row
            } else {
                LABEL * (row + 1)
            };
            let label = point.timeout_us.to_string();
            let label = Text::new(label, (0, height), text(14, *colour, HPos::Center));
            chart.draw_series([at() + label])?;
        }
    }
    Ok(())
}

/// Whole decades around all values and some room, because only those have ticks.
fn decades(values: impl Iterator<Item = f64>) -> Range<f64> {
    const ROOM: f64 = 1.3;
    let (least, most) = values.fold((f64::MAX, 0.0_f64), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    let power = |exponent: f64| 10_f64.powf(exponent);
    // A little more, or rounding takes the first tick away.
    0.999 * power((least / ROOM).log10().floor())..power((most * ROOM).log10().ceil())
}

/// So many that every tenth part of a decade has a line.
fn labels(range: &Range<f64>) -> usize {
    let decades = (range.end / range.start).log10().round();
    (1..=12)
        .find(|count| f64::from(*count) >= decades)
        .map_or(120, |count: u8| 10 * usize::from(count))
}

/// As short as it can be said; nothing where it would be crowded.
fn label(value: f64) -> String {
    let leading = value / 10_f64.powf((value * 1.001).log10().floor());
    let is_shown = [1.0, 2.0, 5.0]
        .iter()
        .any(|shown| (leading - shown).abs() < 0.01);
    if !is_shown {
        return String::new();
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::row::tests::row;
    use super::*;
    use crate::settings::Settings;

    fn settings(interval_us: u64, timeout_us: u64) -> Settings {
        Settings {
            interval: Duration::from_micros(interval_us),
            timeout: Duration::from_micros(timeout_us),
            fall: 3,
        }
    }

    #[test]
    fn a_line_for_each_interval() {
        let rows = [
            row(settings(200, 1600), 0, &[1_700]),
            row(settings(100, 300), 7, &[400]),
            row(Settings::DEFAULT, 0, &[900]),
            row(settings(500, 1500), 0, &[]),
        ];
        let points: Vec<_> = rows.iter().filter_map(Point::of).collect();
        let lines = lines(&points);
        let found: Vec<Vec<_>> = lines
            .iter()
            .map(|line| line.iter().map(|point| point.timeout_us).collect())
            .collect();
        assert_eq!(found, [vec![300], vec![800, 1600]]);
        assert!(lines[0][0].seen && (lines[0][0].per_hour - 210.0).abs() < 1e-9);
        assert!(!lines[1][0].seen && (lines[1][0].per_hour - 90.0).abs() < 1e-9);
    }

    #[test]
    fn drawn_also_without_anything_to_draw() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("accuracy.svg");
        draw(&[], &file)?;
        draw(&[row(Settings::DEFAULT, 0, &[900])], &file)?;
        let svg = std::fs::read_to_string(file)?;
        assert!(svg.contains("every 200 us"), "{svg}");
        Ok(())
    }

    #[test]
    fn ranges() {
        for (values, expected) in [
            (vec![0.3, 7.5], 0.1..10.0),
            (vec![0.12, 9.0], 0.01..100.0),
            (vec![1_180.0], 100.0..10_000.0),
        ] {
            let found = decades(values.into_iter());
            let close = |one: f64, other: f64| (one / other - 1.0).abs() < 2e-3;
            assert!(
                close(found.start, expected.start) && close(found.end, expected.end),
                "{found:?}"
            );
        }
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.5, "0.5"),
            (100.0, "100"),
            (1.0, "1"),
            (0.05, "0.05"),
            (0.1 * 3.0, ""),
            (1e5 * 0.02, "2000"),
            (900.0, ""),
        ] {
            assert_eq!(label(value), text, "{value}");
        }
        assert_eq!((labels(&(0.1..10.0)), labels(&(100.0..1e5))), (20, 30));
    }
}
