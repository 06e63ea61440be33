//! Health checks: one task a backend and check.
//!
//! A [`Prober`] owns the pace of its check and nothing else; what an outcome
//! means is for `health` to say. Cancelling its task drops the probe in flight
//! and closes that probe's socket; no report is cut in half.

mod http;
pub mod icmp;
mod tcp;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use nix::libc;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::config::{Check, CheckKind};

/// Depth of the channel of reports. A thousand backends with one check each can
/// report at the same instant without waiting. When it is full a prober waits
/// for room and probes late: an agent that cannot keep up gets fewer reports,
/// never a gap in them.
pub const REPORTS: usize = 1024;

/// The first probe goes out within this, so that an agent knows the state of
/// its backends soon after it started.
const FIRST: Duration = Duration::from_millis(50);

/// A timer that fires later than this was kept waiting by our own process. Ten
/// times the resolution of a tokio timer (1 ms).
const LATE: Duration = Duration::from_millis(10);

/// How long to look for an answer that came while our own process slept.
const GRACE: Duration = Duration::from_millis(5);

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered as it should.
    Pass,
    /// It answered otherwise, or the kernel said that it cannot be reached: why.
    Fail(String),
    /// It did not answer in time.
    Timeout,
}

/// One outcome, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Index of the backend, as given to [`Prober::new`].
    pub backend: usize,
    /// Index of the check, as given to [`Prober::new`].
    pub check: usize,
    /// What the probe found.
    pub outcome: Outcome,
    /// When it was known.
    pub at: std::time::Instant,
    /// How long the probe took.
    pub took: Duration,
}

/// The task that runs one check of one backend.
#[derive(Debug)]
pub struct Prober {
    backend: usize,
    check: usize,
    address: IpAddr,
    config: Check,
    reports: mpsc::Sender<Report>,
    icmp: icmp::Icmp,
}

impl Prober {
    /// A prober of `config` for the backend at `address`; `backend` and `check`
    /// come back in its reports.
    #[must_use]
    pub fn new(
        backend: usize,
        check: usize,
        address: IpAddr,
        config: Check,
        reports: mpsc::Sender<Report>,
        icmp: icmp::Icmp,
    ) -> Self {
        Self {
            backend,
            check,
            address,
            config,
            reports,
            icmp,
        }
    }

    /// Probes until nobody listens to the reports any more.
    ///
    /// A probe whose failure is our own (no file descriptor, no memory, a
    /// stalled process) is not reported: it says nothing about the backend.
    pub async fn run(self) {
        let mut due = Instant::now() + share(self.config.interval.min(FIRST));
        loop {
            sleep_until(due).await;
            let start = Instant::now();
            let outcome = bounded(self.probe(), self.config.timeout).await;
            let now = Instant::now();

            match outcome {
                Ok(outcome) => {
                    let report = Report {
                        backend: self.backend,
                        check: self.check,
                        outcome,
                        at: now.into_std(),
                        took: now - start,
                    };
                    if self.reports.send(report).await.is_err() {
                        return;
                    }
                }
                Err(error) => log::warn!("check of {}: no verdict: {error}", self.address),
            }
            due = next(due, Instant::now(), self.config.interval);
        }
    }

    async fn probe(&self) -> Result<Outcome, NoVerdict> {
        match &self.config.kind {
            CheckKind::Icmp => self.icmp.probe(self.address).await,
            CheckKind::Tcp { port } => tcp::probe(SocketAddr::new(self.address, *port)).await,
            CheckKind::Http { port, path } => {
                http::probe(SocketAddr::new(self.address, *port), path).await
            }
        }
    }
}

/// Why a probe says nothing about the backend.
#[derive(Debug, thiserror::Error)]
enum NoVerdict {
    #[error("this host could not probe")]
    Host(#[source] io::Error),
    #[error("the agent was stalled for {0:?}")]
    Stalled(Duration),
}

/// Runs one probe for at most `limit`.
async fn bounded(
    probe: impl Future<Output = Result<Outcome, NoVerdict>>,
    limit: Duration,
) -> Result<Outcome, NoVerdict> {
    let mut probe = pin!(probe);
    let deadline = Instant::now() + limit;
    if let Ok(outcome) = timeout_at(deadline, probe.as_mut()).await {
        return outcome;
    }
    let late = deadline.elapsed();
    if late < LATE {
        return Ok(Outcome::Timeout);
    }
    // We were not scheduled in time. The answer may be in the socket already.
    if let Ok(outcome) = timeout(GRACE, probe).await {
        return outcome;
    }
    // A stalled agent must not kill a healthy backend. After a long stall
    // nobody knows how much of the time belonged to the backend: a handshake
    // that needed us for its second step did not have us.
    if late > limit {
        return Err(NoVerdict::Stalled(late));
    }
    Ok(Outcome::Timeout)
}

/// When the probe after the one at `due` goes out: an interval later, less a
/// random share of up to 10 %, so that a thousand probers that started together
/// do not march in step. What is already past is skipped: one probe at once,
/// never a burst to catch up.
fn next(due: Instant, now: Instant, interval: Duration) -> Instant {
    now.max(due + interval - share(interval / 10))
}

/// A random part of `whole`.
fn share(whole: Duration) -> Duration {
    whole.mul_f64(fastrand::f64())
}

/// What an error of a socket says about the backend.
fn judge(error: io::Error) -> Result<Outcome, NoVerdict> {
    match error.raw_os_error() {
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOMEM
            | libc::ENOBUFS
            | libc::EAGAIN
            | libc::EADDRNOTAVAIL,
        ) => Err(NoVerdict::Host(error)),
        // The kernel gave up before we did.
        Some(libc::ETIMEDOUT) => Ok(Outcome::Timeout),
        _ => Ok(Outcome::Fail(reason(&error))),
    }
}

/// A short lowercase reason: "connection refused", not "Connection refused (os
/// error 111)".
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}
