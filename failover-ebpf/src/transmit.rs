//! Stage 5: the next hop, and by which interface the frame leaves.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup,
    },
    helpers::{bpf_fib_lookup as fib_lookup, bpf_redirect},
};
use failover_common::{Address, Backend, News, NewsKind, Verdict};
use failover_ebpf::{
    frame::Frame as _,
    parse::{Family, Packet},
};

use crate::{context::Context, lease, maps::FIB, way_back};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "64"
)]
const FIB_LENGTH: i32 = size_of::<bpf_fib_lookup>() as i32;

/// Where a frame goes next.
pub(crate) struct NextHop {
    pub(crate) ifindex: u32,
    pub(crate) dst_mac: [u8; 6],
    pub(crate) src_mac: [u8; 6],
}

/// The way to a backend: the agent keeps it in the backend's entry.
#[inline(always)]
#[expect(
    clippy::cast_ptr_alignment,
    reason = "both MACs lie at multiples of eight"
)]
pub(crate) fn to_backend(backend: *const Backend) -> Result<NextHop, Verdict> {
    // SAFETY: entries of an array map live as long as the map; the agent
    // changes these words behind our back, hence volatile.
    let ifindex = unsafe { (&raw const (*backend).ifindex).read_volatile() };
    if ifindex == 0 {
        return Err(Verdict::BackendUnresolved);
    }
    // SAFETY: as above. Eight aligned bytes: no half of a MAC is ever seen.
    let dst = unsafe {
        (&raw const (*backend).dst_mac)
            .cast::<u64>()
            .read_volatile()
    };
    // SAFETY: as above.
    let src = unsafe {
        (&raw const (*backend).src_mac)
            .cast::<u64>()
            .read_volatile()
    };
    Ok(NextHop {
        ifindex,
        dst_mac: mac(dst),
        src_mac: mac(src),
    })
}

/// The way to a client: by the kernel's routes and neighbours, as of a moment ago.
#[inline(always)]
pub(crate) fn to_client(context: &Context, packet: &Packet) -> Result<NextHop, Verdict> {
    match way_back::known(context, packet) {
        Some(next_hop) => Ok(next_hop),
        None => route(context, packet),
    }
}

/// Asks the kernel for the way to a client.
#[inline(always)]
fn route(context: &Context, packet: &Packet) -> Result<NextHop, Verdict> {
    let epoch = way_back::epoch();
    let fib = FIB.get_ptr_mut(0).ok_or(Verdict::NoRoute)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other;
    // all zero is a value of this type.
    let fib = unsafe {
        fib.write(core::mem::zeroed());
        &mut *fib
    };
    fib.ifindex = context.ingress_ifindex();
    fib.l4_protocol = packet.protocol;
    fib.sport = u16::from_ne_bytes(packet.source_port.0);
    fib.dport = u16::from_ne_bytes(packet.destination_port.0);
    fib.__bindgen_anon_1.tot_len = packet.total_length;
    match packet.family {
        Family::V4 => {
            fib.family = AF_INET;
            fib.__bindgen_anon_2.tos = packet.tos;
            fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(packet.source.v4());
            fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(packet.destination.v4());
        }
        Family::V6 => {
            fib.family = AF_INET6;
            fib.__bindgen_anon_2.flowinfo = (u32::from(packet.tos) << 20).to_be();
            fib.__bindgen_anon_3.ipv6_src = words(packet.source);
            fib.__bindgen_anon_4.ipv6_dst = words(packet.destination);
        }
    }
    // SAFETY: both pointers are valid for the lengths given.
    let result = unsafe { fib_lookup(context.xdp.as_ptr(), &raw mut *fib, FIB_LENGTH, 0) };
    // A negative result is an errno: no route, as far as we can tell.
    match u32::try_from(result).unwrap_or(u32::MAX) {
        BPF_FIB_LKUP_RET_SUCCESS => {}
        // The kernel does not look then whom it is for. The stack does: answers to
        // checks arrive, and it discards the rest.
        BPF_FIB_LKUP_RET_FWD_DISABLED => return Err(Verdict::ForwardingDisabled),
        BPF_FIB_LKUP_RET_NOT_FWDED => return Err(Verdict::ForThisHost),
        BPF_FIB_LKUP_RET_NO_NEIGH => {
            tell_next_hop_missing(fib);
            return Err(Verdict::ClientUnresolved);
        }
        BPF_FIB_LKUP_RET_FRAG_NEEDED => return Err(too_big(context, packet)),
        _ => return Err(Verdict::NoRoute),
    }
    // A tagged frame goes back by the trunk it came from: the route names the
    // VLAN device on top of it, which XDP cannot transmit to.
    let ifindex = if packet.is_tagged() {
        context.ingress_ifindex()
    } else {
        fib.ifindex
    };
    let next_hop = NextHop {
        ifindex,
        dst_mac: fib.dmac,
        src_mac: fib.smac,
    };
    // SAFETY: the kernel leaves the MTU in this word.
    let mtu = unsafe { fib.__bindgen_anon_1.mtu_result };
    way_back::keep(context, packet, &next_hop, mtu, epoch);
    Ok(next_hop)
}

/// The stack tells the sender of a packet that is too long; but one that it would
/// fragment itself it must not have, since that would be untranslated.
#[inline(always)]
fn too_big(context: &Context, packet: &Packet) -> Verdict {
    let [flags] = context.load::<[u8; 1]>(packet.l3 + 6).unwrap_or([0]);
    if packet.family == Family::V6 || flags & DONT_FRAGMENT != 0 {
        Verdict::TooBigPassed
    } else {
        Verdict::TooBig
    }
}

/// In the seventh byte of the IPv4 header (RFC 791, section 3.1).
const DONT_FRAGMENT: u8 = 0x40;

/// The verdict of a packet on its way to a backend.
#[inline(always)]
pub(crate) fn forward(context: &Context, next_hop: &NextHop) -> Verdict {
    if leaves_where_it_came_in(context, next_hop) {
        Verdict::ForwardedTx
    } else {
        Verdict::ForwardedRedirect
    }
}

/// The verdict of an answer on its way to a client.
#[inline(always)]
pub(crate) fn give_back(context: &Context, next_hop: &NextHop) -> Verdict {
    if leaves_where_it_came_in(context, next_hop) {
        Verdict::ReturnedTx
    } else {
        Verdict::ReturnedRedirect
    }
}

#[inline(always)]
fn leaves_where_it_came_in(context: &Context, next_hop: &NextHop) -> bool {
    if next_hop.ifindex == context.ingress_ifindex() {
        return true;
    }
    // SAFETY: only notes the interface for the action the entry returns.
    unsafe { bpf_redirect(next_hop.ifindex, 0) };
    false
}

/// A function of its own, because the kernel's stack is small.
#[inline(never)]
fn tell_next_hop_missing(fib: &bpf_fib_lookup) {
    // The next hop's family, not the packet's: an IPv4 route may lead to an
    // IPv6 router (RFC 8950), and the kernel then changes the field.
    let address = if fib.family == AF_INET {
        // SAFETY: the kernel leaves an IPv4 next hop here.
        Address::from_v4(unsafe { fib.__bindgen_anon_4.ipv4_dst }.to_ne_bytes())
    } else {
        // SAFETY: the kernel leaves an IPv6 next hop here.
        let [a, b, c, d] = unsafe { fib.__bindgen_anon_4.ipv6_dst };
        Address::from_bytes(bytes([a, b, c, d]))
    };
    // Whoever makes us answer unknown clients must not leave deaths without room.
    if lease::is_half_full() {
        return;
    }
    lease::tell(&News {
        kind: NewsKind::NextHopMissing as u32,
        index: fib.ifindex,
        at: 0,
        answered_at: 0,
        unanswered_at: 0,
        address,
        signal: 0,
        pair: 0,
    });
}

#[inline(always)]
fn mac(word: u64) -> [u8; 6] {
    let [mac @ .., _, _] = word.to_ne_bytes();
    mac
}

#[inline(always)]
fn words(address: Address) -> [u32; 4] {
    // SAFETY: sixteen bytes either way, and any bytes are a value.
    unsafe { core::mem::transmute(address) }
}

#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: as in `words`.
    unsafe { core::mem::transmute(words) }
}
