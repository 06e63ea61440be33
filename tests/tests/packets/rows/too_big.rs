//! From clients, and too long for the tunnel.

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header,
    PacketBuilder,
};
use failover_common::Verdict;
use lab::Family;

use super::control::{answer, message};
use super::tunnel::tunnels;
use super::{Row, kinds, request};
use crate::control::quote;
use crate::frame::{Frame, Protocol};
use crate::network::FRONT;
use crate::services::{Port, VIP};
use crate::world::TIGHT;

/// Bytes of the packet that are quoted.
const QUOTE: usize = 512;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        for (port, tunnel) in tunnels(family) {
            let mtu = usize::try_from(tunnel.server.mtu).expect("a length") - tunnel.overhead();
            let plain = request(family, protocol, port as u16).sized(mtu + 1);
            let vlan = Some(5);
            let tagged = Frame {
                vlan,
                ..plain.clone()
            };
            let what = format!("one byte too long: {family:?} {protocol:?} {port:?}");
            rows.push(answered(what, &plain, mtu));
            let what = format!("tagged, too long: {family:?} {protocol:?} {port:?}");
            rows.push(answered(what, &tagged, mtu));
            let two_tags = Frame {
                outer_vlan: Some(6),
                ..tagged
            };
            let what = format!("two tags, too long: {family:?} {protocol:?} {port:?}");
            rows.push(answered(what, &two_tags, mtu));
        }
    }
    rows.extend(not_answered());
    rows.push(about_an_error());
    rows
}

/// The answer that fits `mtu`, every length and checksum by etherparse.
pub(super) fn answered(what: String, input: &Frame, mtu: usize) -> Row {
    let (vip, client) = (input.destination.ip(), input.source.ip());
    let link = PacketBuilder::ethernet2(input.dst_mac, input.src_mac);
    let ip = headers(vip, client);
    let step = input.behind_tags(link, ip);
    let quote = &input.bytes()[input.l3()..][..QUOTE];
    let mut bytes = Vec::new();
    let written = match client {
        IpAddr::V4(_) => {
            let next_hop_mtu = u16::try_from(mtu).expect("a length");
            let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu };
            step.icmpv4(Icmpv4Type::DestinationUnreachable(needed))
                .write(&mut bytes, quote)
        }
        IpAddr::V6(_) => {
            let mtu = u32::try_from(mtu).expect("a length");
            step.icmpv6(Icmpv6Type::PacketTooBig { mtu })
                .write(&mut bytes, quote)
        }
    };
    written.expect("a frame that can be built");
    Row {
        output: bytes,
        ..Row::unchanged(what, FRONT, input.bytes(), Verdict::TunnelTooBigAnswered)
    }
}

fn headers(source: IpAddr, destination: IpAddr) -> IpHeaders {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => IpHeaders::Ipv4(
            Ipv4Header {
                // Network control.
                dscp: 0x30.try_into().expect("six bits"),
                time_to_live: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv4Header::default()
            },
            Ipv4Extensions::default(),
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => IpHeaders::Ipv6(
            Ipv6Header {
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            },
            Ipv6Extensions::default(),
        ),
        mixed => panic!("of two families: {mixed:?}"),
    }
}

/// RFC 4443, section 2.4 (e). Of IPv4 no ICMP is answered at all.
fn about_an_error() -> Row {
    let mut body = quote(&answer(Family::V6, Protocol::Udp, Port::Ipip));
    body.resize(1440, 0);
    let error = message(Family::V6, VIP, (1, 4), [0; 4], body).bytes();
    Row::unchanged("too long, an error", FRONT, error, Verdict::TunnelTooBig)
}

fn not_answered() -> Vec<Row> {
    let long = |family, port: Port| request(family, Protocol::Udp, port as u16).sized(1481);
    let from = |frame: Frame, text: &str| {
        let source = text.parse().expect("an address");
        let port = frame.source.port();
        frame.from(std::net::SocketAddr::new(source, port))
    };
    let (v4, v6) = (long(Family::V4, Port::Ipip), long(Family::V6, Port::Ipip));
    let tight = usize::try_from(TIGHT.mtu).expect("a length") - 40;
    let mut rows = vec![
        (
            "may be fragmented",
            Frame {
                dont_fragment: false,
                ..v4.clone()
            },
        ),
        (
            "sent to everybody",
            Frame {
                dst_mac: [0xff; 6],
                ..v4.clone()
            },
        ),
        (
            "sent to many",
            Frame {
                dst_mac: [0x33, 0x33, 0, 0, 0, 1],
                ..v6.clone()
            },
        ),
        // RFC 8200, section 5: nobody sends less for being told so.
        (
            "what every IPv6 link carries",
            long(Family::V6, Port::IpipTight).sized(tight + 1),
        ),
        (
            "too long for a tunnel that does not carry what every IPv6 link does",
            long(Family::V6, Port::IpipTight),
        ),
    ];
    for source in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        rows.push(("from no host", from(v4.clone(), source)));
    }
    for source in ["::", "::1", "ff02::1", "::ffff:10.1.0.9"] {
        rows.push(("from no host", from(v6.clone(), source)));
    }
    rows.into_iter()
        .map(|(what, frame)| {
            let what = format!("too long, {what}: {}", frame.source);
            Row::unchanged(what, FRONT, frame.bytes(), Verdict::TunnelTooBig)
        })
        .collect()
}
