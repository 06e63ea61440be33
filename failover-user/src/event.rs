//! What happened, for people and programs: the log, `failover events`.

mod words;

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

/// Events the agent remembers; older ones are only in the log.
pub const REMEMBERED: usize = 1024;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// Wall clock, RFC 3339; empty until the agent has written it down.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The agent has begun its work.
    Started {
        /// Whether it found a former agent's state and went on from it.
        adopted: bool,
    },
    /// The reasons why a backend may not serve have changed; none: it may.
    Holds {
        /// The backend.
        backend: String,
        /// The reasons.
        holds: Vec<String>,
        /// What the failing checks say.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A backend has expired: heartbeats or clients' traffic show that it is dead.
    Expired {
        /// The backend.
        backend: String,
        /// How that went.
        #[serde(flatten)]
        timeline: Timeline,
    },
    /// The first packet has gone past a backend that has expired.
    Passed {
        /// The backend.
        backend: String,
        /// How long after the latch, microseconds.
        after_latch_us: u64,
    },
    /// The serving backend died and the next one has taken over.
    Takeover {
        /// The service.
        service: String,
        /// Who served.
        from: String,
        /// Who serves.
        to: String,
        /// How the death went, if heartbeats or traffic showed it.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        timeline: Option<Timeline>,
    },
    /// A better backend has the service again.
    Failback {
        /// The service.
        service: String,
        /// Who served.
        from: String,
        /// Who serves.
        to: String,
    },
    /// An operator moved the service.
    Switch {
        /// The service.
        service: String,
        /// Who served.
        from: String,
        /// Who serves.
        to: String,
    },
    /// Another backend is to hold the service, and has to be promoted first.
    Promotion {
        /// The service.
        service: String,
        /// Who holds it.
        from: String,
        /// Who is to hold it.
        to: String,
        /// Why: `died`, `maintenance`, `failback`, `switch` or `declared`.
        reason: String,
    },
    /// A step of a promotion begins.
    Step {
        /// The service.
        service: String,
        /// Who is to hold it.
        backend: String,
        /// `fence`, `start`, `reach`, `demote`, `promote` or `ready`.
        step: String,
    },
    /// A hook has been run, or tried to.
    Hook {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Its name.
        hook: String,
        /// From 1.
        attempt: u32,
        /// `done`, `failed` or `unknown`: not within its time.
        outcome: String,
        /// What it said, or what was wrong.
        text: String,
    },
    /// A backend could not be fenced, which is not required.
    NotFenced {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
    },
    /// The promotion of a backend failed, and others are tried.
    GivesUp {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// At which step.
        step: String,
    },
    /// Nobody else is promoted: the holder keeps the service.
    Keeps {
        /// The service.
        service: String,
        /// The holder.
        backend: String,
    },
    /// A promotion cannot go on without a person.
    Blocked {
        /// The service.
        service: String,
        /// Who was to hold it.
        backend: String,
        /// What has to be checked and said.
        check: String,
    },
    /// Nothing happens by itself: what the store and the maps say does not fit.
    Frozen {
        /// The service.
        service: String,
        /// Why, and what has to be done.
        reason: String,
    },
    /// A person said that it goes on.
    Go {
        /// The service.
        service: String,
        /// The backend that is promoted, as the person says.
        #[serde(skip_serializing_if = "Option::is_none")]
        promoted: Option<String>,
    },
    /// A backend was promoted, and holds the service.
    Promoted {
        /// The service.
        service: String,
        /// Who held it.
        from: String,
        /// Who holds it.
        to: String,
        /// Why.
        reason: String,
    },
    /// An operator drained, disabled or enabled a backend, or that is over.
    Maintenance {
        /// The backend.
        backend: String,
        /// `drained`, `disabled` or `enabled`.
        state: String,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// For how many seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        for_s: Option<u64>,
    },
    /// No backend of the service is eligible.
    Outage {
        /// The service.
        service: String,
        /// The backend that was held last keeps the service.
        keeps: String,
    },
    /// A backend of the service is eligible again.
    OutageEnds {
        /// The service.
        service: String,
    },
    /// Every lease behind an interface ran out at the same moment, so that our own
    /// side is in doubt: none of them counts until one is answered again.
    Doubt {
        /// The interface.
        interface: String,
        /// Or it has ended.
        begins: bool,
    },
    /// Something of the agent's own does not work as it should.
    Trouble {
        /// In words.
        trouble: String,
    },
    /// An interface of ours went away, came back, went up or down.
    Link {
        /// The interface.
        interface: String,
        /// `present` or `gone`, and `up` or `down`.
        state: String,
    },
}

/// How a backend died; times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Who saw it: `packet`, `sender`, `closed`, `refused`, `unreachable`, `syns`
    /// or `silence` (`failover_common::Signal`).
    pub signal: String,
    /// When the newest heartbeat that was answered had been sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_ns: Option<u64>,
    /// When the first heartbeat that was not answered had been sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered_ns: Option<u64>,
    /// When the hold was set.
    pub latched_ns: u64,
    /// When the first packet went to a standby.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_ns: Option<u64>,
}

impl Timeline {
    /// Microseconds from `earlier` to the latch.
    fn before_latch(&self, earlier: u64) -> u64 {
        self.latched_ns.saturating_sub(earlier) / 1000
    }
}

impl Event {
    /// At `now` of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn new(now: Duration, what: What) -> Self {
        Self {
            monotonic_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            time: String::new(),
            what,
        }
    }

    /// Whether a person should look.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        match &self.what {
            What::Takeover { .. }
            | What::Outage { .. }
            | What::Expired { .. }
            | What::NotFenced { .. }
            | What::GivesUp { .. }
            | What::Blocked { .. }
            | What::Frozen { .. }
            | What::Trouble { .. } => true,
            What::Hook { outcome, .. } => outcome != "done",
            What::Doubt { begins, .. } => *begins,
            What::Holds { holds, .. } => !holds.is_empty(),
            What::Started { .. }
            | What::Passed { .. }
            | What::Failback { .. }
            | What::Switch { .. }
            | What::OutageEnds { .. }
            | What::Promotion { .. }
            | What::Step { .. }
            | What::Keeps { .. }
            | What::Go { .. }
            | What::Promoted { .. }
            | What::Maintenance { .. }
            | What::Link { .. } => false,
        }
    }
}

impl What {
    /// The service of an event that `notify` is told of, and from whom to whom it
    /// goes, as far as that is known.
    #[must_use]
    pub fn change(&self) -> Option<(&str, &str, &str)> {
        match self {
            Self::Takeover {
                service, from, to, ..
            }
            | Self::Failback { service, from, to }
            | Self::Switch { service, from, to }
            | Self::Promotion {
                service, from, to, ..
            } => Some((service, from, to)),
            Self::Outage { service, keeps } => Some((service, keeps, "")),
            Self::Blocked {
                service, backend, ..
            } => Some((service, "", backend)),
            Self::OutageEnds { service } | Self::Frozen { service, .. } => Some((service, "", "")),
            Self::Started { .. }
            | Self::Holds { .. }
            | Self::Expired { .. }
            | Self::Passed { .. }
            | Self::Step { .. }
            | Self::Hook { .. }
            | Self::NotFenced { .. }
            | Self::GivesUp { .. }
            | Self::Keeps { .. }
            | Self::Go { .. }
            | Self::Promoted { .. }
            | Self::Maintenance { .. }
            | Self::Doubt { .. }
            | Self::Trouble { .. }
            | Self::Link { .. } => None,
        }
    }
}

/// The newest events.
#[derive(Debug, Default)]
pub struct History(VecDeque<Event>);

impl History {
    /// Remembers an event, and forgets the oldest if there are too many.
    pub fn push(&mut self, event: Event) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// All that is remembered, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.0.iter().cloned().collect()
    }
}
