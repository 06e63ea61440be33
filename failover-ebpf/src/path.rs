//! The way of nearly every packet, through all stages.

use failover_common::{Forward, Reverse, Verdict};
use failover_ebpf::{
    frame::Frame as _,
    parse::{ACK, Packet, RST, SYN, TCP, parse},
};

use crate::{
    Step, context::Context, flows, fullnat, heartbeat, maps, passive, rescue, rewrite, select,
    service::Match, transmit, tunnel,
};

/// In place of a slot of `SYNS`: the packet has not been on a detour yet.
pub(crate) const FIRST_WALK: u32 = u32::MAX - 1;

/// `slot` remembers the packet, a SYN, or is one of [`FIRST_WALK`] and
/// [`rescue::NOWHERE`]. `look_up` is stage 2.
#[inline(always)]
pub(crate) fn walk(
    context: &mut Context,
    slot: u32,
    look_up: impl Fn(&Packet) -> Option<Match>,
) -> Result<Step, Verdict> {
    let packet = match parse(context) {
        Err(Verdict::OtherProtocol | Verdict::Fragment) => return Ok(Step::Rare),
        parsed => parsed?,
    };
    let first_tcp = packet.protocol == TCP && slot == FIRST_WALK;
    if first_tcp && heartbeat::is_ours(packet.destination_port) {
        return Ok(Step::Heartbeat);
    }
    let Some(found) = look_up(&packet) else {
        return fullnat::arrives(&packet);
    };
    match found {
        Match::Service(service) => {
            if packet.has_expired() {
                return Ok(Step::Expired);
            }
            if first_tcp && service.passive != 0 && packet.is_tcp(SYN) {
                return Ok(Step::Syn);
            }
            if service.flows != 0 {
                return if slot == FIRST_WALK {
                    flows::arrives()
                } else {
                    flows::hand(context, &packet, true, slot)
                };
            }
            let choice = match select::select(service, &packet) {
                Err(Verdict::SwitchReset) => return Ok(Step::Reset),
                chosen => chosen?,
            };
            if Forward::is_tunnel(service.forward) {
                return tunnel::hand(&packet, true, choice.index, service.forward);
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
            passive::returned(reverse, &packet);
            answer(context, &packet, reverse).map(Step::Done)
        }
    }
}

/// A packet from a backend goes back to the client.
#[inline(always)]
pub(crate) fn answer(
    context: &mut Context,
    packet: &Packet,
    reverse: &Reverse,
) -> Result<Verdict, Verdict> {
    let next_hop = transmit::to_client(context, packet)?;
    if packet.has_expired() {
        return Err(Verdict::HopLimitPassed);
    }
    rewrite::to_client(context, packet, reverse, &next_hop)?;
    maps::count_returned(reverse.index, context.length());
    Ok(transmit::give_back(context, &next_hop))
}
