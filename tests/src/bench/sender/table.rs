//! The result for people.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::row::Row;

/// CPU is percent of one.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "BACKENDS",
        "ANSWERED BY",
        "INTERVAL",
        "HEARTBEATS/s",
        "ANSWERED/s",
        "ANSWERED",
        "WAKE-UPS/s",
        "THREAD: user",
        "system",
        "AGENT",
        "DEATHS",
        "DOUBTS",
    ]);
    for row in rows {
        table.add_row([
            row.backends.to_string(),
            row.peer.name().to_owned(),
            format!("{}us", row.interval_us),
            format!("{:.0}", row.wanted_per_s),
            format!("{:.0}", row.answered_per_s),
            format!("{:.1}%", row.answered_percent),
            format!("{:.0}", row.wakeups_per_s),
            format!("{:.1}%", row.thread_user_percent),
            format!("{:.1}%", row.thread_system_percent),
            format!("{:.1}%", row.agent_percent),
            row.deaths.to_string(),
            row.doubts.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
