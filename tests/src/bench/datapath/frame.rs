//! The packets, and the addresses in them.
//!
//! The client is host 9 of net 1, the services' VIPs are in net 100, the backends in net 2,
//! and what is none of ours goes to net 200. Host `h` of net `n` is 10.n.h, in two bytes,
//! or `fd00:n::h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use lab::Family;

use super::case::{Case, Packet, Protocol};

pub(super) const CLIENT: u32 = 9;
/// Every service's port.
pub(super) const PORT: u16 = 80;
/// A backend's port for the first service; the next one has the next.
const BACKEND_PORT: u16 = 20_000;
const CLIENT_PORT: u16 = 40_000;

/// What a packet carries: with it every frame is longer than what the harness restores.
const PAYLOAD: [u8; 64] = [0x5a; 64];

/// Host `host` of net `net`.
pub(super) fn ip(family: Family, net: u8, host: u32) -> IpAddr {
    let [_, _, high, low] = host.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, net, high, low).into(),
        Family::V6 => {
            let host = u16::from_be_bytes([high, low]);
            Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host).into()
        }
    }
}

/// The VIP of a service.
pub(super) fn vip(family: Family, service: u32) -> IpAddr {
    ip(family, 100, service + 1)
}

/// The address of the backend at an index.
pub(super) fn backend(family: Family, index: u32) -> IpAddr {
    ip(family, 2, index + 2)
}

/// The indices of a service's backends.
pub(super) fn backends(service: u32, all: u32) -> [u32; 2] {
    [2 * service % all, (2 * service + 1) % all]
}

/// The port of a service on its backends.
pub(super) fn backend_port(service: u32) -> u16 {
    BACKEND_PORT + u16::try_from(service).expect("few services")
}

/// The packet of `case` that has to do with a service.
pub(super) fn frame(case: &Case, service: u32) -> Vec<u8> {
    let family = case.family;
    let client = ip(family, 1, CLIENT);
    let (source, from, destination, to) = match case.kind.packet {
        Packet::Request => (client, CLIENT_PORT, vip(family, service), PORT),
        Packet::Other => (client, CLIENT_PORT, ip(family, 200, service), PORT),
        Packet::Answer => {
            let [first, _] = backends(service, case.scale.backends);
            let address = backend(family, first);
            (address, backend_port(service), client, CLIENT_PORT)
        }
    };
    let link = PacketBuilder::ethernet2([6; 6], [8; 6]);
    let step = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            link.ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            link.ipv6(source.octets(), destination.octets(), 64)
        }
        mixed => panic!("of two families: {mixed:?}"),
    };
    let mut bytes = Vec::new();
    let written = match case.protocol {
        Protocol::Tcp => {
            let step = step.tcp(from, to, 1, 512).ack(1);
            step.write(&mut bytes, &PAYLOAD)
        }
        Protocol::Udp => step.udp(from, to).write(&mut bytes, &PAYLOAD),
    };
    written.expect("a frame that can be built");
    bytes
}
