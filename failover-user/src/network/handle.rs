//! Single questions and requests to the kernel.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourFlags, NeighbourState},
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::Handle;

use super::{
    Error, decode,
    links::Link,
    state::{Hop, Neighbour, Route},
};

/// A netlink connection for requests; clones share it. The task behind it ends
/// when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Netlink {
    pub(super) handle: Handle,
}

impl Netlink {
    /// Opens it in the network namespace of the calling thread; needs a tokio
    /// runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Every interface: name and index.
    pub async fn links(&self) -> Result<Vec<(String, u32)>, Error> {
        let links = self.read_links().await?;
        Ok(links
            .into_iter()
            .map(|link| (link.name, link.ifindex))
            .collect())
    }

    /// Asks the kernel to resolve the neighbour `address` on `ifindex`, as a
    /// packet to it would; does not wait for the answer.
    ///
    /// Not for a neighbour that is resolved: the kernel would turn a permanent
    /// entry into an ordinary one.
    pub async fn kick(&self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        let request = self.handle.neighbours().add(ifindex, address);
        let request = request
            .replace()
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use);
        request
            .execute()
            .await
            .map_err(|error| refused("resolve a neighbour", error))
    }

    pub(super) async fn read_links(&self) -> Result<Vec<Link>, Error> {
        let messages = self.handle.link().get().execute();
        let messages: Vec<_> = messages
            .try_collect()
            .await
            .map_err(|error| refused("list interfaces", error))?;
        Ok(messages.iter().filter_map(decode::link).collect())
    }

    pub(super) async fn read_neighbours(&self) -> Result<Vec<(Hop, Neighbour)>, Error> {
        let messages = self.handle.neighbours().get().execute();
        let messages: Vec<_> = messages
            .try_collect()
            .await
            .map_err(|error| refused("list neighbours", error))?;
        Ok(messages.iter().filter_map(decode::neighbour).collect())
    }

    /// The way the kernel would send a packet to `to`.
    pub(super) async fn look_up(&self, to: IpAddr) -> Result<Route, Error> {
        let mut request = RouteMessage::default();
        (
            request.header.address_family,
            request.header.destination_prefix_length,
        ) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        request
            .attributes
            .push(RouteAttribute::Destination(to.into()));
        let answer: Result<Vec<_>, _> = self
            .handle
            .route()
            .get(request)
            .execute()
            .try_collect()
            .await;
        match answer {
            Ok(routes) => Ok(routes
                .first()
                .map_or(Route::None, |route| decode::route(route, to))),
            // Unreachable, prohibited, blackhole, no route: each its own errno.
            Err(rtnetlink::Error::NetlinkError(_)) => Ok(Route::None),
            Err(error) => Err(refused("look up a route", error)),
        }
    }
}

/// The error of a request, with the kernel's errno where there is one.
pub(super) fn refused(what: &'static str, error: rtnetlink::Error) -> Error {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        error => io::Error::other(error),
    };
    Error::Request { what, source }
}
