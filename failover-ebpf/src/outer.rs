//! The headers that a tunnel puts in front of a packet: IP (RFC 2003, RFC 2473) and,
//! with GUE, UDP. Of GUE it is variant 1 (draft-ietf-intarea-gue, section 5): the
//! packet itself follows UDP, without a header of GUE's own. Linux and Katran both
//! take that, it is four bytes less, and there is nothing to be got wrong in them.

use failover_common::{Address, GUE_PORT};

use crate::{
    checksum::Difference,
    frame::Frame,
    hop,
    parse::{Family, Packet, UDP},
};

/// Length of the UDP header, bytes (RFC 768).
pub const UDP_HEADER: usize = 8;

/// How much longer UDP makes a packet.
const UDP_LENGTH: u16 = 8;

/// What an IP header says that is followed by an IPv4 packet (IANA, protocol numbers).
pub const IN_IPV4: u8 = 4;
/// What an IP header says that is followed by an IPv6 packet.
pub const IN_IPV6: u8 = 41;

/// TTL or hop limit on the way to the backend, however many are left of the packet's.
const HOP_LIMIT: u8 = 64;

/// A tunnel: from where to where, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The director.
    pub source: Address,
    /// The backend, of the same family.
    pub destination: Address,
    /// The family of both.
    pub family: Family,
    /// Whether UDP comes behind IP.
    pub gue: bool,
}

impl Tunnel {
    /// Length of all its headers, bytes.
    #[inline(always)]
    #[must_use]
    pub const fn overhead(&self) -> usize {
        self.family.header() + if self.gue { UDP_HEADER } else { 0 }
    }
}

/// What the headers in front must know of the packet.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    family: Family,
    protocol: u8,
    tos: u8,
    hop_limit: u8,
    total_length: u16,
    /// The same for all packets of a flow.
    hash: u32,
    /// The sum of its bytes, one hop further; none: it would have to be read as a whole.
    sum: Option<Difference>,
}

impl Inner {
    /// Of a packet that is still as it came in. `is_plain`: no fragment, and neither
    /// ICMP nor behind extension headers. `None`: it is not all there.
    #[inline(always)]
    pub fn of<F: Frame + ?Sized>(
        frame: &F,
        packet: &Packet,
        tunnel: &Tunnel,
        is_plain: bool,
    ) -> Option<Self> {
        let sum = match tunnel.family {
            Family::V6 if tunnel.gue && is_plain => sum(frame, packet)?,
            Family::V4 | Family::V6 => None,
        };
        Some(Self {
            family: packet.family,
            protocol: packet.protocol,
            tos: packet.tos,
            hop_limit: packet.hop_limit,
            total_length: packet.total_length,
            hash: hash(packet),
            sum,
        })
    }
}

/// The sum of the bytes of a packet, from its headers: what TCP and UDP carry adds up
/// to what their pseudo header lacks, as long as their own checksum is right, and where
/// it is wrong the receiver may well throw it away for the one in front.
///
/// The inner `None`: UDP that has no checksum, or ends before its packet does.
#[inline(always)]
#[expect(clippy::option_option, reason = "cannot be read, cannot be known")]
fn sum<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<Option<Difference>> {
    let header = packet.l4 - packet.l3;
    #[expect(clippy::cast_possible_truncation, reason = "at most 60 bytes of IPv4")]
    let length = packet.total_length.wrapping_sub(header as u16);
    let [l0, l1] = length.to_be_bytes();
    if packet.protocol == UDP {
        let [_, [u0, u1, c0, c1]]: [[u8; 4]; 2] = frame.load(packet.l4)?;
        if [c0, c1] == [0, 0] || [u0, u1] != [l0, l1] {
            return Some(None);
        }
    }
    let sum = Difference::none();
    Some(match packet.family {
        // The IPv4 header, whose checksum makes it add up to nothing, and the payload.
        Family::V4 => Some(
            sum.minus(packet.source.v4())
                .minus(packet.destination.v4())
                .minus([0, packet.protocol, l0, l1]),
        ),
        // Addresses and length are in the header and in the pseudo header, and that
        // is nothing too.
        Family::V6 => {
            let [first, [_, _, next, hop_limit]]: [[u8; 4]; 2] = frame.load(packet.l3)?;
            Some(
                sum.plus(first)
                    .plus([0, 0, next, hop_limit.wrapping_sub(1)])
                    .minus([0, 0, 0, packet.protocol]),
            )
        }
    })
}

/// Mixes who talks to whom: flows spread by it, packets of one flow stay together. Not
/// secret: who aims at one receive queue of a backend gains nothing that a single flow
/// would not give.
#[inline(always)]
fn hash(packet: &Packet) -> u32 {
    // Odd numbers with many bits, from the fractions of roots of 2, 3, 5 and 7.
    const MIX: [u64; 5] = [
        0x6a09_e667_f3bc_c909,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x9e37_79b9_7f4a_7c15,
    ];
    let [s0, s1] = packet.source.words();
    let [d0, d1] = packet.destination.words();
    let [p0, p1] = packet.source_port.0;
    let [q0, q1] = packet.destination_port.0;
    let ports = u64::from(u32::from_ne_bytes([p0, p1, q0, q1]));
    let ports = ports << 8 | u64::from(packet.protocol);
    let mut hash = s0.wrapping_mul(MIX[0])
        ^ s1.wrapping_mul(MIX[1])
        ^ d0.wrapping_mul(MIX[2])
        ^ d1.wrapping_mul(MIX[3])
        ^ ports.wrapping_mul(MIX[4]);
    hash = (hash ^ hash >> 32).wrapping_mul(MIX[4]);
    (hash >> 32) as u32
}

/// Writes the headers of `tunnel` at `l3`, and takes one from TTL or hop limit of the
/// packet that follows behind them (RFC 2003, section 3.1; RFC 2473, section 3.1).
///
/// `None`: the frame is too short.
#[inline(always)]
pub fn write<F: Frame + ?Sized>(
    frame: &mut F,
    l3: usize,
    tunnel: &Tunnel,
    inner: &Inner,
) -> Option<()> {
    let protocol = match (tunnel.gue, inner.family) {
        (true, _) => UDP,
        (false, Family::V4) => IN_IPV4,
        (false, Family::V6) => IN_IPV6,
    };
    let at = l3 + tunnel.overhead();
    match inner.family {
        Family::V4 => {
            let (ttl, protocol) = (inner.hop_limit, inner.protocol);
            hop::take_v4(frame, at, ttl, protocol, Difference::none())?;
        }
        Family::V6 => hop::take_v6(frame, at, inner.hop_limit)?,
    }
    let behind_ip = inner.total_length + if tunnel.gue { UDP_LENGTH } else { 0 };
    match tunnel.family {
        Family::V4 => ipv4(frame, l3, tunnel, inner, (protocol, behind_ip))?,
        Family::V6 => ipv6(frame, l3, tunnel, inner, (protocol, behind_ip))?,
    }
    if tunnel.gue {
        udp(frame, l3 + tunnel.family.header(), tunnel, inner, behind_ip)?;
    }
    Some(())
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(
    frame: &mut F,
    l3: usize,
    tunnel: &Tunnel,
    inner: &Inner,
    (protocol, behind): (u8, u16),
) -> Option<()> {
    #[expect(clippy::cast_possible_truncation, reason = "20")]
    let header = Family::V4.header() as u16;
    let [t0, t1] = (behind + header).to_be_bytes();
    // DSCP and ECN are the packet's (RFC 6040, section 4.1, normal mode). Don't
    // fragment, whatever the packet says of it: where it does not fit we answer
    // ourselves, and backends need not reassemble. An identification of 0 is right
    // then (RFC 6864).
    let mut words = [
        [0x45, inner.tos, t0, t1],
        [0, 0, 0x40, 0],
        [HOP_LIMIT, protocol, 0, 0],
        tunnel.source.v4(),
        tunnel.destination.v4(),
    ];
    let mut sum = Difference::none();
    for word in words {
        sum = sum.plus(word);
    }
    let [c0, c1] = sum.checksum();
    words[2] = [HOP_LIMIT, protocol, c0, c1];
    frame.store(l3, words)
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(
    frame: &mut F,
    l3: usize,
    tunnel: &Tunnel,
    inner: &Inner,
    (protocol, behind): (u8, u16),
) -> Option<()> {
    // RFC 6438: the flow label spreads the flows of a tunnel.
    let first = 0x6000_0000 | u32::from(inner.tos) << 20 | inner.hash & 0x000f_ffff;
    let [l0, l1] = behind.to_be_bytes();
    frame.store(l3, first.to_be_bytes())?;
    frame.store(l3 + 4, [l0, l1, protocol, HOP_LIMIT])?;
    frame.store(l3 + 8, tunnel.source)?;
    frame.store(l3 + 24, tunnel.destination)
}

#[inline(always)]
fn udp<F: Frame + ?Sized>(
    frame: &mut F,
    at: usize,
    tunnel: &Tunnel,
    inner: &Inner,
    length: u16,
) -> Option<()> {
    // The port spreads flows over the receiver's queues; of the dynamic ones (RFC 6335,
    // section 6), which nobody else listens on.
    let [p0, p1] = (0xc000 | (inner.hash >> 16) as u16).to_be_bytes();
    let [q0, q1] = GUE_PORT.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    let (ports, rest) = ([p0, p1, q0, q1], [l0, l1, 0, 0]);
    // Over IPv4 none (RFC 768). Over IPv6 there is one wherever it costs no look at
    // the payload, since not every receiver takes zero (RFC 6935, RFC 6936).
    let checksum = match inner.sum {
        None => [0, 0],
        Some(sum) => {
            let sum = sum
                .plus_v6(tunnel.source)
                .plus_v6(tunnel.destination)
                .plus([0, UDP, l0, l1])
                .plus(ports)
                .plus(rest);
            match sum.checksum() {
                // RFC 768: one that computes to zero is sent as all ones.
                [0, 0] => [0xff, 0xff],
                checksum => checksum,
            }
        }
    };
    frame.store(at, [ports, [l0, l1, checksum[0], checksum[1]]])
}

#[cfg(test)]
mod tests;
