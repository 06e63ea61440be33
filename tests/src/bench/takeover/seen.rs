//! What a client saw around one fault, and what follows from it. Times are
//! nanoseconds of [`lab::clock`] unless they say microseconds.

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Primary,
    Standby,
}

impl Host {
    /// By the name that the lab's servers put into their answers.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "primary" => Some(Self::Primary),
            "standby" => Some(Self::Standby),
            _ => None,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered {
        at_ns: u64,
        by: Host,
    },
    /// The connection was refused, or reset before it was made.
    Refused,
    /// The connection was made, then reset or closed without an answer.
    Reset,
    /// Nothing came before the deadline.
    Unanswered,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// When it was sent, or its connection begun.
    pub(super) sent_ns: u64,
    /// How long the connection took to be made, if one was.
    pub(super) connect_ns: Option<u64>,
    pub(super) outcome: Outcome,
}

/// A connection that took longer waited for more than a takeover.
pub(super) const SLOW_CONNECT_US: u64 = 2_000;

/// The requests that were not answered, by what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Begun before the fault: the primary had them, and they died with it.
    pub(super) begun: u64,
    pub(super) refused: u64,
    pub(super) reset: u64,
    pub(super) unanswered: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// None if the standby never answered.
    pub(super) takeover: Option<Takeover>,
    /// None if no agent knows.
    pub(super) death: Option<Death>,
    pub(super) lost: Lost,
    /// Connections begun without service, and slower than [`SLOW_CONNECT_US`].
    pub(super) slow_connects: u64,
    /// The slowest connection that was begun without service.
    pub(super) max_connect_us: Option<u64>,
}

/// How our agent says that it noticed the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// From just before the fault to the latch.
    pub(super) latch_us: u64,
    /// Who set it: `signal` of the event.
    pub(super) seen_by: String,
}

/// How long it took, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the keys of the JSON")]
pub(super) struct Takeover {
    /// From just before the fault to the standby's first answer.
    pub(super) takeover_us: u64,
    /// From the primary's last answer before that to it.
    pub(super) silence_us: u64,
    /// From when the first request was sent after the last one that the primary
    /// answered, to it: what the first client who was hit had to wait. Unlike the
    /// others it hardly depends on how often requests are sent.
    pub(super) first_hit_us: u64,
    /// How long the first connection took to be made that the standby served.
    pub(super) first_connect_us: Option<u64>,
    /// The longest time between two requests in the silence: more than the rate
    /// asks for means that the client itself did not run, and the figures of this
    /// run are too long by up to that.
    pub(super) sender_stall_us: u64,
}

/// What followed from the fault. None if this is no measurement, because the
/// primary was not serving alone before it.
pub(super) fn conclude(requests: &[Request], fault_ns: u64) -> Option<Run> {
    let answers = |wanted: Host| {
        requests
            .iter()
            .filter_map(move |request| match request.outcome {
                Outcome::Answered { at_ns, by } if by == wanted => Some(at_ns),
                _ => None,
            })
    };
    let standby_ns = answers(Host::Standby).min();
    if standby_ns.is_some_and(|at| at < fault_ns) || !answers(Host::Primary).any(|at| at < fault_ns)
    {
        return None;
    }
    let takeover = standby_ns.map(|standby_ns| {
        let primary_ns = answers(Host::Primary).filter(|&at| at <= standby_ns).max();
        let primary_ns = primary_ns.unwrap_or(fault_ns);
        let served = |request: &Request| answered_before(request, Host::Primary, standby_ns);
        let hit = requests.iter().rposition(served).map_or(0, |last| last + 1);
        let hit_ns = requests.get(hit).map_or(standby_ns, |hit| hit.sent_ns);
        Takeover {
            takeover_us: us(standby_ns - fault_ns),
            silence_us: us(standby_ns - primary_ns),
            first_hit_us: us(standby_ns.saturating_sub(hit_ns)),
            first_connect_us: first_connect_us(requests),
            sender_stall_us: us(longest_pause(requests, primary_ns, standby_ns)),
        }
    });
    // Without service: those before and after it are not about the takeover.
    let until_ns = standby_ns.unwrap_or(u64::MAX);
    let begun = |request: &&Request| (fault_ns..=until_ns).contains(&request.sent_ns);
    let connects = || {
        let hit = requests.iter().filter(begun);
        hit.filter_map(|request| request.connect_ns)
    };
    Some(Run {
        takeover,
        death: None,
        lost: Lost::of(requests, fault_ns),
        slow_connects: count(connects().filter(|&took| us(took) > SLOW_CONNECT_US)),
        max_connect_us: connects().max().map(us),
    })
}

impl Lost {
    fn of(requests: &[Request], fault_ns: u64) -> Self {
        let mut lost = Self::default();
        for request in requests {
            match request.outcome {
                Outcome::Answered { .. } => {}
                _ if request.sent_ns < fault_ns => lost.begun += 1,
                Outcome::Refused => lost.refused += 1,
                Outcome::Reset => lost.reset += 1,
                Outcome::Unanswered => lost.unanswered += 1,
            }
        }
        lost
    }

    pub(super) fn total(self) -> u64 {
        let Self {
            begun,
            refused,
            reset,
            unanswered,
        } = self;
        begun + refused + reset + unanswered
    }
}

fn answered_before(request: &Request, host: Host, ns: u64) -> bool {
    matches!(request.outcome, Outcome::Answered { at_ns, by } if by == host && at_ns <= ns)
}

fn first_connect_us(requests: &[Request]) -> Option<u64> {
    let served = requests
        .iter()
        .find(|request| answered_before(request, Host::Standby, u64::MAX))?;
    served.connect_ns.map(us)
}

fn longest_pause(requests: &[Request], from_ns: u64, to_ns: u64) -> u64 {
    let sent = requests
        .windows(2)
        .map(|two| (two[0].sent_ns, two[1].sent_ns));
    let inside = sent.filter(|&(_, next)| next > from_ns && next <= to_ns);
    inside.map(|(one, next)| next - one).max().unwrap_or(0)
}

fn us(ns: u64) -> u64 {
    ns / 1_000
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.map(|_| 1).sum()
}

#[cfg(test)]
mod tests;
