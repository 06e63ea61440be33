//! Heartbeats: the one real-time thread that sends them to all backends, and sees
//! on their turn whose lease is over.
//!
//! ```text
//! pace (whose turn) -> leases (judge, next number) -> frame -> socket
//!                        |            \-> the entries in the BACKENDS map
//!                        \-> notices to the agent
//! ```
//!
//! The answers go to the data path, which notes them in the entries. When the
//! thread ends, and wherever it is killed, every lease stays as it is: nothing is
//! outstanding that was not sent.

mod beats;
mod frame;
mod leases;
mod pace;
mod rescue;
mod socket;

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use failover_common::News;
use nix::{
    sys::{prctl, time::TimeSpec},
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
};
use tokio::sync::mpsc::UnboundedSender;

pub use self::rescue::Rescue;

use self::{beats::Beats, leases::Leases, pace::WakeUp, socket::Socket};
use crate::{config, dataplane::kernel::Entries};

/// Longest sleep, nanoseconds: how long a drop waits for the thread.
const NAP: u64 = 50_000_000;

/// How long before a lease runs out the thread is awake: as long as it takes a sleeping
/// one to run, nearly always. Nanoseconds.
const VIGIL: u64 = 60_000;

/// Time from one vigil to the next, nanoseconds. Where answers take longer than an
/// interval, every turn has a lease that is about to run out.
const VIGILS: u64 = 10_000_000;

/// A backend that heartbeats are sent to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Index in the `BACKENDS` map.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// What it is sent, and when its lease is over.
    pub heartbeat: config::Heartbeat,
}

/// What the thread tells the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A lease is over, and this thread was the first to latch it: what the data
    /// path would put on the ring buffer.
    Expired(News),
    /// A backend that has expired was answered `rise` times in a row. Told again now and
    /// then as long as that and the hold are so: it may have expired anew unseen.
    Risen {
        /// Of the backend.
        index: u32,
    },
    /// After [`Notice::Risen`], before the hold was cleared: it is silent again.
    Fallen {
        /// Of the backend.
        index: u32,
    },
    /// Every lease behind an interface ran out at once, two or more of them, so that
    /// our own side may be at fault: none is judged until one is answered.
    Doubt {
        /// Of the interface.
        ifindex: u32,
        /// Or ends.
        begins: bool,
    },
    /// Something does not work as it should; one line, at most one a second and kind.
    Trouble(String),
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Sender {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Arms the leases of `targets` and starts the thread, in the network namespace
    /// of the calling thread.
    ///
    /// The channel is unbounded, because the thread must neither wait nor forget a
    /// death. What it tells is few: changes, and trouble at a bounded rate.
    ///
    /// # Errors
    ///
    /// No socket (it needs `CAP_NET_RAW`), no entropy or no thread.
    pub fn start(
        targets: &[Target],
        entries: Entries,
        rescue: Option<Rescue>,
        notices: UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        let socket = Socket::open()?;
        let tokens = tokens(targets.len())?;
        let now = now();
        let leases = Leases::arm(entries, targets, &tokens, now);
        let beats = Beats::new(leases, targets, &tokens, notices.clone(), rescue, now);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || run(beats, socket, &notices, &stopped))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

fn run(mut beats: Beats, mut socket: Socket, notices: &UnboundedSender<Notice>, stop: &AtomicBool) {
    if let Err(error) = socket::real_time() {
        let line = format!(
            "heartbeats are sent without real-time priority ({error}): on a busy host they and \
             the deaths they show may be late; give the agent CAP_SYS_NICE"
        );
        // Nobody listens: the agent ends.
        let _ = notices.send(Notice::Trouble(line));
    }
    if let Err(error) = socket::keep_in_memory() {
        let line = format!(
            "the agent's memory is not locked ({error}): where memory is short, heartbeats \
             may be late; give the agent CAP_IPC_LOCK"
        );
        let _ = notices.send(Notice::Trouble(line));
    }
    // Without real-time priority the kernel rounds wake-ups up by 50 us; with it,
    // this means nothing.
    let _ = prctl::set_timerslack(1);
    let mut vigil_after = 0;
    while !stop.load(Ordering::Relaxed) {
        let nap = WakeUp {
            at: now() + NAP,
            is_reminder: false,
        };
        let next = beats.next().filter(|next| next.at < nap.at).unwrap_or(nap);
        let planned = next.at;
        if next.is_reminder && planned >= vigil_after {
            vigil_after = planned + VIGILS;
            sleep_until(planned.saturating_sub(VIGIL));
            while now() < planned {
                std::hint::spin_loop();
            }
        } else {
            sleep_until(planned);
        }
        beats.wake(planned, &mut socket, &now);
    }
}

/// Unpredictable numbers: whoever does not see our heartbeats cannot answer them.
fn tokens(count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; count * size_of::<u64>()];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let (words, _) = bytes.as_chunks();
    Ok(words.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

/// A signal ends it early, which does no harm: a turn is due or not.
fn sleep_until(time: u64) {
    let seconds = i64::try_from(time / 1_000_000_000).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(time % 1_000_000_000).unwrap_or(0);
    let time = TimeSpec::new(seconds, nanoseconds);
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &time);
}

/// `CLOCK_MONOTONIC`, the clock of the data path, nanoseconds.
fn now() -> u64 {
    // It cannot fail with this clock on Linux.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    let word = |number: i64| u64::try_from(number).unwrap_or(0);
    word(time.tv_sec()) * 1_000_000_000 + word(time.tv_nsec())
}

#[cfg(test)]
mod tests;
