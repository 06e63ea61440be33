//! The demo shows what it should; how fast anything was does not matter here.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

#[test]
fn standbys() -> Result<()> {
    // What a person reads, beside the agent's own words.
    for (scenario, says) in [
        ("postgres", "the primary's cable is cut"),
        ("redis", "the primary is killed"),
        ("cold", "the primary is started again"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_demo"))
            .args(["--json", "--scenario", scenario])
            .output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{scenario}: {told}");
        for words in [says, "agent: service", "the standby answers"] {
            ensure!(
                told.contains(words),
                "{scenario}: {words:?} is missing in {told}"
            );
        }
        let outcome: Value = serde_json::from_slice(&output.stdout).context(scenario)?;
        ensure!(outcome["scenario"] == scenario, "{outcome}");
        ensure!(outcome["lost"] == 0, "{outcome}");
        ensure!(outcome["acknowledged"].as_u64() > Some(20), "{outcome}");
        ensure!(outcome["takeover_us"].as_u64() > Some(0), "{outcome}");
    }
    Ok(())
}
