//! What passes the switch's port of a backend: the judge of whether a backend that was
//! taken for dead had answered.
//!
//! The backends are healthy, but they and the switch live in the kernel of the director
//! that is stressed. Where that holds one of them up for most of a lease, the backend
//! *is* silent, and to notice it is right. The times are the kernel's own, so it does not
//! matter how late they are read here.

mod tape;

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use failover_user::event::Timeline;
use lab::{Host, clock, machine};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, SockaddrLike as _, bind, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockFilter, Socket, Type};

use self::tape::{Packet, Tape};
use super::worker::Worker;
use super::world::World;

/// Between two looks at the sockets.
const TURN: Duration = Duration::from_millis(5);

/// Bytes of packets that wait to be read: seconds of them.
const BUFFER: usize = 128 * 1024 * 1024;

/// For the reader to get as far as a death.
const PATIENCE: Duration = Duration::from_secs(10);

/// IPv4 with ICMP, its first 64 bytes; nothing else.
const FILTER: [SockFilter; 6] = [
    // The version and the header's length: no options.
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, 0x45),
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 9),
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, 1),
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 64),
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
];

/// Bytes that are read of a packet: two headers and what names a heartbeat.
const LONGEST: usize = 20 + 8 + 8;

/// The ports of all backends.
pub(super) struct Mirror {
    reader: Worker,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By name of the backend.
    tapes: Mutex<HashMap<&'static str, Tape>>,
    /// All that passed before this is on the tapes, nanoseconds of [`clock`].
    read_ns: AtomicU64,
}

struct Port {
    backend: &'static str,
    socket: Socket,
}

impl Mirror {
    pub(super) fn start(world: &World) -> Result<Self> {
        let ports: Vec<_> = world
            .lab
            .backends()
            .map(Port::open)
            .collect::<Result<_>>()?;
        let shared = Arc::new(Shared::default());
        let to = Arc::clone(&shared);
        let reader = Worker::start(None, move |stop| {
            machine::prefer_this_thread();
            read(&ports, &to, stop)
        });
        Ok(Self { reader, shared })
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.reader.check()
    }

    /// How long a backend had, at the time of a death, had the first heartbeat that was
    /// not answered: until its answer, if that had left already. None: it never got it.
    pub(super) fn held(&self, backend: &str, timeline: &Timeline) -> Result<Option<Duration>> {
        let at_ns = timeline.latched_ns;
        let Some(from_ns) = timeline.unanswered_ns else {
            return Ok(None);
        };
        let begin = clock::now_ns();
        while self.shared.read_ns.load(Ordering::Acquire) <= at_ns {
            let waited = Duration::from_nanos(clock::now_ns() - begin);
            ensure!(waited < PATIENCE, "the mirror of the ports is not read");
            thread::sleep(TURN);
        }
        let tapes = self.shared.tapes.lock();
        let tapes = tapes.unwrap_or_else(PoisonError::into_inner);
        let tape = tapes.get(backend).context("no such backend")?;
        Ok(tape.held(from_ns, at_ns).map(Duration::from_nanos))
    }
}

fn read(ports: &[Port], to: &Shared, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let begin_ns = clock::now_ns();
        let ahead_ns = wall_clock_ns()?.saturating_sub(begin_ns);
        for port in ports {
            let packets = port.read(ahead_ns)?;
            let mut tapes = to.tapes.lock().unwrap_or_else(PoisonError::into_inner);
            tapes.entry(port.backend).or_default().extend(packets);
        }
        to.read_ns.store(begin_ns, Ordering::Release);
        thread::sleep(TURN);
    }
    Ok(())
}

impl Port {
    fn open(host: &Host) -> Result<Self> {
        let opened = host.switch().run(|| {
            let index = if_nametoindex(host.port())?;
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
            socket.set_nonblocking(true)?;
            socket.attach_filter(&FILTER)?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            bind(socket.as_raw_fd(), &everything_at(index)?)?;
            anyhow::Ok(socket)
        });
        Ok(Self {
            backend: host.name(),
            socket: opened.with_context(|| format!("cannot watch the port of {}", host.name()))?,
        })
    }

    /// All there is; the kernel's time is that of the wall clock, which is so much
    /// ahead of ours.
    fn read(&self, ahead_ns: u64) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        let mut bytes = [0; LONGEST];
        let mut space = cmsg_space!(TimeSpec);
        loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let socket = self.socket.as_raw_fd();
            let message = match recvmsg::<LinkAddr>(socket, &mut parts, Some(&mut space), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(packets),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let time = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(time) => Some(nanoseconds(time)),
                _ => None,
            });
            let (length, time) = (message.bytes, time.context("no time of a packet")?);
            packets.extend(packet(&bytes[..length], time.saturating_sub(ahead_ns)));
        }
    }
}

/// What is on the tape of a packet; none: it is no echo.
fn packet(bytes: &[u8], at_ns: u64) -> Option<Packet> {
    let is_answer = match bytes.get(20)? {
        0 => true,
        8 => false,
        _ => return None,
    };
    // The index of the backend and the sequence number.
    let name = bytes.get(28..36)?.try_into().ok()?;
    Some(Packet {
        at_ns,
        is_answer,
        heartbeat: u64::from_ne_bytes(name),
    })
}

/// All packets at one interface, in both directions.
fn everything_at(index: u32) -> Result<LinkAddr> {
    // SAFETY: a plain C structure: zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    address.sll_ifindex = i32::try_from(index)?;
    let length = libc::socklen_t::try_from(size_of_val(&address))?;
    // SAFETY: the pointer and the length are those of `address`, which is copied.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.context("no address of an interface")
}

const fn instruction(code: u32, yes: u8, no: u8, operand: u32) -> SockFilter {
    #[expect(clippy::cast_possible_truncation, reason = "codes have 16 bits")]
    SockFilter::new(code as u16, yes, no, operand)
}

fn wall_clock_ns() -> Result<u64> {
    Ok(nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME)?))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}
