//! The way of a client's packet for a service that keeps flows: a flow that is known goes
//! on to its backend as long as that lives; a new one has the choice (`share`). What becomes
//! of a flow whose backend is dead is the service's to say (`on_failure`).
//!
//! A program of its own, so that a service without flows pays one branch.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use failover_common::{FlowKey, Forward, OnFailure, Segment, Service, ServiceBackend, Verdict};
use failover_ebpf::{
    frame::Frame as _,
    parse::{Packet, SYN, TCP, parse},
    reply, segment,
};

use crate::{
    Step,
    context::Context,
    datagram,
    flow::{self, Said},
    fullnat, lease,
    maps::{self, VISIT},
    rescue::{self, NOWHERE},
    rewrite, select, service, share, transmit, tunnel,
};

/// A packet on its way through this program.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known of a packet, each by itself"
)]
pub(crate) struct Visit {
    /// It was read before; else it is a plain one that came to the entry.
    is_read: bool,
    packet: Packet,
    /// It is no fragment, and not behind extension headers.
    is_plain: bool,
    /// A SYN or a datagram that another backend has refused.
    is_rescued: bool,
    /// Bytes of the frame as it came in, in its first buffer.
    length: usize,
    /// The slot that remembers it, a SYN; see [`rescue::sent`].
    slot: u32,
    /// Where it goes.
    backend: ServiceBackend,
    /// It is in the middle of a flow that is not known, or for which there is no room.
    is_stray: bool,
}

#[inline(always)]
fn visit() -> Option<&'static mut Visit> {
    let visit = VISIT.get_ptr_mut(0)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other. All zero
    // is a value of this type, and nothing else was ever written there but values.
    Some(unsafe { &mut *visit })
}

/// A plain packet arrives, which is to be read here: to hand it over would cost the entry
/// as much, and the verifier much more, since that goes through all ways to this point.
#[inline(always)]
pub(crate) fn arrives() -> Result<Step, Verdict> {
    visit().ok_or(Verdict::NoBackend)?.is_read = false;
    Ok(Step::Flow)
}

/// Hands a packet over, as it was read from a frame.
#[inline(always)]
pub(crate) fn hand(
    context: &Context,
    packet: &Packet,
    is_plain: bool,
    slot: u32,
) -> Result<Step, Verdict> {
    let visit = visit().ok_or(Verdict::NoBackend)?;
    visit.is_read = true;
    visit.packet = *packet;
    visit.is_plain = is_plain;
    visit.is_rescued = false;
    visit.length = context.length();
    visit.slot = slot;
    Ok(Step::Flow)
}

/// Reads a packet that arrived. Returns the verdict on one that it cannot read after all.
#[inline(never)]
fn read(xdp: *mut xdp_md) -> Option<Verdict> {
    let visit = visit()?;
    if visit.is_read {
        return None;
    }
    let context = &Context::new(XdpContext::new(xdp));
    visit.length = context.length();
    let handed = parse(context).and_then(|packet| hand(context, &packet, true, NOWHERE));
    handed.err()
}

/// What was handed over last has been refused elsewhere, and came in as a frame of
/// `length` bytes.
#[inline(always)]
pub(crate) fn rescued(length: usize) {
    if let Some(visit) = visit() {
        visit.is_rescued = true;
        visit.length = length;
    }
}

#[inline(always)]
fn is_rescued() -> bool {
    visit().is_some_and(|visit| visit.is_rescued)
}

/// Bytes of the frame that has arrived or was handed over.
#[inline(always)]
pub(crate) fn length() -> usize {
    visit().map_or(0, |visit| visit.length)
}

/// Sends the packet that has arrived or was handed over.
#[inline(always)]
pub(crate) fn take(xdp: *mut xdp_md) -> Step {
    if let Some(verdict) = read(xdp) {
        return Step::Done(verdict);
    }
    match decide(xdp) {
        None => send(xdp),
        Some(Verdict::FlowReset) if !reset(xdp) => Step::Done(Verdict::FlowDropped),
        // What was refused elsewhere has not come from where the client is.
        Some(Verdict::SwitchReset) if is_rescued() || !reset(xdp) => Step::Done(Verdict::NoBackend),
        Some(verdict) => Step::Done(verdict),
    }
}

/// Notes where the packet goes; or returns what else becomes of it, where a reset is not
/// written yet.
#[inline(never)]
fn decide(xdp: *mut xdp_md) -> Option<Verdict> {
    let context = &Context::new(XdpContext::new(xdp));
    let Some(visit) = visit() else {
        return Some(Verdict::NoBackend);
    };
    visit.is_stray = false;
    let packet = &visit.packet.bounded();
    let Some(service) = service::at(packet.destination, packet.destination_port, packet.protocol)
    else {
        return Some(Verdict::NoBackend);
    };
    let key = &flow::key(packet);
    let said = &Said::by(context, packet);
    let fate = match flow::find(key) {
        Some(known) if !known.flow.is_over(packet.protocol, said.at) => {
            known_flow(service, packet, key, said, &known)
        }
        known => new_flow(service, packet, key, said, known.as_ref()),
    };
    match fate {
        Ok((backend, is_stray)) => {
            visit.backend = backend;
            visit.is_stray = is_stray;
            None
        }
        Err(verdict) => Some(verdict),
    }
}

/// Where a packet goes, and whether it is a stray; or what else becomes of it.
type Fate = Result<(ServiceBackend, bool), Verdict>;

#[inline(always)]
fn known_flow(
    service: &Service,
    packet: &Packet,
    key: &FlowKey,
    said: &Said,
    known: &flow::Known,
) -> Fate {
    let index = known.flow.backend;
    let is_syn = said.segment == Segment::Syn;
    let counted = service.passive != 0 && packet.is_tcp(SYN);
    // A SYN that begins something may go where new flows go; in the middle of a
    // connection anybody may have forged it.
    let may_move = is_syn && known.flow.is_idle();
    let Some(backend) = select::member(service, index) else {
        return new_flow(service, packet, key, said, Some(known));
    };
    let stays = if may_move {
        known.flow.is_new() && select::is_eligible(service, &backend, counted)
    } else {
        select::may_keep(service, &backend, counted)
    };
    // Rather a backend that is probably dead than none.
    if stays || (!may_move && !select::has_other(service, index)) {
        known.goes_on(key, index, said);
        return Ok((backend, false));
    }
    let is_over = packet.protocol == TCP && !is_syn;
    if is_over && service.on_failure == OnFailure::Reset as u8 {
        lease::passed_if_new(index);
        known.ends(said);
        // RFC 9293, section 3.5.2: no reset answers a reset.
        return Err(if said.segment == Segment::Rst {
            Verdict::FlowDropped
        } else {
            Verdict::FlowReset
        });
    }
    if is_over && service.on_failure == OnFailure::Drop as u8 {
        lease::passed_if_new(index);
        return Err(Verdict::FlowDropped);
    }
    let backend = share::choose(service, packet, key, counted)?;
    if backend.index != index {
        lease::passed_if_new(index);
    }
    if is_syn {
        known.begins_again(backend.index, said);
    } else {
        known.goes_on(key, backend.index, said);
    }
    Ok((backend, false))
}

#[inline(always)]
fn new_flow(
    service: &Service,
    packet: &Packet,
    key: &FlowKey,
    said: &Said,
    former: Option<&flow::Known>,
) -> Fate {
    let counted = service.passive != 0 && packet.is_tcp(SYN);
    let backend = share::choose(service, packet, key, counted)?;
    // A fragment that has overtaken the first one is of no flow that could be told.
    if packet.headless {
        return Ok((backend, false));
    }
    let has_room = match former {
        Some(former) => {
            former.begins_again(backend.index, said);
            true
        }
        None => flow::remember(key, backend.index, said),
    };
    let begins = said.segment == Segment::Syn || packet.protocol != TCP;
    Ok((backend, !(begins && has_room)))
}

#[inline(never)]
fn send(xdp: *mut xdp_md) -> Step {
    let context = &mut Context::new(XdpContext::new(xdp));
    match visit().map(|visit| forward(context, visit)) {
        Some(Ok(step)) => step,
        Some(Err(verdict)) => Step::Done(verdict),
        None => Step::Done(Verdict::NoBackend),
    }
}

#[inline(always)]
fn forward(context: &mut Context, visit: &Visit) -> Result<Step, Verdict> {
    let packet = &visit.packet.bounded();
    let service = service::at(packet.destination, packet.destination_port, packet.protocol)
        .ok_or(Verdict::NoService)?;
    let choice = select::choice(&visit.backend)?;
    if !visit.is_plain {
        datagram::goes_to(choice.index);
    }
    if Forward::is_tunnel(service.forward) {
        return tunnel::hand(packet, visit.is_plain, choice.index, service.forward);
    }
    if service.forward == Forward::FullNat as u8 {
        return fullnat::hand(packet, &choice, visit.is_stray);
    }
    let next_hop = transmit::to_backend(choice.backend)?;
    rewrite::to_backend(context, packet, service, &choice, &next_hop)?;
    rescue::sent(visit.slot, choice.index);
    maps::count_forwarded(choice.index, context.length());
    let verdict = transmit::forward(context, &next_hop);
    Ok(Step::Done(match verdict {
        Verdict::ForwardedTx if visit.is_rescued => Verdict::RescuedTx,
        Verdict::ForwardedRedirect if visit.is_rescued => Verdict::RescuedRedirect,
        Verdict::ForwardedTx if visit.is_stray => Verdict::StrayTx,
        Verdict::ForwardedRedirect if visit.is_stray => Verdict::StrayRedirect,
        verdict => verdict,
    }))
}

/// Sends the segment back as the reset that answers it; whether it could.
#[inline(never)]
fn reset(xdp: *mut xdp_md) -> bool {
    let context = &mut Context::new(XdpContext::new(xdp));
    let packet = visit().map(|visit| visit.packet.bounded());
    packet.is_some_and(|packet| {
        reply::is_answerable(context, &packet) && segment::reset(context, &packet).is_some()
    })
}
