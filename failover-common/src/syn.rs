use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16};

/// Most bytes of TCP options (RFC 9293, section 3.1).
pub const MAX_OPTIONS: usize = 40;

/// Slots of the `SYNS` map that one flow may use.
pub const SYN_WAYS: u32 = 4;

/// One slot of the `SYNS` map: a client's SYN that went to a backend (`nat`), with
/// all it takes to send it to another one as long as it is not answered.
///
/// The map is mmapable. Whoever reads or writes a slot first takes it, by setting
/// `taken` in one atomic operation, and gives it back with a release store of 0;
/// who finds it taken goes without.
///
/// Which backend a SYN waits for also stands in `SYN_BACKENDS`, one array of words by the
/// slot's index: the backend's index plus one, 0 for none. It is a hint, so that whoever
/// looks for the SYNs of one backend reads 8 KiB in a row and not the whole table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Syn {
    /// Not 0: somebody is at it.
    pub taken: u64,
    /// When the SYN went to the backend, nanoseconds of `CLOCK_MONOTONIC`; 0: the
    /// slot is free.
    pub sent_at: u64,
    /// Source address.
    pub client: Address,
    /// Destination address.
    pub vip: Address,
    /// Source port.
    pub client_port: Be16,
    /// Destination port.
    pub vip_port: Be16,
    /// Index of the backend that it went to.
    pub backend: u32,
    /// Sequence number, as in the packet.
    pub sequence: [u8; 4],
    /// Window, as in the packet.
    pub window: [u8; 2],
    /// Flags (CWR to FIN), as in the packet.
    pub flags: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Bytes used of `options`.
    pub options_len: u8,
    /// 1: it was answered. The slot is as good as free, and until somebody uses it
    /// shows who has the connection.
    pub answered: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// TCP options, as in the packet.
    pub options: [u8; MAX_OPTIONS],
    /// Zero.
    pub padding: [u8; 16],
}

const _: () = assert!(size_of::<Syn>() == 128);

// SAFETY: `Syn` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Syn {}
