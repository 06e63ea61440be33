//! The benchmarks run and say what they should; how fast anything was does not
//! matter here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What readers of the JSON rely on.
const TAKEOVER: [&str; 10] = [
    "system",
    "forward",
    "traffic",
    "fault",
    "interval_us",
    "timeout_us",
    "runs",
    "lost",
    "silence_us",
    "takeover_us",
];

const ACCURACY: [&str; 10] = [
    "interval_us",
    "timeout_us",
    "fall",
    "minutes",
    "heartbeats",
    "stops",
    "false_takeovers",
    "false_per_hour",
    "doubts",
    "detection_us",
];

const DATAPATH: [&str; 8] = [
    "case", "services", "backends", "verdict", "ns", "ns_net", "spread", "runs",
];

const SENDER: [&str; 8] = [
    "backends",
    "peer",
    "interval_us",
    "wanted_per_s",
    "answered_per_s",
    "thread_user_percent",
    "thread_system_percent",
    "agent_percent",
];

#[test]
fn takeover() -> Result<()> {
    // Without HAProxy, which need not be installed.
    let rows = rows(
        "takeover --runs 1 --fault link-cut --traffic udp --forward nat --system failover-default",
        &TAKEOVER,
    )?;
    ensure!(rows.len() == 1, "{rows:#?}");
    ensure_times(&rows[0], &["silence_us", "takeover_us"])?;
    ensure!(rows[0]["runs"] == 1, "{}", rows[0]);
    Ok(())
}

#[test]
fn accuracy() -> Result<()> {
    // Far from the edge: how quick this machine is does not matter here.
    let rows = rows(
        "accuracy --minutes 0.02 --interval 5ms --timeout 70ms --fall 14 --runs 2",
        &ACCURACY,
    )?;
    ensure!(rows.len() == 1, "{rows:#?}");
    ensure_times(&rows[0], &["detection_us", "quiet_detection_us"])?;
    for key in ["heartbeats", "stops", "bulk_mb", "memory_mb"] {
        let count = rows[0][key].as_u64();
        ensure!(
            count.is_some_and(|count| count > 0),
            "no {key}: {}",
            rows[0]
        );
    }
    Ok(())
}

#[test]
fn datapath() -> Result<()> {
    let rows = rows(
        "datapath --case answer-v6-udp --case swap-v4-tcp-8-2 --runs 2 --packets 1000",
        &DATAPATH,
    )?;
    let cases: Vec<_> = rows.iter().map(|row| row["case"].clone()).collect();
    let expected = [
        "swap-v4-tcp-8-2",
        "answer-v6-udp-1-2",
        "answer-v6-udp-8-2",
        "answer-v6-udp-10000-2",
        "answer-v6-udp-10000-4096",
    ];
    ensure!(cases == expected, "{rows:#?}");
    for row in &rows {
        ensure!(row["ns"].as_f64() > Some(0.0) && row["runs"] == 2, "{row}");
    }
    ensure!(rows[4]["verdict"] == "returned_redirect", "{}", rows[4]);
    Ok(())
}

#[test]
fn sender() -> Result<()> {
    // More than one service, and both peers.
    let rows = rows("sender --seconds 0.3 --backends 20 --interval 5ms", &SENDER)?;
    let peers: Vec<_> = rows.iter().map(|row| row["peer"].clone()).collect();
    ensure!(peers == ["wire", "host"], "{rows:#?}");
    for row in &rows {
        ensure!(row["answered_per_s"].as_f64() > Some(0.0), "{row}");
    }
    Ok(())
}

/// Runs the benchmark to its end: its JSON, of which every row has the `keys`.
fn rows(arguments: &str, keys: &[&str]) -> Result<Vec<Value>> {
    let agent: PathBuf = match std::env::var_os("FAILOVER_BIN") {
        Some(path) => path.into(),
        None => lab::machine::binary("failover")?,
    };
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments.split_whitespace())
        .args(["--json", "-"])
        .env("FAILOVER_BIN", agent)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("no JSON array")?;
    for row in &rows {
        for key in keys {
            ensure!(row.get(key).is_some(), "no {key} in {row:#}");
        }
    }
    Ok(rows)
}

/// These are summaries of times that were really measured.
fn ensure_times(row: &Value, keys: &[&str]) -> Result<()> {
    for key in keys {
        for figure in ["min", "p50", "p99", "max"] {
            let us = row[key][figure].as_u64();
            ensure!(us.is_some_and(|us| us > 0), "no {key}.{figure}: {row:#}");
        }
    }
    Ok(())
}
