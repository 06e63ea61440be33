//! When each backend has its next turn. Knows no clock: time is a parameter,
//! nanoseconds of `CLOCK_MONOTONIC`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Bounds of the time between two wake-ups, nanoseconds; what is due in between
/// goes out together. The lower one keeps us at 20,000 wake-ups a second, the
/// upper one keeps batches small.
const GAP: std::ops::RangeInclusive<u64> = 50_000..=200_000;
/// The time between two wake-ups, as a part of the shortest interval.
const GAPS: u64 = 16;
/// A pause after each turn that leaves the CPU to others, however late we are.
const REST: u64 = 10_000;

/// The next wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WakeUp {
    pub(super) at: u64,
    /// It is to look at a lease that runs out then.
    pub(super) is_reminder: bool,
}

/// The queue of turns.
#[derive(Debug)]
pub(super) struct Pace {
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    /// By member; 0: it never has a turn.
    intervals: Vec<u64>,
    gap: u64,
    not_before: u64,
    /// When somebody is to be looked at between two turns.
    reminders: BinaryHeap<Reverse<(u64, usize)>>,
    /// The end of the pause after the last wake-up.
    rested: u64,
}

impl Pace {
    /// A turn every interval for each member, none for those without one. The
    /// members with the same interval are spread evenly over it.
    pub(super) fn new(intervals: Vec<u64>, now: u64) -> Self {
        let mut classes = BTreeMap::<u64, Vec<usize>>::new();
        for (member, &interval) in intervals.iter().enumerate() {
            if interval != 0 {
                classes.entry(interval).or_default().push(member);
            }
        }
        let shortest = classes.keys().next().copied().unwrap_or(u64::MAX);
        let mut queue = BinaryHeap::with_capacity(intervals.len());
        for (interval, members) in classes {
            for (place, member) in (0..).zip(&members) {
                let phase = u128::from(interval) * place / members.len() as u128;
                let phase = u64::try_from(phase).unwrap_or(0);
                queue.push(Reverse((now + phase, *member)));
            }
        }
        Self {
            queue,
            intervals,
            gap: (shortest / GAPS).clamp(*GAP.start(), *GAP.end()),
            not_before: now,
            reminders: BinaryHeap::new(),
            rested: now,
        }
    }

    /// When to wake up; none: never.
    pub(super) fn next(&self) -> Option<WakeUp> {
        let Reverse((due, _)) = self.queue.peek()?;
        let turn = WakeUp {
            at: self.not_before.max(*due),
            is_reminder: false,
        };
        let reminder = self.reminders.peek().map(|Reverse((at, _))| WakeUp {
            at: self.rested.max(*at),
            is_reminder: true,
        });
        Some(reminder.map_or(turn, |reminder| {
            if reminder.at < turn.at {
                reminder
            } else {
                turn
            }
        }))
    }

    /// Asks for a wake-up at `at`, which is before the member's next turn.
    pub(super) fn remind(&mut self, member: usize, at: u64) {
        self.reminders.push(Reverse((at, member)));
    }

    /// The next member who was to be looked at by `now`.
    pub(super) fn reminder(&mut self, now: u64) -> Option<usize> {
        let Reverse((at, _)) = self.reminders.peek()?;
        if *at > now {
            return None;
        }
        self.reminders.pop().map(|Reverse((_, member))| member)
    }

    /// The next member whose turn it is at `now` or within half a gap, each once
    /// until `now` moves on. Turns that were missed are left out.
    pub(super) fn due(&mut self, now: u64) -> Option<usize> {
        let mut head = self.queue.peek_mut()?;
        let Reverse((due, member)) = *head;
        let early = self.gap / 2;
        if due > now + early {
            return None;
        }
        let interval = self.intervals[member];
        // A late turn must not be followed by the next one at once.
        let earliest = now + (interval / 4).max(early + 1);
        let intervals = earliest.saturating_sub(due).div_ceil(interval).max(1);
        *head = Reverse((due + intervals * interval, member));
        Some(member)
    }

    /// Notes a wake-up: from the clock before and after it.
    pub(super) fn rest(&mut self, began: u64, ended: u64) {
        self.rested = ended + REST;
        self.not_before = (began + self.gap).max(self.rested);
    }
}

#[cfg(test)]
mod tests;
