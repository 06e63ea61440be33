//! The answer to a packet that is too long for its tunnel: fragmentation needed (RFC
//! 792, RFC 1191) or packet too big (RFC 4443), in place, from the VIP.

use failover_common::Address;

use crate::{
    checksum::Difference,
    frame::Frame,
    parse::{Family, Packet},
    reply,
};

/// Bytes of the packet that are quoted. All of an answer over IPv4 should be within
/// 576 bytes (RFC 1812, section 4.3.2.3), and this much is summed in one go.
pub const QUOTE: usize = 512;

/// Length of the ICMP header, bytes.
const HEADER: usize = 8;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;

/// RFC 8200, section 5: what is not longer must get through, and nobody sends shorter
/// packets for being told so (RFC 8201, section 4).
const IPV6_LEAST: u32 = 1280;

/// An answer to be written.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    family: Family,
    /// Offset of the IP header, before and after.
    l3: usize,
    source: Address,
    destination: Address,
    /// Longest packet that would fit, bytes from the IP header on.
    mtu: u32,
}

impl Answer {
    /// The answer to a packet that may have at most `mtu` bytes. `None`: it must not be
    /// answered.
    #[inline(always)]
    pub fn to<F: Frame + ?Sized>(frame: &F, packet: &Packet, mtu: u32) -> Option<Self> {
        if !reply::is_answerable(frame, packet) {
            return None;
        }
        let flags: [u8; 2] = frame.load(packet.l3 + 6)?;
        let may = match packet.family {
            // RFC 791, section 3.1: don't fragment. RFC 1122, section 3.2.2: of fragments
            // only the first.
            Family::V4 => flags[0] & 0x40 != 0 && !packet.headless,
            // RFC 4443, section 2.4 (e): never an error about an error.
            Family::V6 => mtu >= IPV6_LEAST && packet.protocol != ICMPV6,
        };
        let quoted = usize::from(packet.total_length) >= QUOTE;
        (may && quoted).then_some(Self {
            family: packet.family,
            l3: packet.l3,
            source: packet.destination,
            destination: packet.source,
            mtu,
        })
    }

    /// Length of what comes in front of the packet, bytes.
    #[inline(always)]
    #[must_use]
    pub const fn headers(&self) -> usize {
        self.family.header() + HEADER
    }

    /// Offset of the quoted packet when they are in front of it.
    #[inline(always)]
    #[must_use]
    pub const fn quoted(&self) -> usize {
        self.l3 + self.headers()
    }

    /// Length of the whole frame, bytes.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.quoted() + QUOTE
    }

    /// Writes the headers, and sends the frame back to where it came from; `quote` is
    /// the sum of what is quoted. `None`: the frame is too short.
    #[inline(always)]
    pub fn write<F: Frame + ?Sized>(&self, frame: &mut F, quote: Difference) -> Option<()> {
        let macs: [[u8; 6]; 2] = frame.load(0)?;
        match self.family {
            Family::V4 => self.write_v4(frame, quote)?,
            Family::V6 => self.write_v6(frame, quote)?,
        }
        frame.store(0, [macs[1], macs[0]])
    }

    #[inline(always)]
    fn write_v4<F: Frame + ?Sized>(&self, frame: &mut F, quote: Difference) -> Option<()> {
        #[expect(clippy::cast_possible_truncation, reason = "540")]
        let [t0, t1] = ((self.headers() + QUOTE) as u16).to_be_bytes();
        // RFC 1812, section 4.3.2.5: errors have the precedence of network control.
        let mut words = [
            [0x45, 0xc0, t0, t1],
            [0, 0, 0x40, 0],
            [HOP_LIMIT, ICMP, 0, 0],
            self.source.v4(),
            self.destination.v4(),
        ];
        let mut sum = Difference::none();
        for word in words {
            sum = sum.plus(word);
        }
        let [c0, c1] = sum.checksum();
        words[2] = [HOP_LIMIT, ICMP, c0, c1];
        // Shorter than the packet was, so below 65,536.
        let [_, _, m0, m1] = self.mtu.to_be_bytes();
        let sum = quote.plus([3, 4, 0, 0]).plus([0, 0, m0, m1]);
        let [c0, c1] = sum.checksum();
        frame.store(self.l3, words)?;
        frame.store(self.l3 + Family::V4.header(), [3, 4, c0, c1, 0, 0, m0, m1])
    }

    #[inline(always)]
    fn write_v6<F: Frame + ?Sized>(&self, frame: &mut F, quote: Difference) -> Option<()> {
        #[expect(clippy::cast_possible_truncation, reason = "520")]
        let [l0, l1] = ((HEADER + QUOTE) as u16).to_be_bytes();
        let mtu = self.mtu.to_be_bytes();
        let sum = quote
            // The pseudo header (RFC 8200, section 8.1).
            .plus_v6(self.source)
            .plus_v6(self.destination)
            .plus([0, ICMPV6, l0, l1])
            .plus([2, 0, 0, 0])
            .plus(mtu);
        let [c0, c1] = sum.checksum();
        frame.store(self.l3, 0x6000_0000_u32.to_be_bytes())?;
        frame.store(self.l3 + 4, [l0, l1, ICMPV6, HOP_LIMIT])?;
        frame.store(self.l3 + 8, self.source)?;
        frame.store(self.l3 + 24, self.destination)?;
        frame.store(self.l3 + Family::V6.header(), [[2, 0, c0, c1], mtu])
    }
}
