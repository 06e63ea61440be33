use bytemuck::{Pod, Zeroable};

use crate::Address;

/// What the data path says on the `EVENTS` ring buffer: an answer could not be
/// sent because the kernel has no neighbour entry for the next hop. The agent
/// asks the kernel to resolve it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NextHopMissing {
    /// The next hop towards the client.
    pub address: Address,
    /// Interface behind which it is.
    pub ifindex: u32,
}

const _: () = assert!(size_of::<NextHopMissing>() == 20);
