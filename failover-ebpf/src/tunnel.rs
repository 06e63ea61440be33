//! Stages 4 and 5 of a tunnel: the packet goes to its backend inside another one, as
//! it is. A program of its own, because it needs room in front, which unmakes every
//! pointer into the frame.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use failover_common::{Backend, Forward, Verdict};
use failover_ebpf::{
    ethernet::Ethernet,
    frame::Frame as _,
    outer::{self, Inner, Tunnel},
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, Packet},
    too_big,
};

use crate::{
    Step,
    context::Context,
    maps::{self, BACKENDS, HANDED, TOLD},
    rewrite, transmit,
};

/// A packet that is to go by a tunnel, and to which end.
pub(crate) struct Handed {
    packet: Packet,
    /// It is no fragment, and neither ICMP nor behind extension headers.
    is_plain: bool,
    /// A [`Forward`].
    forward: u8,
    /// Index of the backend.
    index: u32,
}

/// Hands a packet over, as it was read, to be sent to the backend at `index`.
#[inline(always)]
pub(crate) fn hand(
    packet: &Packet,
    is_plain: bool,
    index: u32,
    forward: u8,
) -> Result<Step, Verdict> {
    let handed = HANDED.get_ptr_mut(0).ok_or(Verdict::NoBackend)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other.
    unsafe {
        *handed = Handed {
            packet: *packet,
            is_plain,
            forward,
            index,
        }
    };
    Ok(Step::Tunnel)
}

#[inline(always)]
fn handed() -> Option<Handed> {
    let handed = HANDED.get_ptr(0)?;
    // SAFETY: as in `hand`, which has written it a moment ago.
    let handed = unsafe { &*handed };
    Some(Handed {
        packet: handed.packet.bounded(),
        ..*handed
    })
}

/// Sends the packet that was handed over, or answers it if it is too long.
#[inline(always)]
pub(crate) fn send(xdp: *mut xdp_md) -> Verdict {
    match forward(xdp) {
        Verdict::TunnelTooBig => answer(xdp),
        verdict => verdict,
    }
}

#[inline(always)]
fn forward(xdp: *mut xdp_md) -> Verdict {
    let context = &mut Context::new(XdpContext::new(xdp));
    match encapsulate(context) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(never)]
fn answer(xdp: *mut xdp_md) -> Verdict {
    match tell(&mut Context::new(XdpContext::new(xdp))) {
        Some(()) => Verdict::TunnelTooBigAnswered,
        None => Verdict::TunnelTooBig,
    }
}

/// A tunnel, and how long the packets may be that go into it.
struct Way {
    tunnel: Tunnel,
    /// Bytes from the IP header on.
    room: u32,
}

impl Way {
    #[inline(always)]
    fn to(backend: *const Backend, forward: u8) -> Result<Self, Verdict> {
        // SAFETY: entries of an array map live as long as the map.
        let destination = unsafe { (*backend).address };
        // SAFETY: as above; the agent changes these words behind our back, hence
        // volatile.
        let source = unsafe { (&raw const (*backend).source).read_volatile() };
        // SAFETY: as above.
        let mtu = unsafe { (&raw const (*backend).mtu).read_volatile() };
        if source.is_unspecified() {
            return Err(Verdict::BackendUnresolved);
        }
        let tunnel = Tunnel {
            source,
            destination,
            family: if destination.is_v4() {
                Family::V4
            } else {
                Family::V6
            },
            gue: forward == Forward::Gue as u8,
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most 48")]
        let overhead = tunnel.overhead() as u32;
        Ok(Self {
            tunnel,
            room: mtu.saturating_sub(overhead),
        })
    }
}

#[inline(always)]
fn encapsulate(context: &mut Context) -> Result<Verdict, Verdict> {
    let Handed {
        packet,
        is_plain,
        forward,
        index,
    } = handed().ok_or(Verdict::NoBackend)?;
    let backend = BACKENDS.get_ptr(index).ok_or(Verdict::NoBackend)?;
    let next_hop = transmit::to_backend(backend)?;
    let Way { tunnel, room } = Way::to(backend, forward)?;
    if u32::from(packet.total_length) > room {
        return Err(Verdict::TunnelTooBig);
    }
    let inner = Inner::of(context, &packet, &tunnel, is_plain).ok_or(Verdict::Truncated)?;
    let ethernet = Ethernet::load(context, 0).ok_or(Verdict::Truncated)?;
    add_front(context, tunnel.overhead()).ok_or(Verdict::NoRoom)?;
    let ethertype = match tunnel.family {
        Family::V4 => ETHERTYPE_IPV4,
        Family::V6 => ETHERTYPE_IPV6,
    };
    ethernet
        .store_as(context, packet.l3, ethertype)
        .and_then(|()| outer::write(context, packet.l3, &tunnel, &inner))
        .ok_or(Verdict::Truncated)?;
    rewrite::ethernet(context, &next_hop)?;
    maps::count_forwarded(index, context.length());
    Ok(transmit::forward(context, &next_hop))
}

/// Adds bytes in front of the frame.
#[inline(always)]
fn add_front(context: &Context, bytes: usize) -> Option<()> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "at most 48"
    )]
    let bytes = bytes as i32;
    // SAFETY: the context is the kernel's; no pointer into the frame is kept.
    (unsafe { bpf_xdp_adjust_head(context.xdp.ctx, -bytes) } == 0).then_some(())
}

#[inline(always)]
fn tell(context: &mut Context) -> Option<()> {
    let Handed {
        packet,
        forward,
        index,
        ..
    } = handed()?;
    let Way { room, .. } = Way::to(BACKENDS.get_ptr(index)?, forward).ok()?;
    let answer = too_big::Answer::to(context, &packet, room)?;
    if !maps::is_due(&TOLD)? {
        return None;
    }
    let ethernet = Ethernet::load(context, 0)?;
    add_front(context, answer.headers())?;
    let length = answer.length();
    // A loss for good from here on, if that is refused: but nothing could be.
    context.cut(length)?;
    ethernet.store(context, packet.l3)?;
    answer.write(context, context.sum(answer.quoted())?)
}
