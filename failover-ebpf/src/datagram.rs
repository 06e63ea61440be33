//! Fragments, and packets with IPv6 extension headers. The ports are in the first
//! fragment of a datagram; `FRAGMENTS` keeps them for the later ones, with the backend
//! that they must reach too.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use failover_common::{Forward, Fragment, FragmentKey, Verdict};
use failover_ebpf::{
    extended::{self, Extended},
    frame::Frame as _,
    parse::Packet,
    reply, segment,
};

use crate::{
    Step,
    context::Context,
    flows,
    maps::{self, EXTENDED, FRAGMENTS},
    passive,
    path::answer,
    rescue::NOWHERE,
    rewrite, select, service, transmit, tunnel,
};

/// The path of such a packet, in several functions: together they would take too much of
/// the kernel's stack, and even so what was read is in a map.
#[inline(always)]
pub(crate) fn extended(xdp: *mut xdp_md) -> Step {
    if let Some(verdict) = read(xdp) {
        return Step::Done(verdict);
    }
    match to_backend(xdp) {
        Step::Done(Verdict::NoService) => Step::Done(to_client(xdp)),
        step => step,
    }
}

/// Reads the packet. Returns the verdict on one that goes no further.
#[inline(never)]
fn read(xdp: *mut xdp_md) -> Option<Verdict> {
    let context = &Context::new(XdpContext::new(xdp));
    found().map_or(Some(Verdict::OtherProtocol), |found| {
        extended::parse(context, found).err()
    })
}

#[inline(always)]
fn found() -> Option<&'static mut Extended> {
    let found = EXTENDED.get_ptr_mut(0)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other. All zero
    // is a value of this type, and nothing else was ever written there but values.
    Some(unsafe { &mut *found })
}

#[inline(never)]
fn to_backend(xdp: *mut xdp_md) -> Step {
    let context = &mut Context::new(XdpContext::new(xdp));
    match found().map(|found| on_to_backend(context, found)) {
        Some(Ok(step)) => step,
        Some(Err(verdict)) => Step::Done(verdict),
        None => Step::Done(Verdict::OtherProtocol),
    }
}

#[inline(always)]
fn on_to_backend(context: &mut Context, found: &mut Extended) -> Result<Step, Verdict> {
    let mut first_went_to = None;
    if found.packet.headless
        && let Some(first) = FRAGMENTS.get_ptr(found.key)
    {
        // SAFETY: the kernel may hand the entry to another datagram meanwhile. Then some
        // words are of that one, and both are in a flood that loses fragments anyway.
        let first = unsafe { *first };
        found.packet.protocol = first.protocol;
        found.packet.source_port = first.source_port;
        found.packet.destination_port = first.destination_port;
        first_went_to = Some(first.index);
    }
    let packet = &found.packet.bounded();
    let (address, port) = (packet.destination, packet.destination_port);
    let service = service::at(address, port, packet.protocol).ok_or(Verdict::NoService)?;
    if packet.has_expired() {
        return Ok(Step::Expired);
    }
    if found.is_fragment && service.forward == Forward::FullNat as u8 {
        return Err(Verdict::FragmentDropped);
    }
    let choice = match first_went_to {
        Some(index) => select::known(index)?,
        None if service.flows != 0 => return flows::hand(context, packet, false, NOWHERE),
        None => match select::select(service, packet) {
            Err(Verdict::SwitchReset) => return Ok(Step::Reset),
            chosen => chosen?,
        },
    };
    if found.is_fragment {
        remember(&found.key, packet, choice.index);
    }
    if Forward::is_tunnel(service.forward) {
        return tunnel::hand(packet, false, choice.index, service.forward);
    }
    let next_hop = transmit::to_backend(choice.backend)?;
    rewrite::to_backend(context, packet, service, &choice, &next_hop)?;
    maps::count_forwarded(choice.index, context.length());
    Ok(Step::Done(transmit::forward(context, &next_hop)))
}

/// Sends a segment for a service that nobody may serve back as a reset, whatever is in
/// front of it.
#[inline(always)]
pub(crate) fn refuse(xdp: *mut xdp_md) -> Verdict {
    if read(xdp).is_none() && turn(xdp) != 0 {
        Verdict::SwitchReset
    } else {
        Verdict::NoBackend
    }
}

/// Turns the packet that was read into its reset; returns 0 if there can be none. A global
/// function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn turn(xdp: *mut xdp_md) -> u32 {
    let context = &mut Context::new(XdpContext::new(xdp));
    let packet = found().map(|found| found.packet.bounded());
    let done = packet.is_some_and(|packet| {
        reply::is_answerable(context, &packet) && segment::reset(context, &packet).is_some()
    });
    u32::from(done)
}

/// A packet that was read here goes to the backend at `index`: so do the other fragments.
#[inline(always)]
pub(crate) fn goes_to(index: u32) {
    if let Some(found) = found()
        && found.is_fragment
    {
        remember(&found.key, &found.packet.bounded(), index);
    }
}

/// Of a later fragment the ports are known by now.
#[inline(never)]
fn to_client(xdp: *mut xdp_md) -> Verdict {
    let context = &mut Context::new(XdpContext::new(xdp));
    match found().map(|found| on_to_client(context, found)) {
        Some(Ok(verdict) | Err(verdict)) => verdict,
        None => Verdict::OtherProtocol,
    }
}

#[inline(always)]
fn on_to_client(context: &mut Context, found: &mut Extended) -> Result<Verdict, Verdict> {
    let packet = &found.packet.bounded();
    let Some(reverse) = service::answer(packet) else {
        if packet.headless {
            return Err(Verdict::Fragment);
        }
        // An older datagram of the same number may have been for a service.
        if found.is_fragment {
            let _ = FRAGMENTS.remove(found.key);
        }
        return Err(Verdict::NoService);
    };
    if found.is_fragment {
        remember(&found.key, packet, reverse.index);
    }
    passive::returned(reverse, packet);
    answer(context, packet, reverse)
}

/// Keeps what a first fragment says. A table that is full forgets the datagram that was
/// used least recently.
#[inline(always)]
fn remember(key: &FragmentKey, packet: &Packet, index: u32) {
    if packet.headless {
        return;
    }
    let first = Fragment {
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        index,
        protocol: packet.protocol,
        reserved: [0; 3],
    };
    // Without an entry the later ones are passed.
    let _ = FRAGMENTS.insert(key, first, 0);
}
