use std::time::Duration;

use serde_json::json;

use super::super::stress::Load;
use super::*;

/// A row of two backends, watched for two minutes.
pub(in crate::accuracy) fn row(settings: Settings, takeovers: u64, took_us: &[u64]) -> Row {
    let watch = Watch {
        elapsed: Duration::from_mins(2),
        answered: 1_080_000,
        counted_ms: 120_000,
        deaths: Vec::new(),
        takeovers,
        doubts: 5,
        load: Load {
            hogs_percent: 50.0,
            bulk_mb: 300,
            memory_mb: 4_000,
            stops: 118,
            answers: 9,
        },
    };
    let stressed = Detection {
        took_us: took_us.to_vec(),
        undetected: 1,
    };
    Row::new(settings, 2, watch, &stressed, &Detection::default())
}

#[test]
fn as_json() {
    let row = row(Settings::DEFAULT, 4, &[900, 700]);
    let json = serde_json::to_value(&row).expect("a row is JSON");
    let expected = json!({
        "interval_us": 200,
        "timeout_us": 800,
        "fall": 3,
        "default": true,
        "minutes": 2.0,
        "heartbeats": 1_080_000,
        "heartbeats_percent": 90.0,
        "stops": 118,
        "false_takeovers": 4,
        "false_per_hour": 120.0,
        "false_deaths": 0,
        "alone_deaths": 0,
        "late_backends": 0,
        "doubts": 5,
        "detection_us": { "min": 700, "p50": 700, "p99": 900, "max": 900 },
        "quiet_detection_us": null,
        "undetected": 1,
        "hogs_percent": 50.0,
        "bulk_mb": 300,
        "memory_mb": 4_000,
        "deaths": [],
    });
    assert_eq!(json, expected);
    assert!((row.unseen_per_hour() - 90.0).abs() < 1e-9);
}
