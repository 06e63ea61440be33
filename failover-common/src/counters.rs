use bytemuck::{Pod, Zeroable};

/// Packets, and the bytes of their frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Counter {
    /// Number of packets.
    pub packets: u64,
    /// Bytes of their frames, from the Ethernet header on.
    pub bytes: u64,
}

/// One entry of the `BACKEND_COUNTERS` map, per CPU, at the backend's index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendCounters {
    /// From clients to the backend.
    pub forwarded: Counter,
    /// From the backend to clients (`nat` only: in `dsr` they do not pass).
    pub returned: Counter,
}

impl core::ops::AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl core::ops::AddAssign for BackendCounters {
    fn add_assign(&mut self, other: Self) {
        self.forwarded += other.forwarded;
        self.returned += other.returned;
    }
}

// SAFETY: `Counter` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Counter {}
// SAFETY: `BackendCounters` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for BackendCounters {}
