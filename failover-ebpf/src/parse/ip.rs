//! The IP headers, each read in one piece.

use failover_common::{Address, Be16, Verdict};

use super::{Family, IPV4, IPV6, Packet, load};
use crate::frame::Frame;

/// The fixed part of the IPv4 header (RFC 791, section 3.1), in one piece. Read later
/// and field by field, the compiler leaves out bounds checks that follow from others,
/// and the verifier does not follow it.
#[repr(C, align(4))]
#[derive(Clone, Copy)]
pub(crate) struct HeaderV4 {
    /// Version and length of the header.
    first: u8,
    tos: u8,
    total_length: [u8; 2],
    pub(crate) identification: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    _checksum: [u8; 2],
    source: u32,
    destination: u32,
}

const _: () = assert!(size_of::<HeaderV4>() == IPV4);

impl HeaderV4 {
    /// One whose lengths are right.
    #[inline(always)]
    pub(crate) fn load<F: Frame + ?Sized>(frame: &F, l3: usize) -> Result<Self, Verdict> {
        let header: Self = load(frame, l3)?;
        if !header.is_one() {
            return Err(Verdict::Malformed);
        }
        check_length(frame, l3, header.total_length())?;
        Ok(header)
    }

    /// Whether it is one. RFC 791, section 3.1: at least five words. The verifier does not
    /// ask for this.
    #[inline(always)]
    pub(crate) const fn is_one(&self) -> bool {
        self.first >> 4 == 4 && self.length() >= IPV4
    }

    /// Length of the header, bytes.
    #[inline(always)]
    pub(crate) const fn length(&self) -> usize {
        (self.first & 0x0f) as usize * 4
    }

    #[inline(always)]
    pub(crate) const fn total_length(&self) -> u16 {
        u16::from_be_bytes(self.total_length)
    }

    /// [`MORE_FRAGMENTS`](super::MORE_FRAGMENTS) and the offset of a fragment; 0: it is none.
    #[inline(always)]
    pub(crate) const fn fragment(&self) -> u16 {
        u16::from_be_bytes(self.fragment) & 0x3fff
    }

    #[inline(always)]
    pub(crate) const fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    pub(crate) const fn addresses(&self) -> (Address, Address) {
        (
            Address::from_v4(self.source.to_ne_bytes()),
            Address::from_v4(self.destination.to_ne_bytes()),
        )
    }

    /// The packet, without ports.
    #[inline(always)]
    pub(crate) const fn headless(&self, l3: usize) -> Packet {
        let (source, destination) = self.addresses();
        Packet {
            family: Family::V4,
            protocol: self.protocol(),
            tos: self.tos,
            hop_limit: self.ttl,
            total_length: self.total_length(),
            l3,
            l4: l3 + self.length(),
            source,
            destination,
            source_port: Be16::ZERO,
            destination_port: Be16::ZERO,
            flags: 0,
            headless: true,
        }
    }
}

/// The IPv6 header (RFC 8200, section 3).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HeaderV6 {
    /// Version, traffic class and the top of the flow label.
    pub(crate) first: [u8; 2],
    pub(crate) flow_label: [u8; 2],
    pub(crate) payload_length: [u8; 2],
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) source: Address,
    pub(crate) destination: Address,
}

const _: () = assert!(size_of::<HeaderV6>() == IPV6);

impl HeaderV6 {
    /// One whose lengths are right.
    #[inline(always)]
    pub(crate) fn load<F: Frame + ?Sized>(frame: &F, l3: usize) -> Result<Self, Verdict> {
        let header: Self = load(frame, l3)?;
        if header.first[0] >> 4 != 6 {
            return Err(Verdict::Malformed);
        }
        check_length(frame, l3, header.total_length())?;
        Ok(header)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "40")]
    pub(crate) const fn total_length(&self) -> u16 {
        u16::from_be_bytes(self.payload_length).saturating_add(IPV6 as u16)
    }

    /// The packet, without ports.
    #[inline(always)]
    pub(crate) const fn headless(&self, l3: usize, protocol: u8, l4: usize) -> Packet {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "eight bits of the traffic class"
        )]
        let tos = (u16::from_be_bytes(self.first) >> 4) as u8;
        Packet {
            family: Family::V6,
            protocol,
            tos,
            hop_limit: self.hop_limit,
            total_length: self.total_length(),
            l3,
            l4,
            source: self.source,
            destination: self.destination,
            source_port: Be16::ZERO,
            destination_port: Be16::ZERO,
            flags: 0,
            headless: true,
        }
    }
}

/// The packet must be all there; the frame may be longer (padding).
#[inline(always)]
fn check_length<F: Frame + ?Sized>(frame: &F, l3: usize, total_length: u16) -> Result<(), Verdict> {
    let end = l3 + usize::from(total_length);
    // Nearly always the first buffer is all there is.
    if end > frame.length() && end > frame.whole_length() {
        return Err(Verdict::Truncated);
    }
    Ok(())
}
