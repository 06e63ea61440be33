//! The phases of the demo, and what one stream saw of each.

use std::ops::Range;

use lab::Record;
use lab::record::Gap;

/// The host that serves first.
pub(crate) const PRIMARY: &str = "primary";

/// The host that takes over.
pub(crate) const STANDBY: &str = "standby";

/// The phases in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The primary serves.
    Healthy,
    /// The primary is dead; the standby takes over and serves.
    Takeover,
    /// The primary is back, and after the hold-down it serves again.
    Failback,
}

impl Phase {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Healthy, Self::Takeover, Self::Failback];

    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Takeover => "takeover",
            Self::Failback => "failback",
        }
    }
}

/// What happened when; nanoseconds of [`lab::clock`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Just before the primary's cable was cut.
    pub(crate) fault_ns: u64,
    /// Just before it was plugged in again.
    pub(crate) repair_ns: u64,
}

impl Times {
    /// When the requests of a phase were sent.
    fn range(self, phase: Phase) -> Range<u64> {
        match phase {
            Phase::Healthy => 0..self.fault_ns,
            Phase::Takeover => self.fault_ns..self.repair_ns,
            Phase::Failback => self.repair_ns..u64::MAX,
        }
    }
}

/// What the client saw of the whole demo.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What happened when.
    pub(crate) times: Times,
    /// The UDP stream.
    pub(crate) udp: Record,
    /// The HTTP stream.
    pub(crate) http: Record,
}

/// The requests of a stream that were sent in a phase.
pub(crate) fn requests(record: &Record, times: Times, phase: Phase) -> Record {
    let Range { start, end } = times.range(phase);
    record.between(start, end)
}

/// How long the service took to change over, nanoseconds; none if it did not, or
/// the phase has none.
///
/// A takeover counts from the fault to the first answer of the standby; a
/// failback, which is planned, from the last answer of the standby to the first
/// of the primary, and never below 0: the old host may still be answering when
/// the new one begins.
pub(crate) fn change_over(record: &Record, times: Times, phase: Phase) -> Option<u64> {
    let first_after = |host: &str, after: u64| {
        let answers = record.answers().filter(|answer| &*answer.host == host);
        answers
            .map(|answer| answer.at_ns)
            .filter(|&at| at > after)
            .min()
    };
    match phase {
        Phase::Healthy => None,
        Phase::Takeover => first_after(STANDBY, times.fault_ns).map(|first| first - times.fault_ns),
        Phase::Failback => {
            let first = first_after(PRIMARY, times.repair_ns)?;
            let standby = record.answers().filter(|answer| &*answer.host == STANDBY);
            let last = standby.map(|answer| answer.at_ns).max()?;
            Some(first.saturating_sub(last))
        }
    }
}

/// The longest time between two answers that lasted into the phase, as far as
/// the phase goes. Unlike [`Record::longest_gap`] of the phase alone it begins
/// at the last answer before the fault. One that never ended, ends with the last
/// request.
pub(crate) fn longest_silence(record: &Record, times: Times, phase: Phase) -> Gap {
    let Range { start, end } = times.range(phase);
    let mut answered: Vec<_> = record.answers().map(|answer| answer.at_ns).collect();
    let last = record.requests.last();
    let open = last.filter(|request| request.answer.is_none());
    answered.extend(open.map(|request| request.sent_ns));
    answered.sort_unstable();
    let gaps = answered.windows(2).map(|pair| Gap {
        from_ns: pair[0],
        to_ns: pair[1].min(end),
    });
    gaps.filter(|gap| gap.from_ns < end && gap.to_ns > start)
        .max_by_key(|gap| gap.to_ns - gap.from_ns)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lab::record::{Answer, Request};

    use super::*;

    const TIMES: Times = Times {
        fault_ns: 100,
        repair_ns: 200,
    };

    /// Sent at, and answered at by whom.
    type Row = (u64, Option<(u64, &'static str)>);

    fn record(rows: &[Row]) -> Record {
        let request = |(sequence, &(sent_ns, answer)): (usize, &Row)| Request {
            sequence,
            sent_ns,
            answer: answer.map(|(at_ns, host)| Answer {
                at_ns,
                host: host.into(),
            }),
        };
        Record {
            requests: rows.iter().enumerate().map(request).collect(),
        }
    }

    #[test]
    fn there_and_back() {
        let seen = record(&[
            (80, Some((85, PRIMARY))),
            (90, Some((95, PRIMARY))),
            (110, None),
            (120, Some((130, STANDBY))),
            (190, Some((195, STANDBY))),
            (210, Some((215, STANDBY))),
            (220, Some((224, PRIMARY))),
        ]);
        for (phase, sent, changed, silence) in [
            (Phase::Healthy, 2, None, 10),
            (Phase::Takeover, 3, Some(30), 65),
            (Phase::Failback, 2, Some(9), 20),
        ] {
            assert_eq!(requests(&seen, TIMES, phase).sent(), sent, "{phase:?}");
            assert_eq!(change_over(&seen, TIMES, phase), changed, "{phase:?}");
            let gap = longest_silence(&seen, TIMES, phase);
            assert_eq!(gap.to_ns - gap.from_ns, silence, "{phase:?}");
        }
    }

    #[test]
    fn nobody_takes_over() {
        let silent = [(90, Some((95, PRIMARY))), (110, None), (190, None)];
        let back = [silent.as_slice(), &[(250, Some((260, PRIMARY)))]].concat();
        for (rows, failback) in [(silent.as_slice(), (0, 0)), (&back, (95, 260))] {
            let seen = record(rows);
            assert_eq!(change_over(&seen, TIMES, Phase::Takeover), None);
            assert_eq!(change_over(&seen, TIMES, Phase::Failback), None);
            for (phase, expected) in [
                (Phase::Healthy, (95, 100)),
                (
                    Phase::Takeover,
                    (95, 200.min(rows.last().map_or(0, |row| row.0))),
                ),
                (Phase::Failback, failback),
            ] {
                let gap = longest_silence(&seen, TIMES, phase);
                assert_eq!((gap.from_ns, gap.to_ns), expected, "{phase:?} {rows:?}");
            }
        }
    }
}
