//! Addresses of interfaces: a director answers ARP and neighbour discovery for
//! its service addresses because they are on one of its interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use nix::libc;
use rtnetlink::AddressMessageBuilder;

use super::{Error, Netlink, covers, handle::refused};

/// `IFA_PROTO` of the addresses we add (Linux 5.18): none of the kernel's own.
const OURS: AddressProtocol = AddressProtocol::Other(250);

impl Netlink {
    /// Puts `address` on an interface: as a host address without a route, and
    /// for IPv6 without duplicate address detection, which would keep it from
    /// answering for a second. False: it was there already, with any prefix.
    pub async fn add_address(&self, ifindex: u32, address: IpAddr) -> Result<bool, Error> {
        let present = self.read_addresses().await?;
        if present
            .iter()
            .any(|held| held.ifindex == ifindex && held.address == address)
        {
            return Ok(false);
        }
        let mut message = host(ifindex, address);
        let mut flags = AddressFlags::Noprefixroute;
        if address.is_ipv6() {
            flags |= AddressFlags::Nodad;
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        message.attributes.push(AddressAttribute::Protocol(OURS));

        let mut request = self
            .handle
            .address()
            .add(ifindex, address, message.header.prefix_len);
        *request.message_mut() = message;
        done(request.execute().await, "add an address", &[libc::EEXIST])
    }

    /// Takes the host address `address` off an interface. False: neither it nor
    /// perhaps the interface is there.
    pub async fn remove_address(&self, ifindex: u32, address: IpAddr) -> Result<bool, Error> {
        let request = self.handle.address().del(host(ifindex, address));
        let absent = [libc::EADDRNOTAVAIL, libc::ENODEV];
        done(request.execute().await, "remove an address", &absent)
    }

    /// The interface to put `address` on: of the candidates the one with the
    /// longest prefix that covers it, else the first. None: no candidates.
    pub async fn interface_for(
        &self,
        address: IpAddr,
        candidates: &[u32],
    ) -> Result<Option<u32>, Error> {
        Ok(choose(address, candidates, &self.read_addresses().await?))
    }

    pub(super) async fn read_addresses(&self) -> Result<Vec<Held>, Error> {
        let messages = self.handle.address().get().execute();
        let messages: Vec<_> = messages
            .try_collect()
            .await
            .map_err(|error| refused("list addresses", error))?;
        Ok(messages.iter().filter_map(held).collect())
    }
}

/// An address that an interface has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    /// The on-link prefix; on a point-to-point interface the peer's.
    pub(super) prefix: IpAddr,
    pub(super) length: u8,
    /// We added it.
    pub(super) ours: bool,
}

/// See [`Netlink::interface_for`].
pub(super) fn choose(address: IpAddr, candidates: &[u32], present: &[Held]) -> Option<u32> {
    let longest = |ifindex: u32| {
        let of_it = present.iter().filter(|held| held.ifindex == ifindex);
        of_it
            .filter(|held| covers(held.prefix, held.length, address))
            .map(|held| held.length)
            .max()
    };
    let mut best = (*candidates.first()?, None);
    for &candidate in candidates {
        let length = longest(candidate);
        if length > best.1 {
            best = (candidate, length);
        }
    }
    Some(best.0)
}

fn held(message: &AddressMessage) -> Option<Held> {
    let (mut local, mut prefix) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => prefix = Some(*value),
            _ => {}
        }
    }
    // IPv6 has no `Local` unless there is a peer.
    let address = local.or(prefix)?;
    Some(Held {
        ifindex: message.header.index,
        address,
        prefix: prefix.unwrap_or(address),
        length: message.header.prefix_len,
        ours: message
            .attributes
            .contains(&AddressAttribute::Protocol(OURS)),
    })
}

/// The message for a host address.
fn host(ifindex: u32, address: IpAddr) -> AddressMessage {
    match address {
        IpAddr::V4(address) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(ifindex)
            .address(address, 32)
            .build(),
        IpAddr::V6(address) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(ifindex)
            .address(address, 128)
            .build(),
    }
}

/// Whether a request changed something; `nothing` are the errnos that say that
/// there was nothing to do.
fn done(
    result: Result<(), rtnetlink::Error>,
    what: &'static str,
    nothing: &[i32],
) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(rtnetlink::Error::NetlinkError(message))
            if nothing.contains(&message.raw_code().saturating_neg()) =>
        {
            Ok(false)
        }
        Err(error) => Err(refused(what, error)),
    }
}
