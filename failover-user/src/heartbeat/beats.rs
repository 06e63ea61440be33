//! What the thread does at each wake-up.

use std::{collections::VecDeque, io, net::IpAddr};

use failover_common::HeartbeatKind;
use nix::errno::Errno;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Notice, Rescue, Target,
    frame::{Frame, Words},
    leases::{Due, Leases},
    pace::{Pace, WakeUp},
    socket::{BATCH, Outgoing, Wire},
};
use crate::dataplane::kernel::Way;

/// Time between two looks at the kernel's routes, nanoseconds: each asks for the
/// way to one backend.
const LOOK: u64 = 100_000_000;

/// Time between two notices of one kind of trouble, nanoseconds.
const QUIET: u64 = 1_000_000_000;

/// The leases, the frames and the queue of turns; `wire` and `clock` are the
/// outside.
pub(super) struct Beats {
    leases: Leases,
    pace: Pace,
    members: Vec<Member>,
    batch: Vec<Outgoing>,
    told: Vec<Notice>,
    /// Those whose source address is to be looked up soon: every other look; the
    /// rest are for all in turn.
    wanted: VecDeque<usize>,
    looks: usize,
    look_at: u64,
    troubles: [Trouble; 3],
    notices: UnboundedSender<Notice>,
    rescue: Option<Rescue>,
    /// Backends whose SYNs were repeated at the last wake-up: a packet that was on its way
    /// past the lease when it was latched may have noted its SYN after that.
    visited: Vec<u32>,
}

/// What is sent to one backend.
#[derive(Debug)]
struct Member {
    words: Words,
    source: Option<IpAddr>,
    /// None while there is no source address.
    frame: Option<Frame>,
    wanted: bool,
}

/// Kinds of trouble, each told on its own.
#[derive(Clone, Copy)]
enum About {
    Send,
    Source,
    Socket,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// When it may be told again.
    quiet_until: u64,
    /// How often it was not told.
    untold: u64,
}

impl Beats {
    /// `tokens` has one for each target.
    pub(super) fn new(
        leases: Leases,
        targets: &[Target],
        tokens: &[u64],
        notices: UnboundedSender<Notice>,
        rescue: Option<Rescue>,
        now: u64,
    ) -> Self {
        let member = |(target, token): (&Target, &u64)| Member {
            words: Words {
                kind: target.heartbeat.kind,
                index: target.index,
                port: target.heartbeat.port,
                token: *token,
                way: Way::default(),
                to: target.address,
            },
            source: None,
            frame: None,
            wanted: false,
        };
        Self {
            pace: Pace::new(leases.intervals(), now),
            leases,
            members: targets.iter().zip(tokens).map(member).collect(),
            batch: Vec::with_capacity(BATCH),
            told: Vec::new(),
            wanted: VecDeque::new(),
            looks: 0,
            look_at: now + LOOK,
            troubles: [Trouble::default(); 3],
            notices,
            rescue,
            visited: Vec::new(),
        }
    }

    /// When to wake up; none: never.
    pub(super) fn next(&self) -> Option<WakeUp> {
        self.pace.next()
    }

    /// A wake-up that was to be at `planned`.
    pub(super) fn wake(&mut self, planned: u64, wire: &mut impl Wire, clock: &impl Fn() -> u64) {
        let began = clock();
        let (mut seen, mut now) = (planned, began);
        let visited = std::mem::take(&mut self.visited);
        self.repeat_syns(&visited, now, wire);
        loop {
            self.leases.forgive(now.saturating_sub(seen), now);
            while let Some(member) = self.pace.reminder(now) {
                self.take_in(member, now, wire);
                self.leases.look_at(member, now, &mut self.told);
            }
            if self.rescue_clients(now, wire) {
                now = clock();
            }
            let stamped = now;
            while self.batch.len() < BATCH
                && let Some(member) = self.pace.due(began)
            {
                self.visit(member, now, wire);
                if self.rescue_clients(now, wire) {
                    now = clock();
                }
            }
            let over = self.batch.is_empty();
            seen = now;
            self.send(stamped, wire, clock);
            // After what clients wait for: it wakes the agent, which wants a processor too.
            for notice in self.told.drain(..) {
                // Nobody listens any more: the agent ends.
                let _ = self.notices.send(notice);
            }
            if over {
                break;
            }
            now = clock();
        }
        if now >= self.look_at {
            self.look(now, wire);
        }
        self.pace.rest(began, now);
    }

    /// Before a lease is judged: lets in what may have arrived for it.
    fn take_in(&self, member: usize, now: u64, wire: &mut impl Wire) {
        if let Some(cpu) = self.leases.suspect(member, now) {
            wire.take_in(cpu);
        }
    }

    /// Clients wait for those that have just died: this goes before everything else.
    /// Returns whether there were any; then some time has passed.
    fn rescue_clients(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        let dead = self.leases.take_dead();
        self.repeat_syns(&dead, now, wire);
        self.visited.extend(&dead);
        !dead.is_empty()
    }

    fn repeat_syns(&self, dead: &[u32], now: u64, wire: &mut impl Wire) {
        if let Some(rescue) = &self.rescue {
            for index in dead {
                rescue.repeat(*index, now, wire);
            }
        }
    }

    /// The turn of one backend.
    fn visit(&mut self, member: usize, now: u64, wire: &mut impl Wire) {
        self.take_in(member, now, wire);
        let Some(Due { sequence, way }) = self.leases.turn(member, now, &mut self.told) else {
            self.members[member].words.way = Way::default();
            return;
        };
        if let Some(deadline) = self.leases.deadline(member, now) {
            self.pace.remind(member, deadline);
        }
        let words = &mut self.members[member].words;
        if words.way != way {
            let elsewhere = words.way.egress != way.egress;
            words.way = way;
            if elsewhere {
                self.find_source(member, now, wire);
            } else {
                self.members[member].write_frame();
            }
        }
        let Some(frame) = &mut self.members[member].frame else {
            return;
        };
        let ifindex = way.egress;
        if let Some(reset) = frame.reset(sequence) {
            self.batch.push(Outgoing::new(member, None, ifindex, reset));
        }
        let bytes = frame.patch(sequence);
        self.batch
            .push(Outgoing::new(member, Some(sequence), ifindex, bytes));
        self.leases.stamp(member, sequence, now);
    }

    /// Sends the batch, whose frames were noted at `stamped` or later.
    fn send(&mut self, stamped: u64, wire: &mut impl Wire, clock: &impl Fn() -> u64) {
        let mut first = 0;
        while first < self.batch.len() {
            let rest = &self.batch[first..];
            let sent = wire.send(rest);
            let now = clock();
            match sent {
                Ok(count) => {
                    // At least one, or this would not end.
                    let count = count.clamp(1, rest.len());
                    for frame in &rest[..count] {
                        if let Some(sequence) = frame.sequence {
                            self.leases.sent(frame.member, sequence, stamped, now);
                        }
                    }
                    first += count;
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    // Without what goes before it, a heartbeat must not go.
                    let member = rest[0].member;
                    first += rest.iter().take_while(|f| f.member == member).count();
                    self.not_sent(member, error, now, wire);
                }
            }
        }
        self.batch.clear();
    }

    /// A heartbeat did not go out; its number is used again.
    fn not_sent(&mut self, member: usize, error: Errno, now: u64, wire: &mut impl Wire) {
        let to = self.members[member].words.to;
        self.tell(About::Send, now, || {
            format!("a heartbeat to {to} could not be sent: {}", error.desc())
        });
        match error {
            // No room, which passes.
            Errno::ENOBUFS | Errno::EAGAIN | Errno::ENOMEM => {}
            // The interface is down or gone: the agent will tell another one.
            Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV => self.want(member),
            _ => {
                self.want(member);
                if now >= self.troubles[About::Socket as usize].quiet_until {
                    let reopened = wire.reopen();
                    self.tell(About::Socket, now, || match reopened {
                        Ok(()) => "the socket of the heartbeats was opened anew".to_owned(),
                        Err(error) => format!("cannot open the socket of the heartbeats: {error}"),
                    });
                }
            }
        }
    }

    fn want(&mut self, member: usize) {
        if !self.members[member].wanted {
            self.members[member].wanted = true;
            self.wanted.push_back(member);
        }
    }

    /// Looks up one source address.
    fn look(&mut self, now: u64, wire: &mut impl Wire) {
        self.look_at = now + LOOK;
        self.looks = self.looks.wrapping_add(1);
        let next = self.looks / 2 % self.members.len().max(1);
        let soon = if self.looks % 2 == 1 {
            self.wanted.pop_front()
        } else {
            None
        };
        let member = soon.unwrap_or(next);
        if let Some(looked) = self.members.get_mut(member) {
            looked.wanted = false;
            if looked.words.kind != HeartbeatKind::None && looked.words.way.ifindex != 0 {
                self.find_source(member, now, wire);
            }
        }
    }

    fn find_source(&mut self, member: usize, now: u64, wire: &mut impl Wire) {
        let to = self.members[member].words.to;
        match wire.source(to) {
            Ok(source) => {
                self.members[member].source = Some(source);
                self.members[member].write_frame();
            }
            Err(error) => self.no_source(member, now, &error),
        }
    }

    /// An old address is better than none: the route may be gone for a moment only.
    fn no_source(&mut self, member: usize, now: u64, error: &io::Error) {
        self.members[member].write_frame();
        self.want(member);
        let Member { words, source, .. } = &self.members[member];
        let (to, known) = (words.to, source.is_some());
        self.tell(About::Source, now, || {
            let then = if known {
                "the old address is kept"
            } else {
                "no heartbeats are sent to it"
            };
            format!("the kernel has no address to send to {to} from ({error}): {then}")
        });
    }

    /// Tells what went wrong, unless that kind was told a moment ago.
    fn tell(&mut self, about: About, now: u64, line: impl FnOnce() -> String) {
        let trouble = &mut self.troubles[about as usize];
        if now < trouble.quiet_until {
            trouble.untold += 1;
            return;
        }
        let mut line = line();
        if trouble.untold > 0 {
            line = format!("{line} ({} more like this)", trouble.untold);
        }
        *trouble = Trouble {
            quiet_until: now + QUIET,
            untold: 0,
        };
        // As above.
        let _ = self.notices.send(Notice::Trouble(line));
    }
}

impl Member {
    fn write_frame(&mut self) {
        let words = &self.words;
        self.frame = self.source.and_then(|source| Frame::new(words, source));
    }
}

#[cfg(test)]
mod tests;
