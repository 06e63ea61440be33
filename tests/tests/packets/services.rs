//! Services of backends that stay as they are. They have the same ports over IPv4 and
//! IPv6, TCP and UDP.

use anyhow::Result;
use failover_common::{
    Be16, DuringSwitch, Forward, MAX_BACKENDS, Reverse, ReverseKey, Service, ServiceBackend,
    ServiceKey,
};
use failover_user::dataplane::Maps;
use lab::Family;

use crate::frame::Protocol;
use crate::network::ip;
use crate::world::{
    HAIRPIN, HELD_BETWEEN, HELD_FIRST, HELD_LAST, HELD_WITH_IT, NARROW, PRIMARY, SOURCELESS,
    STANDBY, Server, TIGHT, UNRESOLVED,
};

/// Host in net 1 of the VIP whose services have ports, [`Port`].
pub(crate) const VIP: u8 = 100;
/// Host in net 1 of the VIP of every port, served by [`STANDBY`].
pub(crate) const VIP_EVERY_PORT: u8 = 101;
/// A port of [`VIP_EVERY_PORT`] with a service of its own, served by [`PRIMARY`].
pub(crate) const OWN_PORT: u16 = 99;
/// A port of [`STANDBY`] with a reverse entry of its own, beside that of every port.
pub(crate) const OWN_REVERSE: u16 = 98;

/// Services of [`VIP`]; the number is the port. A backend's port is 1000 higher.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// `nat`, to another port.
    Nat = 1000,
    /// `nat`, to the same port.
    NatKept = 1001,
    /// `nat`, to a backend in the client's own network.
    Hairpin = 1002,
    /// `dsr`.
    Dsr = 1003,
    /// `dsr`, to a backend in the client's own network.
    DsrHairpin = 1004,
    /// The first backend is held, [`PRIMARY`] is the second.
    FirstHeld = 1005,
    /// Every backend is held, [`HELD_LAST`] the last.
    AllHeld = 1006,
    /// Every backend is held since the same moment, [`HELD_BETWEEN`] is the first.
    HeldAtOnce = 1007,
    /// The backend's next hop is not known.
    Unresolved = 1008,
    /// No backends.
    Empty = 1009,
    /// A backend that the map cannot hold.
    BeyondMap = 1010,
    /// The same, and [`PRIMARY`].
    BeyondMapFirst = 1011,
    /// `during_switch` is `reset`, and there are no backends.
    ResetEmpty = 1012,
    /// The same, and every backend is held, [`HELD_LAST`] the last.
    ResetHeld = 1013,
    /// `during_switch` is `hold`, and there are no backends.
    HoldEmpty = 1014,
    /// The same, and every backend is held, [`HELD_LAST`] the last.
    HoldHeld = 1015,
    /// `ipip`.
    Ipip = 1220,
    /// `ipip`, to a backend of the other family.
    IpipOther = 1221,
    /// `ipip`, to a backend in the client's own network.
    IpipHairpin = 1222,
    /// `ipip` to [`NARROW`].
    IpipNarrow = 1223,
    /// `ipip` to [`NARROW`] of the other family.
    IpipNarrowOther = 1224,
    /// `ipip` to [`TIGHT`].
    IpipTight = 1225,
    /// `ipip`, and we have no address towards the backend.
    IpipSourceless = 1226,
    /// `ipip`, and the backend's next hop is not known.
    IpipUnresolved = 1227,
    /// `gue`.
    Gue = 1230,
    /// `gue`, to a backend of the other family.
    GueOther = 1231,
    /// `gue` to [`NARROW`].
    GueNarrow = 1232,
    /// `gue` to [`NARROW`] of the other family.
    GueNarrowOther = 1233,
}

/// Writes the services and their reverse entries.
pub(crate) fn place(maps: &mut impl Maps, family: Family, protocol: Protocol) -> Result<()> {
    place_services(maps, family, protocol)?;
    place_switched(maps, family, protocol)?;
    place_tunnels(maps, family, protocol)?;
    place_reverse(maps, family, protocol)
}

/// Key of a service of host `host` in net 1.
pub(crate) fn service_key(family: Family, host: u8, port: u16, protocol: Protocol) -> ServiceKey {
    ServiceKey {
        address: ip(family, 1, host).into(),
        port: Be16::new(port),
        protocol: protocol.number(),
        reserved: [0; 5],
    }
}

/// A service with these backends: index and port.
pub(crate) fn service(forward: Forward, backends: &[(u32, u16)]) -> Service {
    let mut service = Service {
        forward: forward as u8,
        len: u8::try_from(backends.len()).expect("few backends"),
        switched: 0,
        passive: 0,
        flows: 0,
        on_failure: 0,
        during_switch: 0,
        reserved: 0,
        silence: 0,
        shares: 0,
        padding: [0; 4],
        backends: Default::default(),
    };
    for ((entry, &(index, port)), tier) in service.backends.iter_mut().zip(backends).zip(0..) {
        *entry = ServiceBackend {
            index,
            port: Be16::new(port),
            tier,
            reserved: 0,
            pair: 0,
        };
    }
    service
}

fn place_services(maps: &mut impl Maps, family: Family, protocol: Protocol) -> Result<()> {
    let one = |server: Server, port| vec![(server.index(family), port)];
    let beyond = u32::try_from(MAX_BACKENDS)?;
    let primary = PRIMARY.index(family);
    let all_held = [HELD_FIRST, HELD_LAST, HELD_BETWEEN];
    let at_once = [HELD_BETWEEN, HELD_WITH_IT];
    for (port, backends) in [
        (Port::Nat, one(PRIMARY, 2000)),
        (Port::NatKept, one(PRIMARY, 0)),
        (Port::Hairpin, one(HAIRPIN, 2002)),
        (Port::Dsr, one(PRIMARY, 2003)),
        (Port::DsrHairpin, one(HAIRPIN, 0)),
        (
            Port::FirstHeld,
            [one(HELD_FIRST, 2005), one(PRIMARY, 2005)].concat(),
        ),
        (
            Port::AllHeld,
            all_held.map(|s| (s.index(family), 2006)).into(),
        ),
        (
            Port::HeldAtOnce,
            at_once.map(|s| (s.index(family), 2007)).into(),
        ),
        (Port::Unresolved, one(UNRESOLVED, 2008)),
        (Port::Empty, vec![]),
        (Port::BeyondMap, vec![(beyond, 2010)]),
        (Port::BeyondMapFirst, vec![(beyond, 1), (primary, 2011)]),
    ] {
        let forward = match port {
            Port::Dsr | Port::DsrHairpin => Forward::Dsr,
            _ => Forward::Nat,
        };
        let key = service_key(family, VIP, port as u16, protocol);
        maps.set_service(&key, &service(forward, &backends))?;
    }
    for vip in [VIP, VIP_EVERY_PORT] {
        let key = ServiceKey::of_address(ip(family, 1, vip).into());
        maps.set_service(&key, &service(Forward::Nat, &[]))?;
    }
    for (port, server) in [(0, STANDBY), (OWN_PORT, PRIMARY)] {
        let key = service_key(family, VIP_EVERY_PORT, port, protocol);
        let backends = one(server, 0);
        maps.set_service(&key, &service(Forward::Nat, &backends))?;
    }
    Ok(())
}

/// Services that nobody may serve.
fn place_switched(maps: &mut impl Maps, family: Family, protocol: Protocol) -> Result<()> {
    let held = [HELD_FIRST, HELD_LAST].map(|server| (server.index(family), 0));
    for (port, backends, during_switch) in [
        (Port::ResetEmpty, &[][..], DuringSwitch::Reset),
        (Port::ResetHeld, &held, DuringSwitch::Reset),
        (Port::HoldEmpty, &[], DuringSwitch::Hold),
        (Port::HoldHeld, &held, DuringSwitch::Hold),
    ] {
        let key = service_key(family, VIP, port as u16, protocol);
        let service = Service {
            during_switch: during_switch as u8,
            ..service(Forward::Nat, backends)
        };
        maps.set_service(&key, &service)?;
    }
    Ok(())
}

fn place_tunnels(maps: &mut impl Maps, family: Family, protocol: Protocol) -> Result<()> {
    let other = family.other();
    for (port, forward, family_of_backend, server) in [
        (Port::Ipip, Forward::Ipip, family, PRIMARY),
        (Port::IpipOther, Forward::Ipip, other, PRIMARY),
        (Port::IpipHairpin, Forward::Ipip, family, HAIRPIN),
        (Port::IpipNarrow, Forward::Ipip, family, NARROW),
        (Port::IpipNarrowOther, Forward::Ipip, other, NARROW),
        (Port::IpipTight, Forward::Ipip, family, TIGHT),
        (Port::IpipSourceless, Forward::Ipip, family, SOURCELESS),
        (Port::IpipUnresolved, Forward::Ipip, family, UNRESOLVED),
        (Port::Gue, Forward::Gue, family, PRIMARY),
        (Port::GueOther, Forward::Gue, other, PRIMARY),
        (Port::GueNarrow, Forward::Gue, family, NARROW),
        (Port::GueNarrowOther, Forward::Gue, other, NARROW),
    ] {
        let backends = [(server.index(family_of_backend), port as u16)];
        let key = service_key(family, VIP, port as u16, protocol);
        maps.set_service(&key, &service(forward, &backends))?;
    }
    Ok(())
}

fn place_reverse(maps: &mut impl Maps, family: Family, protocol: Protocol) -> Result<()> {
    for (server, port, vip, vip_port) in [
        (PRIMARY, 2000, VIP, Port::Nat as u16),
        (HAIRPIN, 2002, VIP, Port::Hairpin as u16),
        (STANDBY, 0, VIP_EVERY_PORT, 0),
        (STANDBY, OWN_REVERSE, VIP, 1098),
    ] {
        let key = ReverseKey {
            address: ip(family, server.net, server.host).into(),
            port: Be16::new(port),
            protocol: protocol.number(),
            reserved: [0; 5],
        };
        let reverse = Reverse {
            address: ip(family, 1, vip).into(),
            port: Be16::new(vip_port),
            passive: 0,
            flows: 0,
            index: server.index(family),
            pair: 0,
            padding: [0; 4],
        };
        maps.set_reverse(&key, &reverse)?;
    }
    Ok(())
}
