//! ICMP: what it says about our backends, what it says to others about packets of a
//! service, and what we say ourselves.
//!
//! Every function that the entry calls is a detour of its own; see `detour`.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use failover_common::{FlowKey, Forward, Reverse, Service, Verdict};
use failover_ebpf::{
    frame::Frame as _,
    icmp::{self, Message},
    parse,
    quote::{self, Report, Side},
    reply,
};

use crate::{
    Step,
    context::Context,
    flow, heartbeat,
    maps::{self, EXCEEDED, REPORT},
    passive, rewrite, select, service, transmit, tunnel,
};

/// An answer to a heartbeat, or news of a packet that was not delivered. `None`: the
/// message may be for somebody else too.
#[inline(never)]
pub(crate) fn weigh(xdp: *mut xdp_md) -> Option<Step> {
    let context = &Context::new(XdpContext::new(xdp));
    match icmp::parse(context)? {
        Message::Echo(echo) => heartbeat::echo(context, &echo).map(Step::Done),
        Message::Unreachable(message) => heartbeat::unreachable(context, &message)
            .map(Step::Done)
            .or_else(|| passive::unreachable(context, &message)),
    }
}

/// An echo request to a VIP is answered here. There is no limit, as the stack has none:
/// the reply is no longer than the request.
#[inline(never)]
pub(crate) fn echo(xdp: *mut xdp_md) -> Option<Verdict> {
    let context = &mut Context::new(XdpContext::new(xdp));
    let packet = parse::header(context).ok()?;
    if !reply::is_echo(context, &packet) {
        return None;
    }
    if !service::is_vip(packet.destination) {
        return None;
    }
    reply::echo(context, &packet)?;
    Some(Verdict::EchoAnswered)
}

/// An ICMP error about a packet of a service goes on to the other end. In several
/// functions: together they would take too much of the kernel's stack, and even so what
/// was read is in a map.
#[inline(always)]
pub(crate) fn message(xdp: *mut xdp_md) -> Option<Step> {
    match read(xdp) {
        TO_BACKEND => Some(to_backend(xdp)),
        TO_CLIENT => Some(Step::Done(to_client(xdp))),
        _ => None,
    }
}

/// What [`read`] returns for a message that is not about a service.
const NOT_OURS: u32 = 0;
/// It is about a packet from the VIP.
const TO_BACKEND: u32 = 1;
/// It is about a packet to a backend.
const TO_CLIENT: u32 = 2;

#[inline(never)]
fn read(xdp: *mut xdp_md) -> u32 {
    let Some(report) = report() else {
        return NOT_OURS;
    };
    if quote::parse(&Context::new(XdpContext::new(xdp)), report).is_none() {
        return NOT_OURS;
    }
    if service_of(report).is_some() {
        return TO_BACKEND;
    }
    if reverse_of(report).is_some() {
        return TO_CLIENT;
    }
    NOT_OURS
}

#[inline(always)]
fn report() -> Option<&'static mut Report> {
    let report = REPORT.get_ptr_mut(0)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other. All zero
    // is a value of this type, and nothing else was ever written there but values.
    Some(unsafe { &mut *report })
}

/// With `fullnat` the backend has sent another packet than the one that is quoted.
#[inline(always)]
fn service_of(report: &Report) -> Option<&'static Service> {
    service::at(report.source, report.source_port, report.protocol)
        .filter(|service| service.forward != Forward::FullNat as u8)
}

/// Of the packet from the VIP.
#[inline(always)]
fn flow_of(report: &Report) -> FlowKey {
    FlowKey {
        client: report.destination,
        vip: report.source,
        client_port: report.destination_port,
        vip_port: report.source_port,
        protocol: report.protocol,
        reserved: [0; 3],
    }
}

#[inline(always)]
fn reverse_of(report: &Report) -> Option<&'static Reverse> {
    let (address, port) = (report.destination, report.destination_port);
    service::addressee(address, port, report.protocol)
}

/// To the backend that has the flow, or else serves now: where flows are not kept, nobody
/// remembers which one sent the packet.
#[inline(never)]
fn to_backend(xdp: *mut xdp_md) -> Step {
    let context = &mut Context::new(XdpContext::new(xdp));
    match report().map(|report| on_to_backend(context, report)) {
        Some(Ok(step)) => step,
        Some(Err(verdict)) => Step::Done(verdict),
        None => Step::Done(Verdict::OtherProtocol),
    }
}

#[inline(always)]
fn on_to_backend(context: &mut Context, report: &Report) -> Result<Step, Verdict> {
    let message = &report.message.bounded();
    // There is no answer to an ICMP error (RFC 1122, section 3.2.2).
    if message.has_expired() {
        return Err(Verdict::HopLimitDropped);
    }
    let service = service_of(report).ok_or(Verdict::OtherProtocol)?;
    let holder = if service.flows == 0 {
        None
    } else {
        flow::holder(&flow_of(report))
    };
    let choice = match holder.and_then(|index| select::member(service, index)) {
        Some(backend) => select::choice(&backend)?,
        None => select::serving(service)?,
    };
    if Forward::is_tunnel(service.forward) {
        return tunnel::hand(message, false, choice.index, service.forward);
    }
    let next_hop = transmit::to_backend(choice.backend)?;
    if service.forward == Forward::Nat as u8 {
        let address = choice.backend().address;
        let port = choice.port_for(report.source_port);
        quote::translate(context, report, Side::ToBackend, &address, port)
            .ok_or(Verdict::Truncated)?;
    } else {
        rewrite::hop(context, message)?;
    }
    rewrite::ethernet(context, &next_hop)?;
    maps::count_forwarded(choice.index, context.length());
    Ok(Step::Done(transmit::forward(context, &next_hop)))
}

/// To the client, as from the VIP: nobody else's address means anything to it.
#[inline(never)]
fn to_client(xdp: *mut xdp_md) -> Verdict {
    let context = &mut Context::new(XdpContext::new(xdp));
    match report().map(|report| on_to_client(context, report)) {
        Some(Ok(verdict) | Err(verdict)) => verdict,
        None => Verdict::OtherProtocol,
    }
}

#[inline(always)]
fn on_to_client(context: &mut Context, report: &Report) -> Result<Verdict, Verdict> {
    let reverse = reverse_of(report).ok_or(Verdict::OtherProtocol)?;
    let message = &report.message.bounded();
    let next_hop = transmit::to_client(context, message)?;
    if message.has_expired() {
        return Err(Verdict::HopLimitDropped);
    }
    let port = reverse.port_for(report.destination_port);
    quote::translate(context, report, Side::ToClient, &reverse.address, port)
        .ok_or(Verdict::Truncated)?;
    rewrite::ethernet(context, &next_hop)?;
    maps::count_returned(reverse.index, context.length());
    Ok(transmit::give_back(context, &next_hop))
}

/// Makes "time exceeded" of a packet for a VIP, from there; returns 0 if there must be
/// none, or not so many.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn exceeded(xdp: *mut xdp_md) -> u32 {
    u32::from(make_exceeded(&mut Context::new(XdpContext::new(xdp))).is_some())
}

#[inline(always)]
fn make_exceeded(context: &mut Context) -> Option<()> {
    let packet = parse::header(context).ok()?;
    if !reply::is_answerable(context, &packet) || !maps::is_due(&EXCEEDED)? {
        return None;
    }
    let end = packet.l3 + reply::quoted(&packet);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "64 KiB at most"
    )]
    let (surplus, room) = (
        context.whole_length().saturating_sub(end) as i32,
        reply::room(packet.family) as i32,
    );
    // SAFETY: the context is the kernel's; no pointer into the frame is kept.
    let adjusted = unsafe {
        bpf_xdp_adjust_tail(context.xdp.ctx, -surplus) == 0
            && bpf_xdp_adjust_head(context.xdp.ctx, -room) == 0
    };
    if !adjusted {
        return None;
    }
    reply::exceeded(context, &packet)
}
