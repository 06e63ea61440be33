//! The ways to clients that the kernel's routes have named lately: asking it for each
//! packet would cost more than all else together.
//!
//! What is here is what the kernel said, at most [`LASTS`] ago, and only as long as the
//! agent has not seen that anything it depends on changed (`EPOCH`). Ports and protocol are
//! not among that: rules of the kernel that go by them (`ip rule ... sport`) count for the
//! first packet between two hosts, and the others go the same way.

use aya_ebpf::helpers::bpf_jiffies64;
use failover_common::{Address, MAX_WAYS};
use failover_ebpf::parse::Packet;

use crate::{
    context::Context,
    maps::{EPOCH, WAYS},
    transmit::NextHop,
};

/// Ticks of the kernel's clock: from a quarter of a second to two and a half, by how often
/// it ticks (`CONFIG_HZ`).
const LASTS: u64 = 256;

/// One of them; all zero is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WayBack {
    /// What the kernel's answer depends on: who sends to whom, where the packet came in, and
    /// its class.
    source: Address,
    destination: Address,
    ingress: u32,
    tos: u32,
    /// Ticks.
    asked_at: u64,
    epoch: u64,
    ifindex: u32,
    /// Longest packet, bytes from the IP header on.
    mtu: u32,
    dst_mac: [u8; 8],
    src_mac: [u8; 8],
}

/// Where the way of a packet is kept. A tagged frame goes back by the trunk that it came
/// from, whatever else its way is: that is not kept.
#[inline(always)]
fn place(packet: &Packet) -> Option<*mut WayBack> {
    if packet.is_tagged() {
        return None;
    }
    let ([a, b], [c, d]) = (packet.source.words(), packet.destination.words());
    let hash = (a ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ c.wrapping_mul(0x6a09_e667_f3bc_c909)
        ^ d.wrapping_mul(0xbb67_ae85_84ca_a73b);
    #[expect(clippy::cast_possible_truncation, reason = "so many bits are left")]
    let index = (hash >> (64 - MAX_WAYS.trailing_zeros())) as u32;
    WAYS.get_ptr_mut(index)
}

/// The way of a packet, if it is known.
#[inline(always)]
pub(crate) fn known(context: &Context, packet: &Packet) -> Option<NextHop> {
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other.
    let way = unsafe { &*place(packet)? };
    let is_its = way.source == packet.source
        && way.destination == packet.destination
        && way.ingress == context.ingress_ifindex()
        && way.tos == u32::from(packet.tos)
        && u32::from(packet.total_length) <= way.mtu;
    if !is_its || way.epoch != epoch() || ticks() - way.asked_at > LASTS {
        return None;
    }
    let [dst_mac @ .., _, _] = way.dst_mac;
    let [src_mac @ .., _, _] = way.src_mac;
    Some(NextHop {
        ifindex: way.ifindex,
        dst_mac,
        src_mac,
    })
}

/// Keeps what the kernel said. Read before it was asked: `epoch`.
#[inline(always)]
pub(crate) fn keep(context: &Context, packet: &Packet, hop: &NextHop, mtu: u16, epoch: u64) {
    let Some(place) = place(packet) else {
        return;
    };
    let padded = |[a, b, c, d, e, f]: [u8; 6]| [a, b, c, d, e, f, 0, 0];
    let way = WayBack {
        source: packet.source,
        destination: packet.destination,
        ingress: context.ingress_ifindex(),
        tos: u32::from(packet.tos),
        asked_at: ticks(),
        epoch,
        ifindex: hop.ifindex,
        mtu: u32::from(mtu),
        dst_mac: padded(hop.dst_mac),
        src_mac: padded(hop.src_mac),
    };
    // SAFETY: as in `known`.
    unsafe { *place = way };
}

/// What the agent counts up.
#[inline(always)]
pub(crate) fn epoch() -> u64 {
    // SAFETY: entries of an array map live as long as the map; one aligned word.
    EPOCH
        .get_ptr(0)
        .map_or(0, |epoch| unsafe { epoch.read_volatile() })
}

#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: only reads a clock.
    unsafe { bpf_jiffies64() }
}
