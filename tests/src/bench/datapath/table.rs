//! The result for people.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::case::SCALES;
use super::row::Row;

/// A line for each kind of packet, a column for each scale.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    let scales = SCALES.map(|scale| match (scale.services, scale.backends) {
        (1, backends) => format!("1 SERVICE, {backends} BACKENDS"),
        (services, backends) => format!("{services}, {backends}"),
    });
    let header = ["CASE".to_owned()].into_iter().chain(scales);
    table.load_style(NOTHING).set_header(header);
    for shape in rows.chunk_by(|a, b| a.shape == b.shape) {
        let cells = SCALES.map(|scale| {
            let mut rows = shape.iter();
            let of_scale =
                |row: &&Row| (row.services, row.backends) == (scale.services, scale.backends);
            rows.find(of_scale).map_or_else(|| "-".to_owned(), cell)
        });
        table.add_row([shape[0].shape.clone()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cell(row: &Row) -> String {
    // That of a program that only passes is what the harness takes.
    let ns = if row.shape.starts_with("pass") {
        row.ns
    } else {
        row.ns_net
    };
    format!("{ns:.1} (+{:.1})", row.spread)
}

/// What a stage of the path costs: one case less another.
const STAGES: [(&str, &str, &str); 8] = [
    ("to find that it is none of ours", "miss", "pass"),
    ("the service, a backend, its counters", "dsr", "swap"),
    ("address, port and checksums", "nat", "dsr"),
    ("past a dead first tier", "dead", "nat"),
    ("a route to the client", "answer", "nat"),
    ("an IPv4 header in front", "ipip", "dsr"),
    ("UDP between", "gue", "ipip"),
    ("a flow, its port, the source too", "fullnat", "nat"),
];

/// Differences of IPv4, TCP, in the smallest world, where both sides were measured.
pub(super) fn stages(rows: &[Row]) -> Vec<String> {
    let net = |kind: &str| {
        let name = format!("{kind}-v4-tcp-1-2");
        rows.iter()
            .find(|row| row.case == name)
            .map(|row| row.ns_net)
    };
    STAGES
        .into_iter()
        .filter_map(|(what, more, less)| {
            let difference = net(more)? - net(less)?;
            Some(format!("{difference:6.1} ns  {what} ({more} - {less})"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn scales_are_columns() {
        let rows = [
            row("nat-v4-tcp-1-2", 40),
            row("nat-v4-tcp-10000-2", 50),
            row("pass-v4-udp-8-2", 11),
        ];
        let text = table(&rows).to_string();
        let lines: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(
            lines[1],
            ["nat-v4-tcp", "30.0", "(+2.0)", "-", "40.0", "(+2.0)", "-"]
        );
        assert_eq!(lines[2], ["pass-v4-udp", "-", "11.0", "(+2.0)", "-", "-"]);
    }

    #[test]
    fn stages_are_differences() {
        let rows = [
            row("nat-v4-tcp-1-2", 40),
            row("dead-v4-tcp-1-2", 45),
            row("dsr-v4-tcp-8-2", 20),
        ];
        assert_eq!(
            stages(&rows),
            ["   5.0 ns  past a dead first tier (dead - nat)"]
        );
    }
}
