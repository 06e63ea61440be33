//! What a stream of requests saw. Times are nanoseconds of [`crate::clock`].

use std::sync::Arc;

/// The requests of a stream in the order they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// One entry a request; its index is the sequence number, unless the record
    /// was cut by [`Record::between`].
    pub requests: Vec<Request>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counted from 0.
    pub sequence: usize,
    /// When it was sent.
    pub sent_ns: u64,
    /// Its first answer, if one came.
    pub answer: Option<Answer>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it arrived.
    pub at_ns: u64,
    /// The host that gave it.
    pub host: Arc<str>,
}

/// A time in which no answer arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// The last answer before it, or the first request of all.
    pub from_ns: u64,
    /// The first answer after it, or the last request of all.
    pub to_ns: u64,
}

impl Gap {
    /// Its length in microseconds.
    #[must_use]
    pub fn us(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns) / 1_000
    }
}

impl Record {
    /// How many requests were sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.requests.len()
    }

    /// How many of them were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answers().count()
    }

    /// How many were not.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.sent() - self.answered()
    }

    /// How many one host answered.
    #[must_use]
    pub fn answered_by(&self, host: &str) -> usize {
        self.answers()
            .filter(|answer| &*answer.host == host)
            .count()
    }

    /// The answers, in the order of their requests.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.requests
            .iter()
            .filter_map(|request| request.answer.as_ref())
    }

    /// When the first answer by this host arrived.
    #[must_use]
    pub fn first_answer_by(&self, host: &str) -> Option<u64> {
        self.first_answer(|by| by == host)
    }

    /// When the first answer by any other host arrived.
    #[must_use]
    pub fn first_answer_not_by(&self, host: &str) -> Option<u64> {
        self.first_answer(|by| by != host)
    }

    /// The longest time without an answer between the first and the last
    /// request. A record without requests has an empty one.
    #[must_use]
    pub fn longest_gap(&self) -> Gap {
        let (Some(first), Some(last)) = (self.requests.first(), self.requests.last()) else {
            return Gap::default();
        };
        let mut times: Vec<_> = self.answers().map(|answer| answer.at_ns).collect();
        times.extend([first.sent_ns, last.sent_ns]);
        times.sort_unstable();
        times
            .windows(2)
            .map(|pair| Gap {
                from_ns: pair[0],
                to_ns: pair[1],
            })
            .max_by_key(Gap::us)
            .unwrap_or_default()
    }

    /// The requests sent in this time: one phase of a longer run.
    #[must_use]
    pub fn between(&self, from_ns: u64, to_ns: u64) -> Self {
        let phase = from_ns..to_ns;
        let inside = self
            .requests
            .iter()
            .filter(|request| phase.contains(&request.sent_ns));
        Self {
            requests: inside.cloned().collect(),
        }
    }

    fn first_answer(&self, wanted: impl Fn(&str) -> bool) -> Option<u64> {
        let wanted = self.answers().filter(|answer| wanted(&answer.host));
        wanted.map(|answer| answer.at_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_takeover() {
        let seen = record(&[
            (1_000, Some((2_000, "primary"))),
            (11_000, None),
            (21_000, Some((25_000, "standby"))),
            (31_000, Some((32_000, "standby"))),
        ]);
        assert_eq!((seen.sent(), seen.answered(), seen.lost()), (4, 3, 1));
        assert_eq!(seen.answered_by("standby"), 2);
        assert_eq!(seen.first_answer_by("standby"), Some(25_000));
        assert_eq!(seen.first_answer_not_by("primary"), Some(25_000));
        assert_eq!(
            seen.longest_gap(),
            Gap {
                from_ns: 2_000,
                to_ns: 25_000
            }
        );
        assert_eq!(seen.longest_gap().us(), 23);
        assert_eq!(seen.between(11_000, 31_000).sent(), 2);
    }

    #[test]
    fn silence_until_the_end_is_a_gap() {
        let seen = record(&[
            (0, Some((1_000, "primary"))),
            (50_000, None),
            (90_000, None),
        ]);
        assert_eq!(
            seen.longest_gap(),
            Gap {
                from_ns: 1_000,
                to_ns: 90_000
            }
        );
    }

    #[test]
    fn nothing_sent() {
        let seen = Record::default();
        assert_eq!(
            (seen.sent(), seen.lost(), seen.longest_gap().us()),
            (0, 0, 0)
        );
        assert_eq!(seen.first_answer_by("primary"), None);
    }
}
