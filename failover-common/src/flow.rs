use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16};

/// Flows that are remembered where the configuration does not say how many, and most
/// that it may say. The kernel needs 144 bytes for each.
pub const FLOWS: u32 = 131_072;
/// As above.
pub const MAX_FLOWS: u32 = 16_777_216;

/// Of so many flows one has a place in the table of new ones.
pub const FLOWS_PER_NEW: u32 = 8;

/// Places in a [`Shares`]. A prime, for which every step visits every place. A hundred times
/// as many as backends make it even (Maglev, NSDI '16, section 5.3); ten times that keep
/// what moves besides, when a backend is taken out, below one flow in a hundred.
pub const SHARE_PLACES: usize = 16_381;

/// How many places of a [`Shares`] a new flow tries before it takes the first backend of
/// the tier that may serve. Half of them dead, one flow in 65,536 finds nobody; all but one
/// dead, there is nothing left to spread.
pub const TRIES: u32 = 16;

/// One entry of the `SHARES` map: the backends of one tier of one service, each in as many
/// places as its weight allows (Maglev, section 3.4). What is there is an index into
/// `BACKENDS`; one that the service does not have stands for nobody.
pub type Shares = [u16; SHARE_PLACES];

/// Key of the maps of flows: who talks to whom, as the client sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    /// The client.
    pub client: Address,
    /// The VIP.
    pub vip: Address,
    /// The client's port.
    pub client_port: Be16,
    /// The port it asked for.
    pub vip_port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// Where this flow begins to look in a [`Shares`], and by which step it goes on where
    /// it cannot stay. The same on every director and from one start to the next.
    #[inline(always)]
    #[must_use]
    pub fn places(&self) -> (u32, u32) {
        // As in the packet: the same number on every machine.
        let [a, b] = self.client.words().map(u64::to_be);
        let [c, d] = self.vip.words().map(u64::to_be);
        let [p0, p1] = self.client_port.0;
        let [q0, q1] = self.vip_port.0;
        let ports = u32::from_be_bytes([p0, p1, q0, q1]);
        let last = u64::from(ports) << 8 | u64::from(self.protocol);
        let mut hash = 0;
        for word in [a, b, c ^ d.rotate_left(32), last] {
            // Odd constants of high entropy, as in splitmix64: multiply and fold.
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^= hash >> 31;
        let size = SHARE_PLACES as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below the table's size")]
        let places = (
            ((hash >> 32) % size) as u32,
            ((hash & 0xffff_ffff) % (size - 1) + 1) as u32,
        );
        places
    }
}

/// The place after this one; see [`FlowKey::places`].
#[inline(always)]
#[must_use]
pub const fn next_place(place: u32, step: u32) -> u32 {
    let next = place + step;
    #[expect(clippy::cast_possible_truncation, reason = "16381")]
    if next >= SHARE_PLACES as u32 {
        next - SHARE_PLACES as u32
    } else {
        next
    }
}

/// Value of the maps of flows: which backend has the flow, and how far it is. Only packets
/// of the client are seen everywhere, so only they count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// When the client's newest packet came, nanoseconds of the coarse
    /// `CLOCK_MONOTONIC`.
    pub seen_at: u64,
    /// Index into the `BACKENDS` map.
    pub backend: u32,
    /// What the client has acknowledged last, as in the packet: the sequence number of a
    /// reset that its kernel accepts (RFC 5961, section 3.2).
    pub acknowledgment: [u8; 4],
    /// A [`FlowState`].
    pub state: u8,
    /// 1: `acknowledgment` is known.
    pub acknowledged: u8,
    /// Our port towards the backend (`fullnat`); 0: there is none.
    pub nat_port: Be16,
    /// Zero.
    pub reserved: [u8; 4],
}

const _: () = assert!(size_of::<Flow>() == 24);

impl Flow {
    /// Whether nothing came for so long that it is over.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(&self, protocol: u8, now: u64) -> bool {
        now.saturating_sub(self.seen_at) > FlowState::timeout(self.state, protocol)
    }

    /// Whether nothing but its first packet, or SYNs, was seen.
    #[inline(always)]
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.state == FlowState::New as u8
    }

    /// Whether a SYN may be the beginning of another connection of the same ports.
    #[inline(always)]
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.state != FlowState::Established as u8
    }
}

/// How far a flow is, from the client's packets.
///
/// ```text
///   first packet          any but SYN           FIN
///  -------------> New ------------------> Established ----> Closing
///                  |                       |   ^              |
///                  |          RST          |   | not closed   | RST
///                  +------------------> Closed-+ after all <--+
/// ```
///
/// A SYN changes nothing: anybody can forge one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// There was one packet, or nothing but SYNs. In the table of new flows.
    New = 0,
    /// There were more.
    Established = 1,
    /// TCP: the client has nothing more to say.
    Closing = 2,
    /// TCP: the client has ended it. Anybody can forge that too: a packet of the same flow
    /// shows that it has not.
    Closed = 3,
}

/// What a packet of the client says about its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// TCP: it begins.
    Syn,
    /// Data, an acknowledgment, a datagram.
    Plain,
    /// TCP: FIN.
    Fin,
    /// TCP: RST.
    Rst,
}

impl Segment {
    /// Of these TCP flags (RFC 9293, section 3.1), or of a datagram, which has none.
    #[inline(always)]
    #[must_use]
    pub const fn of(flags: u8) -> Self {
        const FIN: u8 = 1;
        const SYN: u8 = 1 << 1;
        const RST: u8 = 1 << 2;
        if flags & RST != 0 {
            Self::Rst
        } else if flags & SYN != 0 {
            Self::Syn
        } else if flags & FIN != 0 {
            Self::Fin
        } else {
            Self::Plain
        }
    }
}

const SECOND: u64 = 1_000_000_000;

impl FlowState {
    /// Every state, at the index that is its number.
    pub const ALL: [Self; 4] = [Self::New, Self::Established, Self::Closing, Self::Closed];

    /// The one after a packet. What is no state counts as [`FlowState::New`].
    #[inline(always)]
    #[must_use]
    pub const fn next(state: u8, segment: Segment) -> u8 {
        const NEW: u8 = FlowState::New as u8;
        const CLOSING: u8 = FlowState::Closing as u8;
        let next = match (state, segment) {
            (NEW, Segment::Syn) => Self::New,
            (_, Segment::Syn) => return state,
            (_, Segment::Rst) => Self::Closed,
            (_, Segment::Fin) | (CLOSING, Segment::Plain) => Self::Closing,
            (_, Segment::Plain) => Self::Established,
        };
        next as u8
    }

    /// How long a flow lasts without a packet of the client, nanoseconds. TCP: RFC 5382,
    /// section 5 (REQ-5: two hours and four minutes, and four minutes where it begins or
    /// ends) and RFC 7857, section 2 (the same four minutes after a RST); of UDP RFC 4787,
    /// section 4.3 (REQ-5: two minutes at least, five recommended). A datagram alone, what
    /// Linux gives it (`nf_conntrack_udp_timeout`: 30 s).
    #[inline(always)]
    #[must_use]
    pub const fn timeout(state: u8, protocol: u8) -> u64 {
        const UDP: u8 = 17;
        const NEW: u8 = FlowState::New as u8;
        const ESTABLISHED: u8 = FlowState::Established as u8;
        match (protocol, state) {
            (UDP, NEW) => 30 * SECOND,
            (UDP, _) => 300 * SECOND,
            (_, ESTABLISHED) => 7440 * SECOND,
            (_, _) => 240 * SECOND,
        }
    }
}

/// What becomes of flows whose backend has died: the number is
/// [`Service::on_failure`](crate::Service::on_failure). UDP is always forwarded.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// They go on to another backend, whose kernel answers TCP it does not know with RST.
    Forward = 0,
    /// The client is told at once, with a RST.
    Reset = 1,
    /// Their packets are dropped.
    Drop = 2,
}

impl OnFailure {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Reset, Self::Drop];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reset => "reset",
            Self::Drop => "drop",
        }
    }
}

// SAFETY: `FlowKey` is `Pod` for bytemuck: any bytes are a value, and it has no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for FlowKey {}
// SAFETY: as above, of `Flow`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Flow {}

#[cfg(test)]
mod tests;
