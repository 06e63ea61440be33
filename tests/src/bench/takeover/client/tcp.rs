//! A connection for each request, any number of them under way: one that hangs
//! holds up no other.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSliceMut, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::stamp::Stamps;
use super::{Pace, Shared, parse};
use crate::takeover::seen::{Outcome, Request};
use lab::clock;

/// After it a request is lost. Longer than the kernel needs to send a SYN again,
/// which is a second, so that this is seen as what it is.
const DEADLINE: Duration = Duration::from_secs(3);

/// How many events are taken at once.
const EVENTS: usize = 64;

/// File descriptors that are not for connections.
const OTHER_FILES: u64 = 100;

pub(super) fn run(to: SocketAddr, mut pace: Pace, shared: &Shared) -> Result<Vec<Request>> {
    let mut connections = Connections {
        to,
        shared,
        stamps: Stamps::new()?,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        most: usize::try_from(files()?.saturating_sub(OTHER_FILES))?,
        requests: Vec::new(),
        open: BTreeMap::new(),
    };
    let deadline_ns = u64::try_from(DEADLINE.as_nanos())?;
    loop {
        let stopped = shared.stopped();
        let now = clock::now_ns();
        connections.give_up_before(now.saturating_sub(deadline_ns));
        if stopped && connections.open.is_empty() {
            return Ok(connections.requests);
        }
        if !stopped && now >= pace.due_ns {
            connections.begin()?;
            pace.next(now);
        }
        let until = if stopped {
            now + 10_000_000
        } else {
            pace.due_ns
        };
        connections.wait(until)?;
    }
}

struct Connections<'a> {
    to: SocketAddr,
    shared: &'a Shared,
    stamps: Stamps,
    epoll: Epoll,
    /// That may be open at once.
    most: usize,
    requests: Vec<Request>,
    /// By their requests' place in `requests`.
    open: BTreeMap<usize, Connection>,
}

struct Connection {
    socket: Socket,
    connected: bool,
    answer: Vec<u8>,
    stamps: Stamps,
}

impl Connections<'_> {
    /// Begins the next request, unless too many are under way.
    fn begin(&mut self) -> Result<()> {
        if self.open.len() >= self.most {
            return Ok(());
        }
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        Stamps::turn_on(&socket)?;
        let number = self.requests.len();
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll
            .add(&socket, EpollEvent::new(events, u64::try_from(number)?))?;
        let mut request = Request {
            sent_ns: clock::now_ns(),
            connect_ns: None,
            outcome: Outcome::Unanswered,
        };
        match socket.connect(&self.to.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                request.outcome = Outcome::Refused;
            }
            _ => {
                let connection = Connection {
                    socket,
                    connected: false,
                    answer: Vec::new(),
                    stamps: self.stamps,
                };
                self.open.insert(number, connection);
            }
        }
        self.requests.push(request);
        Ok(())
    }

    /// Handles what happens until then, and returns after the first of it.
    fn wait(&mut self, until_ns: u64) -> Result<()> {
        let mut ready = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        let left = until_ns.saturating_sub(clock::now_ns());
        let left = TimeSpec::from(Duration::from_nanos(left));
        match ppoll(&mut ready, Some(left), None) {
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let now = clock::now_ns();
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..count] {
            let number = usize::try_from(event.data())?;
            if let Some(connection) = self.open.get_mut(&number) {
                let request = &mut self.requests[number];
                if let Some(outcome) = connection.go_on(number, now, request, self.shared) {
                    request.outcome = outcome;
                    self.open.remove(&number);
                }
            }
        }
        Ok(())
    }

    /// Those that were begun before then and are still open are lost.
    fn give_up_before(&mut self, begun_ns: u64) {
        while let Some(oldest) = self.open.first_entry() {
            if self.requests[*oldest.key()].sent_ns >= begun_ns {
                return;
            }
            oldest.remove();
        }
    }
}

impl Connection {
    /// Does what can be done without waiting; the outcome, once there is one.
    fn go_on(
        &mut self,
        number: usize,
        now: u64,
        request: &mut Request,
        shared: &Shared,
    ) -> Option<Outcome> {
        if !self.connected {
            match self.socket.take_error() {
                Ok(None) => {}
                Ok(Some(error)) if error.kind() == ErrorKind::ConnectionReset => {
                    return Some(Outcome::Reset);
                }
                _ => return Some(Outcome::Refused),
            }
            // The event may be an early one: not connected yet.
            if self.socket.peer_addr().is_err() {
                return None;
            }
            self.connected = true;
            request.connect_ns = Some(now - request.sent_ns);
            if self
                .socket
                .write_all(format!("{number}\n").as_bytes())
                .is_err()
            {
                return Some(Outcome::Reset);
            }
        }
        match self.read() {
            Ok(Some(at_ns)) => Some(match parse(&self.answer) {
                Some((host, echoed)) if echoed == number => shared.answered(at_ns, host),
                _ => Outcome::Reset,
            }),
            Ok(None) => None,
            Err(_) => Some(Outcome::Reset),
        }
    }

    /// When the line was complete, if it is.
    fn read(&mut self) -> Result<Option<u64>> {
        let mut buffer = [0; 64];
        let mut space = nix::cmsg_space!(TimeSpec);
        loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::MSG_DONTWAIT,
            );
            let message = match received {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let length = message.bytes;
            ensure!(length > 0, "the end comes before the end of the line");
            let at_ns = self.stamps.arrival(&message)?;
            self.answer.extend_from_slice(&buffer[..length]);
            if self.answer.ends_with(b"\n") {
                return Ok(Some(at_ns));
            }
        }
    }
}

/// As many as this process may have open, after asking for more.
fn files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
