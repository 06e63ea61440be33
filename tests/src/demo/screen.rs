//! Where the words for people go, and whether in colour.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

/// What a text is about; its colour on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A heading.
    Strong,
    /// Less important.
    Quiet,
    /// As it should be.
    Good,
    /// Something broke.
    Bad,
    /// The primary serves.
    Primary,
    /// The standby serves.
    Standby,
}

impl Tone {
    /// Parameters of the escape sequence "select graphic rendition" (ECMA-48).
    fn code(self) -> &'static str {
        match self {
            Self::Strong => "1",
            Self::Quiet => "2",
            Self::Good => "1;32",
            Self::Bad => "1;31",
            Self::Primary => "34",
            Self::Standby => "33",
        }
    }
}

/// Standard output, or standard error where that is for JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    stderr: bool,
    terminal: bool,
    colours: bool,
}

impl Screen {
    /// `stderr`: keeps off standard output.
    pub(crate) fn new(stderr: bool) -> Self {
        let terminal = if stderr {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        // https://no-color.org
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            stderr,
            terminal,
            colours: terminal && wanted,
        }
    }

    /// The text, coloured if colours are wanted.
    pub(crate) fn paint(self, tone: Tone, text: impl fmt::Display) -> String {
        if self.colours {
            format!("\x1b[{}m{text}\x1b[0m", tone.code())
        } else {
            text.to_string()
        }
    }

    /// A line that stays.
    pub(crate) fn line(self, text: impl fmt::Display) {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{erase}{text}\n"));
    }

    /// A line that the next one replaces. Only on a terminal.
    pub(crate) fn passing(self, text: impl fmt::Display) {
        if self.terminal {
            self.write(&format!("\r\x1b[K{text}"));
        }
    }

    /// Nobody may be reading any more; the demo still has to clean up.
    fn write(self, text: &str) {
        let _written = if self.stderr {
            io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush())
        };
    }
}

/// A duration as people say it: three digits, and the unit that fits.
pub(crate) fn duration(ns: u64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "three digits are shown, not sixteen"
    )]
    let us = ns as f64 / 1e3;
    let (value, unit) = match us {
        ..1e3 => (us, "us"),
        ..1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    let digits = match value {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

/// A number with its thousands set off.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (ns, expected) in [
            (0, "0 us"),
            (340_000, "340 us"),
            (1_234_000, "1.23 ms"),
            (14_260_000, "14.3 ms"),
            (2_050_000_000, "2.05 s"),
        ] {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn thousands_are_set_off() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
    }
}
