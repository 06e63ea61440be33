//! Answers to heartbeats: they renew the lease and end here. Whatever is not
//! exactly what the agent asked for is not ours.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use failover_common::{
    Address, Backend, Be16, HEARTBEAT_PORT, HeartbeatKind, Live, MAX_BACKENDS, Signal, Verdict,
};
use failover_ebpf::{
    frame::Frame as _,
    icmp::{Echo, Unreachable},
    parse::{ACK, RST, SYN, UDP, parse},
};

use crate::{
    context::Context,
    lease::{cpu, latch, live, now},
    maps::BACKENDS,
};

/// An echo reply.
#[inline(always)]
pub(crate) fn echo(context: &Context, echo: &Echo) -> Option<Verdict> {
    let backend = asked(context, echo.index, HeartbeatKind::Icmp, echo.source)?;
    if token(backend) != echo.token {
        return None;
    }
    Some(renew(backend, echo.sequence))
}

/// Whether a port is one that heartbeats come from.
#[inline(always)]
pub(crate) fn is_ours(port: Be16) -> bool {
    index(port.get()).is_some()
}

/// What [`segment`] returns for a segment that is no answer to a heartbeat.
pub(crate) const NOT_OURS: u32 = 0;
/// The port is open: the segment is to be reset.
pub(crate) const ACCEPTED: u32 = 1;
/// The port is closed.
pub(crate) const CLOSED: u32 = 2;
/// The port was closed, but there is a newer answer.
pub(crate) const OLD: u32 = 3;

/// A TCP segment to one of the ports that heartbeats come from. A global function:
/// the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segment(xdp: *mut xdp_md) -> u32 {
    answer(&Context::new(XdpContext::new(xdp))).unwrap_or(NOT_OURS)
}

#[inline(always)]
fn answer(context: &Context) -> Option<u32> {
    let packet = &parse(context).ok()?;
    let index = index(packet.destination_port.get())?;
    let backend = asked(context, index, HeartbeatKind::TcpSyn, packet.source)?;
    if packet.source_port.0 != port(backend) {
        return None;
    }
    // Our sequence number, plus one for the SYN.
    let acknowledged = u32::from_be_bytes(context.load(packet.l4 + 8)?);
    let sequence = acknowledged
        .wrapping_sub(1)
        .wrapping_sub(low(token(backend)));
    if !is_recent(live(backend), sequence) {
        return None;
    }
    if packet.is_tcp(SYN | ACK) {
        renew(backend, sequence);
        return Some(ACCEPTED);
    }
    if !packet.is_tcp(RST | ACK) {
        return None;
    }
    if !live(backend).pulse().accepts(sequence) {
        return Some(OLD);
    }
    latch(index, now(), Signal::Closed, 0);
    Some(CLOSED)
}

/// "Unreachable" in answer to a datagram of ours.
#[inline(always)]
pub(crate) fn unreachable(context: &Context, message: &Unreachable) -> Option<Verdict> {
    if message.protocol != UDP {
        return None;
    }
    let index = index(message.source_port.get())?;
    let backend = BACKENDS.get_ptr(index)?;
    if kind(backend) != HeartbeatKind::Udp as u8
        || message.destination != address(backend)
        || message.destination_port.0 != port(backend)
    {
        return None;
    }
    // From here on it is about a heartbeat, or forged; in no case about a client's
    // packet.
    Some(refused(context, index, message).unwrap_or(Verdict::OtherProtocol))
}

#[inline(always)]
fn refused(context: &Context, index: u32, message: &Unreachable) -> Option<Verdict> {
    let backend = asked(context, index, HeartbeatKind::Udp, message.reporter)?;
    // Sixteen bits of the sequence number come back: near the newest one sent.
    let sent = live(backend).pulse().sent;
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    let behind = (low(token(backend)).wrapping_add(sent) as u16)
        .wrapping_sub(message.identification)
        .cast_signed();
    let sequence = sent.wrapping_sub_signed(i32::from(behind));
    if !is_recent(live(backend), sequence) {
        return None;
    }
    // Of this kind the entry remembers what was refused: the agent counts from there.
    // What was refused before is no news: the agent may have seen it open since.
    if renew(backend, sequence) == Verdict::HeartbeatOld {
        return Some(Verdict::HeartbeatOld);
    }
    latch(index, now(), Signal::Closed, 0);
    Some(Verdict::HeartbeatClosed)
}

/// The backend at `index`, if heartbeats of this kind go to it and the answer
/// came from it, by the interface and from the neighbour they went to.
#[inline(always)]
fn asked(
    context: &Context,
    index: u32,
    kind: HeartbeatKind,
    source: Address,
) -> Option<*const Backend> {
    let backend = BACKENDS.get_ptr(index)?;
    (self::kind(backend) == kind as u8
        && address(backend) == source
        && is_next_hop(context, backend))
    .then_some(backend)
}

/// Whether a frame came from the neighbour that leads to the backend.
#[inline(always)]
#[expect(
    clippy::cast_ptr_alignment,
    reason = "a MAC lies at a multiple of eight"
)]
pub(crate) fn is_next_hop(context: &Context, backend: *const Backend) -> bool {
    // SAFETY: entries of an array map live as long as the map.
    let ifindex = unsafe { (&raw const (*backend).ifindex).read_volatile() };
    // SAFETY: as above; eight aligned bytes.
    let mac = unsafe {
        (&raw const (*backend).dst_mac)
            .cast::<u64>()
            .read_volatile()
    };
    let [m0, m1, m2, m3, m4, m5, _, _] = mac.to_ne_bytes();
    ifindex == context.ingress_ifindex() && context.load(6) == Some([m0, m1, m2, m3, m4, m5])
}

#[inline(always)]
fn renew(backend: *const Backend, sequence: u32) -> Verdict {
    if !live(backend).pulse().accepts(sequence) {
        return Verdict::HeartbeatOld;
    }
    let entry = backend.cast_mut();
    // SAFETY: entries of an array map live as long as the map; one aligned word.
    unsafe { (&raw mut (*entry).pulse.answered).write_volatile(sequence) };
    let here = cpu();
    // SAFETY: as above.
    let word = unsafe { &raw mut (*entry).answered_on };
    // A store only where something changes: the line stays shared between CPUs.
    // SAFETY: as above.
    if unsafe { word.read_volatile() } != here + 1 {
        // SAFETY: as above.
        unsafe { word.write_volatile(here + 1) };
    }
    Verdict::HeartbeatAnswered
}

/// Whether a heartbeat is one of the newest sixteen, sent and noted or about to be.
#[inline(always)]
fn is_recent(live: Live, sequence: u32) -> bool {
    let behind = live.pulse().sent.wrapping_sub(sequence).cast_signed();
    (-1..failover_common::RING.cast_signed()).contains(&behind)
}

/// Index of the backend that heartbeats from `port` go to.
#[inline(always)]
fn index(port: u16) -> Option<u32> {
    let index = u32::from(port.wrapping_sub(HEARTBEAT_PORT));
    ((index as usize) < MAX_BACKENDS).then_some(index)
}

#[inline(always)]
fn kind(backend: *const Backend) -> u8 {
    // SAFETY: entries of an array map live as long as the map.
    unsafe { (&raw const (*backend).heartbeat_kind).read_volatile() }
}

#[inline(always)]
fn address(backend: *const Backend) -> Address {
    // SAFETY: entries of an array map live as long as the map.
    unsafe { (&raw const (*backend).address).read() }
}

#[inline(always)]
fn token(backend: *const Backend) -> u64 {
    // SAFETY: entries of an array map live as long as the map.
    unsafe { (&raw const (*backend).token).read_volatile() }
}

#[inline(always)]
fn port(backend: *const Backend) -> [u8; 2] {
    // SAFETY: entries of an array map live as long as the map.
    unsafe { (&raw const (*backend).heartbeat_port).read_volatile().0 }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half")]
fn low(token: u64) -> u32 {
    token as u32
}
