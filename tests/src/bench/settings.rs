//! The setting of our heartbeats.

use std::time::Duration;

use failover_user::config::Heartbeat;

/// What is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) fall: u32,
}

impl Settings {
    /// What a service gets that says nothing about heartbeats.
    pub(crate) const DEFAULT: Self = Self {
        interval: Heartbeat::DEFAULT.interval,
        timeout: Heartbeat::DEFAULT.timeout,
        fall: Heartbeat::DEFAULT.fall,
    };

    /// The table in the configuration of a service.
    pub(crate) fn table(self) -> String {
        let Self {
            interval,
            timeout,
            fall,
        } = self;
        format!(
            r#"
    [service.heartbeat]
    kind = "icmp"
    interval = "{}us"
    timeout = "{}us"
    fall = {fall}
    rise = 20
"#,
            us(interval),
            us(timeout),
        )
    }
}

/// Whole microseconds.
pub(crate) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole microseconds, milliseconds or seconds, as in `300us`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a number with its unit, as in 300us".to_owned())?;
    match &text[digits.len()..] {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err("write a unit: us, ms or s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("300us", Some(Duration::from_micros(300))),
            ("2ms", Some(Duration::from_millis(2))),
            ("1s", Some(Duration::from_secs(1))),
            ("300", None),
            ("us", None),
            ("-1us", None),
            ("1h", None),
        ] {
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn as_the_agent_reads_it() {
        let text = Settings {
            interval: Duration::from_micros(100),
            timeout: Duration::from_millis(3),
            fall: 2,
        }
        .table();
        for line in [
            "[service.heartbeat]",
            "interval = \"100us\"",
            "timeout = \"3000us\"",
            "fall = 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
