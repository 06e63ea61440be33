//! What `failover status` says.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How many packets had a verdict since the maps were made.
pub(crate) fn verdict(status: &Value, name: &str) -> Result<u64> {
    let verdicts = status["verdicts"].as_array().context("no verdicts")?;
    let found = verdicts.iter().find(|verdict| verdict["verdict"] == name);
    // One that never was is left out.
    let count = |verdict: &Value| verdict["packets"].as_u64();
    Ok(found.and_then(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn verdicts() -> Result<()> {
        let status = json!({ "verdicts": [{ "verdict": "passed", "packets": 7, "bytes": 420 }] });
        assert_eq!(verdict(&status, "passed")?, 7);
        assert_eq!(verdict(&status, "heartbeat_answered")?, 0);
        assert!(verdict(&json!({}), "passed").is_err());
        Ok(())
    }
}
