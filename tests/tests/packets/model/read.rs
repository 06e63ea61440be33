//! What a frame is (IEEE 802.1Q, RFC 791, RFC 8200, RFC 9293, RFC 768).

use std::net::IpAddr;

use failover_common::Verdict;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

/// An IP header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    pub(super) v6: bool,
    /// Where it begins.
    pub(super) l3: usize,
    /// Its length, with the options of IPv4.
    pub(super) header: usize,
    /// Where the packet ends.
    pub(super) end: usize,
    pub(super) tos: u8,
    pub(super) hop_limit: u8,
    /// Protocol or next header.
    pub(super) protocol: u8,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// IPv4: the word with flags and offset, and the identification.
    flags: u16,
    identification: u16,
}

/// What all fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// IPv4 only.
    protocol: u8,
}

/// A packet.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) ip: Ip,
    /// Of the last header that was read.
    pub(super) protocol: u8,
    /// Where that begins.
    pub(super) l4: usize,
    /// From and to; none: there are none.
    pub(super) ports: Option<[u16; 2]>,
    /// Of which datagram it is a fragment.
    pub(super) fragment: Option<Datagram>,
    /// A fragment without the beginning of the datagram.
    pub(super) is_later: bool,
    /// Its ports are right behind the IP header.
    pub(super) is_plain: bool,
}

impl Packet {
    /// Whether it has no TCP or UDP header of its own.
    pub(super) fn is_headless(&self) -> bool {
        self.is_later || self.is_control()
    }

    pub(super) fn is_control(&self) -> bool {
        self.protocol == if self.ip.v6 { ICMPV6 } else { ICMP } && self.fragment.is_none()
    }

    /// From the IP header on.
    pub(super) fn total(&self) -> usize {
        self.ip.end - self.ip.l3
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The packet in a frame, or the verdict on one that is no packet or none of ours to read.
pub(super) fn packet(frame: &[u8]) -> Result<Packet, Verdict> {
    let ip = ip(frame, ethernet(frame)?)?;
    if ip.end > frame.len() {
        return Err(Verdict::Truncated);
    }
    if ip.v6 {
        packet_v6(frame, ip)
    } else {
        packet_v4(frame, ip)
    }
}

/// Where the IP header begins: behind two tags at most, of which the first may be a
/// service tag.
fn ethernet(frame: &[u8]) -> Result<usize, Verdict> {
    let mut at = 12;
    for tags in [&[0x8100, 0x88a8][..], &[0x8100]] {
        let kind = u16_at(frame, at).ok_or(Verdict::Truncated)?;
        if !tags.contains(&kind) {
            break;
        }
        at += 4;
    }
    match u16_at(frame, at).ok_or(Verdict::Truncated)? {
        0x0800 | 0x86dd => Ok(at + 2),
        _ => Err(Verdict::NotIp),
    }
}

/// The IP header at `l3`, of the version that the type in front of it says.
fn ip(frame: &[u8], l3: usize) -> Result<Ip, Verdict> {
    let header = if frame[l3 - 2] == 0x08 { 20 } else { 40 };
    let bytes = frame.get(l3..l3 + header).ok_or(Verdict::Truncated)?;
    if bytes[0] >> 4 != if header == 20 { 4 } else { 6 } {
        return Err(Verdict::Malformed);
    }
    header_at(frame, l3).ok_or(Verdict::Malformed)
}

/// The IP header at `l3`, of whatever version it says.
pub(super) fn header_at(frame: &[u8], l3: usize) -> Option<Ip> {
    match frame.get(l3)? >> 4 {
        4 => {
            let h: [u8; 20] = frame.get(l3..l3 + 20)?.try_into().ok()?;
            let header = usize::from(h[0] & 15) * 4;
            (header >= 20).then_some(Ip {
                v6: false,
                l3,
                header,
                end: l3 + usize::from(u16::from_be_bytes([h[2], h[3]])),
                tos: h[1],
                hop_limit: h[8],
                protocol: h[9],
                source: IpAddr::from([h[12], h[13], h[14], h[15]]),
                destination: IpAddr::from([h[16], h[17], h[18], h[19]]),
                flags: u16::from_be_bytes([h[6], h[7]]),
                identification: u16::from_be_bytes([h[4], h[5]]),
            })
        }
        6 => {
            let h: [u8; 40] = frame.get(l3..l3 + 40)?.try_into().ok()?;
            let half = |at: usize| -> [u8; 16] { h[at..at + 16].try_into().expect("sixteen") };
            // A packet is no longer than 65,535 bytes: no jumbograms.
            let total = (usize::from(u16::from_be_bytes([h[4], h[5]])) + 40).min(65_535);
            Some(Ip {
                v6: true,
                l3,
                header: 40,
                end: l3 + total,
                tos: h[0] << 4 | h[1] >> 4,
                hop_limit: h[7],
                protocol: h[6],
                source: IpAddr::from(half(8)),
                destination: IpAddr::from(half(24)),
                flags: 0,
                identification: 0,
            })
        }
        _ => None,
    }
}

impl Ip {
    /// IPv4: how far in its datagram it is.
    pub(super) fn offset(&self) -> u16 {
        self.flags & 0x1fff
    }

    pub(super) fn may_be_cut(&self) -> bool {
        !self.v6 && self.flags & 0x4000 == 0
    }
}

fn packet_v4(frame: &[u8], ip: Ip) -> Result<Packet, Verdict> {
    let is_fragment = ip.flags & 0x3fff != 0;
    let datagram = Datagram {
        source: ip.source,
        destination: ip.destination,
        identification: ip.identification.into(),
        protocol: ip.protocol,
    };
    let packet = Packet {
        ip,
        protocol: ip.protocol,
        l4: ip.l3 + ip.header,
        ports: None,
        fragment: is_fragment.then_some(datagram),
        is_later: ip.offset() != 0,
        is_plain: !is_fragment,
    };
    match ip.protocol {
        TCP | UDP => with_ports(frame, packet),
        ICMP if !is_fragment => Ok(packet),
        _ => Err(Verdict::OtherProtocol),
    }
}

fn packet_v6(frame: &[u8], ip: Ip) -> Result<Packet, Verdict> {
    if ip.protocol == ICMPV6 {
        return Ok(Packet {
            ip,
            protocol: ICMPV6,
            l4: ip.l3 + 40,
            ports: None,
            fragment: None,
            is_later: false,
            is_plain: false,
        });
    }
    let chain = chain(frame, &ip, ip.end)?;
    let datagram = |identification| Datagram {
        source: ip.source,
        destination: ip.destination,
        identification,
        protocol: 0,
    };
    let packet = Packet {
        ip,
        protocol: chain.protocol,
        l4: chain.l4,
        ports: None,
        fragment: chain.identification.map(datagram),
        is_later: chain.is_later,
        is_plain: chain.l4 == ip.l3 + 40,
    };
    with_ports(frame, packet)
}

/// Where the extension headers end.
pub(super) struct Chain {
    pub(super) protocol: u8,
    pub(super) l4: usize,
    identification: Option<u32>,
    pub(super) is_later: bool,
}

/// Walks past at most six extension headers.
pub(super) fn chain(frame: &[u8], ip: &Ip, end: usize) -> Result<Chain, Verdict> {
    let (mut next, mut at) = (ip.protocol, ip.l3 + 40);
    let mut identification = None;
    for _ in 0..7 {
        match next {
            TCP | UDP => {
                return Ok(Chain {
                    protocol: next,
                    l4: at,
                    identification,
                    is_later: false,
                });
            }
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                let header = frame.get(at..at + 4).ok_or(Verdict::Truncated)?;
                // The packet is on its way to somebody else first.
                if next == 43 && header[3] != 0 {
                    return Err(Verdict::ExtensionHeaders);
                }
                next = header[0];
                at += 8 + usize::from(header[1]) * 8;
            }
            // A fragment.
            44 if identification.is_some() => return Err(Verdict::ExtensionHeaders),
            44 => {
                let header = frame.get(at..at + 8).ok_or(Verdict::Truncated)?;
                let word = u16::from_be_bytes([header[2], header[3]]);
                next = header[0];
                at += 8;
                // RFC 6946: all of the datagram is in it.
                let is_whole = word & 0xfff9 == 0;
                if !is_whole {
                    let number = [header[4], header[5], header[6], header[7]];
                    identification = Some(u32::from_be_bytes(number));
                }
                if word >> 3 != 0 {
                    return Ok(Chain {
                        protocol: next,
                        l4: at,
                        identification,
                        is_later: true,
                    });
                }
            }
            _ => return Err(Verdict::OtherProtocol),
        }
        if at > end {
            return Err(Verdict::Malformed);
        }
    }
    Err(Verdict::ExtensionHeaders)
}

/// The lengths that TCP and UDP say must be possible; of a first fragment only the fixed
/// header has to be there.
fn with_ports(frame: &[u8], packet: Packet) -> Result<Packet, Verdict> {
    if packet.is_later {
        // The header of the packet itself must be in it.
        let is_whole = packet.ip.v6 || packet.ip.end >= packet.l4;
        return is_whole.then_some(packet).ok_or(Verdict::Malformed);
    }
    let has = packet.ip.end.saturating_sub(packet.l4);
    let least = if packet.protocol == TCP { 20 } else { 8 };
    if has < least {
        return Err(Verdict::Malformed);
    }
    let at = packet.l4;
    let says = if packet.protocol == TCP {
        usize::from(frame[at + 12] >> 4) * 4
    } else {
        usize::from(u16::from_be_bytes([frame[at + 4], frame[at + 5]]))
    };
    if says < least || (packet.fragment.is_none() && says > has) {
        return Err(Verdict::Malformed);
    }
    let port = |at| u16::from_be_bytes([frame[at], frame[at + 1]]);
    Ok(Packet {
        ports: Some([port(at), port(at + 2)]),
        ..packet
    })
}
