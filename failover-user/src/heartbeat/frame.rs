//! A heartbeat as a whole Ethernet frame, by hand: the headers never vary but in
//! the words that name the heartbeat, so one frame a backend is written once and
//! patched. Checksums are computed anew each time: at most 60 bytes.

use std::net::IpAddr;

use failover_common::{HEARTBEAT_PORT, HeartbeatKind};

use crate::dataplane::kernel::Way;

/// Bytes of the longest frame: an echo by IPv6.
pub(super) const LONGEST: usize = ETHERNET + IPV6 + ECHO;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
/// Header, index, sequence number, token.
const ECHO: usize = 8 + 16;
const TCP: usize = 20;
const UDP: usize = 8;

/// Class selector 6, network control (RFC 2474), as TOS or traffic class.
const CS6: u8 = 0xc0;
/// Hops, both families.
const TTL: u8 = 64;

/// Flags of TCP.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;

/// What a frame is written from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) kind: HeartbeatKind,
    /// Index of the backend.
    pub(super) index: u32,
    /// Port on the backend.
    pub(super) port: u16,
    pub(super) token: u64,
    pub(super) way: Way,
    pub(super) to: IpAddr,
}

/// The frame of one backend.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    bytes: [u8; LONGEST],
    length: usize,
    /// Where the header behind the IP header begins.
    l4: usize,
    kind: HeartbeatKind,
    token: u64,
    /// Sum of the pseudo-header; 0 for ICMP of IPv4, which has none.
    pseudo: u32,
}

impl Frame {
    /// The frame for a heartbeat from the address `from`; none if the addresses are
    /// of two families, or nothing is to be sent.
    pub(super) fn new(words: &Words, from: IpAddr) -> Option<Self> {
        let &Words {
            kind,
            index,
            port,
            token,
            way,
            to,
        } = words;
        let v4 = to.is_ipv4();
        let (protocol, size) = match kind {
            HeartbeatKind::None => return None,
            HeartbeatKind::Icmp if v4 => (PROTOCOL_ICMP, ECHO),
            HeartbeatKind::Icmp => (PROTOCOL_ICMPV6, ECHO),
            HeartbeatKind::TcpSyn => (PROTOCOL_TCP, TCP),
            HeartbeatKind::Udp => (PROTOCOL_UDP, UDP),
        };
        let mut bytes = [0; LONGEST];
        bytes[..6].copy_from_slice(&way.dst_mac);
        bytes[6..12].copy_from_slice(&way.src_mac);
        let (l4, pseudo) = write_ip(&mut bytes, from, to, protocol, size)?;

        let header = &mut bytes[l4..];
        let [.., high, low] = token.to_be_bytes();
        let source = u16::try_from(index).ok()?.checked_add(HEARTBEAT_PORT)?;
        match kind {
            HeartbeatKind::None => return None,
            HeartbeatKind::Icmp => {
                header[0] = if v4 { 8 } else { 128 };
                header[4..6].copy_from_slice(&[high, low]);
                header[8..12].copy_from_slice(&index.to_le_bytes());
                header[16..24].copy_from_slice(&token.to_le_bytes());
            }
            HeartbeatKind::TcpSyn => {
                header[..2].copy_from_slice(&source.to_be_bytes());
                header[2..4].copy_from_slice(&port.to_be_bytes());
                // Five words, a window of 1024.
                header[12..16].copy_from_slice(&[5 << 4, 0, 0x04, 0x00]);
            }
            HeartbeatKind::Udp => {
                header[..2].copy_from_slice(&source.to_be_bytes());
                header[2..4].copy_from_slice(&port.to_be_bytes());
                header[4..6].copy_from_slice(&[0, 8]);
            }
        }
        Some(Self {
            bytes,
            length: l4 + size,
            l4,
            kind,
            token,
            pseudo,
        })
    }

    /// The frame of the heartbeat `sequence`.
    pub(super) fn patch(&mut self, sequence: u32) -> &[u8] {
        self.write(sequence, SYN)
    }

    /// What must go out before the heartbeat `sequence`, if anything.
    ///
    /// A SYN leaves a half-open connection on the backend. The next one comes from
    /// the same port with the next sequence number, which is inside that connection's
    /// window, and would be answered with a reset (RFC 9293, section 3.10.7.4) as if
    /// the port were closed. A reset of our own, at the very number expected next,
    /// ends the half-open connection and is never answered.
    pub(super) fn reset(&mut self, sequence: u32) -> Option<&[u8]> {
        match self.kind {
            HeartbeatKind::TcpSyn => Some(self.write(sequence, RST)),
            HeartbeatKind::None | HeartbeatKind::Icmp | HeartbeatKind::Udp => None,
        }
    }

    fn write(&mut self, sequence: u32, flags: u8) -> &[u8] {
        let (l3, l4) = (ETHERNET, self.l4);
        let v4 = l4 == ETHERNET + IPV4;
        let [.., a, b, c, d] = self.token.wrapping_add(u64::from(sequence)).to_be_bytes();
        let bytes = &mut self.bytes;
        let checksum = match self.kind {
            HeartbeatKind::None | HeartbeatKind::Icmp => {
                let [.., high, low] = sequence.to_be_bytes();
                bytes[l4 + 6..l4 + 8].copy_from_slice(&[high, low]);
                bytes[l4 + 12..l4 + 16].copy_from_slice(&sequence.to_le_bytes());
                2
            }
            HeartbeatKind::TcpSyn => {
                bytes[l4 + 4..l4 + 8].copy_from_slice(&[a, b, c, d]);
                bytes[l4 + 13] = flags;
                16
            }
            HeartbeatKind::Udp => {
                if v4 {
                    bytes[l3 + 4..l3 + 6].copy_from_slice(&[c, d]);
                } else {
                    let flow = [0x60 | CS6 >> 4, (CS6 << 4) | (b & 0x0f), c, d];
                    bytes[l3..l3 + 4].copy_from_slice(&flow);
                }
                6
            }
        };
        if v4 {
            bytes[l3 + 10..l3 + 12].fill(0);
            let header = fold(sum(&bytes[l3..l4]));
            bytes[l3 + 10..l3 + 12].copy_from_slice(&header.to_be_bytes());
        }
        bytes[l4 + checksum..l4 + checksum + 2].fill(0);
        let value = match fold(self.pseudo + sum(&bytes[l4..self.length])) {
            // To UDP a checksum of zero says that there is none (RFC 768).
            0 if self.kind == HeartbeatKind::Udp => 0xffff,
            value => value,
        };
        bytes[l4 + checksum..l4 + checksum + 2].copy_from_slice(&value.to_be_bytes());
        &self.bytes[..self.length]
    }
}

/// Writes the IP header but its checksum; returns where it ends, and the sum of
/// the pseudo-header for what follows.
fn write_ip(
    bytes: &mut [u8; LONGEST],
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    size: usize,
) -> Option<(usize, u32)> {
    let pseudo = u32::from(protocol) + u32::try_from(size).ok()?;
    let ip = &mut bytes[ETHERNET - 2..];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = u16::try_from(IPV4 + size).ok()?.to_be_bytes();
            ip[..2].copy_from_slice(&[0x08, 0x00]);
            ip[2..6].copy_from_slice(&[0x45, CS6, high, low]);
            // Do not fragment; the checksum comes later.
            ip[8..12].copy_from_slice(&[0x40, 0, TTL, protocol]);
            ip[14..18].copy_from_slice(&from.octets());
            ip[18..22].copy_from_slice(&to.octets());
            let echo = protocol == PROTOCOL_ICMP;
            let pseudo = if echo { 0 } else { pseudo + sum(&ip[14..22]) };
            Some((ETHERNET + IPV4, pseudo))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = u16::try_from(size).ok()?.to_be_bytes();
            ip[..2].copy_from_slice(&[0x86, 0xdd]);
            ip[2..6].copy_from_slice(&[0x60 | CS6 >> 4, CS6 << 4, 0, 0]);
            ip[6..10].copy_from_slice(&[high, low, protocol, TTL]);
            ip[10..26].copy_from_slice(&from.octets());
            ip[26..42].copy_from_slice(&to.octets());
            Some((ETHERNET + IPV6, pseudo + sum(&ip[10..42])))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Sum of the 16-bit words; every length here is even.
fn sum(bytes: &[u8]) -> u32 {
    let (words, _) = bytes.as_chunks::<2>();
    words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum()
}

/// The Internet checksum (RFC 1071) of what has this sum.
fn fold(mut sum: u32) -> u16 {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = (!sum).to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
