//! Clients that wait for an answer of a backend which has died send nothing that could be
//! answered with a reset. So they are sent one, as from the VIP, where the service says
//! `on_failure = "reset"`; the flow knows what the client's kernel accepts.
//!
//! A thread, since a full table takes a while. It reads who is dead from the entries, so
//! that one call for it is as good as several.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use etherparse::PacketBuilder;
use failover_common::{Be16, Flow, FlowKey, FlowState, Hold, OnFailure, Service, ServiceKey};
use log::{info, warn};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};

use crate::dataplane::kernel::{Entries, Flows, View};

const TCP: u8 = 6;

/// TTL or hop limit of what we send ourselves, as the data path's.
const HOP_LIMIT: u8 = 64;

/// Protocol number of a raw socket that is given whole IP packets (`IPPROTO_RAW`).
const WHOLE_PACKETS: i32 = 255;

/// Calls the thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Sweeper(SyncSender<()>);

impl Sweeper {
    /// Starts the thread, in the network namespace of the calling one. `services` is the
    /// map that the data path uses.
    ///
    /// # Errors
    ///
    /// No thread.
    pub fn start(
        flows: Arc<Flows>,
        entries: Entries,
        services: View<ServiceKey, Service>,
    ) -> io::Result<Self> {
        // One that waits sees all that has happened by then: more would find nothing.
        let (call, calls) = sync_channel(1);
        let sweep = Sweep {
            flows,
            entries,
            services,
        };
        thread::Builder::new()
            .name("sweep".to_owned())
            .spawn(move || sweep.run(&calls))?;
        Ok(Self(call))
    }

    /// A backend has died, or another one may serve again: somebody may have to be told.
    pub fn call(&self) {
        // Full: as good as called. The thread is gone: it has said so.
        let _ = self.0.try_send(());
    }
}

struct Sweep {
    flows: Arc<Flows>,
    entries: Entries,
    services: View<ServiceKey, Service>,
}

impl Sweep {
    fn run(&self, calls: &Receiver<()>) {
        while calls.recv().is_ok() {
            if let Err(error) = self.sweep() {
                warn!("clients that wait for a dead backend are not told: {error}");
            }
        }
    }

    fn sweep(&self) -> anyhow::Result<()> {
        let wire = Wire::open();
        let now = now();
        let (mut told, mut failed) = (0_u32, None);
        self.flows.visit(|key, flow| {
            if !self.is_lost(key, flow, now) {
                return None;
            }
            match wire.reset(key, flow) {
                Ok(()) => told += 1,
                Err(error) => failed = Some(error),
            }
            // As the data path leaves one that it has told itself.
            Some(Flow {
                state: FlowState::Closed as u8,
                ..*flow
            })
        })?;
        if told > 0 {
            info!("{told} clients of dead backends were sent a reset");
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Whether the client of a flow has to be told that it is over.
    fn is_lost(&self, key: &FlowKey, flow: &Flow, now: u64) -> bool {
        key.protocol == TCP
            && flow.acknowledged != 0
            && flow.state != FlowState::Closed as u8
            && self.is_dead(flow.backend)
            && !flow.is_over(TCP, now)
            && self.resets(key, flow.backend)
    }

    fn is_dead(&self, index: u32) -> bool {
        self.entries.holds(index).0 & !Hold::DRAINING != 0
    }

    /// Whether the service of a flow wants it, and has somebody else to serve it.
    fn resets(&self, key: &FlowKey, dead: u32) -> bool {
        let mut wanted = ServiceKey {
            address: key.vip,
            port: key.vip_port,
            protocol: TCP,
            reserved: [0; 5],
        };
        let service = self.services.get(&wanted).or_else(|| {
            wanted.port = Be16::ZERO;
            self.services.get(&wanted)
        });
        service.is_some_and(|service| {
            let used = service.backends.iter().take(service.len.into());
            let mut others = used.filter(|entry| entry.index != dead);
            service.on_failure == OnFailure::Reset as u8
                && others.any(|entry| self.entries.holds(entry.index).is_empty())
        })
    }
}

/// Sockets for whole packets; a host may be without one of the families.
struct Wire {
    v4: io::Result<Socket>,
    v6: io::Result<Socket>,
}

impl Wire {
    fn open() -> Self {
        let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(WHOLE_PACKETS)));
        Self {
            v4: open(Domain::IPV4),
            v6: open(Domain::IPV6),
        }
    }

    fn reset(&self, key: &FlowKey, flow: &Flow) -> io::Result<()> {
        let client = IpAddr::from(key.client);
        let socket = if client.is_ipv4() { &self.v4 } else { &self.v6 };
        let socket = socket.as_ref().map_err(io::Error::kind)?;
        let to = SocketAddr::new(client, 0).into();
        socket.send_to(&packet(key, flow), &to)?;
        Ok(())
    }
}

/// The reset, from the VIP to the client.
fn packet(key: &FlowKey, flow: &Flow) -> Vec<u8> {
    let packet = match (IpAddr::from(key.vip), IpAddr::from(key.client)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            PacketBuilder::ipv6(from.octets(), to.octets(), HOP_LIMIT)
        }
        // The data path makes no such flow.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Vec::new(),
    };
    let sequence = u32::from_be_bytes(flow.acknowledgment);
    let (from, to) = (key.vip_port.get(), key.client_port.get());
    let mut bytes = Vec::new();
    // A vector takes everything.
    let _ = packet
        .tcp(from, to, sequence, 0)
        .rst()
        .write(&mut bytes, &[]);
    bytes
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn now() -> u64 {
    // It cannot fail with this clock on Linux.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use failover_common::Address;

    use super::*;

    #[test]
    fn the_reset_is_what_the_client_waits_for() {
        for (client, vip) in [("10.0.0.2", "10.0.0.100"), ("2001:db8::2", "2001:db8::100")] {
            let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
            let key = FlowKey {
                client: address(client),
                vip: address(vip),
                client_port: Be16::new(40_000),
                vip_port: Be16::new(5432),
                protocol: TCP,
                ..FlowKey::zeroed()
            };
            let flow = Flow {
                acknowledgment: 0x9000_0001_u32.to_be_bytes(),
                ..Flow::zeroed()
            };
            let bytes = packet(&key, &flow);
            let sliced = SlicedPacket::from_ip(&bytes).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
                panic!("not TCP");
            };
            assert!(tcp.rst() && !tcp.ack() && !tcp.syn() && !tcp.fin());
            assert_eq!((tcp.source_port(), tcp.destination_port()), (5432, 40_000));
            assert_eq!(tcp.sequence_number(), 0x9000_0001);
            let (from, to, checksum): (IpAddr, IpAddr, _) = match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    let ip = ip.header();
                    let sum = tcp.calc_checksum_ipv4(ip.source(), ip.destination());
                    (ip.source_addr().into(), ip.destination_addr().into(), sum)
                }
                NetSlice::Ipv6(ip) => {
                    let ip = ip.header();
                    let sum = tcp.calc_checksum_ipv6(ip.source(), ip.destination());
                    (ip.source_addr().into(), ip.destination_addr().into(), sum)
                }
                NetSlice::Arp(_) => panic!("ARP"),
            };
            assert_eq!(
                (from.to_string(), to.to_string()),
                (vip.into(), client.into())
            );
            assert_eq!(tcp.checksum(), checksum.unwrap());
        }
    }
}
