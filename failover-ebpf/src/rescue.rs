//! SYN rescue (`nat`): a client's SYN is remembered while it is unanswered, so
//! that a backend which turns out to be dead costs the client nothing.
//!
//! The table is a set-associative cache: a flow has [`SYN_WAYS`] slots, the oldest
//! of them gives way. Whoever finds a slot taken by another CPU or the agent goes
//! without.
//!
//! The functions that the entry calls are global ones: the verifier looks at each
//! once, and the compiler leaves their arguments as they are.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use failover_common::{
    Address, Be16, DuringSwitch, FlowKey, MAX_OPTIONS, MAX_SYNS, Reverse, SYN_WAYS, Service, Syn,
};
use failover_ebpf::{
    ethernet::Ethernet,
    frame::Frame as _,
    icmp::Unreachable,
    parse::{ACK, Packet, RST, SYN, TCP, parse},
    segment::{self, TCP_HEADER},
};

use crate::{
    atomic,
    context::Context,
    flow,
    heartbeat::is_next_hop,
    lease::now,
    maps::{BACKENDS, SYN_SEED, SYNS, note_waiting},
    passive, select,
    service::{self, Match},
};

/// Words of options a SYN can have.
const OPTION_WORDS: usize = MAX_OPTIONS / 4;

/// Who talks to whom, as the client sees it.
struct Flow {
    client: Address,
    client_port: Be16,
    vip: Address,
    vip_port: Be16,
}

impl Flow {
    /// Of a packet from the backend of `reverse` to a client.
    #[inline(always)]
    fn answered(packet: &Packet, reverse: &Reverse) -> Self {
        Self {
            client: packet.destination,
            client_port: packet.destination_port,
            vip: reverse.address,
            vip_port: reverse.port_for(packet.source_port),
        }
    }

    /// Of the packet that was not delivered to the backend of `reverse`.
    #[inline(always)]
    fn undelivered(message: &Unreachable, reverse: &Reverse) -> Self {
        Self {
            client: message.source,
            client_port: message.source_port,
            vip: reverse.address,
            vip_port: reverse.port_for(message.destination_port),
        }
    }

    /// Its key where flows are kept.
    #[inline(always)]
    fn key(&self) -> FlowKey {
        FlowKey {
            client: self.client,
            vip: self.vip,
            client_port: self.client_port,
            vip_port: self.vip_port,
            protocol: TCP,
            reserved: [0; 3],
        }
    }

    /// Index of the first of its slots.
    #[inline(always)]
    fn first_slot(&self) -> u32 {
        let [a, b] = self.client.words();
        let [c, d] = self.vip.words();
        let [p0, p1] = self.client_port.0;
        let [q0, q1] = self.vip_port.0;
        let ports = u64::from(u32::from_ne_bytes([p0, p1, q0, q1]));
        let mut hash = SYN_SEED.load();
        for word in [a, b, c ^ d, ports] {
            // Multiply and fold, as in wyhash: cheap, and the seed is secret.
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a few bits of it")]
        let set = hash as u32 % (MAX_SYNS as u32 / SYN_WAYS);
        set * SYN_WAYS
    }

    #[inline(always)]
    fn owns(&self, syn: &Syn) -> bool {
        syn.sent_at != 0
            && syn.client_port == self.client_port
            && syn.vip_port == self.vip_port
            && syn.client == self.client
            && syn.vip == self.vip
    }
}

/// A slot that is ours until it is dropped.
struct Slot {
    index: u32,
    syn: *mut Syn,
}

impl Slot {
    #[inline(always)]
    fn take(index: u32) -> Option<Self> {
        let syn = SYNS.get_ptr_mut(index)?;
        // SAFETY: entries of an array map live as long as the map.
        let taken = unsafe { atomic::swap(&raw mut (*syn).taken, 1) };
        // Made only if it is ours: dropping one that is not would give it back.
        if taken == 0 {
            Some(Self { index, syn })
        } else {
            None
        }
    }

    /// The slot that remembers a flow's SYN.
    #[inline(always)]
    fn find(flow: &Flow) -> Option<Self> {
        let first = flow.first_slot();
        for way in 0..SYN_WAYS {
            let syn = SYNS.get_ptr(first + way)?;
            // A look before it is taken: nearly always it is not the one.
            // SAFETY: entries of an array map live as long as the map.
            if flow.owns(unsafe { &*syn }) {
                let slot = Self::take(first + way)?;
                return flow.owns(slot.syn()).then_some(slot);
            }
        }
        None
    }

    /// Whether a segment answers this very SYN: nobody who has not seen it knows how.
    #[inline(always)]
    fn is_acknowledged(&self, context: &Context, packet: &Packet) -> Option<bool> {
        let acknowledged = u32::from_be_bytes(context.load(packet.l4 + 8)?);
        let sequence = u32::from_be_bytes(self.syn().sequence);
        Some(acknowledged == sequence.wrapping_add(1))
    }

    #[inline(always)]
    fn syn(&self) -> &Syn {
        // SAFETY: entries of an array map live as long as the map, and it is ours.
        unsafe { &*self.syn }
    }

    #[inline(always)]
    fn syn_mut(&mut self) -> &mut Syn {
        // SAFETY: as above.
        unsafe { &mut *self.syn }
    }
}

impl Drop for Slot {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: entries of an array map live as long as the map.
        unsafe { atomic::swap(&raw mut (*self.syn).taken, 0) };
    }
}

/// No slot.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// In place of a slot: the client must not hear of it ([`DuringSwitch::Hold`]).
pub(crate) const KEPT: u32 = u32::MAX - 2;

/// In place of a backend: the SYN has not gone to any yet.
const NOBODY: u32 = u32::MAX;

/// Remembers a SYN that is about to go to a backend; returns in which slot. One
/// that carries data is not: what would be repeated is not all of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn remember(xdp: *mut xdp_md) -> u32 {
    let context = &Context::new(XdpContext::new(xdp));
    match parse(context) {
        Ok(packet) => write_down(context, &packet).unwrap_or(NOWHERE),
        Err(_) => NOWHERE,
    }
}

/// The SYN in `slot` goes to the backend at `index`.
#[inline(always)]
pub(crate) fn sent(slot: u32, index: u32) {
    if slot != NOWHERE
        && let Some(syn) = SYNS.get_ptr_mut(slot)
    {
        // SAFETY: entries of an array map live as long as the map; one aligned word.
        unsafe { (&raw mut (*syn).backend).write_volatile(index) };
        note_waiting(slot, Some(index));
    }
}

#[inline(always)]
fn write_down(context: &Context, packet: &Packet) -> Option<u32> {
    if !packet.is_tcp(SYN) || packet.has_expired() {
        return None;
    }
    match service::look_up(packet) {
        Some(Match::Service(service)) if service.passive != 0 => {}
        _ => return None,
    }
    let header: [[u8; 4]; 5] = context.load(packet.l4)?;
    let [_, sequence, _, [offset, flags, w0, w1], _] = header;
    let length = usize::from(offset >> 4) * 4;
    if usize::from(packet.total_length) != packet.l4 - packet.l3 + length || length < TCP_HEADER {
        return None;
    }
    let flow = Flow {
        client: packet.source,
        client_port: packet.source_port,
        vip: packet.destination,
        vip_port: packet.destination_port,
    };
    let index = oldest(&flow)?;
    let mut slot = Slot::take(index)?;
    let syn = slot.syn_mut();
    syn.sent_at = now();
    syn.client = flow.client;
    syn.vip = flow.vip;
    syn.client_port = flow.client_port;
    syn.vip_port = flow.vip_port;
    syn.backend = NOBODY;
    syn.sequence = sequence;
    syn.window = [w0, w1];
    syn.flags = flags;
    syn.tos = packet.tos;
    syn.hop_limit = packet.hop_limit;
    #[expect(clippy::cast_possible_truncation, reason = "at most 40")]
    let options_len = (length - TCP_HEADER) as u8;
    syn.options_len = options_len;
    syn.answered = 0;
    let (words, _) = syn.options.as_chunks_mut::<4>();
    for (n, word) in words.iter_mut().enumerate().take(OPTION_WORDS) {
        *word = if n * 4 < usize::from(options_len) {
            context.load(packet.l4 + TCP_HEADER + n * 4)?
        } else {
            [0; 4]
        };
    }
    Some(index)
}

/// Index of the flow's own slot, else of a free one, else of the oldest. One that is
/// taken may stay so, if the agent was killed then, and must not keep the others.
#[inline(always)]
fn oldest(flow: &Flow) -> Option<u32> {
    let first = flow.first_slot();
    let mut oldest = first;
    let mut oldest_at = u64::MAX;
    for way in 0..SYN_WAYS {
        let syn = SYNS.get_ptr(first + way)?;
        // SAFETY: entries of an array map live as long as the map.
        let syn = unsafe { &*syn };
        if flow.owns(syn) {
            return Some(first + way);
        }
        let sent_at = if syn.answered == 0 { syn.sent_at } else { 0 };
        if sent_at < oldest_at && syn.taken == 0 {
            oldest_at = sent_at;
            oldest = first + way;
        }
    }
    Some(oldest)
}

/// A backend accepts a connection. If the client's SYN has gone to another one
/// since, it is too late: to be reset. Returns not 0 if it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn accepted(xdp: *mut xdp_md) -> u32 {
    u32::from(is_late(&Context::new(XdpContext::new(xdp))).unwrap_or(false))
}

#[inline(always)]
fn is_late(context: &Context) -> Option<bool> {
    let packet = &parse(context).ok()?;
    if !packet.is_tcp(SYN | ACK) {
        return None;
    }
    let reverse = &service::answer(packet)?;
    let mut slot = Slot::find(&Flow::answered(packet, reverse))?;
    // A port that the client uses again may have an older SYN here.
    if !slot.is_acknowledged(context, packet)? {
        return None;
    }
    if slot.syn().backend != reverse.index && slot.syn().backend != NOBODY {
        return Some(true);
    }
    slot.syn_mut().answered = 1;
    if reverse.flows != 0 {
        flow::accepted(&Flow::answered(packet, reverse).key(), reverse.index);
    }
    note_waiting(slot.index, None);
    Some(false)
}

/// Sends a segment back as the reset that answers it; returns 0 if it could not.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn reset(xdp: *mut xdp_md) -> u32 {
    let context = &Context::new(XdpContext::new(xdp));
    let Ok(packet) = parse(context) else {
        return 0;
    };
    u32::from(segment::reset(&mut context.anew(), &packet).is_some())
}

/// A backend refuses a connection. If the refusal belongs to a client's SYN, it
/// is a sign of death; and if another backend can serve, that SYN is to be
/// repeated in place of the refusal. Returns the slot that remembers it, else
/// [`NOWHERE`], or [`KEPT`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn refused(xdp: *mut xdp_md) -> u32 {
    to_repeat(&Context::new(XdpContext::new(xdp))).unwrap_or(NOWHERE)
}

#[inline(always)]
fn to_repeat(context: &Context) -> Option<u32> {
    let packet = &parse(context).ok()?;
    if !packet.is_tcp(RST | ACK) {
        return None;
    }
    let reverse = &service::answer(packet)?;
    let flow = Flow::answered(packet, reverse);
    let slot = Slot::find(&flow)?;
    if slot.syn().answered != 0
        || slot.syn().backend != reverse.index
        || !slot.is_acknowledged(context, packet)?
        || !is_next_hop(context, BACKENDS.get_ptr(reverse.index)?)
    {
        return None;
    }
    passive::refused(reverse);
    let service = find(&flow)?;
    // Without another one it would go to the same backend, and come back for ever.
    if select::has_other(service, reverse.index) {
        Some(slot.index)
    } else {
        is_held(service).then_some(KEPT)
    }
}

/// Whether clients that meet nobody are to try again by themselves.
#[inline(always)]
fn is_held(service: &Service) -> bool {
    service.during_switch == DuringSwitch::Hold as u8
}

/// Makes a segment the SYN that `slot` remembers, as it came from the client;
/// returns 0 if it could not.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn repeat(xdp: *mut xdp_md, slot: u32) -> u32 {
    u32::from(write_again(&mut Context::new(XdpContext::new(xdp)), slot).is_some())
}

#[inline(always)]
fn write_again(context: &mut Context, slot: u32) -> Option<()> {
    let packet = &parse(context).ok()?;
    let slot = Slot::take(slot)?;
    // What is missing is added in front: there is always room for that, while behind
    // a small frame there may be none.
    let ethernet = Ethernet::load(context, 0)?;
    let missing = segment::room(packet).saturating_sub(context.length());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "below 100"
    )]
    let missing = missing as i32;
    // SAFETY: the context is the kernel's; no pointer into the frame is kept.
    if missing > 0 && unsafe { bpf_xdp_adjust_head(context.xdp.ctx, -missing) } != 0 {
        return None;
    }
    ethernet.store(context, packet.l3)?;
    segment::repeat(context, packet, slot.syn())
}

/// Whether the packet that was not delivered is a SYN that nobody has answered yet.
#[inline(always)]
pub(crate) fn is_out(reverse: &Reverse, message: &Unreachable) -> bool {
    Slot::find(&Flow::undelivered(message, reverse)).is_some_and(|slot| {
        slot.syn().answered == 0
            && slot.syn().backend == reverse.index
            && slot.syn().sequence == message.sequence
    })
}

/// Whether the SYN that was not delivered can go to another backend, or will be able to
/// when the client sends it again.
#[inline(always)]
pub(crate) fn may_succeed(reverse: &Reverse, message: &Unreachable) -> bool {
    find(&Flow::undelivered(message, reverse))
        .is_some_and(|service| is_held(service) || select::has_other(service, reverse.index))
}

#[inline(always)]
fn find(flow: &Flow) -> Option<&'static Service> {
    service::at(flow.vip, flow.vip_port, TCP)
}
