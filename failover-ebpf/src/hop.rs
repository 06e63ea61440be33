//! One hop further: TTL and hop limit (RFC 1812, section 5.3.1; RFC 8200, section 3).

use crate::{checksum::Difference, frame::Frame, parse::IPV4_CHECKSUM};

/// Offset of the TTL in the IPv4 header; the protocol and the checksum follow.
const TTL: usize = 8;
const _: () = assert!(IPV4_CHECKSUM == TTL + 2);

/// Offset of the hop limit in the IPv6 header.
const HOP_LIMIT: usize = 7;

/// Takes one from the TTL of the IPv4 header at `l3`, and brings its checksum up to date
/// for that and for `change`. `None`: the frame is too short, nothing was written.
#[inline(always)]
pub fn take_v4<F: Frame + ?Sized>(
    frame: &mut F,
    l3: usize,
    ttl: u8,
    protocol: u8,
    change: Difference,
) -> Option<()> {
    let checksum = frame.load(l3 + IPV4_CHECKSUM)?;
    let less = ttl.wrapping_sub(1);
    let [c0, c1] = change
        .word([ttl, protocol], [less, protocol])
        .apply(checksum);
    frame.store(l3 + TTL, [less, protocol, c0, c1])
}

/// Takes one from the hop limit of the IPv6 header at `l3`. `None`: the frame is too
/// short, nothing was written.
#[inline(always)]
pub fn take_v6<F: Frame + ?Sized>(frame: &mut F, l3: usize, hop_limit: u8) -> Option<()> {
    frame.store(l3 + HOP_LIMIT, hop_limit.wrapping_sub(1))
}
