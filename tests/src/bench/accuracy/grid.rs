//! The settings that are measured.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::settings::Settings;

/// The intervals that are measured if none is chosen; the default is one of them.
const INTERVALS: [Duration; 4] = [
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
];

/// The timeouts likewise, intervals.
const TIMEOUTS: [u32; 3] = [3, 4, 8];

/// The timeouts that the agent accepts, intervals.
const ACCEPTED: RangeInclusive<u32> = 2..=14;

/// Every interval with every timeout that goes with it; those that are empty stand for
/// the usual ones.
pub(super) fn grid(intervals: &[Duration], timeouts: &[Duration], fall: u32) -> Vec<Settings> {
    let intervals = if intervals.is_empty() {
        &INTERVALS[..]
    } else {
        intervals
    };
    let mut grid = Vec::new();
    for &interval in intervals {
        let usual: Vec<_> = TIMEOUTS.iter().map(|times| interval * *times).collect();
        let timeouts = if timeouts.is_empty() {
            &usual
        } else {
            timeouts
        };
        let accepted = interval * *ACCEPTED.start()..=interval * *ACCEPTED.end();
        let accepted = timeouts.iter().filter(|timeout| accepted.contains(timeout));
        grid.extend(accepted.map(|&timeout| Settings {
            interval,
            timeout,
            fall,
        }));
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timeout_that_goes_with_the_interval() {
        let us = Duration::from_micros;
        let all = grid(&[], &[], Settings::DEFAULT.fall);
        assert_eq!(all.len(), INTERVALS.len() * TIMEOUTS.len());
        assert!(all.contains(&Settings::DEFAULT), "{all:?}");
        for (intervals, timeouts, expected) in [
            (vec![us(200)], vec![us(800)], vec![(200, 800)]),
            (
                vec![us(300)],
                vec![],
                vec![(300, 900), (300, 1200), (300, 2400)],
            ),
            (
                vec![],
                vec![us(1400), us(2000)],
                vec![
                    (100, 1400),
                    (200, 1400),
                    (200, 2000),
                    (500, 1400),
                    (500, 2000),
                    (1000, 2000),
                ],
            ),
            (vec![us(200)], vec![us(399), us(2801)], vec![]),
        ] {
            let found: Vec<_> = grid(&intervals, &timeouts, 3)
                .into_iter()
                .map(|point| (point.interval.as_micros(), point.timeout.as_micros()))
                .collect();
            assert_eq!(found, expected, "{intervals:?} {timeouts:?}");
        }
    }
}
