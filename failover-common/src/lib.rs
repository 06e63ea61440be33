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
mod event;
mod service;
mod verdict;

pub use address::{Address, Be16};
pub use backend::{Backend, Hold, Holds, NAME_LEN};
pub use counters::{BackendCounters, Counter};
pub use event::NextHopMissing;
pub use service::{
    Forward, MAX_BACKENDS_PER_SERVICE, Reverse, ReverseKey, Service, ServiceBackend, ServiceKey,
};
pub use verdict::{Action, Verdict};

/// Version of the map layout. Raised by every change of a type in this crate
/// or of what a field means: pinned maps of another layout are replaced, never
/// read.
pub const LAYOUT: u32 = 1;

/// Most backends an agent can hold: the size of the `BACKENDS` map.
pub const MAX_BACKENDS: usize = 4096;

/// Most services an agent can hold: the size of the `SERVICES` and `REVERSE` maps.
pub const MAX_SERVICES: usize = 16_384;
