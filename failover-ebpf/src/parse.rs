//! Stage 1: what a frame is. IPv4 with options, IPv6, TCP and UDP, with up to two
//! VLAN tags; everything else is named. Fragments and extension headers: `extended`.

mod ip;

use failover_common::{Address, Be16, Verdict};

pub(crate) use self::ip::{HeaderV4, HeaderV6};
use crate::frame::Frame;

/// Lengths of headers, bytes.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const VLAN: usize = 4;
/// Without options (RFC 791, section 3.1).
pub const IPV4: usize = 20;
/// RFC 8200, section 3.
pub const IPV6: usize = 40;

/// IPv4: there are more fragments (RFC 791, section 3.1).
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;

/// No offset of a header is larger: all extension headers that are walked end before, a
/// whole chain in a quote too.
pub(crate) const MAX_OFFSET: usize = 0x7fff;

/// `EtherType` of IPv4 (IEEE 802 numbers).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `EtherType` of an 802.1Q tag.
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
pub(crate) const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// IP protocol numbers.
pub const TCP: u8 = 6;
/// IP protocol numbers.
pub const UDP: u8 = 17;

/// Offset of the checksum in the IPv4 header (RFC 791, section 3.1).
pub const IPV4_CHECKSUM: usize = 10;
/// Offset of the source address in the IPv4 header.
pub const IPV4_SOURCE: usize = 12;
/// Offset of the destination address in the IPv4 header.
pub const IPV4_DESTINATION: usize = 16;
/// Offset of the source address in the IPv6 header (RFC 8200, section 3).
pub const IPV6_SOURCE: usize = 8;
/// Offset of the destination address in the IPv6 header.
pub const IPV6_DESTINATION: usize = 24;

/// The IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Length of the IP header without options, bytes.
    #[inline(always)]
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => IPV4,
            Self::V6 => IPV6,
        }
    }
}

/// A TCP or UDP packet: who, to whom, and where its headers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// IP version.
    pub family: Family,
    /// IP protocol number: [`TCP`], [`UDP`], or of an ICMP message its own.
    pub protocol: u8,
    /// DSCP and ECN, for the route to the client.
    pub tos: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Length of the packet from the IP header on, bytes.
    pub total_length: u16,
    /// Offset of the IP header in the frame, bytes.
    pub l3: usize,
    /// Offset of the TCP or UDP header in the frame, bytes.
    pub l4: usize,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub destination_port: Be16,
    /// TCP: the flags from CWR to FIN (RFC 9293, section 3.1).
    pub flags: u8,
    /// No TCP or UDP header is at `l4`: the ports are those of another fragment.
    pub headless: bool,
}

/// TCP flag: no more data from the sender.
pub const FIN: u8 = 1 << 0;
/// TCP flag: the connection begins.
pub const SYN: u8 = 1 << 1;
/// TCP flag: the connection is refused, or over.
pub const RST: u8 = 1 << 2;
/// TCP flag: the acknowledgment number means something.
pub const ACK: u8 = 1 << 4;

impl Packet {
    /// The same packet: for one that was in a map, where the verifier does not know any
    /// more how far its headers can be from the beginning of the frame.
    #[inline(always)]
    #[must_use]
    pub const fn bounded(&self) -> Self {
        Self {
            l3: self.l3 & 0x1f,
            l4: self.l4 & MAX_OFFSET,
            ..*self
        }
    }

    /// Whether the frame has a VLAN tag.
    #[inline(always)]
    #[must_use]
    pub const fn is_tagged(&self) -> bool {
        self.l3 != ETHERNET
    }

    /// Whether a router must send it no further (RFC 1812, section 5.3.1; RFC 8200,
    /// section 3).
    #[inline(always)]
    #[must_use]
    pub const fn has_expired(&self) -> bool {
        self.hop_limit <= 1
    }

    /// Offset of TTL or hop limit in the IP header.
    #[inline(always)]
    #[must_use]
    pub const fn hop_limit_offset(&self) -> usize {
        match self.family {
            Family::V4 => 8,
            Family::V6 => 7,
        }
    }

    /// Whether it is a TCP packet with exactly these of SYN, ACK, RST and FIN.
    #[inline(always)]
    #[must_use]
    pub fn is_tcp(&self, flags: u8) -> bool {
        self.protocol == TCP && self.flags & (SYN | ACK | RST | FIN) == flags
    }
}

/// Reads the headers of a frame.
///
/// # Errors
///
/// The verdict on a packet that is not ours to understand, or not to be understood.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Packet, Verdict> {
    match ethernet(frame)? {
        (ETHERTYPE_IPV4, l3) => parse_v4(frame, l3),
        (ETHERTYPE_IPV6, l3) => parse_v6(frame, l3),
        _ => Err(Verdict::NotIp),
    }
}

/// Reads the IP header alone. `l4` is what is behind it, extension headers too.
///
/// # Errors
///
/// As [`parse`]; a fragment of IPv4 is none of ours here.
#[inline(always)]
pub fn header<F: Frame + ?Sized>(frame: &F) -> Result<Packet, Verdict> {
    match ethernet(frame)? {
        (ETHERTYPE_IPV4, l3) => {
            let header = HeaderV4::load(frame, l3)?;
            if header.fragment() != 0 {
                return Err(Verdict::Fragment);
            }
            Ok(header.headless(l3))
        }
        (ETHERTYPE_IPV6, l3) => {
            let header = HeaderV6::load(frame, l3)?;
            Ok(header.headless(l3, header.next_header, l3 + IPV6))
        }
        _ => Err(Verdict::NotIp),
    }
}

/// The `EtherType` behind the VLAN tags, of which there are two at most (802.1ad: the
/// outer one may have either type), and the offset of what it says.
#[inline(always)]
pub(crate) fn ethernet<F: Frame + ?Sized>(frame: &F) -> Result<(u16, usize), Verdict> {
    let ethertype = load_u16(frame, 12)?;
    if ethertype == ETHERTYPE_IPV4 || ethertype == ETHERTYPE_IPV6 {
        return Ok((ethertype, ETHERNET));
    }
    if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_SERVICE_VLAN {
        return Err(Verdict::NotIp);
    }
    match load_u16(frame, ETHERNET + VLAN - 2)? {
        ETHERTYPE_VLAN => Ok((
            load_u16(frame, ETHERNET + 2 * VLAN - 2)?,
            ETHERNET + 2 * VLAN,
        )),
        ethertype => Ok((ethertype, ETHERNET + VLAN)),
    }
}

#[inline(always)]
fn parse_v4<F: Frame + ?Sized>(frame: &F, l3: usize) -> Result<Packet, Verdict> {
    let header = HeaderV4::load(frame, l3)?;
    if header.fragment() != 0 {
        return Err(Verdict::Fragment);
    }
    let mut packet = header.headless(l3);
    transport(frame, &mut packet, true)?;
    Ok(packet)
}

#[inline(always)]
fn parse_v6<F: Frame + ?Sized>(frame: &F, l3: usize) -> Result<Packet, Verdict> {
    let header = HeaderV6::load(frame, l3)?;
    let mut packet = header.headless(l3, header.next_header, l3 + IPV6);
    transport(frame, &mut packet, true)?;
    Ok(packet)
}

/// Reads both ports and the flags of the header at `l4`. That the checksum field can be
/// read is asked at the same time.
///
/// A length that no receiver may accept is refused (RFC 768; RFC 9293, section 3.1). Of
/// a first fragment (`is_whole`: false) only the header is there (RFC 1858, section 3;
/// RFC 7112, section 5).
#[inline(always)]
pub(crate) fn transport<F: Frame + ?Sized>(
    frame: &F,
    packet: &mut Packet,
    is_whole: bool,
) -> Result<(), Verdict> {
    let l4 = packet.l4;
    let end = packet.l3 + usize::from(packet.total_length);
    match packet.protocol {
        TCP => {
            if end < l4 + TCP_HEADER {
                return Err(Verdict::Malformed);
            }
            let [offset, flags]: [u8; 2] = inside(frame, l4 + TCP_OFFSET)?;
            let length = usize::from(offset >> 4) * 4;
            if length < TCP_HEADER || (is_whole && end < l4 + length) {
                return Err(Verdict::Malformed);
            }
            let _: [u8; 2] = inside(frame, l4 + checksum_offset(TCP))?;
            let [a, b, c, d] = inside::<_, [u8; 4]>(frame, l4)?;
            packet.source_port = Be16([a, b]);
            packet.destination_port = Be16([c, d]);
            packet.flags = flags;
        }
        UDP => {
            if end < l4 + UDP_HEADER {
                return Err(Verdict::Malformed);
            }
            let [a, b, c, d, l0, l1, _, _] = inside::<_, [u8; UDP_HEADER]>(frame, l4)?;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            // Less than the packet has is fine (RFC 9868).
            if length < UDP_HEADER || (is_whole && end < l4 + length) {
                return Err(Verdict::Malformed);
            }
            packet.source_port = Be16([a, b]);
            packet.destination_port = Be16([c, d]);
        }
        _ => return Err(Verdict::OtherProtocol),
    }
    packet.headless = false;
    Ok(())
}

/// Lengths of headers, bytes.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Offset of the data offset in the TCP header (RFC 9293, section 3.1); the flags follow.
const TCP_OFFSET: usize = 12;

/// Offset of the checksum in the TCP (RFC 9293, section 3.1) or UDP (RFC 768) header.
#[inline(always)]
#[must_use]
pub const fn checksum_offset(protocol: u8) -> usize {
    if protocol == TCP { 16 } else { 6 }
}

#[inline(always)]
pub(crate) fn load<F: Frame + ?Sized, T: Copy>(frame: &F, offset: usize) -> Result<T, Verdict> {
    frame.load(offset).ok_or(Verdict::Truncated)
}

/// Part of a header that the packet is long enough for. What is not in the first of
/// several buffers is not for us.
#[inline(always)]
fn inside<F: Frame + ?Sized, T: Copy>(frame: &F, offset: usize) -> Result<T, Verdict> {
    frame.load(offset).ok_or(Verdict::OtherProtocol)
}

#[inline(always)]
fn load_u16<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<u16, Verdict> {
    Ok(u16::from_be_bytes(load(frame, offset)?))
}

#[cfg(test)]
mod tests;
