//! The result for people.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::row::Row;
use crate::statistics::or_dash;

/// Times are microseconds: smallest / middle / 99th percentile / largest.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "SYSTEM",
        "FORWARD",
        "TRAFFIC",
        "FAULT",
        "INTERVAL",
        "TIMEOUT",
        "RUNS",
        "LOST",
        "SILENCE us",
        "TAKEOVER us",
        "FIRST HIT us",
        "FIRST CONNECT us",
        "LATCH us",
        "SEEN BY",
        "SLOW / MAX CONNECT us",
        "PEER TAKES",
    ]);
    for row in rows {
        table.add_row([
            row.system.name().to_owned(),
            row.forward.as_str().to_owned(),
            row.traffic.name().to_owned(),
            row.fault.name().to_owned(),
            format!("{}us", row.interval_us),
            format!("{}us", row.timeout_us),
            row.runs.to_string(),
            row.lost.to_string(),
            or_dash(row.silence_us),
            or_dash(row.takeover_us),
            or_dash(row.first_hit_us),
            or_dash(row.first_connect_us),
            or_dash(row.latch_us),
            seen_by(row),
            or_dash(
                row.max_connect_us
                    .map(|most| format!("{} / {most}", row.slow_connects)),
            ),
            or_dash(row.ratio(rows).map(|ratio| format!("{ratio:.1} x"))),
        ]);
    }
    for column in 4..16 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What a row says besides its figures; nothing if all is well.
pub(super) fn remarks(row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    if row.lost_takeovers > 0 {
        remarks.push(format!(
            "the standby never answered in {} of {} runs",
            row.lost_takeovers, row.runs
        ));
    }
    if row.unprovoked > 0 {
        remarks.push(format!(
            "{} runs thrown away: the standby had taken over with nothing wrong",
            row.unprovoked
        ));
    }
    remarks
}

/// Who saw the deaths: most often first.
fn seen_by(row: &Row) -> String {
    let mut counts: Vec<_> = row.seen_by.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words: Vec<_> = counts
        .iter()
        .map(|(signal, count)| format!("{signal} {count}"))
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}
