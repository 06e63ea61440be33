use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16};

/// Key of the `FRAGMENTS` map: the datagram that a fragment is of (RFC 791, section
/// 3.2; RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// The identification as it lies in the packet; of IPv4 behind two bytes of zero.
    pub identification: [u8; 4],
    /// IPv4: the IP protocol number. IPv6: 0.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl FragmentKey {
    /// The key with these fields.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        source: Address,
        destination: Address,
        identification: [u8; 4],
        protocol: u8,
    ) -> Self {
        Self {
            source,
            destination,
            identification,
            protocol,
            reserved: [0; 3],
        }
    }
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// Value of the `FRAGMENTS` map: what a first fragment says, and the later ones do not.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Fragment {
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub destination_port: Be16,
    /// Index of the backend that the first fragment went to; of an answer of no meaning.
    pub index: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Fragment>() == 12);
