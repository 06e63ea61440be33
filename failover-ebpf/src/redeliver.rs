//! Datagrams that met a closed port (`nat`). The backend's host says so with an ICMP error
//! that quotes the datagram, up to 520 bytes of its payload (RFC 1812, section 4.3.2.3; by
//! IPv6 up to 1,184, RFC 4443, section 2.4). If it is all there and another backend
//! can serve, the error becomes the datagram again, in place, as the client sent it.
//!
//! What goes round is bounded: each time a backend is latched that said no, and what is
//! sent is shorter than what came.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use failover_ebpf::{
    ethernet::Ethernet,
    icmp::{self, Message},
    parse::{UDP, parse},
};

use crate::{context::Context, passive, rewrite, select, service};

/// Makes the news of a client's datagram that datagram. Returns 0 if it could not; then
/// the frame is as it was.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn redeliver(xdp: *mut xdp_md) -> u32 {
    u32::from(unwrap(&mut Context::new(XdpContext::new(xdp))).is_some())
}

#[inline(always)]
fn unwrap(context: &mut Context) -> Option<()> {
    let Some(Message::Unreachable(message)) = icmp::parse(context) else {
        return None;
    };
    // One hop to us, and one from us.
    if message.protocol != UDP || !message.is_whole || message.hop_limit <= 2 {
        return None;
    }
    let reverse = passive::addressee(&message)?;
    let port = reverse.port_for(message.destination_port);
    // Without another one it would go to the same backend.
    let service = service::at(reverse.address, port, UDP)?;
    if !select::has_other(service, reverse.index) {
        return None;
    }

    let ethernet = Ethernet::load(context, 0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "two headers"
    )]
    let headers = (message.quote - message.l3) as i32;
    // SAFETY: the context is the kernel's; no pointer into the frame is kept.
    if unsafe { bpf_xdp_adjust_head(context.xdp.ctx, headers) } != 0 {
        return None;
    }
    // From here on nothing fails: all of it was there before, and what was quoted was
    // looked at.
    ethernet.store(context, message.l3)?;
    let packet = parse(context).ok()?;
    rewrite::destination(context, &packet, reverse.address, port).ok()
}
