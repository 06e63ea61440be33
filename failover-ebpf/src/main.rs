//! The XDP program. One packet's way, one file a stage:
//!
//! ```text
//! packet -> parse -> service -> select -> rewrite -> transmit
//!                \-> (an answer of `nat`)  -> rewrite -> transmit
//! ```
//!
//! A stage returns `Err(Verdict)` where the way ends. The entry below is the
//! one place that turns a verdict into an XDP action and counts it.

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the xdp macro makes public functions without documentation"
)]

mod context;
mod maps;
mod rewrite;
mod select;
mod service;
mod transmit;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use failover_common::{Action, Verdict};
use failover_ebpf::{frame::Frame as _, parse::parse};

use crate::{context::Context, service::Match};

/// Attached to every interface of the agent.
#[xdp]
pub fn failover(ctx: XdpContext) -> u32 {
    let mut context = Context::new(ctx);
    let verdict = match handle(&mut context) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    maps::count_verdict(verdict, context.length());
    match verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => {
            aya_log_ebpf::debug!(&context.xdp, "dropped: verdict {}", verdict as u32);
            xdp_action::XDP_DROP
        }
        Action::Tx => xdp_action::XDP_TX,
        Action::Redirect => xdp_action::XDP_REDIRECT,
    }
}

#[inline(always)]
fn handle(context: &mut Context) -> Result<Verdict, Verdict> {
    let packet = parse(context)?;
    match service::find(&packet)? {
        Match::Service(service) => {
            let choice = select::select(service)?;
            let next_hop = transmit::to_backend(&choice)?;
            rewrite::to_backend(context, &packet, service, &choice, &next_hop)?;
            maps::count_forwarded(choice.index, context.length());
            Ok(transmit::forward(context, &next_hop))
        }
        Match::Answer(reverse) => {
            let next_hop = transmit::to_client(context, &packet)?;
            rewrite::to_client(context, &packet, &reverse, &next_hop)?;
            maps::count_returned(reverse.index, context.length());
            Ok(transmit::give_back(context, &next_hop))
        }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
