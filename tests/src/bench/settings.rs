//! The setting of our heartbeats.

use std::fmt;
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

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interval,
            timeout,
            fall,
        } = self;
        write!(f, "{interval:?}/{timeout:?}, fall {fall}")
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

/// A number above zero, such as of minutes; at most a week of them.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "write a number".to_owned())?;
    if number > 0.0 && number <= 10_080.0 {
        Ok(number)
    } else {
        Err("write a number above 0, at most 10080".to_owned())
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
    fn positive_numbers() {
        for (text, expected) in [
            ("0.2", Some(0.2)),
            ("10", Some(10.0)),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1m", None),
        ] {
            assert_eq!(positive(text).ok(), expected, "{text}");
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
