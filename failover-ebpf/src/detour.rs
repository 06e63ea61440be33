//! The way of a packet that is rare: a segment that begins, accepts or refuses a
//! connection, or may be the answer to a heartbeat; ICMP, fragments, extension headers.
//!
//! Each part is a function beside the others and not below them, because all the
//! functions that wait for each other share 512 bytes of stack.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use failover_common::Verdict;

use crate::{
    Step,
    context::Context,
    control, datagram, flows, heartbeat,
    path::{self, FIRST_WALK},
    redeliver, rescue, service,
};

/// Takes it, and then the rest of the path. `length` is that of the frame.
#[inline(always)]
pub(crate) fn take(xdp: *mut xdp_md, length: usize) -> Step {
    let step = match walk(xdp, FIRST_WALK) {
        step @ (Step::Done(_)
        | Step::Tunnel
        | Step::Flow
        | Step::FullNat
        | Step::Expired
        | Step::Reset) => step,
        step => special(xdp, step, length),
    };
    match step {
        Step::Expired => Step::Done(expired(xdp)),
        Step::Reset => Step::Done(datagram::refuse(xdp)),
        step => step,
    }
}

/// What kind of packet it is, or where it went.
#[inline(never)]
fn walk(xdp: *mut xdp_md, slot: u32) -> Step {
    let context = &mut Context::new(XdpContext::new(xdp));
    match path::walk(context, slot, service::look_up) {
        Ok(step) => step,
        Err(verdict) => Step::Done(verdict),
    }
}

#[inline(always)]
fn special(xdp: *mut xdp_md, step: Step, length: usize) -> Step {
    let mut slot = rescue::NOWHERE;
    let mut rescued = false;
    match step {
        Step::Done(_) | Step::Tunnel | Step::Flow | Step::FullNat | Step::Expired | Step::Reset => {
            return step;
        }
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
        if slot == rescue::KEPT {
            return Step::Done(Verdict::SwitchHeld);
        }
        rescued = slot != rescue::NOWHERE && rescue::repeat(xdp, slot) != 0;
    }
    // The rest of the path; of what has become a client's packet again, to whoever
    // serves now.
    match walk(xdp, slot) {
        Step::Done(Verdict::ForwardedTx) if rescued => Step::Done(Verdict::RescuedTx),
        Step::Done(Verdict::ForwardedRedirect) if rescued => Step::Done(Verdict::RescuedRedirect),
        // It has not come from where the client is; that sends it again.
        Step::Reset if rescued => Step::Done(Verdict::NoBackend),
        Step::Flow if rescued => {
            flows::rescued(length);
            Step::Flow
        }
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
