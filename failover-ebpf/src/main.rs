//! The XDP program. One packet's way, one file a stage:
//!
//! ```text
//! packet -> parse -> service -> select -> rewrite -> transmit
//!                \       \-> (an answer of `nat`) -> rewrite -> transmit
//!                 \-> heartbeat: renew the lease, drop
//! ```
//!
//! `lease` decides who is alive, from heartbeats; `passive` adds what clients'
//! traffic shows; `rescue` keeps a client's SYN until it is answered, `redeliver` turns
//! the news that a datagram met a closed port into that datagram.
//!
//! A stage returns `Err(Verdict)` where the way ends. The entry below is the
//! one place that turns a verdict into an XDP action and counts it.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the xdp macro makes public functions without documentation"
)]

mod atomic;
mod context;
mod control;
mod datagram;
mod heartbeat;
mod lease;
mod maps;
mod passive;
mod redeliver;
mod rescue;
mod rewrite;
mod select;
mod service;
mod transmit;
mod tunnel;
mod unaligned;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use failover_common::{Action, Forward, Reverse, Verdict};
use failover_ebpf::{
    frame::Frame as _,
    parse::{ACK, Packet, RST, SYN, TCP, parse},
};

use crate::{context::Context, service::Match};

/// Attached to every interface of the agent.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn failover(ctx: XdpContext) -> u32 {
    let length = ctx.data_end() - ctx.data();
    let step = match path(ctx.ctx, FIRST_WALK) {
        step @ (Step::Done(_) | Step::Tunnel { .. } | Step::Expired) => step,
        step => detour(ctx.ctx, step),
    };
    let verdict = match step {
        Step::Done(verdict) => verdict,
        Step::Tunnel { index, forward } => match tunnel::send(ctx.ctx, index, forward) {
            Verdict::TunnelTooBig => tunnel::answer(ctx.ctx, index, forward),
            verdict => verdict,
        },
        Step::Expired => expired(ctx.ctx),
        // There are no other detours from a detour.
        _ => Verdict::OtherProtocol,
    };
    maps::count_verdict(verdict, length);
    match verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => {
            log_drop(ctx.ctx, verdict);
            xdp_action::XDP_DROP
        }
        Action::Keep => xdp_action::XDP_DROP,
        Action::Tx => xdp_action::XDP_TX,
        Action::Redirect => xdp_action::XDP_REDIRECT,
    }
}

/// A function of its own, so that those below the entry have what it takes of the
/// kernel's stack.
#[inline(never)]
fn log_drop(xdp: *mut xdp_md, verdict: Verdict) {
    let context = XdpContext::new(xdp);
    aya_log_ebpf::debug!(&context, "dropped: verdict {}", verdict as u32);
}

/// In place of a slot of `SYNS`: the packet has not been on a detour yet.
const FIRST_WALK: u32 = u32::MAX - 1;

/// What a walk along the path came to.
#[derive(Clone, Copy)]
enum Step {
    Done(Verdict),
    /// By a tunnel of this kind to the backend at `index`.
    Tunnel {
        index: u32,
        /// A [`Forward`].
        forward: u8,
    },
    /// Neither TCP nor UDP, a fragment, or something in front of them.
    Rare,
    /// For a service, but the packet may go no further.
    Expired,
    /// TCP to a port that heartbeats come from.
    Heartbeat,
    /// A client begins a connection.
    Syn,
    /// A backend accepts one.
    Accepted,
    /// A backend refuses one.
    Refused,
    /// News of a client's packet that a backend did not get.
    Undelivered,
}

/// The way of nearly every packet. What is rare is on a detour: a function of its
/// own beside this one and not below it, because all the functions that wait for
/// each other share 512 bytes of stack.
///
/// `slot` remembers the packet, a SYN, or is one of [`FIRST_WALK`] and
/// [`rescue::NOWHERE`].
#[inline(never)]
fn path(xdp: *mut xdp_md, slot: u32) -> Step {
    match handle(&mut Context::new(XdpContext::new(xdp)), slot) {
        Ok(step) => step,
        Err(verdict) => Step::Done(verdict),
    }
}

#[inline(always)]
fn handle(context: &mut Context, slot: u32) -> Result<Step, Verdict> {
    let packet = match parse(context) {
        Err(Verdict::OtherProtocol | Verdict::Fragment) => return Ok(Step::Rare),
        parsed => parsed?,
    };
    let first_tcp = packet.protocol == TCP && slot == FIRST_WALK;
    if first_tcp && heartbeat::is_ours(packet.destination_port) {
        return Ok(Step::Heartbeat);
    }
    match service::find(&packet)? {
        Match::Service(service) => {
            if packet.has_expired() {
                return Ok(Step::Expired);
            }
            if first_tcp && service.passive != 0 && packet.is_tcp(SYN) {
                return Ok(Step::Syn);
            }
            let choice = select::select(service, &packet)?;
            if Forward::is_tunnel(service.forward) {
                return Ok(Step::Tunnel {
                    index: choice.index,
                    forward: service.forward,
                });
            }
            let next_hop = transmit::to_backend(choice.backend)?;
            rewrite::to_backend(context, &packet, service, &choice, &next_hop)?;
            rescue::sent(slot, choice.index);
            maps::count_forwarded(choice.index, context.length());
            Ok(Step::Done(transmit::forward(context, &next_hop)))
        }
        Match::Answer(reverse) => {
            if first_tcp && reverse.passive != 0 {
                if packet.is_tcp(SYN | ACK) {
                    return Ok(Step::Accepted);
                }
                if packet.is_tcp(RST | ACK) {
                    return Ok(Step::Refused);
                }
            }
            passive::returned(&reverse, &packet);
            answer(context, &packet, &reverse).map(Step::Done)
        }
    }
}

/// A packet from a backend goes back to the client.
#[inline(always)]
fn answer(context: &mut Context, packet: &Packet, reverse: &Reverse) -> Result<Verdict, Verdict> {
    let next_hop = transmit::to_client(context, packet)?;
    if packet.has_expired() {
        return Err(Verdict::HopLimitPassed);
    }
    rewrite::to_client(context, packet, reverse, &next_hop)?;
    maps::count_returned(reverse.index, context.length());
    Ok(transmit::give_back(context, &next_hop))
}

#[inline(always)]
fn detour(xdp: *mut xdp_md, step: Step) -> Step {
    let mut slot = rescue::NOWHERE;
    let mut rescued = false;
    match step {
        Step::Done(_) | Step::Tunnel { .. } | Step::Expired => return step,
        Step::Rare => match rare(xdp) {
            // The datagram that was quoted.
            Step::Undelivered => rescued = true,
            step => return step,
        },
        Step::Heartbeat => match heartbeat::segment(xdp) {
            // So that the backend forgets the connection at once.
            heartbeat::ACCEPTED if rescue::reset(xdp) != 0 => {
                return Step::Done(Verdict::HeartbeatReset);
            }
            heartbeat::ACCEPTED => return Step::Done(Verdict::HeartbeatAnswered),
            heartbeat::OLD => return Step::Done(Verdict::HeartbeatOld),
            heartbeat::CLOSED => return Step::Done(Verdict::HeartbeatClosed),
            // A client or a service may use such a port too.
            _ => {}
        },
        Step::Syn | Step::Accepted | Step::Refused | Step::Undelivered => {}
    }
    // Each of these looks for itself whether the segment is one for it.
    if matches!(step, Step::Syn | Step::Heartbeat) {
        slot = rescue::remember(xdp);
    }
    if matches!(step, Step::Accepted | Step::Heartbeat)
        && rescue::accepted(xdp) != 0
        && rescue::reset(xdp) != 0
    {
        return Step::Done(Verdict::LateAnswer);
    }
    if slot == rescue::NOWHERE && matches!(step, Step::Refused | Step::Heartbeat) {
        slot = rescue::refused(xdp);
        rescued = slot != rescue::NOWHERE && rescue::repeat(xdp, slot) != 0;
    }
    // The rest of the path; of what has become a client's packet again, to whoever
    // serves now.
    match path(xdp, slot) {
        Step::Done(Verdict::ForwardedTx) if rescued => Step::Done(Verdict::RescuedTx),
        Step::Done(Verdict::ForwardedRedirect) if rescued => Step::Done(Verdict::RescuedRedirect),
        step => step,
    }
}

/// One after the other, until one knows what the packet is. `Undelivered`: it has become
/// the datagram that was not delivered.
#[inline(always)]
fn rare(xdp: *mut xdp_md) -> Step {
    match control::weigh(xdp) {
        None => {}
        Some(Step::Undelivered) if redeliver::redeliver(xdp) == 0 => {}
        Some(step) => return step,
    }
    if let Some(verdict) = control::echo(xdp) {
        return Step::Done(verdict);
    }
    match control::message(xdp) {
        Some(step) => step,
        None => datagram::extended(xdp),
    }
}

#[inline(always)]
fn expired(xdp: *mut xdp_md) -> Verdict {
    if control::exceeded(xdp) != 0 {
        Verdict::HopLimitAnswered
    } else {
        Verdict::HopLimitDropped
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
