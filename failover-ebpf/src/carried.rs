//! The packet that a tunnel carries, seen from its end: where it lies in the frame, and
//! what the way has made of it. The other side of [`outer`](crate::outer).

use failover_common::{Address, Be16, DecapVerdict, GUE_PORT};

use crate::{
    checksum::Difference,
    frame::Frame,
    outer::{IN_IPV4, IN_IPV6, UDP_HEADER},
    parse::{
        ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, Family, HeaderV6, IPV4,
        IPV4_CHECKSUM, IPV6, UDP, VLAN,
    },
};

/// Length of the header of GUE, variant 0, without extensions
/// (draft-ietf-intarea-gue, section 3.1).
const GUE_HEADER: usize = 4;

/// A packet of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Who has sent it.
    pub director: Address,
    /// What it carries, or why that is not known.
    pub carried: Result<Carried, DecapVerdict>,
}

/// A packet inside another.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// Whether the frame has an 802.1Q tag.
    pub tagged: bool,
    /// Offset of the outer IP header, bytes.
    pub l3: usize,
    /// Length of all headers in front of it, from the outer IP header on.
    pub headers: usize,
    /// What it says it is.
    pub family: Family,
    /// ECN of the outer header.
    ecn: u8,
    /// Bytes that there are of it, at most.
    length: usize,
}

/// ECN (RFC 3168, section 5): what the sender does not understand.
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// Looks whether a frame is of a tunnel. `None`: it is something else.
#[inline(always)]
pub fn find<F: Frame + ?Sized>(frame: &F) -> Option<Found> {
    let mut l3 = ETHERNET;
    let mut ethertype = u16::from_be_bytes(frame.load(12)?);
    let tagged = ethertype == ETHERTYPE_VLAN;
    if tagged {
        ethertype = u16::from_be_bytes(frame.load(16)?);
        l3 += VLAN;
    }
    match ethertype {
        ETHERTYPE_IPV4 => find_v4(frame, tagged, l3),
        ETHERTYPE_IPV6 => find_v6(frame, tagged, l3),
        _ => None,
    }
}

#[inline(always)]
fn find_v4<F: Frame + ?Sized>(frame: &F, tagged: bool, l3: usize) -> Option<Found> {
    let header: [u8; IPV4] = frame.load(l3)?;
    let [version_ihl, tos, t0, t1, _, _, f0, f1, _, protocol, ..] = header;
    if version_ihl >> 4 != 4 {
        return None;
    }
    let [.., s0, s1, s2, s3, _, _, _, _] = header;
    let found = |carried| {
        Some(Found {
            director: Address::from_v4([s0, s1, s2, s3]),
            carried,
        })
    };
    // RFC 791, section 3.1: five words; no more fragments, no offset.
    let plain = version_ihl == 0x45 && [f0 & 0x3f, f1] == [0, 0];
    match protocol {
        IN_IPV4 | IN_IPV6 if !plain => return found(Err(DecapVerdict::Unsupported)),
        IN_IPV4 | IN_IPV6 => {}
        // Behind what is not plain there is no telling which port it is for.
        UDP if plain && is_gue(frame, l3 + IPV4)? => {}
        _ => return None,
    }
    let length = usize::from(u16::from_be_bytes([t0, t1]));
    let Some(length) = length.checked_sub(IPV4) else {
        return found(Err(DecapVerdict::Malformed));
    };
    found(inside(frame, (tagged, l3, IPV4), protocol, tos & 3, length))
}

#[inline(always)]
fn find_v6<F: Frame + ?Sized>(frame: &F, tagged: bool, l3: usize) -> Option<Found> {
    let header: HeaderV6 = frame.load(l3)?;
    let protocol = header.next_header;
    if header.first[0] >> 4 != 6 {
        return None;
    }
    match protocol {
        IN_IPV4 | IN_IPV6 => {}
        UDP if is_gue(frame, l3 + IPV6)? => {}
        _ => return None,
    }
    let ecn = header.first[1] >> 4 & 3;
    let length = usize::from(u16::from_be_bytes(header.payload_length));
    Some(Found {
        director: header.source,
        carried: inside(frame, (tagged, l3, IPV6), protocol, ecn, length),
    })
}

/// Whether UDP is for the port of GUE.
#[inline(always)]
fn is_gue<F: Frame + ?Sized>(frame: &F, udp: usize) -> Option<bool> {
    Some(frame.load::<[u8; 2]>(udp + 2)? == Be16::new(GUE_PORT).0)
}

/// What is behind an IP header of `header` bytes that has `length` bytes behind it.
#[inline(always)]
fn inside<F: Frame + ?Sized>(
    frame: &F,
    (tagged, l3, header): (bool, usize, usize),
    protocol: u8,
    ecn: u8,
    length: usize,
) -> Result<Carried, DecapVerdict> {
    if l3 + header + length > frame.length() {
        return Err(DecapVerdict::Malformed);
    }
    let (family, more, length) = match protocol {
        IN_IPV4 => (Family::V4, 0, length),
        IN_IPV6 => (Family::V6, 0, length),
        _ => behind_udp(frame, l3 + header, length)?,
    };
    Ok(Carried {
        tagged,
        l3,
        headers: header + more,
        family,
        ecn,
        length,
    })
}

/// What GUE carries: its family, the length of the headers in front, and its own.
#[inline(always)]
fn behind_udp<F: Frame + ?Sized>(
    frame: &F,
    udp: usize,
    length: usize,
) -> Result<(Family, usize, usize), DecapVerdict> {
    let malformed = DecapVerdict::Malformed;
    let declared: [u8; 2] = frame.load(udp + 4).ok_or(malformed)?;
    let declared = usize::from(u16::from_be_bytes(declared));
    let [first, protocol, flags @ ..]: [u8; GUE_HEADER] =
        frame.load(udp + UDP_HEADER).ok_or(malformed)?;
    if declared > length {
        return Err(malformed);
    }
    let rest = declared.checked_sub(UDP_HEADER).ok_or(malformed)?;
    match first {
        // Variant 1: the packet itself, whose version says it.
        0x40..=0x4f => Ok((Family::V4, UDP_HEADER, rest)),
        0x60..=0x6f => Ok((Family::V6, UDP_HEADER, rest)),
        // Variant 0, data, without extensions.
        0 if flags == [0, 0] => {
            let rest = rest.checked_sub(GUE_HEADER).ok_or(malformed)?;
            match protocol {
                IN_IPV4 => Ok((Family::V4, UDP_HEADER + GUE_HEADER, rest)),
                IN_IPV6 => Ok((Family::V6, UDP_HEADER + GUE_HEADER, rest)),
                _ => Err(DecapVerdict::Unsupported),
            }
        }
        _ => Err(DecapVerdict::Unsupported),
    }
}

impl Carried {
    /// Offset of the packet, bytes.
    #[inline(always)]
    #[must_use]
    pub const fn at(&self) -> usize {
        self.l3 + self.headers
    }

    /// Looks whether it is a packet, and notes in it that there was congestion on the way
    /// (RFC 6040, section 4.2).
    ///
    /// # Errors
    ///
    /// It is none, or it has to be dropped for the congestion.
    #[inline(always)]
    pub fn receive<F: Frame + ?Sized>(&self, frame: &mut F) -> Result<(), DecapVerdict> {
        match self.family {
            Family::V4 => self.receive_v4(frame),
            Family::V6 => self.receive_v6(frame),
        }
    }

    #[inline(always)]
    fn receive_v4<F: Frame + ?Sized>(&self, frame: &mut F) -> Result<(), DecapVerdict> {
        let malformed = DecapVerdict::Malformed;
        let at = self.at();
        let header: [u8; IPV4] = frame.load(at).ok_or(malformed)?;
        let [version_ihl, tos, t0, t1, ..] = header;
        let words = usize::from(version_ihl & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([t0, t1]));
        if version_ihl >> 4 != 4 || words < IPV4 || total < words || total > self.length {
            return Err(malformed);
        }
        let ecn = self.ecn(tos & 3)?;
        if ecn != tos & 3 {
            let new = [version_ihl, tos & !3 | ecn];
            let checksum = [header[IPV4_CHECKSUM], header[IPV4_CHECKSUM + 1]];
            let checksum = Difference::none()
                .word([version_ihl, tos], new)
                .apply(checksum);
            frame.store(at, new).ok_or(malformed)?;
            frame.store(at + IPV4_CHECKSUM, checksum).ok_or(malformed)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn receive_v6<F: Frame + ?Sized>(&self, frame: &mut F) -> Result<(), DecapVerdict> {
        let malformed = DecapVerdict::Malformed;
        let at = self.at();
        let header: HeaderV6 = frame.load(at).ok_or(malformed)?;
        let total = IPV6 + usize::from(u16::from_be_bytes(header.payload_length));
        if header.first[0] >> 4 != 6 || total > self.length {
            return Err(malformed);
        }
        let [_, class] = header.first;
        let old = class >> 4 & 3;
        let ecn = self.ecn(old)?;
        if ecn != old {
            let new = class & !(3 << 4) | ecn << 4;
            frame.store(at + 1, new).ok_or(malformed)?;
        }
        Ok(())
    }

    /// ECN of the packet that had `inner` when it was sent.
    #[inline(always)]
    const fn ecn(&self, inner: u8) -> Result<u8, DecapVerdict> {
        match (self.ecn, inner) {
            (CE, NOT_ECT) => Err(DecapVerdict::Congested),
            (CE, _) => Ok(CE),
            (ECT_1, ECT_0) => Ok(ECT_1),
            _ => Ok(inner),
        }
    }
}

#[cfg(test)]
mod tests;
