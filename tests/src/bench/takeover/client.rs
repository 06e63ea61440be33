//! The client: steady requests from a thread of its own, each with its outcome.
//!
//! Nothing that hangs may stop the stream, so there is one thread and no blocking
//! call in it. It wakes for every request at a real-time priority but does not
//! spin: the lab's hosts need the processors too.

mod stamp;
mod stream;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::ValueEnum;
use lab::server::Protocol;
use lab::{clock, machine};

use super::seen::{Host, Outcome, Request};

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Traffic {
    /// Datagrams.
    Udp,
    /// A connection for each request.
    Tcp,
    /// One connection for all of them, and another when it breaks.
    Stream,
}

impl Traffic {
    pub(super) const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Stream];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Stream => "stream",
        }
    }

    /// What its service is for.
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Udp => Protocol::Udp,
            Self::Tcp | Self::Stream => Protocol::Tcp,
        }
    }
}

/// A running client. One that is dropped ends as well.
pub(super) struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Vec<Request>>>>,
}

/// Where it is.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Answers so far.
    primary: AtomicU64,
    standby: AtomicU64,
}

impl Client {
    /// Sends `rate` requests a second from a host until it is stopped. A turn
    /// that it misses because it was not scheduled is left out.
    pub(super) fn start(
        from: &lab::Host,
        to: SocketAddr,
        traffic: Traffic,
        rate: u32,
    ) -> Result<Self> {
        ensure!(rate > 0, "a client needs a rate above 0");
        let shared = Arc::new(Shared::default());
        let pace = Pace::new(rate);
        let for_thread = Arc::clone(&shared);
        let thread = from.namespace().spawn(move || {
            machine::prefer_this_thread();
            match traffic {
                Traffic::Udp => udp::run(to, pace, &for_thread),
                Traffic::Tcp => tcp::run(to, pace, &for_thread),
                Traffic::Stream => stream::run(to, pace, &for_thread),
            }
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Answers by a host so far.
    pub(super) fn answers_by(&self, host: Host) -> u64 {
        self.shared.answers(host).load(Ordering::Relaxed)
    }

    /// Sends nothing more, waits until every request has its outcome, and returns
    /// them in the order in which they were sent.
    pub(super) fn stop(mut self) -> Result<Vec<Request>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the client has been stopped")?;
        thread
            .join()
            .map_err(|_panic| anyhow!("the client panicked"))?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn answers(&self, host: Host) -> &AtomicU64 {
        match host {
            Host::Primary => &self.primary,
            Host::Standby => &self.standby,
        }
    }

    /// Counts an answer.
    fn answered(&self, at_ns: u64, by: Host) -> Outcome {
        self.answers(by).fetch_add(1, Ordering::Relaxed);
        Outcome::Answered { at_ns, by }
    }
}

/// When requests are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    interval_ns: u64,
    due_ns: u64,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self {
            interval_ns: 1_000_000_000 / u64::from(rate),
            due_ns: clock::now_ns(),
        }
    }

    /// Goes on to the first turn after `now`.
    fn next(&mut self, now: u64) {
        let missed = now.saturating_sub(self.due_ns) / self.interval_ns;
        self.due_ns += self.interval_ns * (missed + 1);
    }
}

/// The host in `<host name> <request>`, and the request.
fn parse(answer: &[u8]) -> Option<(Host, usize)> {
    let (host, sequence) = std::str::from_utf8(answer).ok()?.split_once(' ')?;
    Some((Host::named(host)?, sequence.trim_end().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_turns_are_left_out() {
        for (now, due_ns) in [
            (90, 200),
            (100, 200),
            (199, 200),
            (200, 300),
            (1_050, 1_100),
        ] {
            let mut pace = Pace {
                interval_ns: 100,
                due_ns: 100,
            };
            pace.next(now);
            assert_eq!(pace.due_ns, due_ns, "at {now}");
        }
    }

    #[test]
    fn answers() {
        for (answer, expected) in [
            ("primary 17", Some((Host::Primary, 17))),
            ("standby 0\n", Some((Host::Standby, 0))),
            ("third 1", None),
            ("primary", None),
            ("primary x", None),
        ] {
            assert_eq!(parse(answer.as_bytes()), expected, "{answer}");
        }
    }
}
