//! ICMP echo, IPv4 and IPv6: the host is there.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};

use super::{NoVerdict, Outcome, judge};

/// What an echo carries: who asks, for whoever reads a packet capture.
const PAYLOAD: &[u8] = b"failover";

/// ICMP of IPv4 (RFC 792): echo reply, destination unreachable, time exceeded.
const TYPES_V4: [u8; 3] = [0, 3, 11];
/// ICMP of IPv6 (RFC 4443): destination unreachable, packet too big, time
/// exceeded, echo reply.
const TYPES_V6: [u8; 4] = [1, 2, 3, 129];

/// Room for answers that nobody read yet, bytes as the kernel counts: 5,000 of
/// about 800. The default has room for 250, which a stall of the agent with a
/// thousand backends overflows; each answer lost so is a backend called dead.
const QUEUE: usize = 4 * 1024 * 1024;

/// `ICMP_FILTER` of `linux/icmp.h`: a bit set is a type that is not delivered.
const ICMP_FILTER: libc::c_int = 1;
/// `ICMPV6_FILTER` of `linux/icmpv6.h`, likewise.
const ICMPV6_FILTER: libc::c_int = 1;

/// The sockets that all ICMP probes share, one a family, and the tasks that
/// read them. They end when the last clone is dropped.
#[derive(Clone)]
pub struct Icmp {
    v4: Option<Client>,
    v6: Option<Client>,
}

/// No socket for ICMP.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a socket for icmp")]
pub struct OpenError(#[source] io::Error);

impl Icmp {
    /// Opens the sockets in the network namespace of the calling thread; needs
    /// `CAP_NET_RAW` and `CAP_NET_ADMIN`, and a tokio runtime to read them in. A host without one of
    /// the families is no error: the probes of that family fail.
    pub fn open() -> Result<Self, OpenError> {
        Ok(Self {
            v4: open(ICMP::V4).map_err(OpenError)?,
            v6: open(ICMP::V6).map_err(OpenError)?,
        })
    }

    /// Sends one echo and waits for its answer, without limit.
    pub(super) async fn probe(&self, to: IpAddr) -> Result<Outcome, NoVerdict> {
        let client = match to {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let Some(client) = client else {
            return Ok(Outcome::Fail(
                "this host does not speak the address family".into(),
            ));
        };
        // Fresh numbers for every echo: nobody who does not see our packets can
        // answer for a dead backend, and no late answer is taken for a new one.
        let (ident, sequence) = (fastrand::u16(..), fastrand::u16(..));
        let mut pinger = client.pinger(to, PingIdentifier(ident)).await;
        // The crate's own limit is 2 s; the caller has a better one.
        pinger.timeout(Duration::MAX);
        match pinger.ping(PingSequence(sequence), PAYLOAD).await {
            Ok((packet, _)) => Ok(verdict(&packet)),
            Err(SurgeError::IOError(error)) => judge(error),
            // Ours: another probe drew the same numbers, or the client is gone.
            Err(error) => Err(NoVerdict::Host(io::Error::other(error))),
        }
    }
}

impl std::fmt::Debug for Icmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { v4, v6 } = self;
        f.debug_struct("Icmp")
            .field("v4", &v4.is_some())
            .field("v6", &v6.is_some())
            .finish()
    }
}

/// An answer with our numbers is an echo reply, or an error that quotes our echo.
fn verdict(packet: &IcmpPacket) -> Outcome {
    let (reply, unreachable, kind) = match packet {
        IcmpPacket::V4(packet) => (0, 3, packet.get_icmp_type().0),
        IcmpPacket::V6(packet) => (129, 1, packet.get_icmpv6_type().0),
    };
    if kind == reply {
        Outcome::Pass
    } else if kind == unreachable {
        Outcome::Fail("destination unreachable".into())
    } else {
        Outcome::Fail(format!("icmp type {kind}"))
    }
}

/// A raw socket. The unprivileged kind (`SOCK_DGRAM`) lets the kernel choose the
/// identifier, and then the crate cannot tell two probes of one address apart.
fn open(kind: ICMP) -> io::Result<Option<Client>> {
    let config = Config::builder()
        .kind(kind)
        .sock_type_hint(socket2::Type::RAW)
        .build();
    let client = match Client::new(&config) {
        Ok(client) => client,
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let socket = client.get_socket();
    // SAFETY: `socket` owns the descriptor and lives until the end of this function.
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.get_native_sock()) };
    restrict(descriptor, kind)?;
    setsockopt(&descriptor, RcvBufForce, &QUEUE)?;
    Ok(Some(client))
}

/// Lets only answers and errors in. A raw socket is handed a copy of every ICMP
/// packet of the host: without this, a flood of pings to the director would fill
/// its queue, lose the answers, and kill healthy backends.
fn restrict(socket: BorrowedFd<'_>, kind: ICMP) -> io::Result<()> {
    // One bit a type; the IPv4 filter ends at type 31.
    let mut blocked = [u32::MAX; 8];
    let (level, name, types, words) = match kind {
        ICMP::V4 => (libc::SOL_RAW, ICMP_FILTER, &TYPES_V4[..], &mut blocked[..1]),
        ICMP::V6 => (
            libc::SOL_ICMPV6,
            ICMPV6_FILTER,
            &TYPES_V6[..],
            &mut blocked[..],
        ),
    };
    for &kind in types {
        words[usize::from(kind / 32)] &= !(1 << (kind % 32));
    }
    let bytes: &[u8] = bytemuck::cast_slice(words);
    let length = libc::socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length are those of one live slice, which the kernel reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            bytes.as_ptr().cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
