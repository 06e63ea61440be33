//! Types that both sides of the kernel boundary share.
//!
//! Everything that is stored in a map is `#[repr(C)]`, has explicit zeroed
//! padding and a size that is asserted here. There is no `bool`, `Option` or
//! data enum among them: the kernel side must be able to read whatever bytes it
//! finds.

#![cfg_attr(not(test), no_std)]

mod address;
mod backend;
mod counters;
mod decap;
mod event;
mod flow;
mod fragment;
mod hint;
mod lease;
mod nat;
mod pair;
mod service;
mod stage;
mod syn;
mod table;
mod verdict;

pub use address::{Address, Be16};
pub use backend::{Backend, Hold, Holds, NAME_LEN, RING};
pub use counters::{BackendCounters, Counter};
pub use decap::{DecapVerdict, MAX_DIRECTORS};
pub use event::{News, NewsKind};
pub use flow::{
    FLOWS, FLOWS_PER_NEW, Flow, FlowKey, FlowState, MAX_FLOWS, OnFailure, SHARE_PLACES, Segment,
    Shares, TRIES, next_place,
};
pub use fragment::{Fragment, FragmentKey};
pub use hint::{HINTS, Hint, hint_place};
pub use lease::{HEARTBEAT_PORT, HeartbeatKind, Live, Pulse, Signal, slot};
pub use nat::{
    NAT_LOCKS, NAT_PORT, NAT_PORTS, NAT_QUIET, NAT_TRIES, NatFlow, NatKey, NatPorts, is_nat_port,
};
pub use pair::{Pair, REFUSED, STRIKE_WINDOW, SYNS, SYNS_TIME, Strikes, UNANSWERED, UNREACHABLE};
pub use service::{
    DuringSwitch, Forward, GUE_PORT, MAX_BACKENDS_PER_SERVICE, Reverse, ReverseKey, Service,
    ServiceBackend, ServiceKey,
};
pub use stage::Stage;
pub use syn::{MAX_OPTIONS, SYN_WAYS, Syn};
pub use table::{PROBES, Place, Slot, TableKey, find, find_soon, first_place, hash, places};
pub use verdict::{Action, Verdict};

/// Version of the map layout. Raised by every change of a type in this crate
/// or of what a field means: pinned maps of another layout are replaced, never
/// read.
pub const LAYOUT: u32 = 8;

/// Most backends an agent can hold: the size of the `BACKENDS` map.
pub const MAX_BACKENDS: usize = 4096;

/// Most services an agent can hold, and most reverse entries. `SERVICES` has as many
/// entries again, for their addresses.
pub const MAX_SERVICES: usize = 16_384;

/// Size of the `SERVICES` map, and of `REVERSE`: some more slots than are ever in use, for
/// what is being replaced.
pub const SERVICE_SLOTS: usize = 2 * MAX_SERVICES + 1024;
/// As above.
pub const REVERSE_SLOTS: usize = MAX_SERVICES + 1024;

/// Places of the `SERVICES` map, a power of two: at most a quarter is in use, so that nearly
/// every key lies where it is looked for first.
pub const SERVICE_BITS: u32 = 17;
/// As above, of `REVERSE`.
pub const REVERSE_BITS: u32 = 16;

/// Most datagrams whose fragments are told apart: the size of the `FRAGMENTS` map. A
/// datagram takes one while its fragments arrive, some microseconds to milliseconds.
pub const MAX_FRAGMENTS: usize = 4096;

/// Most pairs of a service and a backend: the size of the `PAIRS` map.
pub const MAX_PAIRS: usize = 65_536;

/// Most ways to clients that each CPU remembers, a power of two.
pub const MAX_WAYS: u32 = 8192;

/// Most unanswered SYNs that are remembered: the size of the `SYNS` map.
pub const MAX_SYNS: usize = 4096;
