use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// An IPv4 or IPv6 address as the maps hold it: 16 bytes in network order, IPv4
/// as an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2). Aligned, so that
/// the kernel side moves it in two words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The IPv4 address with these four bytes, mapped.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        let [a, b, c, d] = v4;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
    }

    /// Whether it is none (`::`).
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        u128::from_ne_bytes(self.0) == 0
    }

    /// The last four bytes: the whole address if it is an IPv4 one.
    #[inline(always)]
    #[must_use]
    pub const fn v4(&self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let v6 = Ipv6Addr::from(address.0);
        match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(Ipv4Addr::from(v4.octets())),
            None => IpAddr::V6(v6),
        }
    }
}

/// A 16-bit number in network byte order, such as a port.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct Be16(pub [u8; 2]);

impl Be16 {
    /// Port 0 of a service: every port.
    pub const ZERO: Self = Self([0, 0]);

    /// From host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be_bytes())
    }

    /// In host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}
