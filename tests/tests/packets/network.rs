//! The network the director is in, as the kernel's routes and neighbours see it.
//!
//! ```text
//! net 1, front: clients and the VIPs    net 5: VLAN 5 on front
//! net 2, back:  backends                net 3, thin: a client, MTU 1280
//! net 4, closed: nothing is forwarded that comes in here
//! ```
//!
//! Host `h` of net `n` is 10.n.0.h, `fd00:n::h` and 02:00:00:00:n:h; the director
//! is host 1 of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lab::{Family, Namespace};

/// Interface index of net 1.
pub(crate) const FRONT: u32 = 11;
/// Interface index of net 2.
pub(crate) const BACK: u32 = 12;
/// Interface index of net 3.
pub(crate) const THIN: u32 = 13;
/// Interface index of net 4.
pub(crate) const CLOSED: u32 = 15;
/// Interface index of net 5.
pub(crate) const FRONT_5: u32 = 14;

/// Receive queues of each interface.
const QUEUES: u32 = 2;

/// MTU of net 3: the least that IPv6 allows (RFC 8200, section 5).
pub(crate) const THIN_MTU: usize = 1280;

/// The client of nets 1, 3 and 5: its MAC is known.
pub(crate) const CLIENT: u8 = 9;
/// A host of net 1 whose MAC nobody knows.
pub(crate) const UNKNOWN: u8 = 77;

/// Networks beyond net 1, by what leads to them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Far {
    /// A route by [`CLIENT`].
    Routed = 20,
    /// A route by [`UNKNOWN`].
    Unresolved = 21,
    /// As `Routed`, but the next hop of IPv4 is an IPv6 address (RFC 5549).
    RoutedByV6 = 22,
    /// As `Unresolved`, but the next hop of IPv4 is an IPv6 address.
    UnresolvedByV6 = 23,
    /// A route of type `unreachable`.
    Unreachable = 30,
    /// A route of type `prohibit`.
    Prohibited = 31,
    /// A route of type `blackhole`.
    Blackhole = 32,
    /// No route at all.
    Nowhere = 40,
}

/// Address of a host.
pub(crate) fn ip(family: Family, net: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, net, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host.into()).into(),
    }
}

/// A port of a host.
pub(crate) fn at(family: Family, net: u8, host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(family, net, host), port)
}

/// A port of a host in a far network.
pub(crate) fn far(family: Family, far: Far, port: u16) -> SocketAddr {
    at(family, far as u8, 1, port)
}

/// MAC of a host.
pub(crate) fn mac(net: u8, host: u8) -> [u8; 6] {
    [2, 0, 0, 0, net, host]
}

/// A MAC as the maps hold it.
pub(crate) fn padded(mac: [u8; 6]) -> [u8; 8] {
    let mut padded = [0; 8];
    padded[..6].copy_from_slice(&mac);
    padded
}

/// Makes it all in `namespace`.
pub(crate) fn build(namespace: &Namespace) -> Result<()> {
    // Before the interfaces: they inherit it.
    namespace.sysctl(&[
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/forwarding", "1"),
    ])?;
    run(namespace, "link set lo up")?;
    for (name, index, address, net, mtu) in [
        ("front", FRONT, mac(1, 1), 1, 1500),
        ("back", BACK, mac(2, 1), 2, 1500),
        ("thin", THIN, mac(3, 1), 3, THIN_MTU),
        ("closed", CLOSED, mac(4, 1), 4, 1500),
        // In the place of a VLAN device, which not every kernel has: to the
        // routes it is just another interface with the MAC of front.
        ("front.5", FRONT_5, mac(1, 1), 5, 1500),
    ] {
        let address = text(address);
        run(
            namespace,
            &format!(
                "link add {name} index {index} address {address} mtu {mtu} numrxqueues {QUEUES} type veth peer name {name}-peer"
            ),
        )?;
        run(namespace, &format!("link set {name}-peer up"))?;
        bring_up(namespace, name, net)?;
    }
    namespace.sysctl(&[
        ("ipv4/conf/closed/forwarding", "0"),
        ("ipv6/conf/closed/forwarding", "0"),
    ])?;
    for family in Family::ALL {
        routes(namespace, family)?;
    }
    Ok(())
}

fn bring_up(namespace: &Namespace, name: &str, net: u8) -> Result<()> {
    run(namespace, &format!("link set {name} up"))?;
    for (family, length) in [(Family::V4, 24), (Family::V6, 64)] {
        let director = ip(family, net, 1);
        let nodad = if family == Family::V6 { "nodad" } else { "" };
        run(
            namespace,
            &format!("address add {director}/{length} dev {name} {nodad}"),
        )?;
        let client = ip(family, net, CLIENT);
        let lladdr = text(mac(net, CLIENT));
        run(
            namespace,
            &format!("neigh add {client} lladdr {lladdr} dev {name} nud permanent"),
        )?;
    }
    Ok(())
}

fn routes(namespace: &Namespace, family: Family) -> Result<()> {
    let known = ip(family, 1, CLIENT);
    let unknown = ip(family, 1, UNKNOWN);
    let [known_v6, unknown_v6] = [CLIENT, UNKNOWN].map(|host| ip(Family::V6, 1, host));
    for (network, route) in [
        (Far::Routed, format!("via {known}")),
        (Far::Unresolved, format!("via {unknown}")),
        (Far::RoutedByV6, format!("via inet6 {known_v6} dev front")),
        (
            Far::UnresolvedByV6,
            format!("via inet6 {unknown_v6} dev front"),
        ),
        (Far::Unreachable, String::new()),
        (Far::Prohibited, String::new()),
        (Far::Blackhole, String::new()),
    ] {
        let kind = match network {
            Far::Unreachable => "unreachable",
            Far::Prohibited => "prohibit",
            Far::Blackhole => "blackhole",
            _ => "unicast",
        };
        let host = far(family, network, 0).ip();
        run(namespace, &format!("route add {kind} {host} {route}"))?;
    }
    Ok(())
}

fn run(namespace: &Namespace, arguments: &str) -> Result<()> {
    let output = namespace
        .command("ip")
        .args(arguments.split_whitespace())
        .output()
        .context("cannot run ip (Debian package iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
