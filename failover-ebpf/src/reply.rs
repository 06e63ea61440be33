//! ICMP messages of our own, made of the packet that they answer: the reply to an
//! echo (RFC 792, RFC 4443), and "time exceeded" (RFC 1812, section 5.3.1).

use failover_common::Address;

use crate::{
    checksum::Difference,
    ethernet::Ethernet,
    frame::Frame,
    icmp::{HEADER, ICMP, ICMPV6},
    parse::{Family, IPV4, IPV4_CHECKSUM, IPV4_SOURCE, IPV6, IPV6_SOURCE, Packet},
};

/// TTL or hop limit of what we send ourselves.
const HOP_LIMIT: u8 = 64;

/// Precedence 6 (RFC 1812, section 4.3.2.5), which Linux uses too.
const ERROR_TOS: u8 = 0xc0;

const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const TIME_EXCEEDED: u8 = 11;
const TIME_EXCEEDED_V6: u8 = 3;

/// Most of a packet that is quoted, bytes: all of the message is then no longer than
/// 576 (RFC 1812, section 4.3.2.3) or 1280 (RFC 4443, section 2.4).
const QUOTE_V4: usize = 576 - IPV4 - HEADER;
const QUOTE_V6: usize = 1280 - IPV6 - HEADER;

/// Whether the sender of a packet can be answered, and only it (RFC 1122, section
/// 3.2.2; RFC 4443, section 2.4): both ends are single hosts, in Ethernet and in IP.
#[inline(always)]
pub fn is_answerable<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> bool {
    let Some([destination, source]) = frame.load::<[[u8; 6]; 2]>(0) else {
        return false;
    };
    let is_host = match packet.family {
        // "This network", loopback, and from 224 on multicast, reserved and broadcast.
        Family::V4 => !matches!(packet.source.v4()[0], 0 | 127 | 224..),
        Family::V6 => {
            let [first, ..] = packet.source.bytes();
            // The unspecified address, loopback and mapped IPv4 begin with zero.
            first != 0 && first != 0xff
        }
    };
    is_host && (destination[0] | source[0]) & 1 == 0 && packet.source != packet.destination
}

/// Whether a packet is an echo request that [`echo`] can answer. One with IP options
/// is none: some must be answered too (RFC 1122, section 3.2.2.6).
#[inline(always)]
pub fn is_echo<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> bool {
    let request = match packet.family {
        Family::V4 => ECHO,
        Family::V6 => ECHO_V6,
    };
    packet.protocol == protocol(packet.family)
        && packet.l4 == packet.l3 + packet.family.header()
        && usize::from(packet.total_length) >= packet.family.header() + HEADER
        && frame.load(packet.l4) == Some([request, 0])
        && is_answerable(frame, packet)
}

/// Turns an echo request into its reply, in place. A checksum that was wrong stays so.
///
/// `None`: the frame is too short; it may be half written.
#[inline(always)]
pub fn echo<F: Frame + ?Sized>(frame: &mut F, packet: &Packet) -> Option<()> {
    let [destination, source] = frame.load::<[[u8; 6]; 2]>(0)?;
    let checksum: [u8; 2] = frame.load(packet.l4 + 2)?;
    let (request, reply) = match packet.family {
        Family::V4 => (ECHO, ECHO_REPLY),
        Family::V6 => (ECHO_V6, ECHO_REPLY_V6),
    };
    // Sums do not change when the addresses change places.
    let checksum = Difference::none()
        .word([request, 0], [reply, 0])
        .apply(checksum);
    match packet.family {
        Family::V4 => {
            let at = packet.l3 + IPV4_CHECKSUM;
            let protocol = packet.protocol;
            let header = Difference::none()
                .word([packet.hop_limit, protocol], [HOP_LIMIT, protocol])
                .apply(frame.load(at)?);
            frame.store(at, header)?;
            frame.store(
                packet.l3 + IPV4_SOURCE,
                [packet.destination.v4(), packet.source.v4()],
            )?;
        }
        Family::V6 => frame.store(packet.l3 + IPV6_SOURCE, [packet.destination, packet.source])?,
    }
    frame.store(packet.l3 + packet.hop_limit_offset(), HOP_LIMIT)?;
    let [c0, c1] = checksum;
    frame.store(packet.l4, [reply, 0, c0, c1])?;
    frame.store(0, [source, destination])
}

/// Bytes of headers in front of what "time exceeded" quotes.
#[inline(always)]
#[must_use]
pub const fn room(family: Family) -> usize {
    family.header() + HEADER
}

/// How many bytes of a packet are quoted: whole words, so that no checksum ends in the
/// middle of one.
#[inline(always)]
#[must_use]
pub const fn quoted(packet: &Packet) -> usize {
    let most = match packet.family {
        Family::V4 => QUOTE_V4,
        Family::V6 => QUOTE_V6,
    };
    let length = packet.total_length as usize & !3;
    if length < most { length } else { most }
}

/// Writes "time exceeded" about `packet` in front of its IP header, where [`room`] was
/// made, and its Ethernet header in front of that. The frame ends with what is
/// [`quoted`]; the message goes back to whoever sent the packet, from its destination.
///
/// `None`: the frame is too short; it may be half written.
#[inline(always)]
pub fn exceeded<F: Frame + ?Sized>(frame: &mut F, packet: &Packet) -> Option<()> {
    let (room, quoted) = (room(packet.family), quoted(packet));
    Ethernet::load(frame, room)?
        .turned()
        .store(frame, packet.l3)?;
    let quote = packet.l3 + room;
    let mut sum = Difference::none();
    for n in 0..QUOTE_V6 / 4 {
        if n * 4 >= quoted {
            break;
        }
        sum = sum.plus(frame.load(quote + n * 4)?);
    }
    let kind = match packet.family {
        Family::V4 => TIME_EXCEEDED,
        Family::V6 => TIME_EXCEEDED_V6,
    };
    sum = sum.plus([kind, 0, 0, 0]);
    #[expect(clippy::cast_possible_truncation, reason = "below 1280")]
    let [l0, l1] = ((HEADER + quoted) as u16).to_be_bytes();
    match packet.family {
        Family::V4 => {
            #[expect(clippy::cast_possible_truncation, reason = "below 1280")]
            let [t0, t1] = ((room + quoted) as u16).to_be_bytes();
            // Don't fragment; an identification of 0 is right then (RFC 6864).
            let mut words = [
                [0x45, ERROR_TOS, t0, t1],
                [0, 0, 0x40, 0],
                [HOP_LIMIT, ICMP, 0, 0],
                packet.destination.v4(),
                packet.source.v4(),
            ];
            let mut header = Difference::none();
            for word in words {
                header = header.plus(word);
            }
            let [k0, k1] = header.checksum();
            words[2] = [HOP_LIMIT, ICMP, k0, k1];
            frame.store(packet.l3, words)?;
        }
        Family::V6 => {
            let first = 0x6000_0000_u32 | u32::from(ERROR_TOS) << 20;
            frame.store(packet.l3, first.to_be_bytes())?;
            frame.store(packet.l3 + 4, [l0, l1, ICMPV6, HOP_LIMIT])?;
            let addresses: [Address; 2] = [packet.destination, packet.source];
            frame.store(packet.l3 + IPV6_SOURCE, addresses)?;
            // The pseudo header (RFC 8200, section 8.1).
            sum = sum
                .plus_v6(packet.destination)
                .plus_v6(packet.source)
                .plus([0, 0, l0, l1])
                .plus([0, 0, 0, ICMPV6]);
        }
    }
    let [c0, c1] = sum.checksum();
    frame.store(
        packet.l3 + packet.family.header(),
        [[kind, 0, c0, c1], [0; 4]],
    )
}

#[inline(always)]
const fn protocol(family: Family) -> u8 {
    match family {
        Family::V4 => ICMP,
        Family::V6 => ICMPV6,
    }
}
