//! Stage 4: the packet as its receiver must see it. Bytes change only after
//! everything that can refuse the packet has agreed.

use failover_common::{Address, Be16, Forward, Reverse, Service, Verdict};
use failover_ebpf::{
    checksum::Difference,
    frame::Frame as _,
    hop,
    parse::{
        Family, IPV4_DESTINATION, IPV4_SOURCE, IPV6_DESTINATION, IPV6_SOURCE, Packet, UDP,
        checksum_offset,
    },
};

use crate::{context::Context, select::Choice, transmit::NextHop};

/// Towards the backend: its MAC, and for `nat` its address and port.
#[inline(always)]
pub(crate) fn to_backend(
    context: &mut Context,
    packet: &Packet,
    service: &Service,
    choice: &Choice,
    next_hop: &NextHop,
) -> Result<(), Verdict> {
    if service.forward == Forward::Nat as u8 {
        let port = choice.port_for(packet.destination_port);
        destination(context, packet, choice.backend().address, port)?;
    } else {
        hop(context, packet)?;
    }
    ethernet(context, next_hop)
}

/// Another address and port to go to.
#[inline(always)]
pub(crate) fn destination(
    context: &mut Context,
    packet: &Packet,
    address: Address,
    port: Be16,
) -> Result<(), Verdict> {
    let field = Field {
        v4: IPV4_DESTINATION,
        v6: IPV6_DESTINATION,
        port: 2,
    };
    let old = (packet.destination, packet.destination_port);
    translate(context, packet, field, old, (address, port))
}

/// Towards the client: the VIP and its port as the source.
#[inline(always)]
pub(crate) fn to_client(
    context: &mut Context,
    packet: &Packet,
    reverse: &Reverse,
    next_hop: &NextHop,
) -> Result<(), Verdict> {
    let port = reverse.port_for(packet.source_port);
    translate(
        context,
        packet,
        Field {
            v4: IPV4_SOURCE,
            v6: IPV6_SOURCE,
            port: 0,
        },
        (packet.source, packet.source_port),
        (reverse.address, port),
    )?;
    ethernet(context, next_hop)
}

/// Where an address lies in the IP header and its port in the one behind it.
#[derive(Clone, Copy)]
struct Field {
    v4: usize,
    v6: usize,
    port: usize,
}

/// Replaces one address and port, brings the checksums up to date (RFC 1624), and takes
/// one from TTL or hop limit.
#[inline(always)]
fn translate(
    context: &mut Context,
    packet: &Packet,
    field: Field,
    old: (Address, Be16),
    new: (Address, Be16),
) -> Result<(), Verdict> {
    let address = match packet.family {
        Family::V4 => {
            let difference = Difference::none().v4(old.0.v4(), new.0.v4());
            hop::take_v4(
                context,
                packet.l3,
                packet.hop_limit,
                packet.protocol,
                difference,
            )
            .ok_or(Verdict::Truncated)?;
            store(context, packet.l3 + field.v4, new.0.v4())?;
            difference
        }
        Family::V6 => {
            hop::take_v6(context, packet.l3, packet.hop_limit).ok_or(Verdict::Truncated)?;
            store(context, packet.l3 + field.v6, new.0)?;
            Difference::none().v6(old.0, new.0)
        }
    };
    // The checksum is in the first fragment, and covers the whole datagram.
    if packet.headless {
        return Ok(());
    }
    store(context, packet.l4 + field.port, new.1.0)?;
    checksum(context, packet, address.word(old.1.0, new.1.0))
}

/// Replaces both addresses and both ports of a packet that is no fragment, likewise.
#[inline(always)]
pub(crate) fn both_ends(
    context: &mut Context,
    packet: &Packet,
    source: (Address, Be16),
    destination: (Address, Be16),
) -> Result<(), Verdict> {
    let addresses = match packet.family {
        Family::V4 => {
            let difference = Difference::none()
                .v4(packet.source.v4(), source.0.v4())
                .v4(packet.destination.v4(), destination.0.v4());
            hop::take_v4(
                context,
                packet.l3,
                packet.hop_limit,
                packet.protocol,
                difference,
            )
            .ok_or(Verdict::Truncated)?;
            let both = [source.0.v4(), destination.0.v4()];
            store(context, packet.l3 + IPV4_SOURCE, both)?;
            difference
        }
        Family::V6 => {
            hop::take_v6(context, packet.l3, packet.hop_limit).ok_or(Verdict::Truncated)?;
            let both = [source.0, destination.0];
            store(context, packet.l3 + IPV6_SOURCE, both)?;
            Difference::none()
                .v6(packet.source, source.0)
                .and(Difference::none().v6(packet.destination, destination.0))
        }
    };
    store(context, packet.l4, [source.1.0, destination.1.0])?;
    let ports = addresses
        .word(packet.source_port.0, source.1.0)
        .word(packet.destination_port.0, destination.1.0);
    checksum(context, packet, ports)
}

/// Brings the checksum of TCP or UDP up to date for a change.
#[inline(always)]
fn checksum(context: &mut Context, packet: &Packet, change: Difference) -> Result<(), Verdict> {
    let at = packet.l4 + checksum_offset(packet.protocol);
    let checksum: [u8; 2] = context.load(at).ok_or(Verdict::Truncated)?;
    // RFC 768: zero means that the sender made no checksum.
    if packet.protocol == UDP && checksum == [0, 0] {
        return Ok(());
    }
    let mut updated = change.apply(checksum);
    // RFC 768: a checksum that computes to zero is sent as all ones.
    if packet.protocol == UDP && updated == [0, 0] {
        updated = [0xff, 0xff];
    }
    store(context, at, updated)
}

/// One hop further, and nothing else. So does `dsr`, though only the MACs change: a
/// backend that has lost the VIP sends the packet back to us, and nothing else would
/// ever end that.
#[inline(always)]
pub(crate) fn hop(context: &mut Context, packet: &Packet) -> Result<(), Verdict> {
    match packet.family {
        Family::V4 => hop::take_v4(
            context,
            packet.l3,
            packet.hop_limit,
            packet.protocol,
            Difference::none(),
        ),
        Family::V6 => hop::take_v6(context, packet.l3, packet.hop_limit),
    }
    .ok_or(Verdict::Truncated)
}

#[inline(always)]
pub(crate) fn ethernet(context: &mut Context, next_hop: &NextHop) -> Result<(), Verdict> {
    store(context, 0, next_hop.dst_mac)?;
    store(context, 6, next_hop.src_mac)
}

#[inline(always)]
fn store<T: Copy>(context: &mut Context, offset: usize, value: T) -> Result<(), Verdict> {
    context.store(offset, value).ok_or(Verdict::Truncated)
}
