//! TCP segments of our own, written over a frame that is no longer needed.

use failover_common::{Address, Be16, MAX_OPTIONS, Syn};

use crate::{
    checksum::Difference,
    frame::Frame,
    parse::{ACK, Family, IPV4, Packet, RST, SYN, TCP},
};

/// Length of the TCP header without options, bytes (RFC 9293, section 3.1).
pub const TCP_HEADER: usize = 20;

/// TTL or hop limit of what we send ourselves.
const HOP_LIMIT: u8 = 64;

/// An IP header and a TCP header.
#[derive(Clone, Copy, Debug)]
struct Segment {
    family: Family,
    /// Offset of the IP header in the frame, bytes; the TCP header follows at once.
    l3: usize,
    source: Address,
    destination: Address,
    tos: u8,
    hop_limit: u8,
    source_port: Be16,
    destination_port: Be16,
    sequence: [u8; 4],
    acknowledgment: [u8; 4],
    flags: u8,
    window: [u8; 2],
    /// Bytes of options behind the header.
    options_len: u8,
}

/// Turns a segment into the reset that answers it (RFC 9293, section 3.5.2), in
/// place: from who got it to who sent it, without IP options. What was behind the
/// headers stays as padding of the frame.
///
/// `None`: the frame is too short; nothing was written.
#[inline(always)]
pub fn reset<F: Frame + ?Sized>(frame: &mut F, packet: &Packet) -> Option<()> {
    // The smaller offset first: of the larger one it follows, says the compiler, and the
    // verifier does not follow it.
    let macs: [[u8; 6]; 2] = frame.load(0)?;
    let [sequence, acknowledgment] = frame.load::<[[u8; 4]; 2]>(packet.l4 + 4)?;
    let mut segment = Segment {
        family: packet.family,
        l3: packet.l3,
        source: packet.destination,
        destination: packet.source,
        tos: packet.tos,
        hop_limit: HOP_LIMIT,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        sequence: acknowledgment,
        acknowledgment: [0; 4],
        flags: RST,
        window: [0; 2],
        options_len: 0,
    };
    if packet.flags & ACK == 0 {
        // What is acknowledged is a SYN: it takes one sequence number.
        let next = u32::from_be_bytes(sequence).wrapping_add(u32::from(packet.flags & SYN) >> 1);
        segment.sequence = [0; 4];
        segment.acknowledgment = next.to_be_bytes();
        segment.flags = RST | ACK;
    }
    write(frame, &segment, Difference::none())?;
    frame.store(0, [macs[1], macs[0]])
}

/// Turns a frame into the SYN that was remembered, in place, as the client sent
/// it but for IP options. The MACs stay.
///
/// `None`: the frame is shorter than [`room`]; nothing was written.
#[inline(always)]
pub fn repeat<F: Frame + ?Sized>(frame: &mut F, packet: &Packet, syn: &Syn) -> Option<()> {
    let segment = Segment {
        family: packet.family,
        l3: packet.l3,
        source: syn.client,
        destination: syn.vip,
        tos: syn.tos,
        hop_limit: syn.hop_limit,
        source_port: syn.client_port,
        destination_port: syn.vip_port,
        sequence: syn.sequence,
        acknowledgment: [0; 4],
        flags: syn.flags,
        window: syn.window,
        options_len: syn.options_len,
    };
    let options = packet.l3 + packet.family.header() + TCP_HEADER;
    let _room: [u8; MAX_OPTIONS] = frame.load(options)?;
    let mut sum = Difference::none();
    let (words, _) = syn.options.as_chunks::<4>();
    for word in words {
        sum = sum.plus(*word);
    }
    write(frame, &segment, sum)?;
    frame.store(options, syn.options)
}

/// Length of a frame that has room for any SYN in place of a packet, bytes.
#[inline(always)]
#[must_use]
pub const fn room(packet: &Packet) -> usize {
    packet.l3 + packet.family.header() + TCP_HEADER + MAX_OPTIONS
}

/// Writes both headers; `options` is the sum of the bytes behind them.
///
/// A function of its own, because the kernel's stack is small.
#[inline(never)]
fn write<F: Frame + ?Sized>(frame: &mut F, segment: &Segment, options: Difference) -> Option<()> {
    let l4 = segment.l3 + segment.family.header();
    let tcp_length = TCP_HEADER + usize::from(segment.options_len);
    #[expect(clippy::cast_possible_truncation, reason = "at most 60 bytes")]
    let length = tcp_length as u16;

    let [p0, p1] = segment.source_port.0;
    let [q0, q1] = segment.destination_port.0;
    let ports = [p0, p1, q0, q1];
    let offset = 0x50 + (segment.options_len << 2);
    let [w0, w1] = segment.window;
    let rest = [offset, segment.flags, w0, w1];
    let [l0, l1] = length.to_be_bytes();
    let sum = addresses(segment.family, segment, options)
        // The pseudo header (RFC 9293, section 3.1): protocol and length.
        .plus([0, TCP, l0, l1])
        .plus(ports)
        .plus(segment.sequence)
        .plus(segment.acknowledgment)
        .plus(rest);
    let [c0, c1] = sum.checksum();
    let header: [[u8; 4]; 5] = [
        ports,
        segment.sequence,
        segment.acknowledgment,
        rest,
        [c0, c1, 0, 0],
    ];
    let _room: [[u8; 4]; 5] = frame.load(l4)?;
    match segment.family {
        Family::V4 => {
            #[expect(clippy::cast_possible_truncation, reason = "20")]
            let [t0, t1] = (length + IPV4 as u16).to_be_bytes();
            // Don't fragment; an identification of 0 is right then (RFC 6864).
            let mut words = [
                [0x45, segment.tos, t0, t1],
                [0, 0, 0x40, 0],
                [segment.hop_limit, TCP, 0, 0],
                segment.source.v4(),
                segment.destination.v4(),
            ];
            let mut sum = Difference::none();
            for word in words {
                sum = sum.plus(word);
            }
            let [k0, k1] = sum.checksum();
            words[2] = [segment.hop_limit, TCP, k0, k1];
            frame.store(segment.l3, words)?;
        }
        Family::V6 => {
            let first = 0x6000_0000_u32 | u32::from(segment.tos) << 20;
            frame.store(segment.l3, first.to_be_bytes())?;
            frame.store(segment.l3 + 4, [l0, l1, TCP, segment.hop_limit])?;
            frame.store(segment.l3 + 8, segment.source)?;
            frame.store(segment.l3 + 24, segment.destination)?;
        }
    }
    frame.store(l4, header)
}

/// `sum` with both addresses of the pseudo header.
#[inline(always)]
fn addresses(family: Family, segment: &Segment, sum: Difference) -> Difference {
    match family {
        Family::V4 => sum.plus(segment.source.v4()).plus(segment.destination.v4()),
        Family::V6 => sum.plus_v6(segment.source).plus_v6(segment.destination),
    }
}

#[cfg(test)]
mod tests;
