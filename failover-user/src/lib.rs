//! The agent: it checks the backends and moves services between them.

pub mod config;
pub mod dataplane;
