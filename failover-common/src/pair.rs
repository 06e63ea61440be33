use bytemuck::{Pod, Zeroable};

/// One entry of the `PAIRS` map: what clients' traffic shows of one backend in
/// one service (`nat`). Only the data path writes it; nothing is lost when it is
/// begun anew.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pair {
    /// Since when packets go to the backend and nothing comes back, nanoseconds;
    /// 0: nothing is unanswered; 1: one packet is, and the clock was not read.
    pub unanswered_since: u64,
    /// 1: something came back since the backend last expired. What never
    /// answers is not dead because it is silent.
    pub answers: u64,
    /// Connections that were refused.
    pub refused: Strikes,
    /// Packets that could not be delivered.
    pub unreachable: Strikes,
    /// SYNs in a row that were not answered.
    pub syns: Strikes,
}

const _: () = assert!(size_of::<Pair>() == 64);

/// A count within a window of time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Strikes {
    /// When the first one was, nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// How many since then.
    pub count: u64,
}

// SAFETY: `Pair` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Pair {}
