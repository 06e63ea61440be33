//! The parts of the packet path that touch neither maps nor helpers: they are
//! tested on the host, and the BPF program is built from the same source.

#![cfg_attr(not(test), no_std)]

pub mod carried;
pub mod checksum;
pub mod ethernet;
pub mod extended;
pub mod frame;
pub mod hop;
pub mod icmp;
pub mod limit;
pub mod outer;
pub mod parse;
pub mod quote;
pub mod reply;
pub mod segment;
pub mod too_big;
