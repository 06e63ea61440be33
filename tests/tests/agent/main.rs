//! The real agent and the real program, on real traffic in namespaces.

mod bystanders;
mod commands;
mod failback;
mod flows;
mod fullnat;
mod lease;
mod network;
mod packets;
mod scale;
mod standby;
mod survival;
mod takeover;
mod tunnel;
mod untold;
mod world;
