//! The next hop, in the network that [`network`] makes.

use std::net::IpAddr;

use failover_common::{Backend, Verdict};
use lab::Family;

use super::read::Packet;
use crate::network::{self, BACK, CLIENT, CLOSED, FRONT, FRONT_5, Far, THIN, THIN_MTU, mac};

/// Where a frame goes next.
pub(super) struct NextHop {
    ifindex: u32,
    to: [u8; 6],
    from: [u8; 6],
}

impl NextHop {
    /// `frame` on its way, with the first verdict if it leaves where it came in.
    pub(super) fn send(
        &self,
        mut frame: Vec<u8>,
        ingress: u32,
        [tx, redirect]: [Verdict; 2],
    ) -> (Verdict, Vec<u8>) {
        frame[..6].copy_from_slice(&self.to);
        frame[6..12].copy_from_slice(&self.from);
        let verdict = if self.ifindex == ingress {
            tx
        } else {
            redirect
        };
        (verdict, frame)
    }
}

/// The agent keeps it.
pub(super) fn to_backend(backend: &Backend) -> Result<NextHop, Verdict> {
    if backend.ifindex == 0 {
        return Err(Verdict::BackendUnresolved);
    }
    let six = |mac: [u8; 8]| mac[..6].try_into().expect("six bytes");
    Ok(NextHop {
        ifindex: backend.ifindex,
        to: six(backend.dst_mac),
        from: six(backend.src_mac),
    })
}

/// Whether an address means nothing beyond its network, or its host: no such packet is
/// forwarded, whatever the routes are.
fn is_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address)
        if address.is_unicast_link_local() || address.is_multicast() || address.is_loopback())
}

/// By the routes of the kernel, for a packet that came in by `ingress`.
pub(super) fn to_client(frame: &[u8], ingress: u32, packet: &Packet) -> Result<NextHop, Verdict> {
    if is_local(packet.ip.source) || is_local(packet.ip.destination) {
        return Err(Verdict::ForThisHost);
    }
    if ingress == CLOSED {
        return Err(Verdict::ForwardingDisabled);
    }
    let net = out(packet.ip.destination)?;
    let mtu = if net.number == 3 { THIN_MTU } else { 1500 };
    if packet.total() > mtu {
        return Err(if packet.ip.may_be_cut() {
            Verdict::TooBig
        } else {
            Verdict::TooBigPassed
        });
    }
    if !net.is_known {
        return Err(Verdict::ClientUnresolved);
    }
    // A tagged frame goes back by the trunk it came from.
    let tagged = frame[12..14] != [0x08, 0] && frame[12..14] != [0x86, 0xdd];
    let own = if net.number == 5 { 1 } else { net.number };
    Ok(NextHop {
        ifindex: if tagged { ingress } else { net.ifindex() },
        to: mac(net.number, CLIENT),
        from: mac(own, 1),
    })
}

/// A network, and whether the MAC of the next hop is known there.
struct Net {
    number: u8,
    is_known: bool,
}

impl Net {
    fn ifindex(&self) -> u32 {
        match self.number {
            1 => FRONT,
            2 => BACK,
            3 => THIN,
            4 => CLOSED,
            _ => FRONT_5,
        }
    }
}

fn out(address: IpAddr) -> Result<Net, Verdict> {
    let family = if address.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    for (far, result) in [
        (Far::Routed, Ok(true)),
        (Far::RoutedByV6, Ok(true)),
        (Far::Unresolved, Ok(false)),
        (Far::UnresolvedByV6, Ok(false)),
        (Far::Unreachable, Err(Verdict::NoRoute)),
        (Far::Prohibited, Err(Verdict::NoRoute)),
        (Far::Blackhole, Err(Verdict::NoRoute)),
    ] {
        if address == network::far(family, far, 0).ip() {
            return result.map(|is_known| Net {
                number: 1,
                is_known,
            });
        }
    }
    let (number, host) = match address {
        IpAddr::V4(address) => {
            let [ten, net, zero, host] = address.octets();
            // The last one is everybody.
            let inside = ten == 10 && zero == 0 && host != 255;
            (inside.then_some(net), u16::from(host))
        }
        IpAddr::V6(address) => {
            let [first, net, n2, n3, h0, h1, h2, host] = address.segments();
            let is_net = [first, n2, n3] == [0xfd00, 0, 0];
            let low = [h0, h1, h2] == [0; 3];
            // The first one is any router (RFC 4291, section 2.6.1), and in net 4 we are none.
            let inside = is_net && !(low && host == 0 && net != 4);
            let host = if low { host } else { u16::MAX };
            (u8::try_from(net).ok().filter(|_| inside), host)
        }
    };
    match number {
        Some(number @ 1..=5) if host != 1 => Ok(Net {
            number,
            is_known: host == u16::from(CLIENT),
        }),
        _ => Err(Verdict::ForThisHost),
    }
}
