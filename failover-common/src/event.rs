use bytemuck::{Pod, Zeroable};

use crate::Address;

/// What the data path says on the `EVENTS` ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct News {
    /// A [`NewsKind`]; it says which of the other words mean something.
    pub kind: u32,
    /// Index of the backend; for a next hop, of the interface.
    pub index: u32,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// When the newest heartbeat that was answered had been sent; 0: none was, or that
    /// is too many heartbeats ago to be known.
    pub answered_at: u64,
    /// When the oldest heartbeat that was not answered had been sent; 0: all were.
    pub unanswered_at: u64,
    /// The next hop towards the client.
    pub address: Address,
    /// A [`Signal`](crate::Signal).
    pub signal: u32,
    /// Pair of service and backend whose traffic showed it (`Signal::is_passive`).
    pub pair: u32,
}

const _: () = assert!(size_of::<News>() == 56);

/// What a [`News`] is about.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewsKind {
    /// An answer could not be sent because the kernel has no neighbour entry for
    /// the next hop (`index`, `address`). The agent asks the kernel to resolve it.
    NextHopMissing = 0,
    /// A backend has expired: once for each time the hold is set.
    Expired = 1,
    /// The first packet has gone past a backend that has expired.
    Passed = 2,
}
