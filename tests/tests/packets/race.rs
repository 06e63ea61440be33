//! The data path on two CPUs at once, and beside the agent.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, RingBuf};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use failover_common::{Hold, Holds, News, NewsKind};
use failover_user::dataplane::Maps as _;
use failover_user::dataplane::kernel::{Entries, KernelMaps};
use lab::Family;
use lab::clock::{now_ns, sleep_until};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::before::Before;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, LEASED_DSR, SECOND};
use crate::network::{CLIENT, FRONT, at};
use crate::state::Entry;
use crate::world::{World, context, news};

const FAMILY: Family = Family::V4;

/// Deaths in a test.
const DEATHS: u64 = 1500;

/// How often the agent takes a hold back in a test.
const CLEARS: u64 = 30_000;

/// News are read after so many of these: the ring buffer has room for a thousand.
const READ: u64 = 100;

/// From the arming of a lease to its end: until then both sides are at work.
const FUSE: Duration = Duration::from_micros(300);

/// How long both go on after the first packet to the standby.
const LINGER: Duration = Duration::from_micros(50);

/// How long anything takes at most.
const LONG: Duration = Duration::from_secs(10);

/// Two queues find the same lease to be over.
pub(crate) fn queues(world: &mut World) -> Result<()> {
    deaths(world, |program, _, _| flood(program, 1))
}

/// A queue and the sender of heartbeats do.
pub(crate) fn queue_and_sender(world: &mut World) -> Result<()> {
    deaths(world, |_, entries, told| {
        let (index, now) = (FIRST.index(FAMILY), now_ns());
        let latched = entries.holds(index).contains(Hold::Expired);
        if !latched && entries.is_over(index, None, now) && entries.expire(index, now) {
            told.fetch_add(1, SeqCst);
        }
        Ok(())
    })
}

/// The sender latches what a packet has latched, and gone past, since it looked.
pub(crate) fn second(world: &mut World) -> Result<()> {
    let index = FIRST.index(FAMILY);
    world.prepare(&Before::entries(&[
        Entry::dead(FIRST, FAMILY),
        Entry::new(SECOND, FAMILY),
    ]))?;
    let (program, maps, events) = world.parts()?;
    let entries = maps.entries();
    flood(program, 0)?;
    let told = news(events);
    ensure!(told.len() == 2 && expiries(&told) == 1, "{told:?}");
    ensure!(!entries.expire(index, now_ns()), "it was latched before");
    flood(program, 0)?;
    let told = news(events);
    ensure!(told.is_empty(), "told again: {told:?}");
    Ok(())
}

/// Packets set a hold while the agent takes it back, and sets and clears others.
pub(crate) fn clear(world: &mut World) -> Result<()> {
    let index = FIRST.index(FAMILY);
    world.prepare(&Before::entries(&[
        Entry::dead(FIRST, FAMILY),
        Entry::new(SECOND, FAMILY),
    ]))?;
    let cpus = cpus()?;
    let gate = Gate::default();
    let (program, maps, events) = world.parts()?;
    let entries = maps.entries();
    thread::scope(|scope| {
        let packets = scope.spawn(|| gate.play(cpus[0], || flood(program, 0)));
        gate.go.store(1, SeqCst);
        let cleared = pin(cpus[1]).and_then(|()| clear_often(maps, events));
        gate.close();
        packets.join().expect("no panic")?;
        let (cleared, told) = cleared?;
        let told = told + expiries(&news(events));
        let set = cleared + u64::from(entries.holds(index).contains(Hold::Expired));
        ensure!(told == set, "{told} times told, {set} times set");
        Ok(())
    })
}

/// Returns how often the hold was cleared, and how often it was told as set.
fn clear_often(maps: &mut KernelMaps, events: &mut RingBuf<MapData>) -> Result<(u64, u64)> {
    let index = FIRST.index(FAMILY);
    let entries = maps.entries();
    let only = |hold| Holds::NONE.with(hold, true);
    let (expired, failed) = (only(Hold::Expired), only(Hold::CheckFailed));
    let until = Instant::now() + LONG;
    let (mut cleared, mut told) = (0, 0);
    while cleared < CLEARS {
        ensure!(Instant::now() < until, "only {cleared} times");
        // Nobody else clears it: it is set until here, and then it is not.
        if !entries.holds(index).contains(Hold::Expired) {
            continue;
        }
        let another = cleared % 8 == 0;
        if another {
            maps.change_holds(index, failed, Holds::NONE, 0);
        }
        maps.change_holds(index, Holds::NONE, expired, 0);
        cleared += 1;
        let others = entries.holds(index).with(Hold::Expired, false);
        ensure!(others == if another { failed } else { Holds::NONE });
        maps.change_holds(index, Holds::NONE, failed, 0);
        if cleared % READ == 0 {
            told += expiries(&news(events));
        }
    }
    Ok((cleared, told))
}

/// Packets on one CPU and `other` on another one see a lease run out: one expiry is
/// told, one first packet past it.
fn deaths(
    world: &mut World,
    other: impl Fn(&Xdp, &Entries, &AtomicU64) -> Result<()> + Sync,
) -> Result<()> {
    world.prepare(&Before::entries(&[Entry::new(SECOND, FAMILY)]))?;
    let cpus = cpus()?;
    let gate = Gate::default();
    let told = AtomicU64::new(0);
    let (program, maps, events) = world.parts()?;
    let entries = maps.entries();
    thread::scope(|scope| {
        let players = [
            scope.spawn(|| gate.play(cpus[0], || flood(program, 0))),
            scope.spawn(|| gate.play(cpus[1], || other(program, &entries, &told))),
        ];
        let played = (1..=DEATHS).try_for_each(|round| {
            told.store(0, SeqCst);
            one_death(&gate, round, maps)?;
            let told = told.load(SeqCst);
            let news = news(events);
            let expired = expiries(&news);
            ensure!(
                expired + told == 1 && news.len() as u64 == expired + 1,
                "death {round}: told by the sender {told}, by the data path {news:?}"
            );
            Ok(())
        });
        gate.close();
        for player in players {
            player.join().expect("no panic")?;
        }
        played
    })
}

/// A lease that runs out while both sides are at work.
fn one_death(gate: &Gate, round: u64, maps: &mut KernelMaps) -> Result<()> {
    let index = FIRST.index(FAMILY);
    let interval = Duration::from_millis(1);
    let entry = Entry {
        answered: 97,
        interval,
        // The third one is two intervals old.
        timeout: 2 * interval + FUSE,
        ..Entry::new(FIRST, FAMILY)
    };
    let entries = maps.entries();
    maps.set_backend(index, &entry.backend(now_ns()));
    gate.go.store(round, SeqCst);
    wait(|| entries.passed_at(index) != 0).context("nothing went past it")?;
    sleep_until(now_ns() + u64::try_from(LINGER.as_nanos())?);
    gate.stop.store(round, SeqCst);
    wait(|| gate.done.load(SeqCst) == 2 * round)
}

/// Starts and stops the rounds of those who play.
#[derive(Default)]
struct Gate {
    /// The round that has begun, and the one that has ended.
    go: AtomicU64,
    stop: AtomicU64,
    /// How many rounds were ended by how many: a sum.
    done: AtomicU64,
}

impl Gate {
    /// Does `work` again and again, on one CPU.
    fn play(&self, cpu: usize, work: impl Fn() -> Result<()>) -> Result<()> {
        pin(cpu)?;
        let mut round = 1;
        loop {
            while self.go.load(SeqCst) < round {
                thread::yield_now();
            }
            while self.stop.load(SeqCst) < round {
                work()?;
            }
            if self.stop.load(SeqCst) == u64::MAX {
                return Ok(());
            }
            self.done.fetch_add(1, SeqCst);
            round += 1;
        }
    }

    /// There are no more rounds.
    fn close(&self) {
        self.stop.store(u64::MAX, SeqCst);
        self.go.store(u64::MAX, SeqCst);
    }
}

/// A frame for a service whose frames stay as they are but for the MACs. One a call: to
/// repeat it the kernel patches itself before and after, and waits for all CPUs.
fn flood(program: &Xdp, queue: u32) -> Result<()> {
    let client = at(FAMILY, 1, CLIENT, 40_000);
    let vip = at(FAMILY, 1, LEASED_DSR.vip, LEASED_DSR.port);
    let frame = Frame::new(Protocol::Udp, client, vip).bytes();
    let context = context(u32::try_from(frame.len())?, FRONT, queue);
    program.test_run(TestRunOptions {
        data_in: Some(&frame),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    })?;
    Ok(())
}

fn expiries(news: &[News]) -> u64 {
    let expired = |news: &&News| news.kind == NewsKind::Expired as u32;
    news.iter().filter(expired).count() as u64
}

fn wait(done: impl Fn() -> bool) -> Result<()> {
    let until = Instant::now() + LONG;
    while !done() {
        if Instant::now() > until {
            bail!("it takes more than {LONG:?}");
        }
        thread::sleep(Duration::from_micros(20));
    }
    Ok(())
}

/// Two of the CPUs we may use; the same one twice if there is no other.
pub(crate) fn cpus() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let first = cpus.next().context("no CPU")?;
    Ok([first, cpus.next().unwrap_or(first)])
}

pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
