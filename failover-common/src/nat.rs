use core::ops::RangeInclusive;

use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16, Flow, FlowKey, FlowState, SHARE_PLACES, next_place};

/// First of the ports that `fullnat` sends from; there are [`SHARE_PLACES`] of them, so the
/// place of a flow is a port too. Linux gives none of these to anybody by itself
/// (`net.ipv4.ip_local_port_range`), and heartbeats come from higher ones.
pub const NAT_PORT: u16 = 16_384;

/// All of them.
#[expect(clippy::cast_possible_truncation, reason = "16381")]
pub const NAT_PORTS: RangeInclusive<u16> = NAT_PORT..=NAT_PORT + (SHARE_PLACES as u16 - 1);

/// How many ports a new flow tries.
pub const NAT_TRIES: u32 = 8;

/// Slots of the `NAT_LOCKS` map, a power of two.
pub const NAT_LOCKS: u32 = 1024;

/// How long a flow that has ended must have been quiet before another one may have its port,
/// nanoseconds: as long as the backend's kernel may remember it (Linux: `TIME_WAIT` lasts a
/// minute); where no port is left, as long as Linux waits itself (`tcp_tw_reuse`: a second).
pub const NAT_QUIET: [u64; 2] = [60_000_000_000, 1_000_000_000];

/// How long a port is taken without a flow, nanoseconds: it is claimed before the flow is
/// noted, and the coarse clock is some milliseconds late.
const NOTED_WITHIN: u64 = 1_000_000_000;

const FIN: u8 = 1;
const RST: u8 = 1 << 2;

/// Key of the `NAT_FLOWS` map: who talks to whom, as the backend sees it (`fullnat`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct NatKey {
    /// The backend.
    pub backend: Address,
    /// Our address towards it.
    pub source: Address,
    /// The port on the backend.
    pub backend_port: Be16,
    /// Our port.
    pub source_port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<NatKey>() == 40);

/// Value of the `NAT_FLOWS` map: whose port that is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NatFlow {
    /// The flow as the client sees it.
    pub flow: FlowKey,
    /// When the port was claimed, nanoseconds of the coarse `CLOCK_MONOTONIC`.
    pub claimed_at: u64,
    /// Index of the backend.
    pub backend: u32,
    /// TCP: FIN and RST, as far as the backend has sent them.
    pub ended: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<NatFlow>() == 56);

impl NatFlow {
    /// What of a segment's flags is to be noted in `ended`.
    #[inline(always)]
    #[must_use]
    pub const fn end(flags: u8) -> u8 {
        flags & (FIN | RST)
    }

    /// Whether another flow may have `port`, which is this one's, at `now`. `flow` is what
    /// is known of it; `quiet` one of [`NAT_QUIET`].
    #[inline(always)]
    #[must_use]
    pub fn is_free(&self, flow: Option<&Flow>, port: Be16, now: u64, quiet: u64) -> bool {
        let Some(flow) = flow.filter(|it| it.nat_port == port && it.backend == self.backend) else {
            return now.saturating_sub(self.claimed_at) > NOTED_WITHIN;
        };
        let both_have_said_so = flow.state == FlowState::Closing as u8 && self.ended & FIN != 0;
        let is_ended =
            flow.state == FlowState::Closed as u8 || both_have_said_so || self.ended & RST != 0;
        flow.is_over(self.flow.protocol, now)
            || (is_ended && now.saturating_sub(flow.seen_at) > quiet)
    }
}

/// Whether a port is one that `fullnat` sends from.
#[inline(always)]
#[must_use]
pub const fn is_nat_port(port: Be16) -> bool {
    (port.get().wrapping_sub(NAT_PORT) as usize) < SHARE_PLACES
}

/// Where a flow looks for a port, one after the other: at the one that it had, else at a
/// place of its own.
#[derive(Clone, Copy, Debug)]
pub struct NatPorts {
    place: u32,
    step: u32,
}

impl NatPorts {
    /// Of a flow that had `port`; 0: it had none.
    #[inline(always)]
    #[must_use]
    pub fn of(flow: &FlowKey, port: Be16) -> Self {
        let (place, step) = flow.places();
        let place = if is_nat_port(port) {
            u32::from(port.get() - NAT_PORT)
        } else {
            place
        };
        Self { place, step }
    }

    /// The next one.
    #[inline(always)]
    #[must_use]
    pub fn turn(&mut self) -> Be16 {
        #[expect(clippy::cast_possible_truncation, reason = "below SHARE_PLACES")]
        let port = Be16::new(NAT_PORT + self.place as u16);
        self.place = next_place(self.place, self.step);
        port
    }
}

// SAFETY: `NatKey` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for NatKey {}
// SAFETY: as above, of `NatFlow`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for NatFlow {}

#[cfg(test)]
mod tests;
