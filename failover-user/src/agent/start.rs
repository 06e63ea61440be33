//! How an agent starts: from what is there, in an order that no packet notices.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use failover_common::{Forward, NAT_PORTS};
use log::{error, info};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::Instant,
};

use super::{Agent, Inputs, hooks::Hooks, network::watch, now};
use crate::{
    api,
    config::Config,
    controller::{Anchor, Controller, Past},
    dataplane::{
        Dataplane,
        kernel::{Kernel, Sizes},
    },
    event::{Event, History, What},
    heartbeat::{Notice, Rescue, Sender},
    network::{CHANGES, Change, Netlink},
    store::{Store, StoreError},
    sweep::Sweeper,
};

/// Events a slow follower may lag behind before it loses some.
const FOLLOWERS: usize = 1024;

/// How long a start waits for neighbours that do not answer.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The same where an earlier agent has left the ways to all it knew in the maps.
const GLANCE: Duration = Duration::from_millis(20);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
///
/// It cannot start. Once it runs, it goes on whatever happens.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let names: Vec<String> = links.iter().map(|(name, _)| name.clone()).collect();
    config.check_interfaces(&names)?;
    check_forwarding(&config)?;
    check_ports(&config)?;
    let listener = api::bind(&config.agent.api, config.agent.api_group.as_deref())?;

    // The pins are locked from here on, and the store with them.
    let sizes = Sizes {
        flows: config.flows(),
        nat_flows: config.nat_flows(),
        shares: config.share_rows(),
    };
    let mut kernel = Kernel::open(&config.agent.pin_path, sizes)?;
    let (maps, current) = kernel.maps()?;
    let adopted = !current.services.is_empty();
    let mut store = Store::open(&config.agent.state)?;
    let past = recall(&mut store)?;
    let mut journal = store.journal();
    let mut history = History::default();
    journal
        .read()
        .into_iter()
        .for_each(|event| history.push(event));
    let controller = Controller::recalled(config, &current, &past, anchor(), now());
    let (hooks, ended, mut saved) = Hooks::new(store);
    let mut flows = None;
    if controller.config().flows() > 0 {
        let table = Arc::new(kernel.flows()?);
        let sweeper = Sweeper::start(Arc::clone(&table), maps.entries(), maps.services())?;
        flows = Some((table, sweeper));
    }
    let mut agent = Agent {
        entries: maps.entries(),
        services: maps.services(),
        epoch: kernel.epoch()?,
        dataplane: Dataplane::new(maps, current),
        counters: kernel.counters()?,
        controller,
        history,
        journal,
        hooks,
        followers: broadcast::channel(FOLLOWERS).0,
        kicked: HashMap::new(),
        interfaces: Vec::new(),
        started: now(),
        flows,
        swept: Vec::new(),
        apply_again: None,
        kernel,
        netlink,
    };
    let (changes, mut observed) = mpsc::channel(CHANGES);
    let mut tasks = JoinSet::new();
    tasks.spawn(watch(agent.addresses(), changes));
    let succeeding = agent.is_succeeding(&links).await?;
    let patience = if succeeding { GLANCE } else { LOOK_AROUND };
    agent.look_around(&mut observed, patience).await;
    // A promotion that was on its way goes on, though nothing may change any more.
    agent.controller.settle(now());
    // The maps first, then the program that reads them.
    agent.apply();
    // A hook that is due does not wait for that program.
    if agent.hooks.is_saving()
        && let Some(saved) = saved.recv().await
    {
        agent.saved(saved);
    }
    let (told, heartbeats) = mpsc::unbounded_channel();
    // It takes a while until the kernel has verified ours. Where the last agent's program
    // is at work, it notes the answers meanwhile.
    let mut sender = None;
    if succeeding {
        sender = Some(agent.send_heartbeats(told.clone())?);
    }
    agent.kernel.load()?;
    agent.attach(&links).await?;
    agent.kernel.finish()?;
    agent.own_addresses().await?;
    agent.record(Event::new(now(), What::Started { adopted }));
    let sender = match sender {
        Some(sender) => sender,
        None => agent.send_heartbeats(told)?,
    };
    let inputs = Inputs {
        heartbeats,
        observed,
        ended,
        saved,
    };
    let result = agent.serve(listener, inputs, tasks).await;
    drop(sender);
    info!("the agent stops; the data path goes on as it is (failover detach removes it)");
    result
}

impl Agent {
    fn addresses(&self) -> Vec<IpAddr> {
        let backends = &self.controller.config().backends;
        backends.iter().map(|backend| backend.address).collect()
    }

    /// Learns the way to every backend before the program sees a packet, so that
    /// maps which are new do not drop any. Not for long: a backend that is dead
    /// never answers.
    async fn look_around(
        &mut self,
        observed: &mut mpsc::Receiver<Vec<Change>>,
        patience: Duration,
    ) {
        let enough = Instant::now() + patience;
        while self
            .controller
            .desired()
            .backends
            .values()
            .any(|entry| entry.ifindex == 0)
        {
            match tokio::time::timeout_at(enough, observed.recv()).await {
                Ok(Some(changes)) => {
                    let worse = self.reached(&changes, false);
                    let better = self.reached(&changes, true);
                    if worse || better {
                        self.controller.settle(now());
                    }
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Whether on each of our interfaces there is a program that works on our maps.
    async fn is_succeeding(&self, links: &[(String, u32)]) -> anyhow::Result<bool> {
        let ours = &self.controller.config().agent.interfaces;
        for (_, ifindex) in links.iter().filter(|(name, _)| ours.contains(name)) {
            let program = self.netlink.xdp_program(*ifindex).await?;
            if !program.is_some_and(|program| self.kernel.is_used_by(program)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts the sender; it ends with what is returned.
    fn send_heartbeats(&mut self, told: mpsc::UnboundedSender<Notice>) -> anyhow::Result<Sender> {
        let rescue = Rescue::new(
            self.entries.clone(),
            self.kernel.syns()?,
            self.services.clone(),
        );
        Sender::start(&self.targets(), self.entries.clone(), Some(rescue), told)
            .context("cannot send heartbeats")
    }
}

/// What an earlier agent knew. If that cannot be read, nothing is promoted.
fn recall(store: &mut Store) -> anyhow::Result<Past> {
    match store.load() {
        Ok(Some(kept)) => Ok(Past::Kept(kept)),
        Ok(None) => Ok(Past::Nothing),
        Err(error @ StoreError::Broken { .. }) => {
            error!("{error}");
            Ok(Past::Unreadable)
        }
        Err(error @ StoreError::Unusable { .. }) => Err(error.into()),
    }
}

/// The wall clock, as of now.
fn anchor() -> Anchor {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock that stands before 1970 is as good as none.
    Anchor(wall.unwrap_or_default().saturating_sub(now()))
}

/// The answers of `nat` and `fullnat` find their way by the kernel's routes, which it only
/// looks up where it forwards.
fn check_forwarding(config: &Config) -> anyhow::Result<()> {
    for service in &config.services {
        if !matches!(service.forward, Forward::Nat | Forward::FullNat) {
            continue;
        }
        let family = if service.address.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        };
        for interface in &config.agent.interfaces {
            let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
            let value =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            if value.trim() == "0" {
                bail!(
                    "service `{}` uses {}, but {interface} does not forward {family}: write `sysctl -w net.{family}.conf.{}.forwarding=1`",
                    service.name,
                    service.forward.name(),
                    interface.replace('.', "/")
                );
            }
        }
    }
    Ok(())
}

/// The ports of `fullnat` must be nobody else's: what comes to them goes to clients.
fn check_ports(config: &Config) -> anyhow::Result<()> {
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    if config.nat_flows() == 0 {
        return Ok(());
    }
    let text = std::fs::read_to_string(RANGE).with_context(|| format!("cannot read {RANGE}"))?;
    let ports: Vec<u16> = text.split_whitespace().flat_map(str::parse).collect();
    let (first, last) = NAT_PORTS.into_inner();
    if !matches!(ports.as_slice(), [low, high] if *low > last || *high < first) {
        bail!(
            "fullnat needs the ports {first} to {last}, which this host gives to anybody (net.ipv4.ip_local_port_range is {}): write `sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"`",
            ports
                .iter()
                .map(u16::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    Ok(())
}
