//! The benchmarks run and say what they should; how fast anything was does not
//! matter here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What readers of the JSON rely on.
const KEYS: [&str; 10] = [
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

#[test]
fn takeover() -> Result<()> {
    let agent: PathBuf = match std::env::var_os("FAILOVER_BIN") {
        Some(path) => path.into(),
        None => lab::machine::binary("failover")?,
    };
    // Without HAProxy, which need not be installed.
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["takeover", "--runs", "1", "--fault", "link-cut"])
        .args(["--traffic", "udp", "--forward", "nat"])
        .args(["--system", "failover-default", "--json", "-"])
        .env("FAILOVER_BIN", agent)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("no JSON array")?;
    ensure!(rows.len() == 1, "{rows:#?}");
    for key in KEYS {
        ensure!(rows[0].get(key).is_some(), "no {key} in {:#}", rows[0]);
    }
    for key in ["silence_us", "takeover_us"] {
        for figure in ["min", "p50", "p99", "max"] {
            let us = rows[0][key][figure].as_u64();
            ensure!(
                us.is_some_and(|us| us > 0),
                "no {key}.{figure}: {}\n{said}",
                rows[0]
            );
        }
    }
    ensure!(rows[0]["runs"] == 1, "{}", rows[0]);
    Ok(())
}
