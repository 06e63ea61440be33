//! Stage 2: which service a packet is for, or whose answer it is.

use failover_common::{
    Address, Be16, REVERSE_BITS, Reverse, SERVICE_BITS, Service, ServiceKey, TableKey as _, find,
    find_soon,
};
use failover_ebpf::parse::Packet;

use crate::maps::{REVERSE, REVERSE_PLACES, SERVICE_PLACES, SERVICES};

/// What the maps know about a packet.
pub(crate) enum Match {
    /// It is from a client, for this service.
    Service(&'static Service),
    /// It is from a backend of a `nat` service, for a client.
    Answer(&'static Reverse),
}

/// Looks the packet up: its own port first, then every port (0).
#[inline(always)]
pub(crate) fn look_up(packet: &Packet) -> Option<Match> {
    match at(packet.destination, packet.destination_port, packet.protocol) {
        Some(service) => Some(Match::Service(service)),
        None => answer(packet).map(Match::Answer),
    }
}

/// The same, nearly always without a call, for nearly every packet.
#[inline(always)]
pub(crate) fn look_up_soon(packet: &Packet) -> Option<Match> {
    let service = |port| {
        let words = key(packet.destination, port, packet.protocol);
        let slot = |index| SERVICES.get(index);
        find_soon(words, SERVICE_BITS, service_place, slot, service_slot_of)
    };
    if let Some(service) = service(packet.destination_port) {
        return Some(Match::Service(service));
    }
    if let Some(service) = service(Be16::ZERO) {
        return Some(Match::Service(service));
    }
    let reverse = |port| {
        let words = key(packet.source, port, packet.protocol);
        let slot = |index| REVERSE.get(index);
        find_soon(words, REVERSE_BITS, reverse_place, slot, reverse_slot_of)
    };
    reverse(packet.source_port)
        .or_else(|| reverse(Be16::ZERO))
        .map(Match::Answer)
}

/// The words of a [`ServiceKey`], and of a [`ReverseKey`](failover_common::ReverseKey), which
/// are laid out alike.
#[inline(always)]
fn key(address: Address, port: Be16, protocol: u8) -> [u64; 3] {
    let key = ServiceKey {
        address,
        port,
        protocol,
        reserved: [0; 5],
    };
    key.words()
}

/// The service at an address: of this port, else of every port.
#[inline(always)]
pub(crate) fn at(address: Address, port: Be16, protocol: u8) -> Option<&'static Service> {
    service(key(address, port, protocol)).or_else(|| service(key(address, Be16::ZERO, protocol)))
}

/// Whether services have this address.
#[inline(always)]
pub(crate) fn is_vip(address: Address) -> bool {
    service(ServiceKey::of_address(address).words()).is_some()
}

/// Whose answer a packet is: the backend's own port first, then every port.
#[inline(always)]
pub(crate) fn answer(packet: &Packet) -> Option<&'static Reverse> {
    addressee(packet.source, packet.source_port, packet.protocol)
}

/// The entry of the backend at this address and port: its own port first, then every port.
#[inline(always)]
pub(crate) fn addressee(address: Address, port: Be16, protocol: u8) -> Option<&'static Reverse> {
    reverse(key(address, port, protocol)).or_else(|| reverse(key(address, Be16::ZERO, protocol)))
}

#[inline(always)]
fn service(words: [u64; 3]) -> Option<&'static Service> {
    SERVICES.get(service_slot_of(words)).map(|slot| &slot.value)
}

#[inline(always)]
fn reverse(words: [u64; 3]) -> Option<&'static Reverse> {
    REVERSE.get(reverse_slot_of(words)).map(|slot| &slot.value)
}

#[inline(always)]
fn service_slot_of([a, b, c]: [u64; 3]) -> u32 {
    service_slot(a, b, c)
}

#[inline(always)]
fn reverse_slot_of([a, b, c]: [u64; 3]) -> u32 {
    reverse_slot(a, b, c)
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_slot(a: u64, b: u64, c: u64) -> u32 {
    find([a, b, c], SERVICE_BITS, service_place, |index| {
        SERVICES.get(index)
    })
}

/// As [`service_slot`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reverse_slot(a: u64, b: u64, c: u64) -> u32 {
    find([a, b, c], REVERSE_BITS, reverse_place, |index| {
        REVERSE.get(index)
    })
}

#[inline(always)]
fn service_place(index: u32) -> Option<u64> {
    // SAFETY: entries of an array map live as long as the map; one aligned word.
    SERVICE_PLACES
        .get_ptr(index)
        .map(|at| unsafe { at.read_volatile() })
}

#[inline(always)]
fn reverse_place(index: u32) -> Option<u64> {
    // SAFETY: as above.
    REVERSE_PLACES
        .get_ptr(index)
        .map(|at| unsafe { at.read_volatile() })
}
