use std::time::Duration;

use serde_json::json;

use super::super::seen::{Death, Lost, Run};
use super::*;

const SETTINGS: Settings = Settings {
    interval: Duration::from_micros(100),
    timeout: Duration::from_micros(300),
    fall: 2,
};

/// A row of TCP by `nat` with these takeovers, in microseconds.
pub(in crate::takeover) fn row(system: System, fault: Fault, takeovers: &[u64]) -> Row {
    let run = |&us| Run {
        takeover: Some(Takeover {
            takeover_us: us,
            silence_us: us + 10,
            first_hit_us: us - 10,
            first_connect_us: Some(us.saturating_sub(20)),
            sender_stall_us: 50,
        }),
        death: Some(Death {
            latch_us: us.saturating_sub(100),
            seen_by: "packet".to_owned(),
        }),
        lost: Lost {
            reset: 1,
            ..Lost::default()
        },
        slow_connects: 0,
        max_connect_us: Some(900),
    };
    let cell = Cell {
        runs: takeovers.iter().map(run).collect(),
        unprovoked: 0,
    };
    let key = Key {
        system,
        forward: Forward::Nat,
        traffic: Traffic::Tcp,
        fault,
    };
    Row::new(key, SETTINGS, &cell)
}

#[test]
fn as_json() {
    let row = row(System::Failover, Fault::LinkCut, &[300, 500, 400]);
    let json = serde_json::to_value(&row).expect("a row is JSON");
    let expected = json!({
        "system": "failover",
        "forward": "nat",
        "traffic": "tcp",
        "fault": "link-cut",
        "interval_us": 100,
        "timeout_us": 300,
        "runs": 3,
        "lost": 3,
        "silence_us": { "min": 310, "p50": 410, "p99": 510, "max": 510 },
        "takeover_us": { "min": 300, "p50": 400, "p99": 500, "max": 500 },
        "first_hit_us": { "min": 290, "p50": 390, "p99": 490, "max": 490 },
        "first_connect_us": { "min": 280, "p50": 380, "p99": 480, "max": 480 },
        "latch_us": { "min": 200, "p50": 300, "p99": 400, "max": 400 },
        "seen_by": { "packet": 3 },
        "lost_takeovers": 0,
        "unprovoked": 0,
        "begun": 0,
        "refused": 0,
        "reset": 3,
        "unanswered": 0,
        "slow_connects": 0,
        "max_connect_us": 900,
        "sender_stall_us": 50,
    });
    assert_eq!(json, expected);
}

#[test]
fn without_a_takeover() {
    let row = row(System::Failover, Fault::LinkCut, &[]);
    let json = serde_json::to_value(&row).expect("a row is JSON");
    assert_eq!(json["takeover_us"], json!(null));
    assert_eq!((row.runs, row.ratio(&[])), (0, None));
}

#[test]
fn against_the_faster_peer() {
    let rows = [
        row(System::Failover, Fault::LinkCut, &[400]),
        row(System::Haproxy, Fault::LinkCut, &[1_800]),
        row(System::Haproxy5ms, Fault::LinkCut, &[1_600]),
        row(System::Haproxy, Fault::HostFrozen, &[100]),
        row(System::Haproxy, Fault::LinkCut, &[]),
    ];
    assert_eq!(rows[0].ratio(&rows), Some(4.0));
    assert_eq!(rows[1].ratio(&rows), None, "the peer against itself");
}
