//! What [`parse`](crate::parse::parse) leaves aside because it is rare: fragments, and
//! IPv6 extension headers.

use failover_common::{FragmentKey, Verdict};

use crate::{
    frame::Frame,
    parse::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, HeaderV4, HeaderV6, IPV6, MORE_FRAGMENTS, Packet, TCP, UDP,
        ethernet, load, transport,
    },
};

/// Most extension headers that are walked. RFC 8200, section 4.1, has each but one once.
pub const MAX_EXTENSION_HEADERS: usize = 6;

/// Protocol numbers of extension headers (RFC 8200, section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// A packet, and what of its datagram it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The packet. A later fragment has no ports: it is `headless`.
    pub packet: Packet,
    /// Whether it is a fragment, a later one if it is `headless`.
    pub is_fragment: bool,
    /// Of which datagram.
    pub key: FragmentKey,
}

/// Reads the headers of such a packet into `found`: the kernel's stack has no room.
///
/// # Errors
///
/// The verdict on one that is not ours to understand, or not to be understood; `found`
/// means nothing then.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, found: &mut Extended) -> Result<(), Verdict> {
    match ethernet(frame)? {
        (ETHERTYPE_IPV4, l3) => parse_v4(frame, l3, found),
        (ETHERTYPE_IPV6, l3) => parse_v6(frame, l3, found),
        _ => Err(Verdict::NotIp),
    }
}

#[inline(always)]
fn parse_v4<F: Frame + ?Sized>(frame: &F, l3: usize, found: &mut Extended) -> Result<(), Verdict> {
    let header = HeaderV4::load(frame, l3)?;
    if header.protocol() != TCP && header.protocol() != UDP {
        return Err(Verdict::OtherProtocol);
    }
    found.packet = header.headless(l3);
    if header.fragment() & !MORE_FRAGMENTS == 0 {
        let is_whole = header.fragment() == 0;
        transport(frame, &mut found.packet, is_whole)?;
    } else if usize::from(header.total_length()) < header.length() {
        return Err(Verdict::Malformed);
    }
    let [i0, i1] = header.identification;
    // RFC 791, section 3.2: these four tell fragments of one datagram from others.
    found.is_fragment = header.fragment() != 0;
    found.key.source = found.packet.source;
    found.key.destination = found.packet.destination;
    found.key.identification = [0, 0, i0, i1];
    found.key.protocol = header.protocol();
    found.key.reserved = [0; 3];
    Ok(())
}

#[inline(always)]
fn parse_v6<F: Frame + ?Sized>(frame: &F, l3: usize, found: &mut Extended) -> Result<(), Verdict> {
    let next_header = {
        let header = HeaderV6::load(frame, l3)?;
        found.packet = header.headless(l3, header.next_header, l3 + IPV6);
        header.next_header
    };
    let end = l3 + usize::from(found.packet.total_length);
    let walk = walk(frame, next_header, l3 + IPV6, end)?;
    found.packet.l4 = walk.l4;
    found.packet.protocol = walk.protocol;
    found.is_fragment = walk.identification.is_some();
    if !walk.is_later {
        transport(frame, &mut found.packet, !found.is_fragment)?;
    }
    found.key.source = found.packet.source;
    found.key.destination = found.packet.destination;
    found.key.identification = walk.identification.unwrap_or([0; 4]);
    // RFC 8200, section 4.5: that of a later fragment means nothing.
    found.key.protocol = 0;
    found.key.reserved = [0; 3];
    Ok(())
}

/// Where a chain of extension headers ends. Of a later fragment `protocol` is what it
/// says, which is nearly always that of the first.
pub(crate) struct Walk {
    pub(crate) protocol: u8,
    pub(crate) l4: usize,
    /// Of the datagram that this is a fragment of.
    pub(crate) identification: Option<[u8; 4]>,
    /// Whether what is at `l4` is not its beginning.
    pub(crate) is_later: bool,
}

/// Walks the chain from `at`, where a header of kind `next` is.
#[inline(always)]
pub(crate) fn walk<F: Frame + ?Sized>(
    frame: &F,
    mut next: u8,
    mut at: usize,
    end: usize,
) -> Result<Walk, Verdict> {
    let mut identification = None;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        match next {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                let [kind, length, _, segments_left]: [u8; 4] = load(frame, at)?;
                // RFC 8200, section 4.4: the packet is to go on to elsewhere, and its
                // checksum is made for there.
                if next == ROUTING && segments_left != 0 {
                    return Err(Verdict::ExtensionHeaders);
                }
                next = kind;
                at += 8 + usize::from(length) * 8;
            }
            FRAGMENT if identification.is_none() => {
                let [kind, _, o0, o1, i0, i1, i2, i3]: [u8; 8] = load(frame, at)?;
                let offset = u16::from_be_bytes([o0, o1]);
                at += 8;
                next = kind;
                // RFC 6946: nothing but the header makes it a fragment.
                if offset & 0xfff9 == 0 {
                    continue;
                }
                identification = Some([i0, i1, i2, i3]);
                if offset & 0xfff8 != 0 {
                    return Ok(Walk {
                        protocol: kind,
                        l4: at,
                        identification,
                        is_later: true,
                    });
                }
            }
            TCP | UDP => {
                return Ok(Walk {
                    protocol: next,
                    l4: at,
                    identification,
                    is_later: false,
                });
            }
            // A second fragment header.
            FRAGMENT => return Err(Verdict::ExtensionHeaders),
            // ICMP, and whatever else is no extension header or one that we do not know.
            _ => return Err(Verdict::OtherProtocol),
        }
        if at > end {
            return Err(Verdict::Malformed);
        }
    }
    Err(Verdict::ExtensionHeaders)
}

#[cfg(test)]
mod tests;
