//! Stage 2: which service a packet is for, or whose answer it is.

use failover_common::{Address, Be16, Reverse, ReverseKey, Service, ServiceKey, Verdict};
use failover_ebpf::parse::Packet;

use crate::maps::{REVERSE, SERVICES};

/// What the maps know about a packet.
pub(crate) enum Match {
    /// It is from a client, for this service.
    Service(&'static Service),
    /// It is from a backend of a `nat` service, for a client.
    Answer(Reverse),
}

/// Looks the packet up: its own port first, then every port (0).
#[inline(always)]
pub(crate) fn find(packet: &Packet) -> Result<Match, Verdict> {
    if let Some(service) = at(packet.destination, packet.destination_port, packet.protocol) {
        return Ok(Match::Service(service));
    }
    answer(packet).map(Match::Answer).ok_or(Verdict::NoService)
}

/// The service at an address: of this port, else of every port.
#[inline(always)]
pub(crate) fn at(address: Address, port: Be16, protocol: u8) -> Option<&'static Service> {
    let mut key = ServiceKey {
        address,
        port,
        protocol,
        reserved: [0; 5],
    };
    if let Some(service) = service(&key) {
        return Some(service);
    }
    key.port = Be16::ZERO;
    service(&key)
}

/// Whose answer a packet is: the backend's own port first, then every port.
#[inline(always)]
pub(crate) fn answer(packet: &Packet) -> Option<Reverse> {
    addressee(packet.source, packet.source_port, packet.protocol)
}

/// The entry of the backend at this address and port: its own port first, then every port.
#[inline(always)]
pub(crate) fn addressee(address: Address, port: Be16, protocol: u8) -> Option<Reverse> {
    let mut key = ReverseKey {
        address,
        port,
        protocol,
        reserved: [0; 5],
    };
    if let Some(reverse) = reverse(&key) {
        return Some(reverse);
    }
    key.port = Be16::ZERO;
    reverse(&key)
}

/// What the map has under `key`.
#[inline(always)]
pub(crate) fn service(key: &ServiceKey) -> Option<&'static Service> {
    let service = SERVICES.get_ptr(key)?;
    // SAFETY: the map is not preallocated: an entry that is replaced lives on
    // until the program that looked it up has ended (RCU).
    Some(unsafe { &*service })
}

#[inline(always)]
fn reverse(key: &ReverseKey) -> Option<Reverse> {
    let reverse = REVERSE.get_ptr(key)?;
    // SAFETY: as in `service`.
    Some(unsafe { *reverse })
}
