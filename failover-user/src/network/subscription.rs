//! The socket that the kernel's events arrive on.
//!
//! Read by hand and not by rtnetlink's connection: that one moves events to a
//! channel without bound, and after an overrun it matters that the old events
//! are read before everything is read anew.

use std::io;

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Error, decode, state::Event};

/// Room for one datagram. The kernel's events are 4 KiB and less, and a dump
/// does not arrive here.
const DATAGRAM: usize = 64 * 1024;

/// Room for events that nobody read yet, bytes as the kernel counts: about a
/// thousand of them.
const QUEUE: usize = 1024 * 1024;

const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

/// What was read.
#[derive(Debug)]
pub(super) enum Read {
    /// One datagram's events, perhaps none.
    Events(Vec<Event>),
    /// The queue was full and the kernel threw events away. Older ones are
    /// still to be read.
    Overrun,
}

/// The socket.
pub(super) struct Subscription {
    socket: AsyncFd<Socket>,
    buffer: Box<[u8]>,
}

impl Subscription {
    /// Subscribes; from now on no event is missed without an [`Read::Overrun`].
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: open().map_err(Error::Open)?,
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
        })
    }

    /// What there is to read at this moment, if anything.
    pub(super) fn try_next(&mut self) -> Result<Option<Read>, Error> {
        match self.socket.get_ref().recv_from(&mut &mut *self.buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => self.read(result).map(Some),
        }
    }

    /// Waits for something to read. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Read, Error> {
        loop {
            let mut guard = self.socket.readable().await.map_err(Error::Read)?;
            let buffer = &mut self.buffer;
            let result = guard.try_io(|socket| socket.get_ref().recv_from(&mut &mut **buffer, 0));
            if let Ok(result) = result {
                return self.read(result);
            }
        }
    }

    fn read(&self, result: io::Result<(usize, SocketAddr)>) -> Result<Read, Error> {
        match result {
            // Only port 0 is the kernel; anyone may send to us.
            Ok((length, from)) if from.port_number() == 0 => {
                let datagram = self.buffer.get(..length).unwrap_or(&self.buffer);
                Ok(Read::Events(events(datagram)))
            }
            Ok(_) => Ok(Read::Events(Vec::new())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Ok(Read::Events(Vec::new()))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Read::Overrun),
            Err(error) => Err(Error::Read(error)),
        }
    }
}

fn open() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    setsockopt(&socket, RcvBufForce, &QUEUE)?;
    socket.bind_auto()?;
    for group in GROUPS {
        socket.add_membership(group as u32)?;
    }
    // SAFETY: `Socket` owns its descriptor, and nobody replaces or closes it while
    // the `AsyncFd` owns the `Socket`.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// The events of a datagram: messages, each of its length in its first word,
/// padded to four bytes. It ends where a message does not make sense.
pub(super) fn events(mut datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(length) = datagram
        .first_chunk()
        .map(|length| u32::from_ne_bytes(*length))
    {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = datagram
            .get(..length)
            .filter(|message| message.len() >= HEADER)
        else {
            break;
        };
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
            Ok(message) => {
                if let NetlinkPayload::InnerMessage(message) = message.payload {
                    events.extend(decode::event(&message));
                }
            }
            // Of a kind that the crate does not know (a next hop object), or
            // newer than it: whatever it is, routes may have changed.
            Err(error) => {
                log::debug!("netlink event not understood: {error}");
                events.push(Event::Routes);
            }
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    events
}

/// `struct nlmsghdr`, bytes.
const HEADER: usize = 16;
