//! Neighbours, links, routes and addresses, by netlink.
//!
//! [`Watcher`] is the task that tells the agent how to reach each backend, and
//! at once when that changes. [`Netlink`] asks the kernel for single things.
//! Both open their sockets in the network namespace of the calling thread.

mod address;
mod decode;
mod handle;
mod links;
mod state;
mod subscription;
mod vip;
mod watcher;

#[cfg(test)]
mod tests;

use std::{io, net::IpAddr};

pub use handle::Netlink;
pub use watcher::Watcher;

/// Depth of the channel of batches of changes. A batch is what one turn of the
/// watcher brought about, at most one change of each backend; the first reading
/// sends one for each backend it looks up. When the channel is full the watcher
/// waits; the kernel keeps its events meanwhile, and if it runs out of room the
/// watcher reads everything again.
pub const CHANGES: usize = 64;

/// The way to a backend, as the kernel sees it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Interface that packets leave by; for a VLAN device the one below it,
    /// which is where XDP transmits.
    pub ifindex: u32,
    /// Interface that a frame without a tag must leave by to get there: `ifindex`, or
    /// the VLAN device on it.
    pub egress: u32,
    /// MAC of that interface.
    pub src_mac: [u8; 6],
    /// MAC of the next hop: the backend itself or its router.
    pub dst_mac: [u8; 6],
    /// Our own address towards the backend; none: the kernel has none of the family.
    pub source: Option<IpAddr>,
    /// Longest packet that the kernel would send there: the MTU of the interface, or
    /// what the route says if that is less.
    pub mtu: u32,
}

/// Whether a backend can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The next hop is known.
    Resolved(NextHop),
    /// There is no route, or the next hop never answered or stopped answering.
    NoNeighbour {
        /// The way there was before.
        last: Option<NextHop>,
    },
    /// The interface that leads to it, or one that this one stands on, is down
    /// or gone.
    LinkDown {
        /// The way there was before.
        last: Option<NextHop>,
    },
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A backend; each is told once at the start, then when it differs.
    Backend {
        /// Index of its address in [`Watcher::new`].
        backend: usize,
        /// Whether it can be reached now.
        reach: Reach,
    },
    /// An interface; likewise. One that is renamed goes and comes.
    Link {
        /// Its name.
        name: String,
        /// Its index.
        ifindex: u32,
        /// Whether it exists.
        present: bool,
        /// Whether it is enabled and has a carrier, by its own word.
        up: bool,
    },
    /// A route, a neighbour or an interface is not what it was: some way through the network
    /// may be another one.
    Ways,
}

/// Netlink did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The events of the kernel cannot be read.
    #[error("cannot read netlink events")]
    Read(#[source] io::Error),
    /// The kernel refused a request.
    #[error("cannot {what}")]
    Request {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Whether `address` is in the prefix of the first `length` bits of `prefix`.
fn covers(prefix: IpAddr, length: u8, address: IpAddr) -> bool {
    let length = u32::from(length);
    // A shift by the whole width: the default route, which covers everything.
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            let differ = prefix.to_bits() ^ address.to_bits();
            differ
                .checked_shr(32_u32.saturating_sub(length))
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            let differ = prefix.to_bits() ^ address.to_bits();
            differ
                .checked_shr(128_u32.saturating_sub(length))
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}
