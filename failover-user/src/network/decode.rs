//! Netlink messages to events. What is not ours is no event.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};

use super::{
    links::{Kind, Link},
    state::{Event, Hop, Neighbour, Route, Via},
};

/// The event a message is.
pub(super) fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    match message {
        RouteNetlinkMessage::NewLink(message) => link(message).map(Event::Link),
        // A port that leaves a bridge is a DELLINK too, of another family.
        RouteNetlinkMessage::DelLink(message) => {
            let whole = message.header.interface_family == AddressFamily::Unspec;
            whole.then_some(Event::LinkGone(message.header.index))
        }
        RouteNetlinkMessage::NewNeighbour(message) => {
            neighbour(message).map(|(hop, neighbour)| Event::Neighbour(hop, neighbour))
        }
        RouteNetlinkMessage::DelNeighbour(message) => hop(message).map(Event::NeighbourGone),
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            prefix(message)
        }
        RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(Event::Routes),
        _ => None,
    }
}

/// An interface.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    // AF_BRIDGE: the port of a bridge, a partial view of an interface.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let (mut name, mut mac, mut info, mut lower, mut master) = (None, None, None, None, None);
    let (mut mtu, mut elsewhere) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(value) => mac = self::mac(value),
            LinkAttribute::Mtu(value) => mtu = Some(*value),
            LinkAttribute::Link(value) => lower = Some(*value),
            LinkAttribute::Controller(value) => master = Some(*value),
            LinkAttribute::LinkInfo(values) => info = kind(values),
            // The device below is in another network namespace.
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    Some(Link {
        ifindex: message.header.index,
        name: name?,
        mac,
        mtu: mtu?,
        up: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp),
        kind: match info {
            Some(InfoKind::Vlan) => Kind::Vlan,
            Some(InfoKind::Bond | InfoKind::Team | InfoKind::Bridge) => Kind::Group,
            _ => Kind::Other,
        },
        // 0: a tunnel that is bound to no device.
        lower: lower.filter(|&lower| lower != 0 && !elsewhere && !info.is_some_and(is_pair)),
        master: master.filter(|&master| master != 0),
    })
}

fn kind(info: &[LinkInfo]) -> Option<&InfoKind> {
    info.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

/// Whether `IFLA_LINK` of this kind names the other end and not a device below.
fn is_pair(kind: &InfoKind) -> bool {
    matches!(
        kind,
        InfoKind::Veth | InfoKind::Netkit | InfoKind::Vxcan | InfoKind::Netdevsim
    )
}

/// An entry of the neighbour table.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(Hop, Neighbour)> {
    let mac = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(address) => mac(address),
            _ => None,
        });
    let neighbour = match (message.header.state, mac) {
        (NeighbourState::Failed, _) => Neighbour::Failed,
        (NeighbourState::Stale, Some(mac)) => Neighbour::Stale(mac),
        (
            NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp,
            Some(mac),
        ) => Neighbour::Known(mac),
        // INCOMPLETE, NONE, or on a device without MACs (a tunnel).
        _ => Neighbour::Asking,
    };
    Some((hop(message)?, neighbour))
}

/// The answer to a route lookup of `to`.
pub(super) fn route(message: &RouteMessage, to: IpAddr) -> Route {
    if message.header.kind != RouteType::Unicast {
        return Route::None;
    }
    let (mut ifindex, mut address) = (None, to);
    let (mut source, mut mtu) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(value) => ifindex = Some(*value),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway))
            | RouteAttribute::Via(RouteVia::Inet(gateway)) => address = (*gateway).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway))
            | RouteAttribute::Via(RouteVia::Inet6(gateway)) => address = (*gateway).into(),
            RouteAttribute::PrefSource(RouteAddress::Inet(own)) => source = Some((*own).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(own)) => source = Some((*own).into()),
            RouteAttribute::Metrics(metrics) => mtu = self::mtu(metrics),
            _ => {}
        }
    }
    ifindex.map_or(Route::None, |ifindex| {
        let hop = Hop { ifindex, address };
        Route::Via(Via { hop, source, mtu })
    })
}

/// Longest packet; with none, or 0, it is for the interface to say.
fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu).filter(|&mtu| mtu != 0),
        _ => None,
    })
}

fn hop(message: &NeighbourMessage) -> Option<Hop> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some((*address).into())
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                Some((*address).into())
            }
            _ => None,
        })?;
    Some(Hop {
        ifindex: message.header.ifindex,
        address,
    })
}

fn prefix(message: &RouteMessage) -> Option<Event> {
    let prefix = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((*address).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some((*address).into()),
            _ => None,
        });
    let length = message.header.destination_prefix_length;
    match (prefix, message.header.address_family) {
        (Some(prefix), AddressFamily::Inet | AddressFamily::Inet6) => {
            Some(Event::Route { prefix, length })
        }
        // A default route has no destination.
        (None, AddressFamily::Inet | AddressFamily::Inet6) => Some(Event::Routes),
        _ => None,
    }
}

/// An Ethernet address; all zero is how the loopback says that it has none.
fn mac(bytes: &[u8]) -> Option<[u8; 6]> {
    <[u8; 6]>::try_from(bytes).ok().filter(|mac| *mac != [0; 6])
}
