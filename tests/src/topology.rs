//! Who is where: the addresses, routes and settings of each host, as data.
//!
//! ```text
//!            one-armed                             two-armed
//!   client     director    backends      client ─ eth0 director eth1 ─ backends
//!     └───────── br0 ─────────┘              (br0)             (br1)
//! ```
//!
//! | host | IPv4 | IPv6 |
//! | --- | --- | --- |
//! | client | 10.77.1.2/24 | `fd77:1::2/64` |
//! | director, client side | 10.77.1.1/24 | `fd77:1::1/64` |
//! | director, backend side | 10.77.2.1/24 | `fd77:2::1/64` |
//! | primary, standby, third | 10.77.2.11, .12, .13/24 | `fd77:2::11`, `::12`, `::13/64` |
//! | service address | 10.77.1.100 | `fd77:1::100` |
//!
//! The service address is on-link for the client; the agent gives it to the
//! director. Everybody's default route is the director, so that the answers of
//! `nat` pass through it. With `dsr` and the tunnels the backends also carry the service address
//! on their loopback and, one-armed, reach the client's network directly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a lab is built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the backends are prepared for.
    pub forward: Forward,
    /// The director has one interface to the client and one to the backends,
    /// instead of one for both.
    pub two_armed: bool,
    /// A third backend.
    pub third: bool,
}

/// The forwarding modes the lab knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// Answers go back through the director.
    #[default]
    Nat,
    /// Backends own the service address and answer the client directly.
    Dsr,
    /// The same, and they need a [`Decap`](crate::Decap).
    Ipip,
    /// The same.
    Gue,
    /// Backends answer the director, and know of nobody else.
    FullNat,
}

impl Forward {
    /// The word used in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::FullNat => "fullnat",
        }
    }

    /// Whether backends have packets to take out of a tunnel.
    pub(crate) fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

/// The two address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The one that this is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The service address.
    #[must_use]
    pub fn vip(self) -> IpAddr {
        Network::Client.address(self, 100)
    }
}

/// One of the lab's two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Client,
    Backend,
}

impl Network {
    /// The address whose last part reads as `host` in both families.
    fn address(self, family: Family, host: u8) -> IpAddr {
        let net: u8 = match self {
            Self::Client => 1,
            Self::Backend => 2,
        };
        // So that 11 is written 11 also in hexadecimal.
        let hex =
            u16::from(host / 100) << 8 | u16::from(host / 10 % 10) << 4 | u16::from(host % 10);
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, net, host).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, net.into(), 0, 0, 0, 0, 0, hex).into(),
        }
    }

    fn prefix(self, family: Family) -> String {
        format!("{}/{}", self.address(family, 0), prefix_length(family))
    }

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Director,
    Backend,
}

/// A host before it is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Last part of the address in the host's own network.
    number: u8,
    options: Options,
}

/// A cable from an interface of a host to a port of a bridge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cable {
    pub(crate) interface: &'static str,
    pub(crate) port: &'static str,
    pub(crate) bridge: &'static str,
}

impl Options {
    pub(crate) fn bridges(self) -> &'static [&'static str] {
        if self.two_armed {
            &["br0", "br1"]
        } else {
            &["br0"]
        }
    }

    pub(crate) fn plans(self) -> Vec<Plan> {
        let plan = |name, role, number| Plan {
            name,
            role,
            number,
            options: self,
        };
        let mut plans = vec![
            plan("client", Role::Client, 2),
            plan("director", Role::Director, 1),
            plan("primary", Role::Backend, 11),
            plan("standby", Role::Backend, 12),
        ];
        if self.third {
            plans.push(plan("third", Role::Backend, 13));
        }
        plans
    }
}

impl Plan {
    /// The host's own address. The director's is the one on the client's side.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        self.network().address(family, self.number)
    }

    /// Every address a server on this host may be asked at.
    pub(crate) fn service_addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<_> = Family::ALL.map(|family| self.address(family)).into();
        if self.owns_vip() {
            addresses.extend(Family::ALL.map(Family::vip));
        }
        addresses
    }

    /// The first cable is that of `eth0`.
    pub(crate) fn cables(&self) -> Vec<Cable> {
        let backend_bridge = if self.options.two_armed { "br1" } else { "br0" };
        let bridge = match self.network() {
            Network::Client => "br0",
            Network::Backend => backend_bridge,
        };
        let mut cables = vec![Cable {
            interface: "eth0",
            port: self.name,
            bridge,
        }];
        if self.role == Role::Director && self.options.two_armed {
            cables.push(Cable {
                interface: "eth1",
                port: "director-eth1",
                bridge: backend_bridge,
            });
        }
        cables
    }

    /// Kernel settings; written before the host has an interface, because most
    /// are copied from `default` when one appears.
    pub(crate) fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let mut settings = vec![
            // Addresses can be used at once.
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            // Client and backends share a wire in the one-armed lab: the director
            // would tell them so, and they would go round it.
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/conf/default/accept_redirects", "0"),
            ("ipv6/conf/default/accept_redirects", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/default/send_redirects", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            // A new hardware address is announced.
            ("ipv4/conf/all/arp_notify", "1"),
            ("ipv6/conf/default/ndisc_notify", "1"),
        ];
        if self.role == Role::Director {
            settings.extend([
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                // Two-armed dsr: answers come from a backend with the service
                // address, which is also the director's own, as their source.
                ("ipv4/conf/all/accept_local", "1"),
            ]);
        }
        if self.owns_vip() {
            // Only the director answers for the service address. IPv6 never
            // answers for an address of another interface.
            settings.extend([
                ("ipv4/conf/all/arp_ignore", "1"),
                ("ipv4/conf/all/arp_announce", "2"),
            ]);
        }
        settings
    }

    /// Lines of `ip -batch` that set up the host's interfaces.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec!["link set lo up".to_owned()];
        let backend_side = if self.options.two_armed {
            "eth1"
        } else {
            "eth0"
        };
        for family in Family::ALL {
            lines.push(add_address(self.network(), family, self.number, "eth0"));
            if self.role == Role::Director {
                lines.push(add_address(
                    Network::Backend,
                    family,
                    self.number,
                    backend_side,
                ));
            }
            if self.owns_vip() {
                let host_length = if family == Family::V4 { 32 } else { 128 };
                lines.push(format!("address add {}/{host_length} dev lo", family.vip()));
            }
        }
        for cable in self.cables() {
            lines.push(format!("link set {} up", cable.interface));
        }
        for family in Family::ALL {
            // With `fullnat` a backend need not know of anybody else.
            let knows_others =
                self.role == Role::Client || self.options.forward != Forward::FullNat;
            if self.role != Role::Director && knows_others {
                let director = self.network().address(family, 1);
                lines.push(format!("route add default via {director} dev eth0"));
            }
            if !matches!(self.options.forward, Forward::Nat | Forward::FullNat)
                && !self.options.two_armed
                && self.role != Role::Director
            {
                let prefix = self.network().other().prefix(family);
                lines.push(format!("route add {prefix} dev eth0"));
            }
        }
        lines
    }

    fn owns_vip(&self) -> bool {
        let forward = self.options.forward;
        self.role == Role::Backend && !matches!(forward, Forward::Nat | Forward::FullNat)
    }

    fn network(&self) -> Network {
        match self.role {
            Role::Client | Role::Director => Network::Client,
            Role::Backend => Network::Backend,
        }
    }
}

fn add_address(network: Network, family: Family, host: u8, interface: &str) -> String {
    let nodad = if family == Family::V6 { " nodad" } else { "" };
    let address = network.address(family, host);
    format!(
        "address add {address}/{}{nodad} dev {interface}",
        prefix_length(family)
    )
}

fn prefix_length(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}
