//! Stage 2: which service a packet is for, or whose answer it is.

use failover_common::{
    Address, Be16, Hint, REVERSE_BITS, Reverse, ReverseKey, SERVICE_BITS, Service, ServiceKey,
    Slot, TableKey as _, find, find_soon, hint_place,
};
use failover_ebpf::parse::Packet;

use crate::maps::{HINTS, REVERSE, REVERSE_PLACES, SERVICE_PLACES, SERVICES};

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
        find_soon(
            words,
            SERVICE_BITS,
            service_place,
            service_at,
            service_slot_of,
        )
    };
    let there = hints(&packet.destination);
    if Hint::Service.is_in(there)
        && let Some(service) = service(packet.destination_port)
    {
        return Some(Match::Service(service));
    }
    if Hint::EveryService.is_in(there)
        && let Some(service) = service(Be16::ZERO)
    {
        return Some(Match::Service(service));
    }
    let reverse = |port| {
        let words = key(packet.source, port, packet.protocol);
        find_soon(
            words,
            REVERSE_BITS,
            reverse_place,
            reverse_at,
            reverse_slot_of,
        )
    };
    let there = hints(&packet.source);
    if Hint::Reverse.is_in(there)
        && let Some(reverse) = reverse(packet.source_port)
    {
        return Some(Match::Answer(reverse));
    }
    if !Hint::EveryReverse.is_in(there) {
        return None;
    }
    reverse(Be16::ZERO).map(Match::Answer)
}

/// What the tables may hold of an address.
#[inline(always)]
fn hints(address: &Address) -> u8 {
    let Some(hints) = HINTS.get_ptr(0) else {
        return 0;
    };
    let place = hint_place(address) as usize % failover_common::HINTS;
    // SAFETY: entries of an array map live as long as the map, which has so many bytes.
    unsafe { hints.cast::<u8>().add(place).read_volatile() }
}

/// The words of a [`ServiceKey`], and of a [`ReverseKey`](ReverseKey), which
/// are laid out alike.
#[inline(always)]
fn key(address: Address, port: Be16, protocol: u8) -> [u64; 3] {
    let ([a, b], [p, q]) = (address.words(), port.0);
    // Made in a register: from memory, the single bytes would not be there yet.
    [a, b, u64::from_ne_bytes([p, q, protocol, 0, 0, 0, 0, 0])]
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
    service_at(service_slot_of(words)).map(|slot| &slot.value)
}

#[inline(always)]
fn reverse(words: [u64; 3]) -> Option<&'static Reverse> {
    reverse_at(reverse_slot_of(words)).map(|slot| &slot.value)
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
    find([a, b, c], SERVICE_BITS, service_place, service_at)
}

/// As [`service_slot`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reverse_slot(a: u64, b: u64, c: u64) -> u32 {
    find([a, b, c], REVERSE_BITS, reverse_place, reverse_at)
}

#[inline(always)]
fn service_place(index: u32) -> Option<u64> {
    let place = SERVICE_PLACES.get_ptr(index)?;
    // SAFETY: entries of an array map live as long as the map; one aligned word that the
    // agent may change.
    Some(unsafe { place.read_volatile() })
}

#[inline(always)]
fn reverse_place(index: u32) -> Option<u64> {
    let place = REVERSE_PLACES.get_ptr(index)?;
    // SAFETY: as above.
    Some(unsafe { place.read_volatile() })
}

/// A slot does not change while a place names it.
#[inline(always)]
fn service_at(index: u32) -> Option<&'static Slot<ServiceKey, Service>> {
    SERVICES.get(index)
}

/// As [`service_at`].
#[inline(always)]
fn reverse_at(index: u32) -> Option<&'static Slot<ReverseKey, Reverse>> {
    REVERSE.get(index)
}
