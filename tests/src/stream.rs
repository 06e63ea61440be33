//! Steady traffic from a host, in threads of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{http_get_here, unspecified};
use crate::clock;
use crate::host::Host;
use crate::machine;
use crate::record::{Answer, Record, Request};

/// Answers that come this much after the last request still count.
const LATE: Duration = Duration::from_millis(500);

/// How often a thread that waits for an answer looks whether it should end.
const TURN: Duration = Duration::from_millis(20);

/// A running stream. [`Stream::stop`] gives what it saw; a dropped one ends too.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    /// Gives the whole record in the end.
    thread: Option<JoinHandle<Record>>,
}

/// Where a running stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests sent so far.
    pub sent: usize,
    /// Requests answered so far.
    pub answered: usize,
    /// The host that gave the newest answer.
    pub serving: Option<Arc<str>>,
    /// How long nobody had answered when `serving` gave its first answer,
    /// nanoseconds. 0 for the first host of all.
    pub handover_ns: u64,
    /// The longest time between two answers so far, nanoseconds.
    pub longest_silence_ns: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// `sent` will not change any more.
    all_sent: AtomicBool,
    sent: AtomicUsize,
    answered: AtomicUsize,
    /// When the newest answer arrived; 0: none has.
    newest_ns: AtomicU64,
    longest_silence_ns: AtomicU64,
    /// The host, and its [`Progress::handover_ns`].
    serving: Mutex<(Option<Arc<str>>, u64)>,
}

impl Stream {
    /// Sends `rate` datagrams a second, each with its sequence number, to a
    /// server that answers `<host name> <sequence number>`.
    pub fn udp(from: &Host, to: SocketAddr, rate: u32) -> Result<Self> {
        ensure!(rate > 0, "a stream needs a rate above 0");
        // Not connected, so that an ICMP error for one request cannot fail the
        // sending of the next one.
        let socket = from.run(|| UdpSocket::bind(unspecified(to)))?;
        socket.set_read_timeout(Some(TURN))?;
        let inbound = socket.try_clone()?;
        Ok(Self::start(from, move |shared| {
            let receiver = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || receive(&inbound, to, &shared))
            };
            let sent = send(&socket, to, rate, &shared);
            let answers = receiver.join().unwrap_or_default();
            merge(sent, answers)
        }))
    }

    /// Sends `rate` HTTP requests a second, one after another, each over its own
    /// connection and each given up after `timeout`. While one takes longer than
    /// its turn, the turns it missed are left out.
    pub fn http(from: &Host, to: SocketAddr, rate: u32, timeout: Duration) -> Result<Self> {
        ensure!(rate > 0, "a stream needs a rate above 0");
        Ok(Self::start(from, move |shared| {
            request(to, rate, timeout, &shared)
        }))
    }

    /// How far it is. Cheap; the demo asks many times a second.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let serving = self.shared.serving.lock();
        let (serving, handover_ns) = serving.unwrap_or_else(PoisonError::into_inner).clone();
        Progress {
            sent: self.shared.sent.load(Ordering::Relaxed),
            answered: self.shared.answered.load(Ordering::Relaxed),
            serving,
            handover_ns,
            longest_silence_ns: self.shared.longest_silence_ns.load(Ordering::Relaxed),
        }
    }

    /// Ends it, waits up to half a second for late answers, and returns what it
    /// saw.
    #[must_use]
    pub fn stop(mut self) -> Record {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_default()
    }

    /// [`Stream::stop`] after a while.
    #[must_use]
    pub fn run_for(self, duration: Duration) -> Record {
        thread::sleep(duration);
        self.stop()
    }

    fn start(from: &Host, work: impl FnOnce(Arc<Shared>) -> Record + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = from.namespace().spawn(move || {
            machine::prefer_this_thread();
            work(for_thread)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts an answer. The lock is taken only when the host is another one.
    fn answered_by(&self, name: &str, at_ns: u64, last: &mut Option<Arc<str>>) -> Arc<str> {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let silence = match self.newest_ns.swap(at_ns, Ordering::Relaxed) {
            0 => 0,
            newest => at_ns.saturating_sub(newest),
        };
        self.longest_silence_ns
            .fetch_max(silence, Ordering::Relaxed);
        if let Some(host) = last
            && **host == *name
        {
            return Arc::clone(host);
        }
        let host: Arc<str> = name.into();
        *last = Some(Arc::clone(&host));
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) =
            (Some(Arc::clone(&host)), silence);
        host
    }
}

/// The sender: returns when each request was sent.
fn send(socket: &UdpSocket, to: SocketAddr, rate: u32, shared: &Shared) -> Vec<u64> {
    let interval = interval_ns(rate);
    let mut sent = Vec::new();
    let mut due = clock::now_ns();
    while !shared.stopped() {
        let payload = sent.len().to_string();
        sent.push(clock::now_ns());
        // A request that could not be sent counts as lost, like one on its way.
        let _sent = socket.send_to(payload.as_bytes(), to);
        shared.sent.store(sent.len(), Ordering::Relaxed);
        due += interval;
        clock::sleep_until(due);
    }
    shared.all_sent.store(true, Ordering::Release);
    sent
}

/// The receiver: returns the answers with their sequence numbers.
fn receive(socket: &UdpSocket, from: SocketAddr, shared: &Shared) -> Vec<(usize, Answer)> {
    let mut answers = Vec::new();
    let mut last = None;
    let mut buffer = [0; 2048];
    let mut give_up = None;
    loop {
        let received = socket.recv_from(&mut buffer);
        let at_ns = clock::now_ns();
        if let Ok((length, source)) = received
            && source == from
            && let Some((host, sequence)) = parse(&buffer[..length])
        {
            let host = shared.answered_by(host, at_ns, &mut last);
            answers.push((sequence, Answer { at_ns, host }));
        }
        if shared.all_sent.load(Ordering::Acquire) {
            let late = u64::try_from(LATE.as_nanos()).unwrap_or(u64::MAX);
            let give_up = *give_up.get_or_insert(at_ns + late);
            let complete = answers.len() >= shared.sent.load(Ordering::Relaxed);
            if complete || at_ns >= give_up {
                return answers;
            }
        }
    }
}

fn parse(datagram: &[u8]) -> Option<(&str, usize)> {
    let (host, sequence) = std::str::from_utf8(datagram).ok()?.split_once(' ')?;
    Some((host, sequence.parse().ok()?))
}

fn merge(sent: Vec<u64>, answers: Vec<(usize, Answer)>) -> Record {
    let request = |(sequence, sent_ns)| Request {
        sequence,
        sent_ns,
        answer: None,
    };
    let mut requests: Vec<_> = sent.into_iter().enumerate().map(request).collect();
    for (sequence, answer) in answers {
        if let Some(request) = requests.get_mut(sequence) {
            // The first one counts.
            request.answer.get_or_insert(answer);
        }
    }
    Record { requests }
}

fn request(to: SocketAddr, rate: u32, timeout: Duration, shared: &Shared) -> Record {
    let interval = interval_ns(rate);
    let mut requests = Vec::new();
    let mut last = None;
    let mut due = clock::now_ns();
    while !shared.stopped() {
        let sent_ns = clock::now_ns();
        shared.sent.fetch_add(1, Ordering::Relaxed);
        let result = http_get_here(to, "/", timeout);
        let at_ns = clock::now_ns();
        let answer = result.ok().map(|name| Answer {
            at_ns,
            host: shared.answered_by(&name, at_ns, &mut last),
        });
        requests.push(Request {
            sequence: requests.len(),
            sent_ns,
            answer,
        });
        let missed = at_ns.saturating_sub(due) / interval;
        due += interval * (missed + 1);
        clock::sleep_until(due);
    }
    Record { requests }
}

fn interval_ns(rate: u32) -> u64 {
    1_000_000_000 / u64::from(rate)
}
