//! SYN rescue, the part that XDP cannot do: it may turn a packet that arrives into
//! another one, but a dead host sends none. So when a backend has expired, the
//! SYNs that went to it and are unanswered are sent to whoever serves now.

use std::net::IpAddr;

use etherparse::{IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, PacketBuilder};
use failover_common::{Be16, Service, ServiceKey, Syn};

use super::socket::{Outgoing, Wire};
use crate::dataplane::kernel::{Entries, Syns, View};

/// A client that has not heard anything sends its SYN again after a second (RFC
/// 6298, section 2.1); what is older is its own business again. Nanoseconds.
const RETRANSMISSION: u64 = 1_000_000_000;

const TCP: u8 = 6;

/// Repeats the SYNs of backends that have expired.
pub struct Rescue {
    entries: Entries,
    syns: Syns,
    services: View<ServiceKey, Service>,
}

impl Rescue {
    /// `services` is the map that the data path uses.
    #[must_use]
    pub fn new(entries: Entries, syns: Syns, services: View<ServiceKey, Service>) -> Self {
        Self {
            entries,
            syns,
            services,
        }
    }

    /// Sends the unanswered SYNs of the backend at `index` to other backends.
    pub(super) fn repeat(&self, index: u32, now: u64, wire: &mut impl Wire) {
        let since = now.saturating_sub(RETRANSMISSION);
        let mut frames = Vec::new();
        self.syns.visit_unanswered(index, since, |syn| {
            let (to, port) = self.next(syn, index)?;
            let way = self.entries.way(to);
            let address = self.entries.address(to);
            if way.ifindex == 0 {
                return None;
            }
            let frame = frame(syn, address, port, (way.src_mac, way.dst_mac))?;
            frames.push(Outgoing::new(0, None, way.egress, &frame));
            Some(to)
        });
        let mut left = frames.as_slice();
        while !left.is_empty() {
            // One that cannot be sent is left to its client's retransmission.
            let sent = wire.send(left).unwrap_or(1).clamp(1, left.len());
            left = &left[sent..];
        }
    }

    /// What the data path selects for this SYN, if that is another backend.
    fn next(&self, syn: &Syn, dead: u32) -> Option<(u32, Be16)> {
        let mut key = ServiceKey {
            address: syn.vip,
            port: syn.vip_port,
            protocol: TCP,
            reserved: [0; 5],
        };
        let service = self.services.get(&key).or_else(|| {
            key.port = Be16::ZERO;
            self.services.get(&key)
        })?;
        let used = &service.backends[..usize::from(service.len).min(service.backends.len())];
        let entry = used
            .iter()
            .find(|entry| entry.index != dead && self.entries.holds(entry.index).is_empty())?;
        let port = if entry.port == Be16::ZERO {
            syn.vip_port
        } else {
            entry.port
        };
        Some((entry.index, port))
    }
}

/// The SYN as the client sent it, but to `to` and one hop further. None: its options make
/// no sense.
fn frame(syn: &Syn, to: IpAddr, port: Be16, macs: ([u8; 6], [u8; 6])) -> Option<Vec<u8>> {
    let (source, length) = (IpAddr::from(syn.client), usize::from(syn.options_len));
    let ip = match (source, to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            let mut ip = Ipv4Header::new(
                0,
                syn.hop_limit.saturating_sub(1),
                IpNumber::TCP,
                source.octets(),
                to.octets(),
            )
            .ok()?;
            ip.dscp = (syn.tos >> 2).try_into().ok()?;
            ip.ecn = (syn.tos & 3).try_into().ok()?;
            ip.dont_fragment = true;
            ip.fragment_offset = IpFragOffset::ZERO;
            IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default())
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => IpHeaders::Ipv6(
            etherparse::Ipv6Header {
                traffic_class: syn.tos,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber::TCP,
                hop_limit: syn.hop_limit.saturating_sub(1),
                source: source.octets(),
                destination: to.octets(),
            },
            etherparse::Ipv6Extensions::default(),
        ),
        _ => return None,
    };
    let tcp = PacketBuilder::ethernet2(macs.0, macs.1).ip(ip).tcp(
        syn.client_port.get(),
        port.get(),
        u32::from_be_bytes(syn.sequence),
        u16::from_be_bytes(syn.window),
    );
    // SYN, and what a client says about ECN with it (RFC 3168, section 6.1.1).
    let mut tcp = tcp.syn();
    if syn.flags & 0x40 != 0 {
        tcp = tcp.ece();
    }
    if syn.flags & 0x80 != 0 {
        tcp = tcp.cwr();
    }
    let tcp = tcp.options_raw(syn.options.get(..length)?).ok()?;
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &[]).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use failover_common::Address;

    use super::*;

    #[test]
    fn a_syn_is_repeated_as_it_was() {
        for (client, to) in [("10.0.0.2", "10.0.1.12"), ("2001:db8::2", "2001:db8:1::12")] {
            let client: IpAddr = client.parse().unwrap();
            let to: IpAddr = to.parse().unwrap();
            let mut syn = Syn {
                client: Address::from(client),
                client_port: Be16::new(40_000),
                sequence: 77_u32.to_be_bytes(),
                window: 4242_u16.to_be_bytes(),
                flags: 0xc2,
                tos: 0x13,
                hop_limit: 33,
                options_len: 8,
                ..Syn::zeroed()
            };
            syn.options[..8].copy_from_slice(&[2, 4, 5, 0xb4, 4, 2, 1, 1]);
            let bytes = frame(&syn, to, Be16::new(2001), ([1; 6], [2; 6])).unwrap();
            assert_eq!(bytes[..12], [[2; 6], [1; 6]].concat());
            let sliced = etherparse::SlicedPacket::from_ethernet(&bytes).unwrap();
            let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else {
                panic!("not TCP");
            };
            assert!(tcp.syn() && tcp.ece() && tcp.cwr() && !tcp.ack() && !tcp.rst());
            assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 2001));
            assert_eq!((tcp.sequence_number(), tcp.window_size()), (77, 4242));
            assert_eq!(tcp.options(), &syn.options[..8]);
            let (tos, hop_limit, checksum) = match sliced.net.unwrap() {
                etherparse::NetSlice::Ipv4(ip) => {
                    let header = ip.header();
                    let tos = header.dcp().value() << 2 | header.ecn().value();
                    let checksum = tcp.calc_checksum_ipv4(header.source(), header.destination());
                    (tos, header.ttl(), checksum)
                }
                etherparse::NetSlice::Ipv6(ip) => {
                    let header = ip.header();
                    let checksum = tcp.calc_checksum_ipv6(header.source(), header.destination());
                    (header.traffic_class(), header.hop_limit(), checksum)
                }
                etherparse::NetSlice::Arp(_) => panic!("ARP"),
            };
            assert_eq!((tos, hop_limit), (0x13, 32));
            assert_eq!(tcp.checksum(), checksum.unwrap());
        }
    }
}
