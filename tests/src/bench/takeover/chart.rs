//! The picture: for each fault how many of the takeovers took at most how long.

use std::path::Path;

use anyhow::{Result, anyhow};
use clap::ValueEnum as _;
use lab::Forward;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::client::Traffic;
use super::fault::Fault;
use super::row::Row;
use super::system::System;
use crate::drawing::{Area, FAINT, Failure, GRID, INK, text};
use crate::statistics::as_f64;

/// Pixels.
const PANEL: (u32, u32) = (600, 300);
const COLUMNS: usize = 2;
const HEADER: u32 = 92;

/// Milliseconds: from a fast takeover to when a run gives up.
const TIMES: std::ops::Range<f64> = 0.05..5_000.0;

/// The goal, milliseconds.
const GOAL: f64 = 1.0;

/// The rows of one panel.
type Panel<'a> = (Forward, Traffic, Fault, Vec<&'a Row>);

/// Draws the rows as SVG.
pub(super) fn draw(rows: &[Row], path: &Path) -> Result<()> {
    // The error of the backend is not Send, which anyhow wants.
    try_draw(rows, path).map_err(|error| anyhow!("{error}"))
}

fn try_draw(rows: &[Row], path: &Path) -> Result<(), Failure> {
    let panels = panels(rows);
    let lines = panels.len().div_ceil(COLUMNS).max(1);
    let width = PANEL.0 * u32::try_from(COLUMNS)?;
    let height = HEADER + PANEL.1 * u32::try_from(lines)?;
    let root = SVGBackend::new(path, (width, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER);
    draw_header(&header, rows)?;
    let areas = body.split_evenly((lines, COLUMNS));
    for (panel, area) in panels.iter().zip(&areas) {
        draw_panel(panel, area)?;
    }
    root.present()?;
    Ok(())
}

/// In the order in which they were measured.
fn panels(rows: &[Row]) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for row in rows {
        let key = (row.forward, row.traffic, row.fault);
        match panels
            .iter_mut()
            .find(|(forward, traffic, fault, _)| (*forward, *traffic, *fault) == key)
        {
            Some((.., rows)) => rows.push(row),
            None => panels.push((key.0, key.1, key.2, vec![row])),
        }
    }
    panels
}

fn draw_header(area: &Area<'_>, rows: &[Row]) -> Result<(), Failure> {
    let title = "From the fault to the standby's first answer: share of the runs";
    area.draw_text(title, &text(26, INK, HPos::Left), (24, 30))?;
    let mut x = 24;
    for system in systems(rows) {
        let line = [(x, 66), (x + 26, 66)];
        area.draw(&PathElement::new(line, colour(system).stroke_width(3)))?;
        area.draw_text(system.name(), &text(17, FAINT, HPos::Left), (x + 34, 66))?;
        x += 60 + 9 * i32::try_from(system.name().len())?;
    }
    Ok(())
}

fn draw_panel((forward, traffic, fault, rows): &Panel<'_>, area: &Area<'_>) -> Result<(), Failure> {
    let title = format!(
        "{}, {} ({})",
        fault.name(),
        traffic.name(),
        forward.as_str()
    );
    area.draw_text(&title, &text(19, INK, HPos::Left), (24, 18))?;
    let mut chart = ChartBuilder::on(area)
        .margin_left(16)
        .margin_right(28)
        .margin_top(34)
        .margin_bottom(8)
        .x_label_area_size(42)
        .y_label_area_size(46)
        .build_cartesian_2d(TIMES.log_scale(), 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|ms| format!("{ms}"))
        .y_label_formatter(&|share| format!("{:.0}%", share * 100.0))
        .x_desc("milliseconds")
        .label_style(text(15, FAINT, HPos::Center))
        .axis_desc_style(text(15, FAINT, HPos::Center))
        .draw()?;
    let goal = [(GOAL, 0.0), (GOAL, 1.0)];
    chart.draw_series([PathElement::new(goal, FAINT.stroke_width(1))])?;
    for row in rows {
        let steps = steps(&row.takeovers_us, row.runs);
        let style = colour(row.system).stroke_width(2);
        chart.draw_series([PathElement::new(steps, style)])?;
    }
    Ok(())
}

/// The curve of the distribution: up by one run's share at each takeover. It ends
/// below 1 if there were runs without one.
fn steps(takeovers_us: &[u64], runs: usize) -> Vec<(f64, f64)> {
    let mut sorted = takeovers_us.to_vec();
    sorted.sort_unstable();
    let share = |count: usize| as_f64(count as u64) / as_f64(runs.max(1) as u64);
    let mut points = vec![(TIMES.start, 0.0)];
    for (count, us) in sorted.into_iter().enumerate() {
        let ms = (as_f64(us) / 1e3).clamp(TIMES.start, TIMES.end);
        points.extend([(ms, share(count)), (ms, share(count + 1))]);
    }
    let reached = points.last().map_or(0.0, |&(_, share)| share);
    points.push((TIMES.end, reached));
    points
}

/// Blue for us, orange for them: told apart also by those who do not see red and
/// green.
fn colour(system: System) -> RGBColor {
    match system {
        System::Failover => RGBColor(37, 99, 235),
        System::FailoverDefault => RGBColor(125, 175, 250),
        System::Haproxy => RGBColor(234, 120, 12),
        System::Haproxy5ms => RGBColor(250, 180, 90),
    }
}

/// Those that have a row, ours first.
fn systems(rows: &[Row]) -> impl Iterator<Item = System> {
    System::value_variants()
        .iter()
        .copied()
        .filter(|system| rows.iter().any(|row| row.system == *system))
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn a_distribution() {
        let expected = vec![
            (0.05, 0.0),
            (0.3, 0.0),
            (0.3, 0.25),
            (0.5, 0.25),
            (0.5, 0.5),
            (5_000.0, 0.5),
        ];
        assert_eq!(steps(&[500, 300], 4), expected);
    }

    #[test]
    fn a_panel_for_each_fault() -> Result<()> {
        let rows = [
            row(System::Failover, Fault::LinkCut, &[300, 400]),
            row(System::Failover, Fault::HostFrozen, &[]),
            row(System::Haproxy, Fault::LinkCut, &[1_300]),
        ];
        let panels = panels(&rows);
        let sizes: Vec<_> = panels.iter().map(|(.., rows)| rows.len()).collect();
        assert_eq!(sizes, [2, 1]);
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("takeover.svg");
        draw(&rows, &file)?;
        let svg = std::fs::read_to_string(file)?;
        assert!(svg.contains("link-cut, tcp (nat)"), "{svg}");
        Ok(())
    }
}
