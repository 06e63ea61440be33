//! The leases: what each turn finds of them. Knows no clock and no network: time
//! is a parameter, nanoseconds of `CLOCK_MONOTONIC`.
//!
//! A lease that has run out is a death only if our own side works, and what shows
//! that is an answer to another backend behind the same interface, the *witness*.
//! A backend that has none there is judged alone. If every lease behind an
//! interface runs out, the interface is in *doubt*: its leases are disarmed, so
//! that the data path does not judge them either, until one of them is answered.

mod witness;

use std::collections::BTreeMap;

use failover_common::{HeartbeatKind, Hold, News, NewsKind, Pulse, RING, Signal};

use self::witness::Link;
use super::{Notice, Target};
use crate::dataplane::kernel::{Entries, Terms, Way};

/// How long a port must not be reported closed before it counts as open again,
/// nanoseconds. Linux reports it to one address once a second (`icmp_ratelimit`).
const REFUSALS: u64 = 2_000_000_000;

/// Time from one [`Notice::Risen`] about a backend to the next, nanoseconds.
const AGAIN: u64 = 100_000_000;

/// The leases of all backends; a member is the place of one in the list.
#[derive(Debug)]
pub(super) struct Leases {
    entries: Entries,
    members: Vec<Lease>,
    links: BTreeMap<u32, Link>,
    shortest: u64,
    /// Indexes of those that have expired since the last look at this list.
    dead: Vec<u32>,
}

/// A heartbeat that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) sequence: u32,
    pub(super) way: Way,
}

#[derive(Debug)]
struct Lease {
    index: u32,
    kind: HeartbeatKind,
    interval: u64,
    /// What is left of the lease when the oldest unanswered heartbeat goes out: how
    /// long it may be out.
    timeout: u64,
    fall: u32,
    rise: u32,
    /// 0: nothing is sent, nothing judged.
    ifindex: u32,
    witness: Option<usize>,
    /// The newest answer as of the last turn, and when what it answers was sent; 0:
    /// there was none.
    seen: u32,
    answered_at: u64,
    /// None while the hold `expired` is not set.
    expired: Option<Recovery>,
}

/// How far a backend that has expired is on its way back.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    /// Turns in a row that found an answer.
    streak: u32,
    /// When the agent was told last that it is back.
    risen_at: Option<u64>,
    /// For datagrams: since when its port was not reported closed.
    quiet_since: u64,
}

impl Leases {
    /// Arms the lease of each target; `tokens` has one for each.
    pub(super) fn arm(entries: Entries, targets: &[Target], tokens: &[u64], now: u64) -> Self {
        let mut members = Vec::with_capacity(targets.len());
        for (target, &token) in targets.iter().zip(tokens) {
            let mut lease = Lease::new(target);
            let terms = Terms {
                kind: lease.kind,
                port: target.heartbeat.port,
                timeout: u32::try_from(lease.timeout).unwrap_or(u32::MAX),
                token,
            };
            lease.seen = entries.prepare(lease.index, &terms, now);
            members.push(lease);
        }
        let judged = members.iter().filter(|lease| lease.renews());
        let mut leases = Self {
            shortest: judged.map(|lease| lease.timeout).min().unwrap_or(u64::MAX),
            entries,
            members,
            links: BTreeMap::new(),
            dead: Vec::new(),
        };
        for member in 0..leases.members.len() {
            leases.begin(member);
        }
        leases
    }

    /// Indexes of the backends that have expired since the last call.
    pub(super) fn take_dead(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dead)
    }

    /// Intervals by member; 0: it has no turns.
    pub(super) fn intervals(&self) -> Vec<u64> {
        let interval = |lease: &Lease| match lease.kind {
            HeartbeatKind::None => 0,
            HeartbeatKind::Icmp | HeartbeatKind::TcpSyn | HeartbeatKind::Udp => lease.interval,
        };
        self.members.iter().map(interval).collect()
    }

    /// Forgives what is outstanding of every backend whose timeout is shorter than
    /// the time this thread was `away`: nobody was there to take the next step.
    pub(super) fn forgive(&mut self, away: u64, now: u64) {
        if away <= self.shortest {
            return;
        }
        for lease in &mut self.members {
            if lease.renews() && away > lease.timeout {
                lease.restart(&self.entries, now);
            }
        }
    }

    /// A turn: what became of the last heartbeats, and the next one if one is to be
    /// sent.
    pub(super) fn turn(&mut self, member: usize, now: u64, told: &mut Vec<Notice>) -> Option<Due> {
        let index = self.members[member].index;
        let way = self.entries.way(index);
        if way.ifindex != self.members[member].ifindex {
            self.moved(member, way.ifindex, now, told);
        }
        if way.ifindex == 0 {
            return None;
        }
        let expired = self.entries.holds(index).contains(Hold::Expired);
        if expired != self.members[member].expired.is_some() {
            self.expiry_changed(member, expired, now, told);
        }
        let pulse = self.entries.pulse(index);
        let answered = self.members[member].look(&self.entries, pulse);
        if answered && !expired {
            self.doubt_ends(member, now, told);
        }
        if expired {
            told.extend(self.members[member].recover(&self.entries, pulse, answered, now));
        } else {
            self.judge(member, now, told);
        }
        let sequence = self.entries.pulse(index).sent.wrapping_add(1);
        Some(Due { sequence, way })
    }

    /// When the lease of a member runs out, if that is before its next turn.
    pub(super) fn deadline(&self, member: usize, now: u64) -> Option<u64> {
        let lease = &self.members[member];
        let pulse = self.entries.pulse(lease.index);
        // One more is about to be sent.
        if !lease.is_live() || pulse.outstanding() + 1 < lease.fall.cast_signed() {
            return None;
        }
        let oldest = self.entries.sent_at(lease.index, pulse.oldest());
        let deadline = oldest + lease.timeout + 1;
        (pulse.outstanding() > 0 && deadline > now && deadline < now + lease.interval)
            .then_some(deadline)
    }

    /// The CPU where an answer may wait that would save a lease which seems to be over.
    pub(super) fn suspect(&self, member: usize, now: u64) -> Option<u32> {
        let lease = &self.members[member];
        let over = lease.is_live() && self.entries.is_over(lease.index, None, now);
        over.then(|| self.entries.answered_on(lease.index))
            .flatten()
    }

    /// A look between two turns.
    pub(super) fn look_at(&mut self, member: usize, now: u64, told: &mut Vec<Notice>) {
        let lease = &self.members[member];
        if lease.ifindex == 0 || lease.expired.is_some() {
            return;
        }
        if self.entries.holds(lease.index).contains(Hold::Expired) {
            self.expiry_changed(member, true, now, told);
        } else {
            self.judge(member, now, told);
        }
    }

    /// Notes that a heartbeat is about to be sent.
    pub(super) fn stamp(&self, member: usize, sequence: u32, now: u64) {
        self.entries
            .stamp(self.members[member].index, sequence, now);
    }

    /// Notes that a heartbeat, noted at `stamped`, has been sent by `now`.
    pub(super) fn sent(&self, member: usize, sequence: u32, stamped: u64, now: u64) {
        let lease = &self.members[member];
        // A stall between the two must not make it look older than it is.
        if now.saturating_sub(stamped) > lease.timeout / 4 {
            self.entries.stamp(lease.index, sequence, now);
        }
        // Unless the pulse was started anew since its number was drawn.
        if self.entries.pulse(lease.index).sent.wrapping_add(1) == sequence {
            self.entries.note_sent(lease.index, sequence);
        }
    }

    /// Takes up the interface that leads to a backend, and arms its lease.
    fn begin(&mut self, member: usize) {
        let lease = &mut self.members[member];
        lease.ifindex = self.entries.way(lease.index).ifindex;
        let holds = self.entries.holds(lease.index);
        lease.expired = holds.contains(Hold::Expired).then(|| Recovery::new(0));
        let ifindex = lease.ifindex;
        self.join(member, ifindex);
    }

    fn moved(&mut self, member: usize, ifindex: u32, now: u64, told: &mut Vec<Notice>) {
        // What went out the old way says nothing about the new one.
        self.members[member].restart(&self.entries, now);
        let before = std::mem::replace(&mut self.members[member].ifindex, ifindex);
        self.leave(member, before, now, told);
        self.join(member, ifindex);
    }

    fn expiry_changed(&mut self, member: usize, expired: bool, now: u64, told: &mut Vec<Notice>) {
        let lease = &mut self.members[member];
        lease.expired = expired.then(|| Recovery::new(now));
        if expired {
            self.dead.push(lease.index);
        }
        let ifindex = lease.ifindex;
        self.choose_witnesses(ifindex);
        self.doubt_over_few(ifindex, now, told);
    }

    fn judge(&mut self, member: usize, now: u64, told: &mut Vec<Notice>) {
        let lease = &self.members[member];
        if !self.entries.is_over(lease.index, None, now) {
            return;
        }
        let (index, answered_at) = (lease.index, lease.answered_at);
        if lease.witness.is_some() && !self.is_proven(member, now) {
            self.doubt(member, now, told);
            return;
        }
        let unanswered_at = self
            .entries
            .sent_at(index, self.entries.pulse(index).oldest());
        if self.entries.expire(index, now) {
            told.push(Notice::Expired(News {
                kind: NewsKind::Expired as u32,
                index,
                at: now,
                answered_at,
                unanswered_at,
                signal: Signal::Sender as u32,
                ..bytemuck::Zeroable::zeroed()
            }));
        }
        self.expiry_changed(member, true, now, told);
    }
}

impl Lease {
    fn new(target: &Target) -> Self {
        let &Target {
            index, heartbeat, ..
        } = target;
        let nanoseconds =
            |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Counted from the oldest unanswered heartbeat and not from the newest answered
        // one, so that a sender that stalls between the two makes nobody look dead.
        let timeout = heartbeat.timeout.saturating_sub(heartbeat.interval);
        Self {
            index,
            kind: heartbeat.kind,
            interval: nanoseconds(heartbeat.interval).max(1000),
            timeout: nanoseconds(timeout).min(u64::from(u32::MAX)),
            fall: heartbeat.fall,
            rise: heartbeat.rise,
            ifindex: 0,
            witness: None,
            seen: 0,
            answered_at: 0,
            expired: None,
        }
    }

    /// Whether answers renew it: then it can run out, and testify.
    const fn renews(&self) -> bool {
        match self.kind {
            HeartbeatKind::Icmp | HeartbeatKind::TcpSyn => true,
            HeartbeatKind::None | HeartbeatKind::Udp => false,
        }
    }

    /// Whether it can run out and has not.
    const fn is_live(&self) -> bool {
        self.renews() && self.expired.is_none()
    }

    fn restart(&mut self, entries: &Entries, now: u64) {
        let pulse = entries.pulse(self.index);
        self.look(entries, pulse);
        self.seen = entries.restart(self.index, now);
    }

    /// Whether there was an answer since the last look.
    fn look(&mut self, entries: &Entries, pulse: Pulse) -> bool {
        let answered = pulse.answered != self.seen;
        if answered {
            self.seen = pulse.answered;
            self.answered_at = entries.sent_at(self.index, pulse.answered);
        }
        answered
    }

    /// A turn of a backend that has expired.
    ///
    /// A heartbeat counts as missed once it is out for longer than the timeout: with
    /// a round trip of an interval or more, a turn that finds no answer is no miss.
    fn recover(
        &mut self,
        entries: &Entries,
        pulse: Pulse,
        answered: bool,
        now: u64,
    ) -> Option<Notice> {
        let (index, rise, timeout) = (self.index, self.rise, self.timeout);
        let (fallen, risen) = match self.kind {
            HeartbeatKind::None => return None,
            HeartbeatKind::Udp => {
                let recovery = self.expired.as_mut()?;
                if answered {
                    recovery.quiet_since = now;
                }
                let quiet = now.saturating_sub(recovery.quiet_since) > timeout.max(REFUSALS);
                let beyond = pulse.outstanding() >= rise.cast_signed();
                (answered, quiet && beyond)
            }
            HeartbeatKind::Icmp | HeartbeatKind::TcpSyn => {
                let out = pulse.outstanding();
                let age = now.saturating_sub(entries.sent_at(index, pulse.oldest()));
                let missed = out > 0 && (age > timeout || out >= (RING - 1).cast_signed());
                let recovery = self.expired.as_mut()?;
                recovery.streak = match (missed, answered) {
                    (true, _) => 0,
                    (false, true) => recovery.streak.saturating_add(1),
                    (false, false) => recovery.streak,
                };
                let fallen = missed && out >= self.fall.cast_signed();
                (fallen, recovery.streak >= rise)
            }
        };
        let recovery = self.expired.as_mut()?;
        match recovery.risen_at {
            Some(_) if fallen => {
                recovery.risen_at = None;
                Some(Notice::Fallen { index })
            }
            None if fallen => None,
            told if risen && told.is_none_or(|at| now.saturating_sub(at) >= AGAIN) => {
                recovery.risen_at = Some(now);
                Some(Notice::Risen { index })
            }
            Some(_) | None => None,
        }
    }
}

impl Recovery {
    const fn new(now: u64) -> Self {
        Self {
            streak: 0,
            risen_at: None,
            quiet_since: now,
        }
    }
}

#[cfg(test)]
mod tests;
