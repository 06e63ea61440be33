//! One datagram a request, all from one socket.
//!
//! The kernel stamps the answers when they arrive. So the thread need not wake
//! for them, and its own delay, some tens of microseconds, is not part of the
//! result.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::{Pace, Shared, parse};
use crate::takeover::seen::{Outcome, Request};
use lab::clock;

/// Answers that come this much after the last request still count.
const LATE: Duration = Duration::from_millis(100);

/// Bytes: the answers of a second, in case the thread does not run for a while.
const BUFFER: usize = 16 << 20;

pub(super) fn run(to: SocketAddr, mut pace: Pace, shared: &Shared) -> Result<Vec<Request>> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // Not connected, so that an ICMP error for one request cannot fail another.
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    let mut inbox = Inbox {
        socket: &socket,
        from: to,
        realtime_ahead_ns: realtime_ahead_ns()?,
        space: nix::cmsg_space!(TimeSpec),
    };

    let mut requests = Vec::new();
    while !shared.stopped() {
        clock::sleep_until(pace.due_ns);
        let payload = requests.len().to_string();
        let now = clock::now_ns();
        requests.push(Request {
            sent_ns: now,
            connect_ns: None,
            outcome: Outcome::Unanswered,
        });
        // One that could not be sent counts as lost, like one on its way.
        let _sent = socket.send_to(payload.as_bytes(), to);
        pace.next(now);
        inbox.drain(&mut requests, shared)?;
    }
    let end = clock::now_ns() + u64::try_from(LATE.as_nanos())?;
    while clock::now_ns() < end {
        std::thread::sleep(Duration::from_millis(1));
        inbox.drain(&mut requests, shared)?;
    }
    Ok(requests)
}

struct Inbox<'a> {
    socket: &'a UdpSocket,
    from: SocketAddr,
    /// What has to be taken off the kernel's stamps, which are wall-clock time.
    realtime_ahead_ns: i128,
    /// For the stamp.
    space: Vec<u8>,
}

impl Inbox<'_> {
    /// Takes the answers that have come.
    fn drain(&mut self, requests: &mut [Request], shared: &Shared) -> Result<()> {
        let mut buffer = [0; 128];
        loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut self.space),
                MsgFlags::MSG_DONTWAIT,
            );
            let message = match received {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(()),
                // Errors of earlier datagrams.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::EINTR) => continue,
                Err(error) => return Err(error).context("cannot receive"),
            };
            let length = message.bytes;
            let ours = message.address.is_some_and(|source| is(&source, self.from));
            let stamp = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(nanoseconds(stamp)),
                _ => None,
            });
            let at_ns = match stamp {
                Some(stamp) => u64::try_from(stamp - self.realtime_ahead_ns)?,
                // The switch that makes the kernel stamp takes effect a moment
                // after it is set.
                None => clock::now_ns(),
            };
            if ours
                && let Some((host, sequence)) = parse(&buffer[..length])
                && let Some(request) = requests.get_mut(sequence)
                // The first one counts.
                && request.outcome == Outcome::Unanswered
            {
                request.outcome = shared.answered(at_ns, host);
            }
        }
    }
}

fn is(source: &SockaddrStorage, wanted: SocketAddr) -> bool {
    *source == SockaddrStorage::from(wanted)
}

/// How far the wall clock is ahead of [`clock`]: of a few readings the one that
/// was disturbed least.
fn realtime_ahead_ns() -> Result<i128> {
    let mut best = None;
    for _ in 0..16 {
        let before = clock::now_ns();
        let realtime = nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME)?);
        let took = clock::now_ns() - before;
        if best.is_none_or(|(least, _)| took < least) {
            best = Some((took, realtime - i128::from(before + took / 2)));
        }
    }
    best.map(|(_, ahead)| ahead).context("no clock")
}

fn nanoseconds(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}
