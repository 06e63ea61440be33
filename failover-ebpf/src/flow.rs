//! Which backend has which flow. There are two tables, so that a flood of SYNs, or of
//! anything else that never comes twice, pushes out nothing but others of its kind: a flow
//! is in `NEW_FLOWS` until its second packet, and in `FLOWS` from then on.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use failover_common::{Be16, Flow, FlowKey, FlowState, Segment};
use failover_ebpf::{
    frame::Frame as _,
    parse::{ACK, Packet, TCP},
};

use crate::{
    context::Context,
    maps::{FLOWS, NEW_FLOWS},
};

/// The flow of a client's packet.
#[inline(always)]
pub(crate) fn key(packet: &Packet) -> FlowKey {
    FlowKey {
        client: packet.source,
        vip: packet.destination,
        client_port: packet.source_port,
        vip_port: packet.destination_port,
        protocol: packet.protocol,
        reserved: [0; 3],
    }
}

/// A flow that is known.
pub(crate) struct Known {
    entry: *mut Flow,
    /// As it was found.
    pub(crate) flow: Flow,
    is_new: bool,
}

/// Looks for a flow. Both maps may hand the place of an entry to another flow while it
/// is in use here: both are in a flood then, and either may meet the other's backend once.
#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<Known> {
    let (entry, is_new) = match FLOWS.get_ptr_mut(key) {
        Some(entry) => (entry, false),
        None => (NEW_FLOWS.get_ptr_mut(key)?, true),
    };
    Some(Known {
        entry,
        // SAFETY: valid as long as the program runs (RCU); any bytes are a value.
        flow: unsafe { *entry },
        is_new,
    })
}

/// Index of the backend that has a flow, if anybody has.
#[inline(always)]
pub(crate) fn holder(key: &FlowKey) -> Option<u32> {
    let found = find(key)?;
    (!found.flow.is_over(key.protocol, now())).then_some(found.flow.backend)
}

impl Known {
    /// A packet of it goes to `backend`, and says this.
    #[inline(always)]
    pub(crate) fn goes_on(&self, key: &FlowKey, backend: u32, said: &Said) {
        let flow = Flow {
            seen_at: said.at,
            backend,
            state: FlowState::next(self.flow.state, said.segment),
            ..said.noted(self.flow)
        };
        if self.is_new && flow.state != FlowState::New as u8 {
            // Refused: it stays among the new ones, and the next packet tries again.
            if FLOWS.insert(key, flow, 0).is_ok() {
                let _ = NEW_FLOWS.remove(key);
            }
            return;
        }
        // SAFETY: as in `find`.
        unsafe { *self.entry = flow };
    }

    /// It begins anew, with `backend`, and with the port that it had if that is still free.
    #[inline(always)]
    pub(crate) fn begins_again(&self, backend: u32, said: &Said) {
        let flow = Flow {
            nat_port: self.flow.nat_port,
            ..said.first(backend)
        };
        // SAFETY: as in `find`.
        unsafe { *self.entry = flow };
    }

    /// It has this port of ours towards its backend.
    #[inline(always)]
    pub(crate) fn has_port(&self, port: Be16) {
        // SAFETY: as in `find`.
        unsafe { (&raw mut (*self.entry).nat_port).write_volatile(port) };
    }

    /// Its backend is gone, and the client is told so.
    #[inline(always)]
    pub(crate) fn ends(&self, said: &Said) {
        let flow = Flow {
            seen_at: said.at,
            state: FlowState::Closed as u8,
            ..self.flow
        };
        // SAFETY: as in `find`.
        unsafe { *self.entry = flow };
    }
}

/// Begins to remember a flow; whether it could.
#[inline(always)]
pub(crate) fn remember(key: &FlowKey, backend: u32, said: &Said) -> bool {
    NEW_FLOWS.insert(key, said.first(backend), 0).is_ok()
}

/// Another backend has accepted the connection than the one that its SYN went to first.
#[inline(always)]
pub(crate) fn accepted(key: &FlowKey, backend: u32) {
    if let Some(known) = find(key)
        && known.flow.backend != backend
    {
        // SAFETY: as in `find`.
        unsafe { (&raw mut (*known.entry).backend).write_volatile(backend) };
    }
}

/// What a packet of the client says about its flow.
pub(crate) struct Said {
    pub(crate) at: u64,
    pub(crate) segment: Segment,
    /// What it acknowledges, if anything.
    acknowledgment: Option<[u8; 4]>,
}

impl Said {
    #[inline(always)]
    pub(crate) fn by(context: &Context, packet: &Packet) -> Self {
        let is_segment = packet.protocol == TCP && !packet.headless;
        let acknowledges = is_segment && packet.flags & ACK != 0;
        Self {
            at: now(),
            segment: if is_segment {
                Segment::of(packet.flags)
            } else {
                Segment::Plain
            },
            acknowledgment: if acknowledges {
                context.load(packet.l4 + 8)
            } else {
                None
            },
        }
    }

    /// What is remembered of a flow that begins with it.
    #[inline(always)]
    fn first(&self, backend: u32) -> Flow {
        self.noted(Flow {
            seen_at: self.at,
            backend,
            acknowledgment: [0; 4],
            state: FlowState::New as u8,
            acknowledged: 0,
            nat_port: Be16::ZERO,
            reserved: [0; 4],
        })
    }

    /// The flow with what the client has acknowledged, if that is more than before: a
    /// segment that was overtaken acknowledges less.
    #[inline(always)]
    fn noted(&self, flow: Flow) -> Flow {
        let Some(acknowledgment) = self.acknowledgment else {
            return flow;
        };
        let (new, old) = (
            u32::from_be_bytes(acknowledgment),
            u32::from_be_bytes(flow.acknowledgment),
        );
        if flow.acknowledged != 0 && new.wrapping_sub(old) > 1 << 31 {
            return flow;
        }
        Flow {
            acknowledgment,
            acknowledged: 1,
            ..flow
        }
    }
}

/// `CLOCK_MONOTONIC` as of the last tick, some milliseconds late at most: cheap, and
/// timeouts are in seconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: only reads a clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}
