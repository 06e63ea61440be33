//! The socket that heartbeats leave by, and what else the thread asks the kernel.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use nix::{
    errno::Errno,
    libc,
    sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
    sys::socket::{setsockopt, sockopt},
    unistd::Pid,
};

/// Bytes of the longest frame: a SYN with all its options by IPv6 is 114.
const LONGEST: usize = 128;

/// Most frames that go out with one system call: about 60 us of work, so that
/// the send times, noted before, are right.
pub(super) const BATCH: usize = 32;

/// Priority of the thread: that of the kernel's threads for interrupts.
const PRIORITY: libc::c_int = 50;

/// A frame on its way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) member: usize,
    /// The heartbeat that has been sent once this frame has; none: only what goes
    /// before it.
    pub(super) sequence: Option<u32>,
    pub(super) ifindex: u32,
    pub(super) bytes: [u8; LONGEST],
    pub(super) length: usize,
}

impl Outgoing {
    pub(super) fn new(member: usize, sequence: Option<u32>, ifindex: u32, frame: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..frame.len()].copy_from_slice(frame);
        Self {
            member,
            sequence,
            ifindex,
            bytes,
            length: frame.len(),
        }
    }
}

/// The network, as the sender uses it.
pub(super) trait Wire {
    /// Sends the first frames, at most [`BATCH`], and returns how many; the error
    /// is that of the first one.
    fn send(&mut self, frames: &[Outgoing]) -> Result<usize, Errno>;
    /// Has the kernel hand to the data path what has arrived on a CPU.
    fn take_in(&mut self, cpu: u32);
    /// Opens the socket anew.
    fn reopen(&mut self) -> io::Result<()>;
    /// The address that the kernel would send from.
    fn source(&mut self, to: IpAddr) -> io::Result<IpAddr>;
}

/// An `AF_PACKET` socket that receives nothing.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
    /// Where this thread may run.
    cpus: CpuSet,
}

impl Socket {
    /// Opens it in the network namespace of the calling thread; needs `CAP_NET_RAW`.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let socket = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel just gave us the descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let on: libc::c_int = 1;
        let length = socklen(size_of_val(&on));
        // SAFETY: the pointer and the length are those of `on`, which the kernel reads.
        Errno::result(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                length,
            )
        })?;
        let cpus = sched_getaffinity(Pid::from_raw(0))?;
        Ok(Self { socket, cpus })
    }
}

impl Wire for Socket {
    fn send(&mut self, frames: &[Outgoing]) -> Result<usize, Errno> {
        let count = frames.len().min(BATCH);
        // SAFETY: all three are plain C structures: zeros are a value.
        let mut addresses: [libc::sockaddr_ll; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (place, frame) in frames.iter().take(count).enumerate() {
            let address = &mut addresses[place];
            address.sll_family = libc::AF_PACKET.try_into().unwrap_or(0);
            address.sll_protocol = u16::from_ne_bytes([frame.bytes[12], frame.bytes[13]]);
            address.sll_ifindex = frame.ifindex.cast_signed();
            address.sll_halen = 6;
            address.sll_addr[..6].copy_from_slice(&frame.bytes[..6]);
            parts[place].iov_base = frame.bytes.as_ptr().cast_mut().cast();
            parts[place].iov_len = frame.length.min(LONGEST);
            let header = &mut messages[place].msg_hdr;
            header.msg_name = ptr::from_mut(address).cast();
            header.msg_namelen = socklen(size_of::<libc::sockaddr_ll>());
            header.msg_iov = &raw mut parts[place];
            header.msg_iovlen = 1;
        }
        // SAFETY: `count` headers, whose pointers are to the arrays here and to `frames`,
        // all of which outlive the call; the kernel writes to `messages` only.
        let sent = Errno::result(unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                libc::c_uint::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT,
            )
        })?;
        usize::try_from(sent).map_err(|_| Errno::EINVAL)
    }

    /// This thread goes there: it runs once that CPU runs, and its interrupts go first.
    /// What they left for later is done when a socket's lock is released
    /// (`local_bh_enable`), which every such option takes.
    fn take_in(&mut self, cpu: u32) {
        let this = Pid::from_raw(0);
        let there = usize::try_from(cpu).unwrap_or(usize::MAX);
        let mut only = CpuSet::new();
        let elsewhere = sched_getcpu() != Ok(there);
        // A CPU that is gone, or not for us: then nothing arrives there, or we cannot look.
        let moved = elsewhere && only.set(there).is_ok() && sched_setaffinity(this, &only).is_ok();
        let _ = setsockopt(&self.socket, sockopt::Broadcast, &false);
        if moved {
            // Without it the thread would stay there, which does no harm.
            let _ = sched_setaffinity(this, &self.cpus);
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open()?;
        Ok(())
    }

    fn source(&mut self, to: IpAddr) -> io::Result<IpAddr> {
        let any: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        // Any port: no packet goes out.
        socket.connect(SocketAddr::new(to, 9))?;
        Ok(socket.local_addr()?.ip())
    }
}

/// Brings all memory of the process in and keeps it there: under memory pressure, and
/// on the first death ever, no page of what deals with it must be fetched.
pub(super) fn keep_in_memory() -> io::Result<()> {
    // What is mapped later, such as the stack of a thread, only as far as it is used.
    let (now, later) = (libc::MCL_CURRENT, libc::MCL_FUTURE | libc::MCL_ONFAULT);
    // SAFETY: both only ask for memory.
    Errno::result(unsafe { libc::mlockall(now) })?;
    // SAFETY: as above.
    Errno::result(unsafe { libc::mlockall(later) })?;
    Ok(())
}

/// Has the calling thread run before everything else that wants this CPU.
pub(super) fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: 0 is the calling thread; the kernel reads `parameters`.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })?;
    Ok(())
}

fn socklen(length: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(length).unwrap_or(0)
}
