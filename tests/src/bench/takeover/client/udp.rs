//! One datagram a request, all from one socket.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::stamp::Stamps;
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
    Stamps::turn_on(&socket)?;
    let mut inbox = Inbox {
        socket: &socket,
        from: to,
        stamps: Stamps::new()?,
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
    stamps: Stamps,
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
            let at_ns = self.stamps.arrival(&message)?;
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
