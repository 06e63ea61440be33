//! Backends that may die in a test, and their services.

use std::time::Duration;

use anyhow::Result;
use failover_common::{
    Be16, DuringSwitch, Forward, HEARTBEAT_PORT, OnFailure, Reverse, ReverseKey, Service, Shares,
};
use failover_user::dataplane::Maps as _;
use failover_user::dataplane::kernel::KernelMaps;
use failover_user::maglev::{self, Member};
use lab::Family;

use crate::frame::Protocol;
use crate::network::ip;
use crate::services::{VIP, service, service_key};
use crate::world::{HAIRPIN, SOURCELESS, Server, UNRESOLVED};

pub(crate) const FIRST: Server = Server::new(9, 2, 21, 0);
pub(crate) const SECOND: Server = Server::new(10, 2, 22, 0);
/// In the clients' own network.
pub(crate) const THIRD: Server = Server::new(11, 1, 33, 0);

pub(crate) const MORTALS: [Server; 3] = [FIRST, SECOND, THIRD];

/// A service of mortals. On a backend its port is 1000 higher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Host of the VIP in net 1.
    pub(crate) vip: u8,
    /// 0: every port.
    pub(crate) port: u16,
    forward: Forward,
    passive: bool,
    silence: Duration,
    /// It keeps flows, and this becomes of those of dead backends.
    on_failure: Option<OnFailure>,
    during_switch: DuringSwitch,
    /// The backends are one tier and serve together.
    pub(crate) shared: bool,
    pub(crate) backends: &'static [Server],
    /// Index of the first backend's pair; the others follow.
    pub(crate) pair: u32,
}

impl Offer {
    const fn new(port: u16, pair: u32, backends: &'static [Server]) -> Self {
        Self {
            vip: VIP,
            port,
            forward: Forward::Nat,
            passive: true,
            silence: Duration::ZERO,
            on_failure: None,
            during_switch: DuringSwitch::Drop,
            shared: false,
            backends,
            pair,
        }
    }

    /// The same with flows that are kept; nothing that traffic shows counts.
    const fn kept(port: u16, pair: u32, on_failure: OnFailure) -> Self {
        Self {
            passive: false,
            on_failure: Some(on_failure),
            ..Self::new(port, pair, &[FIRST, SECOND])
        }
    }

    /// The same with flows that go to the backends as from us.
    const fn fullnat(port: u16, pair: u32, backends: &'static [Server]) -> Self {
        Self {
            forward: Forward::FullNat,
            backends,
            ..Self::kept(port, pair, OnFailure::Reset)
        }
    }

    /// The same with these backends, and this becomes of clients while none may serve.
    const fn switched(self, backends: &'static [Server], during_switch: DuringSwitch) -> Self {
        Self {
            during_switch,
            backends,
            ..self
        }
    }

    /// The port on a backend of a connection to `port`.
    pub(crate) fn port_on_backend(&self, port: u16) -> u16 {
        if self.port == 0 { port } else { port + 1000 }
    }
}

/// Nothing that traffic shows counts.
pub(crate) const LEASED: Offer = Offer {
    passive: false,
    ..Offer::new(1020, 40, &[FIRST, SECOND])
};
/// `dsr`: a frame is the same however often it goes by.
pub(crate) const LEASED_DSR: Offer = Offer {
    forward: Forward::Dsr,
    passive: false,
    ..Offer::new(1021, 50, &[FIRST, SECOND])
};
pub(crate) const PASSIVE: Offer = Offer::new(1022, 60, &[FIRST, SECOND]);
/// The first backend is not where the second one is.
pub(crate) const ACROSS: Offer = Offer::new(1023, 70, &[THIRD, FIRST]);
pub(crate) const ALONE: Offer = Offer::new(1024, 80, &[FIRST]);
pub(crate) const THREE: Offer = Offer::new(1025, 90, &[FIRST, SECOND, THIRD]);
/// The traffic lease only.
pub(crate) const SILENT: Offer = Offer {
    passive: false,
    silence: Duration::from_secs(2),
    ..Offer::new(1026, 100, &[FIRST, SECOND])
};
/// Its port is one that heartbeats come from.
pub(crate) const IN_RANGE: Offer = Offer::new(HEARTBEAT_PORT + 9, 110, &[FIRST, SECOND]);
/// Every port of a VIP of its own.
pub(crate) const EVERY_PORT: Offer = Offer {
    vip: 103,
    ..Offer::new(0, 120, &[THIRD, SECOND])
};

pub(crate) const RESET: Offer = Offer::kept(1030, 130, OnFailure::Reset);
pub(crate) const FORWARD: Offer = Offer::kept(1031, 140, OnFailure::Forward);
pub(crate) const DROP: Offer = Offer::kept(1032, 150, OnFailure::Drop);
pub(crate) const RESET_DSR: Offer = Offer {
    forward: Forward::Dsr,
    ..Offer::kept(1033, 160, OnFailure::Reset)
};
pub(crate) const RESET_IPIP: Offer = Offer {
    forward: Forward::Ipip,
    ..Offer::kept(1034, 170, OnFailure::Reset)
};
/// SYNs are rescued.
pub(crate) const RESCUED: Offer = Offer {
    passive: true,
    ..Offer::kept(1035, 180, OnFailure::Reset)
};
/// Every port of a VIP of its own.
pub(crate) const RESET_EVERY_PORT: Offer = Offer {
    vip: 104,
    forward: Forward::Dsr,
    ..Offer::kept(0, 190, OnFailure::Reset)
};
pub(crate) const SHARED: Offer = Offer {
    shared: true,
    backends: &[FIRST, SECOND, THIRD],
    ..Offer::kept(1036, 200, OnFailure::Reset)
};

pub(crate) const FULLNAT: Offer = Offer::fullnat(1037, 210, &[FIRST, SECOND]);
/// Its backend is in the clients' own network, and of no service on every port.
pub(crate) const FULLNAT_ACROSS: Offer = Offer::fullnat(1038, 220, &[HAIRPIN]);
pub(crate) const FULLNAT_SOURCELESS: Offer = Offer::fullnat(1039, 230, &[SOURCELESS]);
pub(crate) const FULLNAT_UNRESOLVED: Offer = Offer::fullnat(1040, 240, &[UNRESOLVED]);
/// Every port of a VIP of its own.
pub(crate) const FULLNAT_EVERY_PORT: Offer = Offer {
    vip: 105,
    ..Offer::fullnat(0, 250, &[FIRST, SECOND])
};

/// Whose clients are reset while nobody may serve.
pub(crate) const SWITCHED: Offer =
    Offer::new(1046, 310, &[]).switched(&[FIRST, SECOND], DuringSwitch::Reset);
/// Whose clients wait.
pub(crate) const WAITING: Offer = Offer::new(1047, 320, &[]).switched(&[FIRST], DuringSwitch::Hold);
/// The same, with flows.
pub(crate) const SWITCHED_KEPT: Offer =
    Offer::kept(1048, 330, OnFailure::Reset).switched(&[FIRST], DuringSwitch::Reset);
pub(crate) const WAITING_KEPT: Offer =
    Offer::kept(1049, 340, OnFailure::Reset).switched(&[FIRST], DuringSwitch::Hold);
/// The same, and SYNs are rescued.
pub(crate) const SWITCHED_RESCUED: Offer = Offer {
    passive: true,
    ..Offer::kept(1052, 370, OnFailure::Reset).switched(&[FIRST, SECOND], DuringSwitch::Reset)
};
/// The same, and nobody is promoted.
pub(crate) const SWITCHED_EMPTY: Offer =
    Offer::kept(1050, 350, OnFailure::Reset).switched(&[], DuringSwitch::Reset);
pub(crate) const WAITING_EMPTY: Offer =
    Offer::kept(1051, 360, OnFailure::Reset).switched(&[], DuringSwitch::Hold);

const OFFERS: [Offer; 29] = [
    LEASED,
    LEASED_DSR,
    PASSIVE,
    ACROSS,
    ALONE,
    THREE,
    SILENT,
    IN_RANGE,
    EVERY_PORT,
    RESET,
    FORWARD,
    DROP,
    RESET_DSR,
    RESET_IPIP,
    RESCUED,
    RESET_EVERY_PORT,
    SHARED,
    FULLNAT,
    FULLNAT_ACROSS,
    FULLNAT_SOURCELESS,
    FULLNAT_UNRESOLVED,
    FULLNAT_EVERY_PORT,
    SWITCHED,
    WAITING,
    SWITCHED_KEPT,
    WAITING_KEPT,
    SWITCHED_RESCUED,
    SWITCHED_EMPTY,
    WAITING_EMPTY,
];

/// The table of [`SHARED`].
pub(crate) fn table(family: Family) -> Box<Shares> {
    let names = ["a", "b", "c"];
    let members: Vec<Member<'_>> = SHARED
        .backends
        .iter()
        .zip(names)
        .map(|(server, name)| Member {
            name,
            index: server.index(family),
            weight: 1,
        })
        .collect();
    maglev::table(&members)
}

/// Every pair of a mortal and a service.
pub(crate) fn pairs() -> impl Iterator<Item = u32> {
    OFFERS
        .into_iter()
        .flat_map(|offer| (offer.pair..).take(offer.backends.len()))
}

/// Row of [`table`] in `SHARES`.
fn row(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// Writes the services and their reverse entries.
pub(crate) fn place(maps: &mut KernelMaps, family: Family, protocol: Protocol) -> Result<()> {
    maps.set_shares(row(family), &table(family))?;
    for offer in OFFERS {
        let on_backend = offer.port_on_backend(offer.port);
        let backends: Vec<_> = offer
            .backends
            .iter()
            .map(|server| (server.index(family), on_backend))
            .collect();
        let mut service = Service {
            passive: u8::from(offer.passive),
            silence: u64::try_from(offer.silence.as_nanos())?,
            flows: u8::from(offer.on_failure.is_some()),
            on_failure: offer.on_failure.map_or(0, |policy| policy as u8),
            during_switch: offer.during_switch as u8,
            shares: if offer.shared { row(family) + 1 } else { 0 },
            ..service(offer.forward, &backends)
        };
        for ((entry, server), pair) in service
            .backends
            .iter_mut()
            .zip(offer.backends)
            .zip(offer.pair..)
        {
            entry.pair = pair;
            if offer.shared {
                entry.tier = 0;
            }
            if offer.forward != Forward::Nat {
                continue;
            }
            let key = ReverseKey {
                address: ip(family, server.net, server.host).into(),
                port: Be16::new(on_backend),
                protocol: protocol.number(),
                reserved: [0; 5],
            };
            let reverse = Reverse {
                address: ip(family, 1, offer.vip).into(),
                port: Be16::new(offer.port),
                passive: u8::from(offer.passive),
                flows: u8::from(offer.on_failure.is_some()),
                index: server.index(family),
                pair,
                padding: [0; 4],
            };
            maps.set_reverse(&key, &reverse)?;
        }
        let key = service_key(family, offer.vip, offer.port, protocol);
        maps.set_service(&key, &service)?;
    }
    Ok(())
}
