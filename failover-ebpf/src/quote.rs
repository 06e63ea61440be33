//! ICMP errors about packets of a service (RFC 792, RFC 4443): who quotes what, and how
//! to make it the error that the other side would have got (RFC 5508).

use failover_common::{Address, Be16};

use crate::{
    checksum::Difference,
    extended::walk,
    frame::Frame,
    hop,
    icmp::{HEADER, ICMP, ICMPV6},
    parse::{
        self, Family, HeaderV4, HeaderV6, IPV4_CHECKSUM, IPV4_DESTINATION, IPV4_SOURCE, IPV6,
        IPV6_DESTINATION, IPV6_SOURCE, MAX_OFFSET, Packet, TCP, UDP, checksum_offset,
    },
};

/// Destination unreachable, time exceeded, parameter problem. Not a redirect: that is
/// for the next host only.
const ERRORS: [u8; 3] = [3, 11, 12];
/// Destination unreachable, packet too big, time exceeded, parameter problem.
const ERRORS_V6: [u8; 4] = [1, 2, 3, 4];

/// An ICMP error, and the TCP or UDP packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The message itself; its ports are zero.
    pub message: Packet,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Offset of the quoted IP header in the frame, bytes.
    pub l3: usize,
    /// Offset of the quoted TCP or UDP header in the frame, bytes.
    pub l4: usize,
    /// Source address of the packet, whom the message is for.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// Source port of the packet.
    pub source_port: Be16,
    /// Destination port of the packet.
    pub destination_port: Be16,
}

/// Reads an ICMP error into `report`: the kernel's stack has no room. `None`: it is none,
/// or not about TCP or UDP (an error about an error among them), or quotes no ports, or
/// is not for the sender of the packet; `report` means nothing then.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, report: &mut Report) -> Option<()> {
    report.message = parse::header(frame).ok()?;
    let Packet {
        family,
        protocol,
        l3,
        l4,
        total_length,
        ..
    } = report.message;
    let end = l3 + usize::from(total_length);
    let [kind, _]: [u8; 2] = frame.load(l4)?;
    report.l3 = l4 + HEADER;
    match family {
        Family::V4 if protocol == ICMP && ERRORS.contains(&kind) => quoted_v4(frame, report)?,
        Family::V6 if protocol == ICMPV6 && ERRORS_V6.contains(&kind) => {
            quoted_v6(frame, report, end)?;
        }
        _ => return None,
    }
    // RFC 792: at least 64 bits of it are quoted.
    if (report.protocol != TCP && report.protocol != UDP)
        || report.l4 + 8 > end
        || report.source != report.message.destination
    {
        return None;
    }
    let [a, b, c, d]: [u8; 4] = frame.load(report.l4)?;
    report.source_port = Be16([a, b]);
    report.destination_port = Be16([c, d]);
    Some(())
}

#[inline(always)]
fn quoted_v4<F: Frame + ?Sized>(frame: &F, report: &mut Report) -> Option<()> {
    let header = frame.load::<HeaderV4>(report.l3)?;
    // Of a later fragment there are no ports.
    if !header.is_one() || header.fragment() & 0x1fff != 0 {
        return None;
    }
    (report.source, report.destination) = header.addresses();
    report.protocol = header.protocol();
    report.l4 = report.l3 + header.length();
    Some(())
}

#[inline(always)]
fn quoted_v6<F: Frame + ?Sized>(frame: &F, report: &mut Report, end: usize) -> Option<()> {
    let next_header = {
        let header: HeaderV6 = frame.load(report.l3)?;
        if header.first[0] >> 4 != 6 {
            return None;
        }
        report.source = header.source;
        report.destination = header.destination;
        header.next_header
    };
    let walk = walk(frame, next_header, report.l3 + IPV6, end).ok()?;
    report.protocol = walk.protocol;
    report.l4 = walk.l4;
    (!walk.is_later).then_some(())
}

/// Whose address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The message is for the VIP and goes to the backend: so does the packet's source
    /// change.
    ToBackend,
    /// The message is from the backend or a router behind us, and goes to the client as
    /// from the VIP, to which the packet went.
    ToClient,
}

impl Side {
    /// The address that is translated in the message's header, and the one in the
    /// packet's.
    #[inline(always)]
    const fn of(self, report: &Report) -> (&Address, &Address) {
        match self {
            Self::ToBackend => (&report.message.destination, &report.source),
            Self::ToClient => (&report.message.source, &report.destination),
        }
    }

    /// Where these are, in headers with their addresses at `source` and `destination`.
    #[inline(always)]
    const fn offsets(self, source: usize, destination: usize) -> (usize, usize) {
        match self {
            Self::ToBackend => (destination, source),
            Self::ToClient => (source, destination),
        }
    }
}

/// Makes it the message that the other side would have got, in place, about a packet
/// with `address` and `port`, and one hop further. A checksum that was wrong stays so.
///
/// `None`: the frame is too short; it may be half written.
#[inline(always)]
pub fn translate<F: Frame + ?Sized>(
    frame: &mut F,
    report: &Report,
    side: Side,
    address: &Address,
    port: Be16,
) -> Option<()> {
    match report.message.family {
        Family::V4 => translate_v4(frame, report, side, address, port),
        Family::V6 => translate_v6(frame, report, side, address, port),
    }
}

/// A function of its own, because the kernel's stack is small.
#[inline(never)]
fn translate_v4<F: Frame + ?Sized>(
    frame: &mut F,
    report: &Report,
    side: Side,
    address: &Address,
    port: Be16,
) -> Option<()> {
    let Report { message, .. } = report;
    let (outer, quoted) = side.of(report);
    let (at_outer, at_quoted) = side.offsets(IPV4_SOURCE, IPV4_DESTINATION);
    let l3 = message.l3 & MAX_OFFSET;
    let header = Difference::none().v4(outer.v4(), address.v4());
    hop::take_v4(frame, l3, message.hop_limit, message.protocol, header)?;
    frame.store(l3 + at_outer, address.v4())?;

    let l3 = report.l3 & MAX_OFFSET;
    let change = Difference::none().v4(quoted.v4(), address.v4());
    let old: [u8; 2] = frame.load(l3 + IPV4_CHECKSUM)?;
    let new = change.apply(old);
    frame.store(l3 + IPV4_CHECKSUM, new)?;
    frame.store(l3 + at_quoted, address.v4())?;
    let under = change.word(old, new);
    transport(frame, report, side, change, under, port)
}

/// A function of its own, because the kernel's stack is small.
#[inline(never)]
fn translate_v6<F: Frame + ?Sized>(
    frame: &mut F,
    report: &Report,
    side: Side,
    address: &Address,
    port: Be16,
) -> Option<()> {
    let Report { message, .. } = report;
    let (outer, quoted) = side.of(report);
    let (at_outer, at_quoted) = side.offsets(IPV6_SOURCE, IPV6_DESTINATION);
    let l3 = message.l3 & MAX_OFFSET;
    hop::take_v6(frame, l3, message.hop_limit)?;
    frame.store(l3 + at_outer, *address)?;
    frame.store((report.l3 & MAX_OFFSET) + at_quoted, *address)?;
    let change = Difference::none().v6(*quoted, *address);
    // The pseudo header (RFC 4443, section 2.3).
    let under = change.v6(*outer, *address);
    transport(frame, report, side, change, under, port)
}

/// The quoted port and checksum, if that is there, and the checksum of the message.
/// `change` is that of the quoted address, `under` all that has changed under the
/// checksum of the message so far.
#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &mut F,
    report: &Report,
    side: Side,
    change: Difference,
    under: Difference,
    port: Be16,
) -> Option<()> {
    let l4 = report.l4 & MAX_OFFSET;
    let (at, old_port) = match side {
        Side::ToBackend => (l4, report.source_port),
        Side::ToClient => (l4 + 2, report.destination_port),
    };
    frame.store(at, port.0)?;
    let mut under = under.word(old_port.0, port.0);

    let at = l4 + checksum_offset(report.protocol);
    let end = report.message.l3 + usize::from(report.message.total_length);
    if at + 2 <= end
        && let Some(found) = frame.load::<[u8; 2]>(at)
        // RFC 768: zero means that the sender made no checksum.
        && (report.protocol != UDP || found != [0, 0])
    {
        let mut updated = change.word(old_port.0, port.0).apply(found);
        if report.protocol == UDP && updated == [0, 0] {
            updated = [0xff, 0xff];
        }
        frame.store(at, updated)?;
        under = under.word(found, updated);
    }
    let at = (report.message.l4 & MAX_OFFSET) + 2;
    let checksum = frame.load(at)?;
    frame.store(at, under.apply(checksum))
}
