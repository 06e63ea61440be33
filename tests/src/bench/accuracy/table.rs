//! The result for people.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::row::Row;
use crate::statistics::or_dash;

/// Detection is microseconds: smallest / middle / 99th percentile / largest.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "INTERVAL",
        "TIMEOUT",
        "FALL",
        "",
        "MINUTES",
        "HEARTBEATS",
        "STOPS",
        "FALSE TAKEOVERS",
        "AN HOUR",
        "DOUBTS",
        "LATE",
        "DETECTION us",
        "QUIET us",
    ]);
    for row in rows {
        table.add_row([
            format!("{}us", row.interval_us),
            format!("{}us", row.timeout_us),
            row.fall.to_string(),
            if row.default { "default" } else { "" }.to_owned(),
            format!("{:.1}", row.minutes),
            format!("{} ({:.1}%)", row.heartbeats, row.heartbeats_percent),
            row.stops.to_string(),
            row.false_takeovers.to_string(),
            per_hour(row),
            row.doubts.to_string(),
            row.late_backends.to_string(),
            or_dash(row.detection_us),
            or_dash(row.quiet_detection_us),
        ]);
    }
    for column in 4..13 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What is to be said besides the figures.
pub(super) fn remarks(rows: &[Row]) -> Vec<String> {
    let mut remarks = Vec::new();
    for row in rows {
        let setting = format!("{}us/{}us", row.interval_us, row.timeout_us);
        if row.undetected > 0 {
            let count = row.undetected;
            remarks.push(format!("MISS  {setting}: {count} deaths were not found"));
        }
        if row.false_deaths > 0 {
            let deaths = row.false_deaths;
            remarks.push(format!(
                "note  {setting}: a healthy backend was taken for dead {deaths} times"
            ));
        }
        if row.alone_deaths > 0 {
            let deaths = row.alone_deaths;
            remarks.push(format!(
                "note  {setting}: while the other was out, a healthy backend was taken for dead {deaths} times"
            ));
        }
        if row.default {
            let verdict = if row.false_deaths == 0 {
                "pass"
            } else {
                "MISS"
            };
            remarks.push(format!(
                "{verdict}  no false takeover with the default setting: {} in {:.1} minutes",
                row.false_takeovers, row.minutes
            ));
        }
    }
    remarks
}

/// None seen says little of a short run, so it says how little.
fn per_hour(row: &Row) -> String {
    if row.false_takeovers == 0 {
        format!("< {:.0}", row.unseen_per_hour())
    } else {
        format!("{:.0}", row.false_per_hour)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::row::tests::row;
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn none_seen_is_a_bound() {
        let default = Settings::DEFAULT;
        for (takeovers, expected) in [(0, "< 90"), (1, "30"), (4, "120")] {
            assert_eq!(per_hour(&row(default, takeovers, &[])), expected);
        }
    }

    #[test]
    fn the_default_is_judged() {
        let other = Settings {
            interval: Duration::from_millis(1),
            ..Settings::DEFAULT
        };
        let rows = [row(other, 9, &[]), row(Settings::DEFAULT, 0, &[])];
        let found = remarks(&rows);
        let judged: Vec<_> = found
            .iter()
            .filter(|text| text.contains("default"))
            .collect();
        assert_eq!(judged.len(), 1, "{found:?}");
        assert!(judged[0].starts_with("pass"), "{found:?}");
    }
}
