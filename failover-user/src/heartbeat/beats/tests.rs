use std::{cell::Cell, collections::BTreeMap, net::Ipv4Addr, rc::Rc, time::Duration};

use bytemuck::Zeroable as _;
use failover_common::Backend;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{config::Heartbeat, dataplane::kernel::Entries};

const US: u64 = 1000;
const MS: u64 = 1_000_000;
const START: u64 = 5_000 * MS;

/// A network that writes down what it is asked, and looks at the entries while it
/// sends.
struct Recorder {
    entries: Entries,
    clock: Rc<Cell<u64>>,
    /// How long a send takes.
    takes: u64,
    /// What the next sends say; then everything goes out.
    says: Vec<Result<usize, Errno>>,
    /// Index, sequence number, and the time noted for it.
    sent: Vec<(u32, u32, u64)>,
    /// The interface that the last frame left by, by index.
    left_by: BTreeMap<u32, u32>,
    resets: usize,
    looked_on_cpu: usize,
    /// On that CPU there is an answer of backend 10.
    arrives: bool,
    looked_up: usize,
    reopened: usize,
    routes: bool,
}

impl Wire for Recorder {
    fn send(&mut self, frames: &[Outgoing]) -> Result<usize, Errno> {
        for frame in frames {
            let index = 10 + u32::try_from(frame.member).unwrap();
            let sent = self.entries.pulse(index).sent;
            let sequence = frame.sequence.unwrap_or(sent + 1);
            assert_eq!(sent + 1, sequence, "noted as sent before it was");
        }
        self.clock.set(self.clock.get() + self.takes);
        let said = self.says.pop().unwrap_or(Ok(frames.len()));
        for frame in &frames[..said.unwrap_or(0)] {
            let index = 10 + u32::try_from(frame.member).unwrap();
            self.left_by.insert(index, frame.ifindex);
            match frame.sequence {
                Some(sequence) => {
                    let at = self.entries.sent_at(index, sequence);
                    self.sent.push((index, sequence, at));
                }
                None => self.resets += 1,
            }
        }
        said
    }

    fn take_in(&mut self, cpu: u32) {
        assert_eq!(cpu, 3);
        self.looked_on_cpu += 1;
        if self.arrives {
            self.entries.answer(10, self.entries.pulse(10).sent);
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.reopened += 1;
        Ok(())
    }

    fn source(&mut self, _: IpAddr) -> io::Result<IpAddr> {
        self.looked_up += 1;
        if self.routes {
            Ok(Ipv4Addr::new(10, 0, 0, 1).into())
        } else {
            Err(Errno::ENETUNREACH.into())
        }
    }
}

struct World {
    beats: Beats,
    wire: Recorder,
    notices: UnboundedReceiver<Notice>,
}

impl World {
    /// So many backends with indices from ten on, behind interface 2; no timeout is
    /// reached.
    fn new(count: u32) -> Self {
        Self::of(HeartbeatKind::Icmp, count)
    }

    fn of(kind: HeartbeatKind, count: u32) -> Self {
        Self::with(kind, count, Duration::from_millis(100))
    }

    fn with(kind: HeartbeatKind, count: u32, timeout: Duration) -> Self {
        let entries = Entries::in_memory();
        let targets: Vec<Target> = (10..10 + count)
            .map(|index| {
                let ifindex = 2;
                let next_hop = Backend {
                    ifindex,
                    ..Backend::zeroed()
                };
                entries.set_next_hop(index, &next_hop);
                let heartbeat = Heartbeat {
                    kind,
                    interval: Duration::from_millis(1),
                    timeout,
                    ..Heartbeat::DEFAULT
                };
                let address = Ipv4Addr::new(10, 0, 0, 2).into();
                Target {
                    index,
                    address,
                    heartbeat,
                }
            })
            .collect();
        let tokens = vec![1; targets.len()];
        let (sender, notices) = unbounded_channel();
        let leases = Leases::arm(entries.clone(), &targets, &tokens, START);
        let beats = Beats::new(leases, &targets, &tokens, sender, None, START);
        let wire = Recorder {
            entries,
            clock: Rc::new(Cell::new(START)),
            takes: US,
            says: Vec::new(),
            sent: Vec::new(),
            left_by: BTreeMap::new(),
            resets: 0,
            looked_on_cpu: 0,
            arrives: false,
            looked_up: 0,
            reopened: 0,
            routes: true,
        };
        Self {
            beats,
            wire,
            notices,
        }
    }

    fn run(&mut self, time: u64) {
        let clock = Rc::clone(&self.wire.clock);
        let end = clock.get() + time;
        while let Some(WakeUp { at: next, .. }) = self.beats.next()
            && next < end
        {
            clock.set(clock.get().max(next));
            self.beats.wake(next, &mut self.wire, &|| clock.get());
        }
        clock.set(end);
    }

    fn troubles(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Trouble(line) => lines.push(line),
                other => panic!("{other:?}"),
            }
        }
        lines
    }
}

#[test]
fn stamp_then_send_then_note() {
    let mut world = World::new(100);
    world.run(10 * MS);
    assert!(world.wire.sent.len() >= 990, "{}", world.wire.sent.len());
    for &(index, sequence, at) in &world.wire.sent {
        assert!(at >= START, "{index} {sequence} was not stamped");
    }
    for index in 10..110 {
        let mine = world.wire.sent.iter().filter(|sent| sent.0 == index);
        let numbers: Vec<u32> = mine.map(|sent| sent.1).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{numbers:?}"
        );
        assert_eq!(
            world.wire.entries.pulse(index).sent,
            *numbers.last().unwrap()
        );
    }
    assert_eq!(world.troubles(), [""; 0]);
}

/// Nobody is dead whose answer has only not been looked at.
#[test]
fn what_waits_on_another_cpu_is_taken_in_first() {
    for arrives in [true, false] {
        let mut world = World::with(HeartbeatKind::Icmp, 1, Duration::from_millis(10));
        world.wire.arrives = arrives;
        world.wire.entries.answer_on(10, 3);
        world.run(8 * MS);
        assert_eq!(world.wire.looked_on_cpu, 0, "nothing is suspected");
        world.run(4 * MS);
        assert_eq!(world.wire.looked_on_cpu, 1);
        let expired = world.notices.try_recv();
        assert_eq!(expired.is_err(), arrives, "{expired:?}");
    }
}

#[test]
fn a_stall_while_sending_is_stamped_again() {
    let mut world = World::new(1);
    world.wire.takes = 30 * MS;
    world.run(US);
    let (index, sequence, at) = world.wire.sent[0];
    assert_eq!(at, START);
    assert_eq!(world.wire.entries.sent_at(index, sequence), START + 30 * MS);
}

/// The last of `says` is said first. What is sent of five heartbeats that are due
/// at once, and of which kind the trouble is.
#[track_caller]
fn check(says: &[Result<usize, Errno>], gone: &[u32], reopened: usize) {
    let mut world = World::new(5);
    // All are due: the thread was late.
    world.run(MS);
    world.wire.sent.clear();
    world.wire.says = says.to_vec();
    let now = world.wire.clock.get() + 5 * MS;
    world.wire.clock.set(now);
    world.beats.wake(now, &mut world.wire, &|| now);
    let mut sent: Vec<u32> = world.wire.sent.iter().map(|sent| sent.0).collect();
    assert_eq!(sent.len(), gone.len(), "{says:?}: {sent:?}");
    sent.sort_unstable();
    assert_eq!(world.wire.reopened, reopened, "{says:?}");
    let trouble = says
        .iter()
        .any(|said| said.is_err_and(|e| e != Errno::EINTR));
    assert_eq!(world.troubles().is_empty(), !trouble, "{says:?}");
    // Who was left out uses its number again.
    world.run(10 * MS);
    for index in 10..15 {
        let last = world.wire.sent.iter().rfind(|sent| sent.0 == index);
        assert_eq!(world.wire.entries.pulse(index).sent, last.unwrap().1);
    }
}

#[test]
fn one_failure_stops_nobody_else() {
    check(&[], &[10, 11, 12, 13, 14], 0);
    check(&[Ok(2)], &[10, 11, 12, 13, 14], 0);
    check(&[Err(Errno::EINTR)], &[10, 11, 12, 13, 14], 0);
    check(&[Err(Errno::ENOBUFS)], &[11, 12, 13, 14], 0);
    check(&[Err(Errno::ENETDOWN), Ok(2)], &[10, 11, 13, 14], 0);
    check(&[Err(Errno::ENXIO); 5], &[], 0);
    check(&[Err(Errno::EBADF), Err(Errno::EBADF)], &[12, 13, 14], 1);
}

#[test]
fn no_syn_without_the_reset_before_it() {
    let mut world = World::of(HeartbeatKind::TcpSyn, 1);
    world.run(10 * MS);
    assert_eq!(world.wire.resets, world.wire.sent.len());
    let before = world.wire.sent.len();
    world.wire.says = vec![Err(Errno::ENOBUFS)];
    world.run(MS);
    assert_eq!(world.wire.sent.len(), before);
    world.run(MS);
    assert_eq!(world.wire.sent.len(), before + 1);
    assert_eq!(world.wire.resets, world.wire.sent.len());
}

#[test]
fn trouble_is_told_once_a_second() {
    let mut world = World::new(1);
    world.wire.says = vec![Err(Errno::ENOBUFS); 5000];
    world.run(2500 * MS);
    let lines = world.troubles();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[1].contains("ENOBUFS") || lines[1].contains("buffer space"),
        "{lines:?}"
    );
    assert!(lines[1].contains("more like this"), "{lines:?}");
}

#[test]
fn source_addresses_are_looked_up_when_needed() {
    let mut world = World::new(20);
    world.wire.routes = false;
    world.run(10 * MS);
    assert_eq!((world.wire.looked_up, world.wire.sent.len()), (20, 0));
    assert_eq!(world.troubles().len(), 1);
    // Each is asked for again, then all in turn, ten a second.
    world.wire.routes = true;
    world.run(5000 * MS);
    for index in 10..30 {
        assert!(
            world.wire.sent.iter().any(|sent| sent.0 == index),
            "{index}"
        );
    }
    assert!(
        (65..=72).contains(&world.wire.looked_up),
        "{}",
        world.wire.looked_up
    );
    // Another interface, here a VLAN on it: at once.
    let before = world.wire.looked_up;
    let next_hop = Backend {
        ifindex: 3,
        egress: 4,
        ..Backend::zeroed()
    };
    world.wire.entries.set_next_hop(12, &next_hop);
    world.run(2 * MS);
    assert_eq!(world.wire.looked_up, before + 1);
    let left_by = [11, 12].map(|index| world.wire.left_by[&index]);
    assert_eq!(left_by, [2, 4]);
}
