//! Backends that may die in a test, and their services.

use std::time::Duration;

use anyhow::Result;
use failover_common::{Be16, Forward, HEARTBEAT_PORT, Reverse, ReverseKey, Service};
use failover_user::dataplane::Maps as _;
use failover_user::dataplane::kernel::KernelMaps;
use lab::Family;

use crate::frame::Protocol;
use crate::network::ip;
use crate::services::{VIP, service, service_key};
use crate::world::Server;

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
            backends,
            pair,
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

const OFFERS: [Offer; 9] = [
    LEASED, LEASED_DSR, PASSIVE, ACROSS, ALONE, THREE, SILENT, IN_RANGE, EVERY_PORT,
];

/// Every pair of a mortal and a service.
pub(crate) fn pairs() -> impl Iterator<Item = u32> {
    OFFERS
        .into_iter()
        .flat_map(|offer| (offer.pair..).take(offer.backends.len()))
}

/// Writes the services and their reverse entries.
pub(crate) fn place(maps: &mut KernelMaps, family: Family, protocol: Protocol) -> Result<()> {
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
            ..service(offer.forward, &backends)
        };
        for ((entry, server), pair) in service
            .backends
            .iter_mut()
            .zip(offer.backends)
            .zip(offer.pair..)
        {
            entry.pair = pair;
            if offer.forward == Forward::Dsr {
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
                flows: 0,
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
