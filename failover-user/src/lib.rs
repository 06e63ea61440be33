//! The agent and what it is made of.
//!
//! A decision's way, one file a stage:
//!
//! ```text
//! config -> probe, network -> health -> policy -> controller -> dataplane -> maps
//! ```

pub mod agent;
pub mod api;
pub mod budget;
pub mod config;
pub mod controller;
pub mod damping;
pub mod dataplane;
pub mod event;
pub mod health;
pub mod heartbeat;
pub mod hook;
mod http;
pub mod maglev;
#[cfg(test)]
mod namespace;
pub mod network;
pub mod policy;
pub mod probe;
pub mod promotion;
pub mod store;
pub mod sweep;
