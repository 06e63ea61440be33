//! When the kernel says that something arrived. So a thread need not be awake for it,
//! and its own delay, some tens of microseconds, is not part of the result.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context as _, Result};
use lab::clock;
use nix::sys::socket::{ControlMessageOwned, RecvMsg, SockaddrLike, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Reads the kernel's stamps, which are wall-clock time, as [`clock`] would.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    /// How far the wall clock is ahead.
    ahead_ns: i128,
}

impl Stamps {
    pub(super) fn new() -> Result<Self> {
        // Of a few readings the one that was disturbed least.
        let mut best = None;
        for _ in 0..16 {
            let before = clock::now_ns();
            let realtime = nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME)?);
            let took = clock::now_ns() - before;
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, realtime - i128::from(before + took / 2)));
            }
        }
        let ahead_ns = best.map(|(_, ahead)| ahead).context("no clock")?;
        Ok(Self { ahead_ns })
    }

    /// Has the kernel stamp what arrives at a socket.
    pub(super) fn turn_on(socket: &(impl AsFd + AsRawFd)) -> Result<()> {
        Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
    }

    /// When the message arrived; its newest byte, of a stream.
    pub(super) fn arrival<S: SockaddrLike>(&self, message: &RecvMsg<'_, '_, S>) -> Result<u64> {
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(nanoseconds(stamp)),
            _ => None,
        });
        match stamp {
            Some(stamp) => Ok(u64::try_from(stamp - self.ahead_ns)?),
            // The switch that makes the kernel stamp takes effect a moment after it is
            // turned on.
            None => Ok(clock::now_ns()),
        }
    }
}

fn nanoseconds(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}
