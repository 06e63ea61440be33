//! What the figures should be.

use lab::Forward;

use super::client::Traffic;
use super::fault::Fault;
use super::row::Row;
use super::system::System;

/// A goal and how far the result is from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) met: bool,
    /// The row, what is wanted, and what was measured.
    pub(super) text: String,
}

/// A limit in microseconds.
struct Limit {
    name: &'static str,
    below: u64,
    measured: Option<u64>,
}

/// How many times as long the peer has to take.
const AGAINST_PEER: f64 = 3.0;

/// The goals that the rows have something to say about. Only our own with the
/// settings of the command line are judged.
pub(super) fn goals(rows: &[Row]) -> Vec<Goal> {
    let judged = rows.iter().filter(|row| row.system == System::Failover);
    judged.flat_map(|row| of_row(row, rows)).collect()
}

fn of_row(row: &Row, rows: &[Row]) -> Vec<Goal> {
    let p50 = row.takeover_us.map(|summary| summary.p50);
    let p99 = row.takeover_us.map(|summary| summary.p99);
    let limit = |name, below, measured| Limit {
        name,
        below,
        measured,
    };
    let mut goals = Vec::new();
    let mut limits = Vec::new();
    match row.fault {
        Fault::LinkCut | Fault::HostFrozen => {
            limits.push(limit("takeover p50", 400, p50));
            limits.push(limit("takeover p99", 1_000, p99));
            if let Some(ratio) = row.ratio(rows) {
                goals.push(Goal {
                    met: ratio >= AGAINST_PEER,
                    text: format!(
                        "{}: {AGAINST_PEER} times as fast as HAProxy: {ratio:.1}",
                        name(row)
                    ),
                });
            }
        }
        Fault::ProcessKilled => {
            limits.push(limit("takeover p50", 150, p50));
            if row.traffic == Traffic::Tcp {
                // How often connections are begun is part of the takeover, and so are
                // the request and its answer; of this they are not.
                let connect = row.first_connect_us.map(|summary| summary.p50);
                limits.push(limit("first connect p50", 150, connect));
                goals.push(Goal {
                    met: row.runs > 0 && row.refused + row.reset + row.unanswered == 0,
                    text: format!(
                        "{}: none lost that were begun after the port closed: {} refused, {} reset, {} without an answer ({} died with the process)",
                        name(row),
                        row.refused,
                        row.reset,
                        row.unanswered,
                        row.begun
                    ),
                });
            }
        }
        Fault::AgentStopped | Fault::AgentKilled | Fault::CutThenAgentStopped => {
            if row.forward == Forward::Nat {
                limits.push(limit("takeover p50", 10_000, p50));
            }
        }
        Fault::AgentResumed | Fault::AgentRestarted => {
            limits.push(limit("takeover p99", 100_000, p99));
        }
        Fault::ProcessStopped => {}
    }
    if row.traffic == Traffic::Tcp && row.fault == Fault::LinkCut {
        limits.push(limit("longest connect", 2_000, row.max_connect_us));
    }
    if row.lost_takeovers > 0 {
        goals.push(Goal {
            met: false,
            text: format!(
                "{}: a takeover in every run: none in {}",
                name(row),
                row.lost_takeovers
            ),
        });
    }
    goals.extend(limits.into_iter().map(|limit| limit.judge(row)));
    goals
}

impl Limit {
    fn judge(self, row: &Row) -> Goal {
        let Self {
            name: what,
            below,
            measured,
        } = self;
        let figure = measured.map_or_else(|| "-".to_owned(), |us| format!("{us} us"));
        Goal {
            met: measured.is_some_and(|us| us < below),
            text: format!("{}: {what} below {below} us: {figure}", name(row)),
        }
    }
}

fn name(row: &Row) -> String {
    format!(
        "{} {} {}",
        row.forward.as_str(),
        row.traffic.name(),
        row.fault.name()
    )
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn pass_and_miss() {
        for (fault, takeovers, met, wanted) in [
            (
                Fault::LinkCut,
                [300, 390, 900],
                true,
                "takeover p50 below 400 us: 390 us",
            ),
            (
                Fault::LinkCut,
                [300, 400, 900],
                false,
                "takeover p50 below 400 us: 400 us",
            ),
            (
                Fault::LinkCut,
                [300, 400, 1_000],
                false,
                "takeover p99 below 1000 us: 1000 us",
            ),
            (
                Fault::LinkCut,
                [300, 400, 900],
                true,
                "3 times as fast as HAProxy: 3.0",
            ),
            (
                Fault::LinkCut,
                [300, 401, 900],
                false,
                "3 times as fast as HAProxy: 3.0",
            ),
            (
                Fault::LinkCut,
                [300, 400, 900],
                true,
                "longest connect below 2000 us: 900 us",
            ),
            (
                Fault::ProcessKilled,
                [90, 140, 900],
                true,
                "takeover p50 below 150 us: 140 us",
            ),
            (
                Fault::ProcessKilled,
                [90, 140, 900],
                false,
                "after the port closed: 0 refused, 3 reset",
            ),
            (
                Fault::AgentKilled,
                [90, 9_000, 20_000],
                true,
                "takeover p50 below 10000 us: 9000",
            ),
        ] {
            let rows = [
                row(System::Failover, fault, &takeovers),
                row(System::Haproxy, Fault::LinkCut, &[1_200]),
                row(System::FailoverDefault, fault, &[20]),
            ];
            let goals = goals(&rows);
            let found = goals.iter().find(|goal| goal.text.contains(wanted));
            assert_eq!(
                found.map(|goal| goal.met),
                Some(met),
                "{wanted} in {goals:#?}"
            );
        }
    }

    #[test]
    fn only_ours_is_judged() {
        let rows = [row(System::Haproxy, Fault::LinkCut, &[1_200])];
        assert_eq!(goals(&rows), []);
    }
}
