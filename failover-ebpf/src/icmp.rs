//! ICMP as far as it is about us: answers to our heartbeats, and packets that
//! could not be delivered (RFC 792, RFC 4443).

use failover_common::{Address, Be16};

use crate::{
    frame::Frame,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4, IPV6, TCP, UDP, ethernet},
};

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// IP protocol numbers.
pub const ICMPV6: u8 = 58;

/// Length of the ICMP header, bytes.
pub(crate) const HEADER: usize = 8;

/// Length of the UDP header, bytes (RFC 768).
const UDP_HEADER: usize = 8;

const ECHO_REPLY: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;
const UNREACHABLE: u8 = 3;
const UNREACHABLE_V6: u8 = 1;

/// An ICMP message that we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An echo reply with the payload of a heartbeat, whoever sent it.
    Echo(Echo),
    /// A TCP or UDP packet was not delivered.
    Unreachable(Unreachable),
}

/// What an echo reply carries; the layout is that of [`Echo::PAYLOAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Who answers.
    pub source: Address,
    /// Index of the backend.
    pub index: u32,
    /// Sequence number of the heartbeat.
    pub sequence: u32,
    /// What the agent made up when it started.
    pub token: u64,
}

impl Echo {
    /// Bytes behind the ICMP header: index, sequence number and token, little
    /// endian.
    pub const PAYLOAD: usize = 16;
}

/// "Destination unreachable", and the packet it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Who says so.
    pub reporter: Address,
    /// Who is told.
    pub receiver: Address,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Source address of the packet.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// Source port of the packet.
    pub source_port: Be16,
    /// Destination port of the packet.
    pub destination_port: Be16,
    /// TCP: its sequence number.
    pub sequence: [u8; 4],
    /// The identification of an IPv4 packet; of an IPv6 packet the flow label's
    /// low sixteen bits.
    pub identification: u16,
    /// Offset of the message's IP header in the frame, bytes.
    pub l3: usize,
    /// Offset of the quoted packet's IP header in the frame, bytes.
    pub quote: usize,
    /// TTL or hop limit that was left of it.
    pub hop_limit: u8,
    /// UDP: whether the packet is quoted to its end, and its lengths are right.
    pub is_whole: bool,
}

/// Reads an ICMP message. `None`: it is none, or none that we understand; IPv4
/// options and IPv6 extension headers count as that.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Option<Message> {
    let (ethertype, l3) = ethernet(frame).ok()?;
    match ethertype {
        ETHERTYPE_IPV4 => {
            let ip = HeaderV4::load(frame, l3)?;
            if ip.protocol != ICMP {
                return None;
            }
            let icmp = l3 + IPV4;
            match frame.load::<[u8; 2]>(icmp)? {
                [ECHO_REPLY, 0] => echo(frame, icmp, ip.source),
                // Codes: net, host, protocol and port unreachable, and what is
                // administratively prohibited. Not 4: that is about the size.
                [UNREACHABLE, code @ (0..=3 | 9 | 10 | 13)] => {
                    let quote = icmp + HEADER;
                    let quoted = HeaderV4::load(frame, quote)?;
                    let by_host = code == 2 || code == 3;
                    unreachable(frame, (quote, IPV4), l3, &ip, by_host, &quoted)
                }
                _ => None,
            }
        }
        ETHERTYPE_IPV6 => {
            let ip = HeaderV6::load(frame, l3)?;
            if ip.protocol != ICMPV6 {
                return None;
            }
            let icmp = l3 + IPV6;
            match frame.load::<[u8; 2]>(icmp)? {
                [ECHO_REPLY_V6, 0] => echo(frame, icmp, ip.source),
                [UNREACHABLE_V6, code @ (0 | 1 | 3 | 4)] => {
                    let quote = icmp + HEADER;
                    let quoted = HeaderV6::load(frame, quote)?;
                    unreachable(frame, (quote, IPV6), l3, &ip, code == 4, &quoted)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[inline(always)]
fn echo<F: Frame + ?Sized>(frame: &F, icmp: usize, source: Address) -> Option<Message> {
    let payload: [[u8; 4]; 4] = frame.load(icmp + HEADER)?;
    let [index, sequence, low, high] = payload.map(u32::from_le_bytes);
    Some(Message::Echo(Echo {
        source,
        index,
        sequence,
        token: u64::from(high) << 32 | u64::from(low),
    }))
}

/// `quote`: where the quoted packet begins, and the length of its IP header. `by_host`:
/// only the host that the packet was for can know it.
#[inline(always)]
fn unreachable<F: Frame + ?Sized>(
    frame: &F,
    (quote, header): (usize, usize),
    l3: usize,
    ip: &Header,
    by_host: bool,
    quoted: &Header,
) -> Option<Message> {
    if quoted.protocol != TCP && quoted.protocol != UDP {
        return None;
    }
    if by_host && ip.source != quoted.destination {
        return None;
    }
    // RFC 792: at least 64 bits of it are quoted.
    let [[a, b, c, d], sequence] = frame.load::<[[u8; 4]; 2]>(quote + header)?;
    let end = (l3 + usize::from(ip.total_length)).min(frame.length());
    // RFC 4884, section 4: where it says how long the quote is, something follows.
    let at = if header == IPV4 { 5 } else { 4 };
    let [extended] = frame.load::<[u8; 1]>(quote - HEADER + at)?;
    let length = usize::from(u16::from_be_bytes([sequence[0], sequence[1]]));
    Some(Message::Unreachable(Unreachable {
        reporter: ip.source,
        receiver: ip.destination,
        protocol: quoted.protocol,
        source: quoted.source,
        destination: quoted.destination,
        source_port: Be16([a, b]),
        destination_port: Be16([c, d]),
        sequence,
        identification: quoted.identification,
        l3,
        quote,
        hop_limit: quoted.hop_limit,
        is_whole: extended == 0
            && length >= UDP_HEADER
            && header + length <= usize::from(quoted.total_length)
            && quote + usize::from(quoted.total_length) <= end,
    }))
}

/// What of an IP header matters here.
struct Header {
    protocol: u8,
    /// From the IP header on, bytes.
    total_length: u16,
    hop_limit: u8,
    identification: u16,
    source: Address,
    destination: Address,
}

struct HeaderV4;

impl HeaderV4 {
    #[inline(always)]
    fn load<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<Header> {
        let header: [u8; IPV4] = frame.load(at)?;
        // No options, no fragment.
        if header[0] != 0x45 || u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
            return None;
        }
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
        Some(Header {
            protocol: header[9],
            total_length: u16::from_be_bytes([header[2], header[3]]),
            hop_limit: header[8],
            identification: u16::from_be_bytes([header[4], header[5]]),
            source: Address::from_v4([s0, s1, s2, s3]),
            destination: Address::from_v4([d0, d1, d2, d3]),
        })
    }
}

struct HeaderV6;

impl HeaderV6 {
    #[inline(always)]
    fn load<F: Frame + ?Sized>(frame: &F, at: usize) -> Option<Header> {
        let header: crate::parse::HeaderV6 = frame.load(at)?;
        if header.first[0] >> 4 != 6 {
            return None;
        }
        Some(Header {
            protocol: header.next_header,
            total_length: header.total_length(),
            hop_limit: header.hop_limit,
            identification: u16::from_be_bytes(header.flow_label),
            source: header.source,
            destination: header.destination,
        })
    }
}
