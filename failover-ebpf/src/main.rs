//! The XDP programs. One packet's way, one file a stage:
//!
//! ```text
//! packet -> parse -> service -> select -> rewrite -> transmit
//!                \       \-> (an answer of `nat`) -> rewrite -> transmit
//!                 \-> heartbeat: renew the lease, drop
//! ```
//!
//! `path` is that way, for nearly every packet; what is rare goes by a `detour`, what is for
//! a service that keeps flows by `flows`, what
//! its backend gets inside another packet by a `tunnel`, and what it gets as from us by
//! `fullnat`. Each of the five is a program:
//! the kernel gives each its own 512 bytes of stack, and verifies each by itself.
//!
//! `lease` decides who is alive, from heartbeats; `passive` adds what clients'
//! traffic shows; `rescue` keeps a client's SYN until it is answered, `redeliver` turns
//! the news that a datagram met a closed port into that datagram.
//!
//! A stage returns `Err(Verdict)` where the way ends. `finish` below is the
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
mod detour;
mod flow;
mod flows;
mod fullnat;
mod heartbeat;
mod lease;
mod maps;
mod passive;
mod path;
mod redeliver;
mod rescue;
mod rewrite;
mod select;
mod service;
mod share;
mod transmit;
mod tunnel;
mod unaligned;
mod way_back;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use failover_common::{Action, Stage, Verdict};

use crate::{context::Context, maps::STAGES, path::FIRST_WALK};

/// Attached to every interface of the agent.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn failover(ctx: XdpContext) -> u32 {
    let length = length(&ctx);
    let context = &mut Context::new(XdpContext::new(ctx.ctx));
    match path::walk(context, FIRST_WALK, service::look_up_soon) {
        Ok(Step::Done(verdict)) | Err(verdict) => finish(&ctx, length, verdict),
        Ok(Step::Tunnel) => go(&ctx, length, Stage::Tunnel),
        Ok(Step::Flow) => go(&ctx, length, Stage::Flows),
        Ok(Step::FullNat) => go(&ctx, length, Stage::FullNat),
        Ok(_) => go(&ctx, length, Stage::Detour),
    }
}

/// The way of a packet that is not like most.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn detour(ctx: XdpContext) -> u32 {
    let length = length(&ctx);
    match detour::take(ctx.ctx, length) {
        Step::Done(verdict) => finish(&ctx, length, verdict),
        Step::Tunnel => go(&ctx, length, Stage::Tunnel),
        Step::Flow => go(&ctx, length, Stage::Flows),
        Step::FullNat => go(&ctx, length, Stage::FullNat),
        // There are no other detours from a detour.
        _ => finish(&ctx, length, Verdict::OtherProtocol),
    }
}

/// The way of a packet for a service that keeps flows.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn flows(ctx: XdpContext) -> u32 {
    let step = flows::take(ctx.ctx);
    let length = flows::length();
    match step {
        Step::Done(verdict) => finish(&ctx, length, verdict),
        Step::Tunnel => go(&ctx, length, Stage::Tunnel),
        Step::FullNat => go(&ctx, length, Stage::FullNat),
        // It goes nowhere else.
        _ => finish(&ctx, length, Verdict::OtherProtocol),
    }
}

/// The way of a packet that its backend gets inside another.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn tunnel(ctx: XdpContext) -> u32 {
    let length = length(&ctx);
    finish(&ctx, length, tunnel::send(ctx.ctx))
}

/// The way of a packet that goes to its backend as from us, and of the answer.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn fullnat(ctx: XdpContext) -> u32 {
    let length = length(&ctx);
    finish(&ctx, length, fullnat::send(ctx.ctx))
}

/// What a walk along the path came to.
#[derive(Clone, Copy)]
enum Step {
    Done(Verdict),
    /// By the tunnel that was [handed over](tunnel::hand).
    Tunnel,
    /// For a service that keeps flows; it was [handed over](flows::hand).
    Flow,
    /// With another source; it was [handed over](fullnat::hand), or is perhaps the answer.
    FullNat,
    /// For a service that nobody may serve: to be sent back as a reset.
    Reset,
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

/// Goes on in another program, which begins with the frame as it is now.
#[inline(always)]
fn go(ctx: &XdpContext, length: usize, stage: Stage) -> u32 {
    // SAFETY: nothing here has anything to drop.
    unsafe { STAGES.tail_call(ctx, stage as u32) };
    finish(ctx, length, Verdict::NoStage)
}

/// Bytes of the frame as it came in, in its first buffer.
#[inline(always)]
fn length(ctx: &XdpContext) -> usize {
    ctx.data_end() - ctx.data()
}

#[inline(always)]
fn finish(ctx: &XdpContext, length: usize, verdict: Verdict) -> u32 {
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

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
