//! Four figures that stand for all that were measured.

use std::fmt;

use serde::Serialize;

/// Smallest, middle, nearly largest and largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Summary {
    /// None if there is nothing to sum up.
    pub(crate) fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_unstable();
        Some(Self {
            min: *sorted.first()?,
            p50: percentile(&sorted, 50)?,
            p99: percentile(&sorted, 99)?,
            max: *sorted.last()?,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, p50, p99, max } = self;
        write!(f, "{min} / {p50} / {p99} / {max}")
    }
}

/// A figure for a table; a dash if there is none.
pub(crate) fn or_dash(figure: Option<impl fmt::Display>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// A count or a time as a number to calculate or draw with.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, which as microseconds is centuries"
)]
pub(crate) fn as_f64(number: u64) -> f64 {
    number as f64
}

/// The nearest-rank percentile: a value that was really measured. Of fewer than
/// 100 values the 99th is the largest.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        for (values, expected) in [
            (vec![], None),
            (vec![7], Some((7, 7, 7, 7))),
            (vec![3, 1], Some((1, 1, 3, 3))),
            (vec![5, 1, 4, 2, 3], Some((1, 3, 5, 5))),
            ((1..=100).collect(), Some((1, 50, 99, 100))),
            ((1..=200).rev().collect(), Some((1, 100, 198, 200))),
        ] {
            let expected = expected.map(|(min, p50, p99, max)| Summary { min, p50, p99, max });
            assert_eq!(Summary::of(values.clone()), expected, "{values:?}");
        }
    }
}
