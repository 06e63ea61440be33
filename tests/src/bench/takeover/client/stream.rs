//! One connection that lasts, any number of requests under way on it; when it is
//! reset or closed, the client makes the next one at once, and when that is
//! refused, another when the next request is due.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::{Pace, Shared, parse};
use crate::takeover::seen::{Outcome, Request};
use lab::clock;

/// After it a request is lost, and with it the connection.
const DEADLINE_NS: u64 = 3_000_000_000;

/// While nothing is sent any more.
const TURN_NS: u64 = 10_000_000;

pub(super) fn run(to: SocketAddr, mut pace: Pace, shared: &Shared) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    let mut line = Line::begin(to)?;
    loop {
        let now = clock::now_ns();
        let stopped = shared.stopped();
        if stopped && line.waiting.is_empty() {
            return Ok(requests);
        }
        if line.is_hanging(now, &requests) {
            line = Line::begin(to)?;
        }
        if now >= pace.due_ns {
            if !stopped && line.connected {
                line.send(&mut requests, now);
            }
            pace.next(now);
        }
        let until = if stopped { now + TURN_NS } else { pace.due_ns };
        if !line.wait(until)? {
            continue;
        }
        let now = clock::now_ns();
        if let Err(outcome) = line.go_on(now, &mut requests, shared) {
            line.lose(outcome, &mut requests);
            if outcome == Outcome::Refused {
                clock::sleep_until(pace.due_ns);
            }
            line = Line::begin(to)?;
        }
    }
}

/// The connection.
struct Line {
    socket: Socket,
    begun_ns: u64,
    connected: bool,
    /// How long it took to be made, until a request has taken it into its record.
    connect_ns: Option<u64>,
    /// The requests that have no answer yet, the oldest first.
    waiting: VecDeque<usize>,
    /// What has come of the next answer.
    answer: Vec<u8>,
}

impl Line {
    fn begin(to: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let begun_ns = clock::now_ns();
        // Whatever comes of it, the socket will say so.
        let _begun = socket.connect(&to.into());
        Ok(Self {
            socket,
            begun_ns,
            connected: false,
            connect_ns: None,
            waiting: VecDeque::new(),
            answer: Vec::new(),
        })
    }

    fn is_hanging(&self, now: u64, requests: &[Request]) -> bool {
        let since = match self.waiting.front() {
            Some(&oldest) => requests[oldest].sent_ns,
            None if self.connected => return false,
            None => self.begun_ns,
        };
        now.saturating_sub(since) > DEADLINE_NS
    }

    fn send(&mut self, requests: &mut Vec<Request>, now: u64) {
        let number = requests.len();
        // What cannot be sent whole is not sent: then the connection is about to
        // fail or to hang.
        if self
            .socket
            .write_all(format!("{number}\n").as_bytes())
            .is_ok()
        {
            self.waiting.push_back(number);
            requests.push(Request {
                sent_ns: now,
                connect_ns: self.connect_ns.take(),
                outcome: Outcome::Unanswered,
            });
        }
    }

    /// Whether something has happened by then.
    fn wait(&self, until_ns: u64) -> Result<bool> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.connected);
        let mut ready = [PollFd::new(self.socket.as_fd(), events)];
        let left = until_ns.saturating_sub(clock::now_ns());
        match ppoll(
            &mut ready,
            Some(TimeSpec::from(Duration::from_nanos(left))),
            None,
        ) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Does what can be done without waiting. Fails with what that is for the
    /// requests under way.
    fn go_on(
        &mut self,
        now: u64,
        requests: &mut [Request],
        shared: &Shared,
    ) -> Result<(), Outcome> {
        if !self.connected {
            if !matches!(self.socket.take_error(), Ok(None)) || self.socket.peer_addr().is_err() {
                return Err(Outcome::Refused);
            }
            self.connected = true;
            self.connect_ns = Some(now - self.begun_ns);
        }
        let closed = self.read().is_err();
        while let Some(end) = self.answer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<_> = self.answer.drain(..=end).collect();
            // In the order of the requests: it is one connection.
            if let Some((host, number)) = parse(&line)
                && self.waiting.front() == Some(&number)
            {
                self.waiting.pop_front();
                requests[number].outcome = shared.answered(now, host);
            }
        }
        if closed { Err(Outcome::Reset) } else { Ok(()) }
    }

    /// Reads what there is. Fails once the connection is over.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// It is over: writes down what became of its requests. A connection that was
    /// refused was a request of its own.
    fn lose(&mut self, outcome: Outcome, requests: &mut Vec<Request>) {
        for number in self.waiting.drain(..) {
            requests[number].outcome = outcome;
        }
        if outcome == Outcome::Refused {
            requests.push(Request {
                sent_ns: self.begun_ns,
                connect_ns: None,
                outcome,
            });
        }
    }
}
