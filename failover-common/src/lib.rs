//! Types that both sides of the kernel boundary share.
//!
//! Everything that is stored in a map is `#[repr(C)]`, has explicit zeroed
//! padding and a size that is asserted here. There is no `bool`, `Option` or
//! data enum among them: the kernel side must be able to read whatever bytes it
//! finds.

#![no_std]

mod address;
mod backend;
mod counters;
mod decap;
mod event;
mod fragment;
mod lease;
mod pair;
mod service;
mod stage;
mod syn;
mod verdict;

pub use address::{Address, Be16};
pub use backend::{Backend, Hold, Holds, NAME_LEN, RING};
pub use counters::{BackendCounters, Counter};
pub use decap::{DecapVerdict, MAX_DIRECTORS};
pub use event::{News, NewsKind};
pub use fragment::{Fragment, FragmentKey};
pub use lease::{HEARTBEAT_PORT, HeartbeatKind, Live, Pulse, Signal, slot};
pub use pair::{Pair, REFUSED, STRIKE_WINDOW, SYNS, SYNS_TIME, Strikes, UNANSWERED, UNREACHABLE};
pub use service::{
    Forward, GUE_PORT, MAX_BACKENDS_PER_SERVICE, Reverse, ReverseKey, Service, ServiceBackend,
    ServiceKey,
};
pub use stage::Stage;
pub use syn::{MAX_OPTIONS, SYN_WAYS, Syn};
pub use verdict::{Action, Verdict};

/// Version of the map layout. Raised by every change of a type in this crate
/// or of what a field means: pinned maps of another layout are replaced, never
/// read.
pub const LAYOUT: u32 = 7;

/// Most backends an agent can hold: the size of the `BACKENDS` map.
pub const MAX_BACKENDS: usize = 4096;

/// Most services an agent can hold: the size of the `REVERSE` map. `SERVICES` has as
/// many entries again, for their addresses.
pub const MAX_SERVICES: usize = 16_384;

/// Most datagrams whose fragments are told apart: the size of the `FRAGMENTS` map. A
/// datagram takes one while its fragments arrive, some microseconds to milliseconds.
pub const MAX_FRAGMENTS: usize = 4096;

/// Most pairs of a service and a backend: the size of the `PAIRS` map.
pub const MAX_PAIRS: usize = 65_536;

/// Most unanswered SYNs that are remembered: the size of the `SYNS` map.
pub const MAX_SYNS: usize = 4096;
