use std::{net::IpAddr, time::Duration};

use bytemuck::Zeroable as _;
use failover_common::{Backend, Holds};
use proptest::prelude::*;

use super::*;
use crate::config::Heartbeat;

const US: u64 = 1000;
const START: u64 = 5_000_000_000;
const FALL: u32 = 3;
const RISE: u32 = 5;
const TIMEOUT: u64 = 800 * US;
const INTERVAL: u64 = 200 * US;

use HeartbeatKind::{Icmp, TcpSyn, Udp};

/// Backends, a clock, and a network that answers at once or not at all.
struct World {
    entries: Entries,
    leases: Leases,
    now: u64,
    next: Vec<u64>,
    silent: Vec<bool>,
    told: Vec<Notice>,
}

impl World {
    /// A backend of each kind, at its interface; its index is ten more than its place.
    fn new(backends: &[(HeartbeatKind, u32)]) -> Self {
        Self::with(backends, Entries::in_memory(), |_| {})
    }

    fn with(
        backends: &[(HeartbeatKind, u32)],
        entries: Entries,
        change: impl Fn(&mut [Target]),
    ) -> Self {
        let mut targets = Vec::new();
        for (index, &(kind, ifindex)) in (10..).zip(backends) {
            place(&entries, index, ifindex);
            let heartbeat = Heartbeat {
                kind,
                port: 80,
                interval: Duration::from_nanos(INTERVAL),
                timeout: Duration::from_nanos(INTERVAL + TIMEOUT),
                fall: FALL,
                rise: RISE,
            };
            targets.push(Target {
                index,
                address: IpAddr::from([10, 0, 0, 1]),
                heartbeat,
            });
        }
        change(&mut targets);
        let tokens = vec![7; targets.len()];
        let leases = Leases::arm(entries.clone(), &targets, &tokens, START);
        Self {
            entries,
            next: leases.intervals().iter().map(|_| START).collect(),
            leases,
            now: START,
            silent: vec![false; targets.len()],
            told: Vec::new(),
        }
    }

    fn index(member: usize) -> u32 {
        10 + u32::try_from(member).unwrap()
    }

    fn turn(&mut self, member: usize) {
        let due = self.leases.turn(member, self.now, &mut self.told);
        let Some(Due { sequence, way }) = due else {
            return;
        };
        assert_ne!(way.ifindex, 0);
        self.leases.stamp(member, sequence, self.now);
        self.leases.sent(member, sequence, self.now, self.now + 1);
        let index = Self::index(member);
        let kind = self.leases.members[member].kind;
        // To datagrams, silence is health.
        let noted = self.silent[member] == (kind == Udp);
        if noted && self.entries.pulse(index).accepts(sequence) {
            self.entries.answer(index, sequence);
        }
    }

    /// Lets time pass and returns what is told.
    fn run(&mut self, time: u64) -> Vec<Notice> {
        let end = self.now + time;
        let intervals = self.leases.intervals();
        while self.now < end {
            self.now += 10 * US;
            for (member, &interval) in intervals.iter().enumerate() {
                if self.next[member] <= self.now && interval != 0 {
                    self.next[member] += interval;
                    self.turn(member);
                }
            }
        }
        std::mem::take(&mut self.told)
    }

    fn is_expired(&self, member: usize) -> bool {
        let holds = self.entries.holds(Self::index(member));
        holds.contains(Hold::Expired)
    }

    fn clear(&self, member: usize) {
        let clear = Holds::NONE.with(Hold::Expired, true);
        self.entries
            .change_holds(Self::index(member), Holds::NONE, clear, 0);
    }

    fn entry(&self, member: usize) -> Backend {
        self.entries.read(Self::index(member))
    }
}

fn place(entries: &Entries, index: u32, ifindex: u32) {
    let next_hop = Backend {
        ifindex,
        ..Backend::zeroed()
    };
    entries.set_next_hop(index, &next_hop);
}

fn expired(told: &[Notice]) -> Vec<u32> {
    let index = |notice: &Notice| match notice {
        Notice::Expired(news) => Some(news.index),
        _ => None,
    };
    told.iter().filter_map(index).collect()
}

fn doubt(ifindex: u32, begins: bool) -> Notice {
    Notice::Doubt { ifindex, begins }
}

/// Who of these is told dead within a few timeouts, when these fall silent.
#[track_caller]
fn check(description: &str, backends: &[(HeartbeatKind, u32)], silent: &[usize], dead: &[u32]) {
    let mut world = World::new(backends);
    assert_eq!(world.run(20 * INTERVAL), [], "{description}: all answer");
    for &member in silent {
        world.silent[member] = true;
    }
    let told = world.run(4 * TIMEOUT);
    let mut found = expired(&told);
    found.sort_unstable();
    assert_eq!(found, dead, "{description}: {told:?}");
    for member in 0..backends.len() {
        let is_dead = dead.contains(&World::index(member));
        assert_eq!(world.is_expired(member), is_dead, "{description}: {member}");
    }
}

#[test]
fn who_is_dead() {
    check("one, alone", &[(Icmp, 2)], &[0], &[10]);
    check("one of two", &[(Icmp, 2), (Icmp, 2)], &[0], &[10]);
    check("both of two", &[(Icmp, 2), (TcpSyn, 2)], &[0, 1], &[]);
    check("each alone", &[(Icmp, 2), (Icmp, 3)], &[0, 1], &[10, 11]);
    let three = [(Icmp, 2), (TcpSyn, 2), (Icmp, 2)];
    check("two of three", &three, &[0, 1], &[10, 11]);
    check("the other two", &three, &[1, 2], &[11, 12]);
    check("with its witness", &three, &[2, 0], &[10, 12]);
    check("all of three", &three, &[0, 1, 2], &[]);
    // Datagrams neither run out nor testify.
    check("beside datagrams", &[(Icmp, 2), (Udp, 2)], &[0], &[10]);
    check("datagrams", &[(Udp, 2), (Icmp, 2)], &[0], &[]);
    check(
        "nothing is sent",
        &[(HeartbeatKind::None, 2), (Icmp, 2)],
        &[1],
        &[11],
    );
    check("a thousand", &[(Icmp, 2); 1000], &[3, 4, 5], &[13, 14, 15]);
}

#[test]
fn the_news_of_a_death() {
    let mut world = World::new(&[(Icmp, 2), (Icmp, 2)]);
    world.run(20 * INTERVAL);
    world.silent[1] = true;
    let last = world.entries.pulse(11).answered;
    let (answered_at, unanswered_at) = (world.entries.sent_at(11, last), world.next[1]);
    let told = world.run(4 * TIMEOUT);
    let [Notice::Expired(news)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(news.kind, NewsKind::Expired as u32);
    assert_eq!(news.signal, Signal::Sender as u32);
    assert_eq!(news.answered_at, answered_at);
    assert!(
        news.unanswered_at.abs_diff(unanswered_at) <= 10 * US,
        "{news:?}"
    );
    let late = news.at - news.unanswered_at - TIMEOUT;
    assert!(late > 0 && late <= INTERVAL + 10 * US, "{late}");
    let entry = world.entry(1);
    assert_eq!((entry.held_at, entry.passed_at), (news.at, 0));
    // Nobody's witness any more, and the other one is judged alone.
    assert_eq!((world.entry(0).witness, entry.witness), (10, 10));
    world.silent[0] = true;
    assert_eq!(expired(&world.run(4 * TIMEOUT)), [10]);
}

#[test]
fn what_the_data_path_latched_is_told_by_it() {
    let mut world = World::new(&[(Icmp, 2)]);
    world.run(10 * INTERVAL);
    world.silent[0] = true;
    assert!(world.entries.expire(10, 1));
    assert!(!world.entries.expire(10, 2), "it was latched before");
    assert_eq!(world.entry(0).held_at, 1);
    assert_eq!(world.run(4 * TIMEOUT), []);
}

#[test]
fn an_older_hold_keeps_its_time() {
    let world = World::new(&[(Icmp, 2)]);
    let failed = Holds::NONE.with(Hold::CheckFailed, true);
    world.entries.change_holds(10, failed, Holds::NONE, 33);
    assert!(world.entries.expire(10, 44));
    assert_eq!(world.entry(0).held_at, 33);
}

#[test]
fn doubt_begins_and_ends() {
    let mut world = World::new(&[(Icmp, 2), (Icmp, 2), (Icmp, 3)]);
    world.run(10 * INTERVAL);
    world.silent[..2].fill(true);
    assert_eq!(world.run(4 * TIMEOUT), [doubt(2, true)]);
    let falls = |world: &World| [0, 1, 2].map(|member| world.entry(member).fall);
    assert_eq!(falls(&world), [0, 0, FALL], "the data path must not judge");
    assert_eq!(world.run(100 * TIMEOUT), [], "told once");
    // Both are back, a little apart.
    world.silent[0] = false;
    assert_eq!(world.run(2 * INTERVAL), [doubt(2, false)]);
    world.silent[1] = false;
    assert_eq!(world.run(10 * TIMEOUT), []);
    assert_eq!(falls(&world), [FALL; 3]);
    // Now it is one.
    world.silent[1] = true;
    assert_eq!(expired(&world.run(4 * TIMEOUT)), [11]);
}

#[test]
fn only_one_comes_back() {
    let mut world = World::new(&[(Icmp, 2), (Icmp, 2)]);
    world.run(10 * INTERVAL);
    world.silent.fill(true);
    world.run(4 * TIMEOUT);
    world.silent[0] = false;
    let told = world.run(4 * TIMEOUT);
    assert_eq!(told[0], doubt(2, false));
    assert_eq!(expired(&told), [11]);
}

#[test]
fn doubt_ends_when_one_is_left() {
    let mut world = World::new(&[(Icmp, 2), (Icmp, 2)]);
    world.run(10 * INTERVAL);
    world.silent.fill(true);
    world.run(4 * TIMEOUT);
    assert!(world.entries.expire(10, 1), "by what traffic showed");
    let told = world.run(4 * TIMEOUT);
    assert_eq!(told[0], doubt(2, false));
    assert_eq!(expired(&told), [11]);
}

#[test]
fn a_slow_one_testifies_only_for_slow_ones() {
    let slow = |targets: &mut [Target]| {
        targets[1].heartbeat.interval = Duration::from_millis(100);
        targets[1].heartbeat.timeout = Duration::from_millis(400);
    };
    let backends = [(Icmp, 2), (Icmp, 2)];
    let mut world = World::with(&backends, Entries::in_memory(), slow);
    assert_eq!((world.entry(0).witness, world.entry(1).witness), (10, 10));
    world.run(10 * INTERVAL);
    world.silent[0] = true;
    assert_eq!(expired(&world.run(2 * TIMEOUT)), [10], "judged alone");
    world.silent[0] = false;
    world.run(4 * TIMEOUT);
    world.clear(0);
    world.run(INTERVAL);
    assert_eq!((world.entry(0).witness, world.entry(1).witness), (10, 10));
    world.silent[1] = true;
    assert_eq!(expired(&world.run(2_000_000 * US)), [11]);
}

#[test]
fn rise_and_fall_again() {
    let mut world = World::new(&[(Icmp, 2), (Icmp, 2)]);
    world.run(10 * INTERVAL);
    world.silent[0] = true;
    world.run(4 * TIMEOUT);
    let (risen, fallen) = (Notice::Risen { index: 10 }, Notice::Fallen { index: 10 });
    // Too short, then long enough.
    world.silent[0] = false;
    assert_eq!(world.run(u64::from(RISE - 1) * INTERVAL), []);
    world.silent[0] = true;
    assert_eq!(world.run(3 * TIMEOUT), []);
    world.silent[0] = false;
    assert_eq!(
        world.run(u64::from(RISE + 2) * INTERVAL),
        std::slice::from_ref(&risen)
    );
    assert_eq!(world.run(50 * INTERVAL), [], "not all the time");
    assert_eq!(
        world.run(AGAIN),
        std::slice::from_ref(&risen),
        "but now and then: it may have expired anew between two turns"
    );
    world.silent[0] = true;
    assert_eq!(world.run(3 * TIMEOUT), [fallen]);
    world.silent[0] = false;
    assert_eq!(world.run(3 * TIMEOUT), [risen]);
    // The agent lets it serve: it is judged, and testifies.
    world.clear(0);
    assert_eq!(world.run(3 * TIMEOUT), []);
    assert_eq!(world.entry(1).witness, 10);
    world.silent[0] = true;
    assert_eq!(expired(&world.run(3 * TIMEOUT)), [10]);
}

#[test]
fn datagrams_rise_when_no_longer_refused() {
    let mut world = World::new(&[(Udp, 2)]);
    world.silent[0] = true;
    world.run(10 * INTERVAL);
    assert!(world.entries.expire(10, 1));
    assert_eq!(world.run(REFUSALS), [], "refused");
    world.silent[0] = false;
    assert_eq!(world.run(REFUSALS), [], "it may be refused and not told");
    assert_eq!(world.run(5 * INTERVAL), [Notice::Risen { index: 10 }]);
    world.silent[0] = true;
    assert_eq!(world.run(5 * INTERVAL), [Notice::Fallen { index: 10 }]);
}

#[test]
fn an_absence_is_forgiven() {
    let mut world = World::new(&[(Icmp, 2)]);
    world.run(10 * INTERVAL);
    world.silent[0] = true;
    world.run(u64::from(FALL) * INTERVAL);
    assert!(world.entries.pulse(10).outstanding() >= FALL.cast_signed());
    world.now += 50 * TIMEOUT;
    world.next[0] = world.now;
    world.leases.forgive(50 * TIMEOUT, world.now);
    assert_eq!(world.entries.pulse(10).outstanding(), 0);
    assert_eq!(world.run(u64::from(FALL) * INTERVAL), []);
    assert_eq!(expired(&world.run(2 * TIMEOUT)), [10], "it was dead indeed");
}

#[test]
fn a_short_absence_is_not() {
    let mut world = World::new(&[(Icmp, 2)]);
    world.silent[0] = true;
    world.run(2 * INTERVAL);
    let pulse = world.entries.pulse(10);
    world.leases.forgive(TIMEOUT, world.now);
    assert_eq!(world.entries.pulse(10), pulse);
}

#[test]
fn without_a_next_hop_nothing_is_sent_or_judged() {
    let mut world = World::new(&[(Icmp, 2)]);
    world.run(10 * INTERVAL);
    world.silent[0] = true;
    world.run(3 * INTERVAL);
    place(&world.entries, 10, 0);
    assert_eq!(world.run(10 * TIMEOUT), []);
    assert_eq!(world.entries.pulse(10).outstanding(), 0);
    world.silent[0] = false;
    place(&world.entries, 10, 4);
    assert_eq!(world.run(10 * TIMEOUT), []);
    assert!(world.leases.links.contains_key(&4) && !world.leases.links.contains_key(&2));
    assert!(world.entries.pulse(10).sent > 10);
}

#[test]
fn who_moves_changes_witnesses() {
    let mut world = World::new(&[(Icmp, 2), (Icmp, 2), (Icmp, 3)]);
    let witnesses = |world: &World| [0, 1, 2].map(|member| world.entry(member).witness);
    assert_eq!(witnesses(&world), [11, 10, 12]);
    place(&world.entries, 11, 3);
    assert_eq!(world.run(INTERVAL), []);
    assert_eq!(witnesses(&world), [10, 12, 11]);
}

#[test]
fn numbers_drawn_before_a_restart_are_not_noted() {
    let mut world = World::new(&[(Icmp, 2)]);
    world.run(10 * INTERVAL);
    let due = world.leases.turn(0, world.now, &mut world.told).unwrap();
    world.leases.forgive(u64::MAX, world.now);
    let pulse = world.entries.pulse(10);
    world.leases.sent(0, due.sequence, world.now, world.now);
    assert_eq!(world.entries.pulse(10), pulse);
}

#[test]
fn a_stall_while_sending_makes_nothing_older() {
    let world = World::new(&[(Icmp, 2)]);
    let sequence = world.entries.pulse(10).sent + 1;
    world.leases.stamp(0, sequence, START);
    world.leases.sent(0, sequence, START, START + TIMEOUT / 4);
    assert_eq!(world.entries.sent_at(10, sequence), START);
    world.leases.stamp(0, sequence + 1, START);
    world.leases.sent(0, sequence + 1, START, START + TIMEOUT);
    assert_eq!(world.entries.sent_at(10, sequence + 1), START + TIMEOUT);
}

proptest! {
    /// Whatever an earlier agent left, wrapped around or not: a new lease has nothing
    /// outstanding, and neither has it if the data path stores an older answer late.
    #[test]
    fn arming_starts_anew(sent: u32, behind in -1..40_i32, late in 0..40_i32, ring: [u64; 16]) {
        let entries = Entries::in_memory();
        let answered = sent.wrapping_sub(behind.cast_unsigned());
        let left = Backend {
            pulse: Pulse { sent, answered },
            sent_at: ring.map(|at| at % START),
            fall: FALL,
            timeout: 1,
            ..Backend::zeroed()
        };
        entries.write(10, &left);
        let mut world = World::with(&[(Icmp, 2)], entries, |_| {});
        let pulse = world.entries.pulse(10);
        prop_assert_eq!(pulse.outstanding(), 0);
        prop_assert!(!pulse.accepts(sent) && !pulse.accepts(sent.wrapping_add(1)));
        let entry = world.entry(0);
        prop_assert_eq!((entry.fall, entry.token, entry.heartbeat_kind), (FALL, 7, 1));
        prop_assert_eq!(u64::from(entry.timeout), TIMEOUT);
        // The data path stores only what is newer than the last one.
        world.entries.answer(10, sent.wrapping_sub(late.min(behind).cast_unsigned()));
        for fall in 1..10 {
            world.entries.set_fall(10, fall);
            prop_assert!(!world.entries.is_over(10, None, START + TIMEOUT));
        }
        world.entries.set_fall(10, FALL);
        prop_assert_eq!(world.run(20 * TIMEOUT), []);
    }

    /// Random faults: nobody who answers is called dead, and who is silent long
    /// enough is, as long as another one answers.
    #[test]
    fn only_the_silent_die(
        start in prop_oneof![Just(0), Just(u32::MAX - 20), any::<u32>()],
        faults in prop::collection::vec((0..3_usize, any::<bool>(), 1..40_u64), 1..30),
    ) {
        let entries = Entries::in_memory();
        for index in 10..14 {
            let pulse = Pulse { sent: start, answered: start };
            entries.write(index, &Backend { pulse, ..Backend::zeroed() });
        }
        let mut world = World::with(&[(Icmp, 2); 4], entries, |_| {});
        let mut since = [None; 3];
        for (member, silent, time) in faults {
            world.silent[member] = silent;
            since[member] = silent.then(|| since[member].unwrap_or(world.now));
            world.run(time * INTERVAL);
            for (member, since) in since.iter().enumerate() {
                let long = since.is_some_and(|since| world.now - since > TIMEOUT + 2 * INTERVAL);
                if long {
                    prop_assert!(world.is_expired(member));
                } else if since.is_none() {
                    world.clear(member);
                }
            }
            prop_assert!(!world.is_expired(3));
        }
    }
}
