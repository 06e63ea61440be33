//! Stage 1: what a frame is. IPv4 with options, IPv6, TCP and UDP, with and
//! without one VLAN tag; everything else is named and passed on.

use failover_common::{Address, Be16, Verdict};

use crate::frame::Frame;

/// Lengths of headers, bytes.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const VLAN: usize = 4;
/// Without options (RFC 791, section 3.1).
pub const IPV4: usize = 20;
/// RFC 8200, section 3.
pub const IPV6: usize = 40;

/// `EtherType` of IPv4 (IEEE 802 numbers).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `EtherType` of an 802.1Q tag.
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;

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
    /// Whether the frame has an 802.1Q tag.
    pub tagged: bool,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// DSCP and ECN, for the route to the client.
    pub tos: u8,
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
/// The verdict with which a packet that is not ours to understand is passed.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Packet, Verdict> {
    let mut l3 = ETHERNET;
    let mut ethertype = load_u16(frame, 12)?;
    let tagged = ethertype == ETHERTYPE_VLAN;
    if tagged {
        ethertype = load_u16(frame, 16)?;
        l3 += VLAN;
    }
    match ethertype {
        ETHERTYPE_IPV4 => parse_v4(frame, tagged, l3),
        ETHERTYPE_IPV6 => parse_v6(frame, tagged, l3),
        _ => Err(Verdict::NotIp),
    }
}

#[inline(always)]
fn parse_v4<F: Frame + ?Sized>(frame: &F, tagged: bool, l3: usize) -> Result<Packet, Verdict> {
    // The fixed part in one piece. Read later and field by field, the compiler
    // leaves out bounds checks that follow from others, and the verifier does
    // not follow it.
    let header: [u8; IPV4] = load(frame, l3)?;
    let [version_ihl, tos, length @ ..] = header;
    let length_of_header = usize::from(version_ihl & 0x0f) * 4;
    // RFC 791, section 3.1: at least five words. The verifier does not ask for this.
    if version_ihl >> 4 != 4 || length_of_header < IPV4 {
        return Err(Verdict::Malformed);
    }
    let total_length = u16::from_be_bytes([length[0], length[1]]);
    check_length(frame, l3, total_length)?;
    // RFC 791, section 3.1: more fragments, or a fragment offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    let protocol = header[9];
    let l4 = l3 + length_of_header;
    check_l4(protocol, usize::from(total_length), length_of_header)?;
    let (source_port, destination_port, flags) = ports(frame, protocol, l4)?;
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    Ok(Packet {
        family: Family::V4,
        tagged,
        protocol,
        tos,
        total_length,
        l3,
        l4,
        source: Address::from_v4([s0, s1, s2, s3]),
        destination: Address::from_v4([d0, d1, d2, d3]),
        source_port,
        destination_port,
        flags,
    })
}

#[inline(always)]
fn parse_v6<F: Frame + ?Sized>(frame: &F, tagged: bool, l3: usize) -> Result<Packet, Verdict> {
    let header: HeaderV6 = load(frame, l3)?;
    let first = u16::from_be_bytes(header.first);
    if first >> 12 != 6 {
        return Err(Verdict::Malformed);
    }
    let total_length = header.total_length();
    check_length(frame, l3, total_length)?;
    let l4 = l3 + IPV6;
    check_l4(header.next_header, usize::from(total_length), IPV6)?;
    let (source_port, destination_port, flags) = ports(frame, header.next_header, l4)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "eight bits of the traffic class"
    )]
    let tos = (first >> 4) as u8;
    Ok(Packet {
        family: Family::V6,
        tagged,
        protocol: header.next_header,
        tos,
        total_length,
        l3,
        l4,
        source: Address(header.source),
        destination: Address(header.destination),
        source_port,
        destination_port,
        flags,
    })
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
    hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

const _: () = assert!(size_of::<HeaderV6>() == IPV6);

impl HeaderV6 {
    /// Length of the packet, this header included, bytes.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "40")]
    pub(crate) fn total_length(&self) -> u16 {
        u16::from_be_bytes(self.payload_length).saturating_add(IPV6 as u16)
    }
}

/// The packet must be all there; the frame may be longer (padding).
#[inline(always)]
fn check_length<F: Frame + ?Sized>(frame: &F, l3: usize, total_length: u16) -> Result<(), Verdict> {
    if l3 + usize::from(total_length) > frame.length() {
        return Err(Verdict::Truncated);
    }
    Ok(())
}

/// There must be room for the whole TCP or UDP header.
#[inline(always)]
fn check_l4(protocol: u8, total_length: usize, header: usize) -> Result<(), Verdict> {
    let needs = match protocol {
        TCP => 20,
        UDP => 8,
        _ => return Err(Verdict::OtherProtocol),
    };
    if total_length < header + needs {
        return Err(Verdict::Malformed);
    }
    Ok(())
}

/// Both ports and the flags; that the checksum field can be read is asked at the
/// same time.
#[inline(always)]
fn ports<F: Frame + ?Sized>(
    frame: &F,
    protocol: u8,
    l4: usize,
) -> Result<(Be16, Be16, u8), Verdict> {
    let _: [u8; 2] = load(frame, l4 + checksum_offset(protocol))?;
    let flags = if protocol == TCP {
        load(frame, l4 + TCP_FLAGS)?
    } else {
        0
    };
    let [a, b, c, d] = load::<_, [u8; 4]>(frame, l4)?;
    Ok((Be16([a, b]), Be16([c, d]), flags))
}

/// Offset of the flags in the TCP header (RFC 9293, section 3.1).
const TCP_FLAGS: usize = 13;

/// Offset of the checksum in the TCP (RFC 9293, section 3.1) or UDP (RFC 768) header.
#[inline(always)]
#[must_use]
pub const fn checksum_offset(protocol: u8) -> usize {
    if protocol == TCP { 16 } else { 6 }
}

#[inline(always)]
fn load<F: Frame + ?Sized, T: Copy>(frame: &F, offset: usize) -> Result<T, Verdict> {
    frame.load(offset).ok_or(Verdict::Truncated)
}

#[inline(always)]
fn load_u16<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<u16, Verdict> {
    Ok(u16::from_be_bytes(load(frame, offset)?))
}

#[cfg(test)]
mod tests;
