//! What the network does: next hops, links and addresses.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::Context as _;
use log::{error, info, warn};
use tokio::sync::mpsc;

use super::{AGAIN, Agent, now};
use crate::{
    controller::status::InterfaceStatus,
    event::{Event, What},
    network::{Change, Reach, Watcher},
};

/// How often the kernel is asked at most to resolve one next hop.
const KICK_EVERY: Duration = Duration::from_secs(1);

/// Next hops of clients that are remembered as asked for; then all are forgotten.
const KICKED: usize = 4096;

impl Agent {
    /// One turn of the watcher: every backend that is worse off is held in the
    /// maps before any policy runs, or services would move to one that is gone
    /// too; then those that are back, then the interfaces.
    pub(super) async fn network_changed(&mut self, changes: Vec<Change>) {
        if changes.contains(&Change::Ways) {
            self.epoch.next();
        }
        let worse = self.reached(&changes, false);
        if worse {
            self.apply();
        }
        let better = self.reached(&changes, true);
        if worse || better {
            self.controller.settle(now());
        }
        // A new next hop needs no policy.
        self.apply();
        for change in changes {
            if let Change::Link {
                name,
                ifindex,
                present,
                up,
            } = change
            {
                self.link_changed(&name, ifindex, present, up).await;
            }
        }
    }

    /// Tells the controller of the backends that are `resolved`, or of those that
    /// are not. Whether any holds have changed. At one moment: none of them was
    /// held later than another.
    pub(super) fn reached(&mut self, batch: &[Change], resolved: bool) -> bool {
        let (mut changed, now) = (false, now());
        for change in batch {
            if let Change::Backend { backend, reach } = change
                && matches!(reach, Reach::Resolved(_)) == resolved
            {
                changed |= self.controller.reached(*backend, reach, now);
            }
        }
        changed
    }

    async fn link_changed(&mut self, name: &str, ifindex: u32, present: bool, up: bool) {
        if !self
            .controller
            .config()
            .agent
            .interfaces
            .iter()
            .any(|ours| ours == name)
        {
            return;
        }
        let words = if present { "present" } else { "gone" };
        let state = format!("{words}, {}", if up { "up" } else { "down" });
        self.record(Event::new(
            now(),
            What::Link {
                interface: name.to_owned(),
                state,
            },
        ));
        if !present {
            for interface in &mut self.interfaces {
                if interface.name == name {
                    "detached".clone_into(&mut interface.xdp);
                }
            }
        } else if self
            .interfaces
            .iter()
            .any(|i| i.name == name && i.xdp == "detached")
        {
            // It was deleted and made anew: our link went with the old one.
            if let Err(error) = self.attach(&[(name.to_owned(), ifindex)]).await {
                error!("{name} is back, but: {error:#}");
            }
            if let Err(error) = self.own_addresses().await {
                error!("{name} is back, but: {error:#}");
            }
        }
    }

    pub(super) async fn attach(&mut self, links: &[(String, u32)]) -> anyhow::Result<()> {
        let config = self.controller.config().agent.clone();
        for (name, ifindex) in links {
            if config.interfaces.contains(name) {
                self.kernel.attach(name, *ifindex, config.xdp_mode)?;
                let xdp = self.netlink.xdp_mode(*ifindex).await?;
                info!("{name}: the program runs in {xdp} mode");
                self.interfaces.retain(|interface| interface.name != *name);
                self.interfaces.push(InterfaceStatus {
                    name: name.clone(),
                    xdp: xdp.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Adds the VIPs, so that ARP, neighbour discovery and ping find them, and
    /// removes those of services that are gone.
    pub(super) async fn own_addresses(&self) -> anyhow::Result<()> {
        let config = self.controller.config();
        let vips: BTreeSet<IpAddr> = config
            .services
            .iter()
            .map(|service| service.address)
            .collect();
        let links = self.netlink.links().await?;
        let ours = links
            .iter()
            .filter(|(name, _)| config.agent.interfaces.contains(name));
        let interfaces: Vec<u32> = ours.map(|(_, ifindex)| *ifindex).collect();
        self.netlink
            .own_addresses(&interfaces, &vips)
            .await
            .context("cannot add the service addresses")
    }

    /// The data path could not answer a client: have the kernel find its next hop.
    pub(super) async fn resolve(&mut self, ifindex: u32, next_hop: IpAddr) {
        let key = (ifindex, next_hop);
        let now = now();
        if self
            .kicked
            .get(&key)
            .is_some_and(|last| now < *last + KICK_EVERY)
        {
            return;
        }
        if self.kicked.len() >= KICKED {
            self.kicked.clear();
        }
        self.kicked.insert(key, now);
        if let Err(error) = self.netlink.kick(key.0, key.1).await {
            warn!("cannot have {} resolved: {error}", key.1);
        }
    }
}

/// Watches the network, also after an error.
pub(super) async fn watch(addresses: Vec<IpAddr>, changes: mpsc::Sender<Vec<Change>>) {
    loop {
        let ended = match Watcher::new(addresses.clone()) {
            Ok(watcher) => watcher.run(changes.clone()).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => return,
            Err(error) => error!("neighbours and links are not watched for a while: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
