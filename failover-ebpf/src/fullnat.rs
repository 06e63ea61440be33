//! `fullnat`: a client's packet goes to its backend as one of ours, by an address and a port
//! that the backend answers to, and the answer goes on to the client.
//!
//! A flow has its port as long as it lasts; `NAT_FLOWS` says whose is which. Who claims one
//! holds the lock of it meanwhile, so two CPUs never give one port to two flows.
//!
//! A program of its own, for both directions: who has it neither costs others a branch, nor
//! has their stack to share.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_md},
    programs::XdpContext,
};
use failover_common::{
    Address, Be16, NAT_QUIET, NAT_TRIES, NatFlow, NatKey, NatPorts, Verdict, is_nat_port,
};
use failover_ebpf::{
    frame::Frame as _,
    parse::{Packet, SYN, parse},
};

use crate::{
    Step, atomic,
    context::Context,
    flow,
    maps::{self, BACKENDS, NAT_FLOWS, NAT_LOCKS, TRANSIT},
    rewrite,
    select::Choice,
    transmit,
};

/// A packet on its way through this program.
pub(crate) struct Transit {
    /// It is a client's, and was read before; else an answer that came to the entry.
    is_handed: bool,
    packet: Packet,
    /// It is in the middle of a flow that is not known, or for which there is no room.
    is_stray: bool,
    /// Index of the backend.
    index: u32,
    key: NatKey,
    value: NatFlow,
}

#[inline(always)]
fn transit() -> Option<&'static mut Transit> {
    let transit = TRANSIT.get_ptr_mut(0)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other. All zero
    // is a value of this type, and nothing else was ever written there but values.
    Some(unsafe { &mut *transit })
}

/// Hands a client's packet over, as it was read, to go to the backend that was chosen.
#[inline(always)]
pub(crate) fn hand(packet: &Packet, choice: &Choice, is_stray: bool) -> Result<Step, Verdict> {
    let transit = transit().ok_or(Verdict::NoBackend)?;
    transit.is_handed = true;
    transit.packet = *packet;
    transit.is_stray = is_stray;
    transit.index = choice.index;
    transit.key.backend = choice.backend().address;
    transit.key.backend_port = choice.port_for(packet.destination_port);
    Ok(Step::FullNat)
}

/// A packet arrives that is for no service, and from none of `nat`. Ports are asked first:
/// what cannot be an answer to us pays no more.
#[inline(always)]
pub(crate) fn arrives(packet: &Packet) -> Result<Step, Verdict> {
    if !is_nat_port(packet.destination_port) {
        return Err(Verdict::NoService);
    }
    transit().ok_or(Verdict::NoService)?.is_handed = false;
    Ok(Step::FullNat)
}

/// Sends what was handed over or has arrived.
#[inline(always)]
pub(crate) fn send(xdp: *mut xdp_md) -> Verdict {
    match transit() {
        Some(transit) if transit.is_handed => claim().unwrap_or_else(|| to_backend(xdp)),
        _ => to_client(xdp),
    }
}

/// Finds the port of the packet's flow, or a free one. Returns the verdict on a packet that
/// has none.
#[inline(never)]
fn claim() -> Option<Verdict> {
    let transit = transit()?;
    let Some(backend) = BACKENDS.get_ptr(transit.index) else {
        return Some(Verdict::NoBackend);
    };
    // SAFETY: entries of an array map live as long as the map; the agent changes these
    // words behind our back, hence volatile.
    let source: Address = unsafe { (&raw const (*backend).source).read_volatile() };
    if source.is_unspecified() {
        return Some(Verdict::BackendUnresolved);
    }
    transit.key.source = source;
    transit.key.protocol = transit.packet.protocol;
    transit.value.flow = flow::key(&transit.packet);
    transit.value.claimed_at = flow::now();
    transit.value.backend = transit.index;
    transit.value.ended = 0;
    let known = flow::find(&transit.value.flow);
    let had = known.as_ref().map_or(Be16::ZERO, |it| it.flow.nat_port);
    for quiet in NAT_QUIET {
        let mut ports = NatPorts::of(&transit.value.flow, had);
        for _ in 0..NAT_TRIES {
            let port = ports.turn();
            if claim_port(u32::from(port.get()), quiet) == 0 {
                continue;
            }
            if let Some(known) = &known
                && port != had
            {
                known.has_port(port);
            }
            return None;
        }
    }
    Some(Verdict::NoPort)
}

/// A global function: the verifier looks at it once. Returns not 0 if the flow has `port`
/// now; `quiet` is as in [`NatFlow::is_free`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn claim_port(port: u32, quiet: u64) -> u32 {
    let Some(transit) = transit() else {
        return 0;
    };
    #[expect(clippy::cast_possible_truncation, reason = "a port")]
    let source_port = Be16::new(port as u16);
    transit.key.source_port = source_port;
    if is_its_own(transit) {
        return 1;
    }
    let Some(lock) = NAT_LOCKS.get_ptr_mut(port % failover_common::NAT_LOCKS) else {
        return 0;
    };
    // SAFETY: entries of an array map live as long as the map; one aligned word.
    if unsafe { atomic::swap(lock, 1) } != 0 {
        return 0;
    }
    let is_ours = take(transit, source_port, quiet);
    // SAFETY: as above.
    unsafe { atomic::swap(lock, 0) };
    u32::from(is_ours)
}

/// Whether the flow has this port already. When it begins anew, so does what is known of its
/// end.
#[inline(always)]
fn is_its_own(transit: &Transit) -> bool {
    let key = &transit.key;
    let Some(entry) = NAT_FLOWS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: valid as long as the program runs (RCU); any bytes are a value.
    let entry = unsafe { &mut *entry };
    if entry.flow != transit.value.flow || entry.backend != transit.value.backend {
        return false;
    }
    if transit.packet.is_tcp(SYN) && entry.ended != 0 {
        entry.ended = 0;
    }
    true
}

/// Takes a port of which the lock is held, if it is free.
#[inline(always)]
fn take(transit: &Transit, port: Be16, quiet: u64) -> bool {
    let (key, value) = (&transit.key, &transit.value);
    let Some(entry) = NAT_FLOWS.get_ptr(key) else {
        return NAT_FLOWS.insert(key, value, u64::from(BPF_NOEXIST)).is_ok();
    };
    // SAFETY: as in `is_its_own`.
    let held = unsafe { *entry };
    let flow = flow::find(&held.flow).map(|known| known.flow);
    held.is_free(flow.as_ref(), port, value.claimed_at, quiet)
        && NAT_FLOWS.insert(key, value, 0).is_ok()
}

#[inline(never)]
fn to_backend(xdp: *mut xdp_md) -> Verdict {
    let context = &mut Context::new(XdpContext::new(xdp));
    match transit().map(|transit| on_to_backend(context, transit)) {
        Some(Ok(verdict) | Err(verdict)) => verdict,
        None => Verdict::NoBackend,
    }
}

#[inline(always)]
fn on_to_backend(context: &mut Context, transit: &Transit) -> Result<Verdict, Verdict> {
    let backend = BACKENDS.get_ptr(transit.index).ok_or(Verdict::NoBackend)?;
    let next_hop = transmit::to_backend(backend)?;
    let packet = &transit.packet.bounded();
    let key = &transit.key;
    rewrite::both_ends(
        context,
        packet,
        (key.source, key.source_port),
        (key.backend, key.backend_port),
    )?;
    rewrite::ethernet(context, &next_hop)?;
    maps::count_forwarded(transit.index, context.length());
    Ok(match transmit::forward(context, &next_hop) {
        Verdict::ForwardedTx if transit.is_stray => Verdict::StrayTx,
        Verdict::ForwardedRedirect if transit.is_stray => Verdict::StrayRedirect,
        verdict => verdict,
    })
}

#[inline(never)]
fn to_client(xdp: *mut xdp_md) -> Verdict {
    let context = &mut Context::new(XdpContext::new(xdp));
    match transit().map(|transit| on_to_client(context, transit)) {
        Some(Ok(verdict) | Err(verdict)) => verdict,
        None => Verdict::NoService,
    }
}

#[inline(always)]
fn on_to_client(context: &mut Context, transit: &mut Transit) -> Result<Verdict, Verdict> {
    let packet = &parse(context)?;
    transit.key = NatKey {
        backend: packet.source,
        source: packet.destination,
        backend_port: packet.source_port,
        source_port: packet.destination_port,
        protocol: packet.protocol,
        reserved: [0; 3],
    };
    let key = &transit.key;
    let entry = NAT_FLOWS.get_ptr_mut(key).ok_or(Verdict::NoService)?;
    // SAFETY: as in `is_its_own`.
    transit.value = unsafe { *entry };
    let value = &transit.value;
    let ended = value.ended | NatFlow::end(packet.flags);
    if ended != value.ended {
        // SAFETY: as in `is_its_own`; one byte.
        unsafe { (&raw mut (*entry).ended).write_volatile(ended) };
    }
    // The stack must not have any of it: it knows no such connection, and would reset it.
    if packet.has_expired() {
        return Err(Verdict::HopLimitDropped);
    }
    let flow = &value.flow;
    transit.packet = Packet {
        source: flow.vip,
        source_port: flow.vip_port,
        destination: flow.client,
        destination_port: flow.client_port,
        ..*packet
    };
    let next_hop =
        transmit::to_client(context, &transit.packet).map_err(|verdict| match verdict {
            Verdict::TooBigPassed => Verdict::TooBig,
            Verdict::ForwardingDisabled | Verdict::ForThisHost => Verdict::NoRoute,
            verdict => verdict,
        })?;
    rewrite::both_ends(
        context,
        packet,
        (flow.vip, flow.vip_port),
        (flow.client, flow.client_port),
    )?;
    rewrite::ethernet(context, &next_hop)?;
    maps::count_returned(value.backend, context.length());
    Ok(transmit::give_back(context, &next_hop))
}
