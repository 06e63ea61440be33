//! The thread as it is, against a kernel that answers: two network namespaces and
//! a veth pair between them.

use std::{
    io::Read as _,
    net::{IpAddr, TcpListener},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use bytemuck::Zeroable as _;
use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use failover_common::{Backend, HEARTBEAT_PORT, HeartbeatKind};
use nix::{
    libc,
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
};
use socket2::{Domain, Protocol, Socket as Raw, Type};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{
    config::Heartbeat,
    namespace::{ip, run as in_namespace},
};

const OURS: [u8; 8] = [2, 0, 0, 0, 0, 1, 0, 0];
const THEIRS: [u8; 8] = [2, 0, 0, 0, 0, 2, 0, 0];
const OPEN: u16 = 5432;
const CLOSED: u16 = 5433;

/// The namespace at the other end; it lives as long as this.
struct Peer(File);

impl Peer {
    /// The pair `hb0`, here, and `hb1`, there.
    ///
    /// The peer sends its answers to a MAC that is nobody's: our kernel must not see
    /// them, as where the data path drops them, and a capture does.
    fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let peer = Self(made.join().unwrap());
        ip("link set lo up");
        ip(
            "link add hb0 address 02:00:00:00:00:01 type veth peer name hb1 address 02:00:00:00:00:02",
        );
        let (process, descriptor) = (std::process::id(), peer.0.as_raw_fd());
        ip(&format!(
            "link set hb1 netns /proc/{process}/fd/{descriptor}"
        ));
        ip("link set hb0 up");
        ip("addr add 10.9.0.1/16 dev hb0");
        ip("addr add fd09::1/64 dev hb0 nodad");
        peer.run(|| {
            ip("link set lo up");
            ip("link set hb1 up");
            ip("addr add 10.9.0.2/16 dev hb1");
            ip("addr add fd09::2/64 dev hb1 nodad");
            ip("neigh replace 10.9.0.1 lladdr 02:00:00:00:00:99 dev hb1");
            ip("neigh replace fd09::1 lladdr 02:00:00:00:00:99 dev hb1");
        });
        peer
    }

    /// Runs `body` in the namespace.
    fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("this test needs root");
            body()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }
}

/// The answers to one backend's heartbeats: the numbers they are to, and whether
/// they said that the port is closed.
#[derive(Debug, Default)]
struct Answers {
    good: Vec<u32>,
    closed: Vec<u32>,
}

/// Everything that arrives at `hb0`.
struct Capture(Raw);

impl Capture {
    fn open() -> Self {
        let all = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be());
        let socket = Raw::new(Domain::PACKET, Type::RAW, Some(Protocol::from(all)));
        let socket = socket.expect("this test needs root");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        socket.set_recv_buffer_size(8 << 20).unwrap();
        Self(socket)
    }

    /// Reads for a while, and does what the data path does with the answers.
    fn read(&mut self, time: Duration, entries: &Entries, count: usize) -> Vec<Answers> {
        let mut answers: Vec<Answers> = (0..count).map(|_| Answers::default()).collect();
        let end = Instant::now() + time;
        let mut bytes = [0; 2048];
        while Instant::now() < end {
            let Ok(length) = self.0.read(&mut bytes) else {
                continue;
            };
            if bytes[..6] == OURS[..6] || bytes[6..12] != THEIRS[..6] {
                continue;
            }
            let Some((index, number, closed)) = recognise(&bytes[..length], entries) else {
                continue;
            };
            let answers = &mut answers[index as usize];
            let udp = entries.read(index).heartbeat_kind == HeartbeatKind::Udp as u8;
            if entries.pulse(index).accepts(number) && closed == udp {
                entries.answer(index, number);
            }
            if closed {
                answers.closed.push(number);
            } else {
                answers.good.push(number);
            }
        }
        answers
    }
}

/// Backend, number, and whether the port is closed; `None`: not an answer.
fn recognise(bytes: &[u8], entries: &Entries) -> Option<(u32, u32, bool)> {
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    let echo = |payload: &[u8]| {
        let [index, number, one, two]: [[u8; 4]; 4] =
            bytemuck::try_pod_read_unaligned(payload).ok()?;
        let index = u32::from_le_bytes(index);
        let token = bytemuck::must_cast::<[[u8; 4]; 2], u64>([one, two]);
        assert_eq!(token, entries.read(index).token);
        Some((index, u32::from_le_bytes(number), false))
    };
    let own = |port: u16| port.checked_sub(HEARTBEAT_PORT).map(u32::from);
    match packet.transport? {
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoReply(_) => echo(icmp.payload()),
            Icmpv4Type::DestinationUnreachable(_) => {
                let inner = SlicedPacket::from_ip(icmp.payload()).ok()?;
                let (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) = (inner.net?, inner.transport?)
                else {
                    return None;
                };
                let index = own(udp.source_port())?;
                let token = entries.read(index).token;
                let id = u32::from(ip.header().identification());
                Some((index, number(id, token, 0xffff), true))
            }
            _ => None,
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::EchoReply(_) => echo(icmp.payload()),
            Icmpv6Type::DestinationUnreachable(_) => {
                let inner = SlicedPacket::from_ip(icmp.payload()).ok()?;
                let (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) = (inner.net?, inner.transport?)
                else {
                    return None;
                };
                let index = own(udp.source_port())?;
                let token = entries.read(index).token;
                let flow = ip.header().flow_label().value();
                Some((index, number(flow, token, 0xf_ffff), true))
            }
            _ => None,
        },
        TransportSlice::Tcp(tcp) if tcp.ack() => {
            let index = own(tcp.destination_port())?;
            let token = entries.read(index).token;
            let named = tcp.acknowledgment_number().wrapping_sub(1);
            Some((index, number(named, token, u32::MAX), tcp.rst()))
        }
        _ => None,
    }
}

/// The number of a heartbeat from the low bits of its sum with the token.
fn number(sum: u32, token: u64, mask: u32) -> u32 {
    let [.., a, b, c, d] = token.to_be_bytes();
    sum.wrapping_sub(u32::from_be_bytes([a, b, c, d])) & mask
}

fn start(
    rows: &[(HeartbeatKind, &str, u16)],
    interval: Duration,
) -> (Sender, Entries, UnboundedReceiver<Notice>) {
    let entries = Entries::in_memory();
    let ifindex = if_nametoindex("hb0").unwrap();
    let target = |(index, &(kind, address, port)): (u32, &(HeartbeatKind, &str, u16))| {
        let next_hop = Backend {
            ifindex,
            dst_mac: THEIRS,
            src_mac: OURS,
            ..Backend::zeroed()
        };
        entries.set_next_hop(index, &next_hop);
        let heartbeat = Heartbeat {
            kind,
            port,
            interval,
            // A busy machine reads a capture late.
            timeout: Duration::from_secs(2),
            ..Heartbeat::DEFAULT
        };
        Target {
            index,
            address: address.parse().unwrap(),
            heartbeat,
        }
    };
    let targets: Vec<Target> = (0..).zip(rows).map(target).collect();
    let (sender, notices) = unbounded_channel();
    let sender =
        Sender::start(&targets, entries.clone(), None, sender).expect("this test needs root");
    (sender, entries, notices)
}

#[test]
fn a_kernel_answers() {
    in_namespace(|| async {
        let peer = Peer::new();
        let _listeners: Vec<_> = ["10.9.0.2", "fd09::2"]
            .map(|address| {
                let address: IpAddr = address.parse().unwrap();
                peer.run(|| TcpListener::bind((address, OPEN)).unwrap())
            })
            .into();
        let mut capture = Capture::open();
        let rows = [
            (HeartbeatKind::Icmp, "10.9.0.2", 0),
            (HeartbeatKind::Icmp, "fd09::2", 0),
            (HeartbeatKind::TcpSyn, "10.9.0.2", OPEN),
            (HeartbeatKind::TcpSyn, "fd09::2", OPEN),
            (HeartbeatKind::TcpSyn, "10.9.0.2", CLOSED),
            (HeartbeatKind::Udp, "10.9.0.2", CLOSED),
            (HeartbeatKind::Udp, "fd09::2", CLOSED),
        ];
        let (sender, entries, mut notices) = start(&rows, Duration::from_millis(2));
        let answers = capture.read(Duration::from_millis(500), &entries, rows.len());
        drop(sender);
        let mut troubles = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            troubles.push(notice);
        }
        assert_eq!(troubles, []);
        for (index, (row, answers)) in (0..).zip(rows.iter().zip(&answers)) {
            let &(kind, _, port) = row;
            let sent = entries.pulse(index).sent;
            let (good, closed) = (answers.good.len(), answers.closed.len());
            let row = format!("{row:?}: {sent} sent, {good} good, {closed} closed");
            assert!(sent > 100, "{row}");
            let nearly_all = |count: usize| count as u64 * 10 >= u64::from(sent) * 9;
            match (kind, port) {
                (HeartbeatKind::Udp, _) => assert!(good == 0 && closed > 0, "{row}"),
                (_, CLOSED) => assert!(good == 0 && nearly_all(closed), "{row}"),
                _ => assert!(closed == 0 && nearly_all(good), "{row}"),
            }
            println!("{row}");
        }
    });
}
