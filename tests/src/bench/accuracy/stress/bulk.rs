//! Bulk traffic through the director's interface: one connection that is always full,
//! in frames as long as the network takes them.
//!
//! The kernel paces it, at whatever moment: it stands for traffic of other machines,
//! which this one's load does not hold back.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::libc;

use super::super::worker::{Worker, sleep};
use super::super::world::{BULK_PORT, World};

/// Bytes of one write.
const CHUNK: usize = 64 * 1024;

/// For a connection, and for one write: one that a takeover has broken must not keep
/// the traffic away.
const PATIENCE: Duration = Duration::from_millis(500);

/// Until the next attempt to connect.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Bulk {
    thread: Worker,
    sent: Arc<AtomicU64>,
}

impl Bulk {
    /// Sends so many megabits a second.
    pub(super) fn start(world: &World, rate: u32) -> Self {
        let to = world.vip(BULK_PORT);
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let namespace = world.lab.client.namespace();
        let thread = Worker::start(Some(namespace), move |stop| {
            while !stop.load(Ordering::Relaxed) {
                // A connection ends with the backend it is to; the next one follows.
                let _broken = send(to, rate, &count, stop);
                sleep(PAUSE, stop);
            }
            Ok(())
        });
        Self { thread, sent }
    }

    pub(super) fn check(&mut self) -> Result<()> {
        self.thread.check()
    }

    /// What has been taken by the network so far.
    pub(super) fn bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn send(to: SocketAddr, rate: u32, sent: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let mut connection = TcpStream::connect_timeout(&to, PATIENCE)?;
    connection.set_write_timeout(Some(PATIENCE))?;
    pace(&connection, rate)?;
    let chunk = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        let taken = connection.write(&chunk)?;
        sent.fetch_add(taken as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Has the kernel send so many megabits a second.
fn pace(connection: &TcpStream, rate: u32) -> Result<()> {
    // The kernel wants bytes.
    let rate = rate.saturating_mul(1_000_000 / 8);
    // SAFETY: the pointer and the length are those of `rate`, which the kernel reads.
    Errno::result(unsafe {
        libc::setsockopt(
            connection.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            libc::socklen_t::try_from(size_of_val(&rate))?,
        )
    })?;
    Ok(())
}
