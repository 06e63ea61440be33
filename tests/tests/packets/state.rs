//! What the maps hold before a frame, and what it changes there.

use std::time::Duration;

use bytemuck::Zeroable as _;
use failover_common::{
    Address, Backend, Be16, HeartbeatKind, Hold, MAX_BACKENDS, News, NewsKind, Pair, Pulse, RING,
    Signal, Strikes, slot,
};
use lab::Family;

use crate::world::{Server, cpu};

/// The token of every heartbeat.
pub(crate) const TOKEN: u64 = 0x1122_3344_f000_ff00;

/// A backend with a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Server,
    pub(crate) family: Family,
    pub(crate) holds: u64,
    pub(crate) kind: HeartbeatKind,
    /// Port heartbeats go to.
    pub(crate) port: u16,
    pub(crate) sent: u32,
    pub(crate) answered: u32,
    pub(crate) fall: u32,
    pub(crate) timeout: Duration,
    /// How long ago the newest heartbeat was sent, and how long before it the one
    /// before it.
    pub(crate) age: Duration,
    pub(crate) interval: Duration,
    /// None: it is judged alone.
    pub(crate) witness: Option<u32>,
    /// CPU that noted the newest answer; none: there was none.
    pub(crate) answered_on: Option<u32>,
    /// How long ago it was held, and when the first packet went past it; none: never.
    pub(crate) held: Option<Duration>,
    pub(crate) passed: Option<Duration>,
}

impl Entry {
    /// A backend whose heartbeats are all answered, the last one just now.
    pub(crate) fn new(server: Server, family: Family) -> Self {
        Self {
            server,
            family,
            holds: 0,
            kind: HeartbeatKind::Icmp,
            port: 0,
            sent: 100,
            answered: 100,
            fall: 3,
            timeout: Duration::from_secs(4),
            age: Duration::ZERO,
            interval: Duration::from_millis(1),
            witness: None,
            answered_on: None,
            held: None,
            passed: None,
        }
    }

    /// One that has not been answered for ten seconds.
    pub(crate) fn dead(server: Server, family: Family) -> Self {
        Self {
            answered: 97,
            timeout: Duration::from_secs(1),
            age: Duration::from_secs(10),
            ..Self::new(server, family)
        }
    }

    pub(crate) fn index(&self) -> u32 {
        self.server.index(self.family)
    }

    /// The entry of the map.
    pub(crate) fn backend(&self, now: u64) -> Backend {
        let ago = |time: Duration| now - nanoseconds(time);
        let mut sent_at = [0; RING as usize];
        for behind in 0..RING {
            let age = self.age + self.interval * behind;
            sent_at[slot(self.sent.wrapping_sub(behind))] = ago(age);
        }
        Backend {
            holds: self.holds,
            pulse: Pulse {
                sent: self.sent,
                answered: self.answered,
            },
            fall: self.fall,
            timeout: u32::try_from(nanoseconds(self.timeout)).expect("four seconds at most"),
            witness: self.witness.unwrap_or(self.index()),
            held_at: self.held.map_or(0, ago),
            passed_at: self.passed.map_or(0, ago),
            token: TOKEN,
            heartbeat_port: Be16::new(self.port),
            heartbeat_kind: self.kind as u8,
            sent_at,
            answered_on: self.answered_on.map_or(0, |cpu| cpu + 1),
            ..self.server.backend(self.family)
        }
    }
}

/// What clients' traffic showed of a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) pair: u32,
    pub(crate) counts: Counts,
    /// Since when everything is counted, seconds ago; below zero: from later on.
    pub(crate) since: i64,
    /// How long packets have waited for an answer, seconds.
    pub(crate) waited: u64,
}

/// The counts of a [`Pair`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) unanswered: u64,
    pub(crate) syns: u64,
    pub(crate) refused: u64,
    pub(crate) unreachable: u64,
}

impl Traffic {
    /// The entry of the map.
    pub(crate) fn pair(&self, now: u64) -> Pair {
        let since = now.wrapping_add_signed(self.since * -1_000_000_000);
        let strikes = |count| Strikes { since, count };
        Pair {
            answers: self.counts.answers,
            unanswered: strikes(self.counts.unanswered),
            waited: self.waited * 1_000_000_000,
            syns: strikes(self.counts.syns),
            refused: strikes(self.counts.refused),
            unreachable: strikes(self.counts.unreachable),
        }
    }
}

impl From<Pair> for Counts {
    fn from(pair: Pair) -> Self {
        Self {
            answers: pair.answers,
            unanswered: pair.unanswered.count,
            syns: pair.syns.count,
            refused: pair.refused.count,
            unreachable: pair.unreachable.count,
        }
    }
}

/// What a frame changes in the maps, and what the agent is told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// The answer to a heartbeat was noted.
    Answered(u32, u32),
    /// A backend has expired.
    Expired(Expired),
    /// The first packet has gone past it.
    Passed(u32),
    /// The counts of a pair, all of them.
    Counted(u32, Counts),
}

/// A death.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expired {
    pub(crate) index: u32,
    pub(crate) signal: Signal,
    pub(crate) pair: u32,
    /// Sequence numbers of the newest heartbeat that was answered, and of the oldest
    /// that was not; none: that is not known, or there is none.
    pub(crate) answered: Option<u32>,
    pub(crate) unanswered: Option<u32>,
}

impl Change {
    /// A backend like [`Entry::dead`] has expired, says the data path.
    pub(crate) fn dead(index: u32) -> Self {
        Self::Expired(Expired {
            index,
            signal: Signal::Packet,
            pair: 0,
            answered: Some(97),
            unanswered: Some(98),
        })
    }

    /// A backend like [`Entry::new`] has expired, by what clients' traffic shows.
    pub(crate) fn shown(index: u32, signal: Signal, pair: u32) -> Self {
        Self::Expired(Expired {
            index,
            signal,
            pair,
            answered: Some(100),
            unanswered: None,
        })
    }

    /// Makes the change in an entry; `after` is what the map holds. The times may be
    /// any from `began` to `ended`.
    pub(crate) fn apply(&self, entry: &mut Backend, after: &Backend, (began, ended): (u64, u64)) {
        let within = |time| (began..=ended).contains(&time);
        match *self {
            Self::Answered(_, sequence) => {
                entry.pulse.answered = sequence;
                entry.answered_on = cpu() + 1;
            }
            Self::Expired(_) => {
                if entry.holds == 0 && within(after.held_at) {
                    entry.held_at = after.held_at;
                }
                entry.holds |= Hold::Expired as u64;
            }
            Self::Passed(_) => {
                if within(after.passed_at) {
                    entry.passed_at = after.passed_at;
                }
            }
            Self::Counted(..) => {}
        }
    }

    /// Index of the backend that changes.
    pub(crate) fn index(&self) -> u32 {
        match *self {
            Self::Answered(index, _) | Self::Passed(index) => index,
            Self::Expired(expired) => expired.index,
            Self::Counted(..) => u32::try_from(MAX_BACKENDS).expect("few backends"),
        }
    }

    /// What is told of it; [`News::at`] is left out. `entry` is that of before.
    pub(crate) fn news(&self, entry: &Backend) -> Option<News> {
        match *self {
            Self::Answered(..) | Self::Counted(..) => None,
            Self::Expired(expired) => {
                let sent_at =
                    |sequence: Option<u32>| sequence.map_or(0, |s| entry.sent_at[slot(s)]);
                Some(News {
                    kind: NewsKind::Expired as u32,
                    index: expired.index,
                    answered_at: sent_at(expired.answered),
                    unanswered_at: sent_at(expired.unanswered),
                    signal: expired.signal as u32,
                    pair: expired.pair,
                    address: Address::default(),
                    at: 0,
                })
            }
            Self::Passed(index) => Some(News {
                kind: NewsKind::Passed as u32,
                index,
                ..News::zeroed()
            }),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short time")
}
