//! The task that follows the way to each backend.
//!
//! It owns the subscription to the kernel's events, a connection for lookups,
//! and the [`State`] of both. Cancelling it closes the sockets; a new one starts
//! from a full reading.

use std::{net::IpAddr, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    Change, Error, Netlink,
    state::State,
    subscription::{Read, Subscription},
};

/// How often the kernel is asked again for what it does not know: its own pace
/// of ARP and neighbour discovery probes (`retrans_time`).
const ASK: Duration = Duration::from_secs(1);

/// Most datagrams of events before changes are told: some milliseconds' worth,
/// so that an endless flood of routes does not keep a link that went down.
const BATCH: usize = 1024;

/// Follows the way to backends.
pub struct Watcher {
    subscription: Subscription,
    netlink: Netlink,
    state: State,
    /// Events were lost: the tables are to be read anew.
    lost: bool,
}

impl Watcher {
    /// A watcher of the backends at `addresses`; the index there is the backend
    /// in its changes. Subscribes in the network namespace of the calling
    /// thread; needs a tokio runtime.
    pub fn new(addresses: Vec<IpAddr>) -> Result<Self, Error> {
        Ok(Self {
            subscription: Subscription::open()?,
            netlink: Netlink::open()?,
            state: State::new(addresses),
            lost: true,
        })
    }

    /// Tells every backend and interface once, then whatever changes, until
    /// nobody listens. What one turn brought about is one batch: all the backends
    /// behind an interface that went down.
    pub async fn run(mut self, changes: mpsc::Sender<Vec<Change>>) -> Result<(), Error> {
        let mut tick = interval(ASK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let drained = self.drain()?;
            // After the old events, which would undo it; newer ones queue up.
            if drained && std::mem::take(&mut self.lost) {
                let links = self.netlink.read_links().await?;
                self.state
                    .replace(links, self.netlink.read_neighbours().await?);
            }
            let batch = self.state.changes();
            if !batch.is_empty() && changes.send(batch).await.is_err() {
                return Ok(());
            }
            // One request a turn: with a thousand backends to look up, a link
            // that goes down waits for one of them, not for all.
            if let Some((backend, address)) = self.state.next_lookup() {
                self.state
                    .route(backend, self.netlink.look_up(address).await?);
                continue;
            }
            if let Some(hop) = self.state.next_kick() {
                if let Err(error) = self.netlink.kick(hop.ifindex, hop.address).await {
                    // The interface went away or down meanwhile; the tick asks again.
                    log::debug!("{} on interface {}: {error:?}", hop.address, hop.ifindex);
                }
                continue;
            }
            tokio::select! {
                read = self.subscription.next() => self.take(read?),
                _ = tick.tick() => self.state.tick(),
                () = changes.closed() => return Ok(()),
            }
        }
    }

    /// Takes in the events there are, at most [`BATCH`], so that a burst is told
    /// by its end. Whether that was all.
    fn drain(&mut self) -> Result<bool, Error> {
        for _ in 0..BATCH {
            match self.subscription.try_next()? {
                Some(read) => self.take(read),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn take(&mut self, read: Read) {
        match read {
            Read::Events(events) => events.into_iter().for_each(|event| self.state.apply(event)),
            Read::Overrun => {
                log::warn!("netlink events were lost: reading everything again");
                self.lost = true;
            }
        }
    }
}
