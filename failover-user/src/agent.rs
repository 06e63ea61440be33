//! The agent: one task that owns every decision and the maps. Everything else
//! (probes, netlink, the API, the data path's news) only tells it something.
//!
//! Cancelling it leaves the data path as it is: fail static.

mod answers;
mod hooks;
mod leases;
mod news;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, bail};
use failover_common::Forward;
use log::{error, info, warn};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use self::{
    hooks::{Hooks, Id},
    leases::{AUDIT, Proofs},
    news::{News, pass_on_log},
};
use crate::{
    api,
    config::Config,
    controller::{Anchor, Controller, Past, status::InterfaceStatus},
    dataplane::{
        Dataplane,
        kernel::{Counters, Entries, Kernel, KernelMaps},
    },
    event::{Event, History, What},
    health::Sign,
    heartbeat::{Notice, Rescue, Sender},
    hook,
    network::{self, Change, Netlink, Reach, Watcher},
    probe::{self, Outcome, Prober, Report, icmp::Icmp},
    store::{Journal, Store, StoreError},
};

/// Events a slow follower may lag behind before it loses some.
const FOLLOWERS: usize = 1024;

/// How often the kernel is asked at most to resolve one next hop.
const KICK_EVERY: Duration = Duration::from_secs(1);

/// How long a start waits for neighbours that do not answer.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The same where an earlier agent has left the ways to all it knew in the maps.
const GLANCE: Duration = Duration::from_millis(20);

/// How soon something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Next hops of clients that are remembered as asked for; then all are forgotten.
const KICKED: usize = 4096;

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
    let listener = api::bind(&config.agent.api, config.agent.api_group.as_deref())?;

    // The pins are locked from here on, and the store with them.
    let mut kernel = Kernel::open(&config.agent.pin_path)?;
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
    let (hooks, ended) = Hooks::new(store);
    let mut agent = Agent {
        entries: maps.entries(),
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
        apply_again: None,
        kernel,
        netlink,
    };
    let (changes, mut observed) = mpsc::channel(network::CHANGES);
    let mut tasks = JoinSet::new();
    tasks.spawn(watch(agent.addresses(), changes));
    let succeeding = agent.is_succeeding(&links).await?;
    let patience = if succeeding { GLANCE } else { LOOK_AROUND };
    agent.look_around(&mut observed, patience).await;
    // The maps first, then the program that reads them.
    agent.apply();
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
    };
    let result = agent.serve(listener, inputs, tasks).await;
    drop(sender);
    info!("the agent stops; the data path goes on as it is (failover detach removes it)");
    result
}

/// What the agent hears from those that were at work before it serves.
struct Inputs {
    heartbeats: mpsc::UnboundedReceiver<Notice>,
    observed: mpsc::Receiver<Vec<Change>>,
    ended: mpsc::Receiver<hook::Report<Id>>,
}

struct Agent {
    kernel: Kernel,
    netlink: Netlink,
    dataplane: Dataplane<KernelMaps>,
    entries: Entries,
    counters: Counters,
    controller: Controller,
    history: History,
    journal: Journal,
    hooks: Hooks,
    followers: broadcast::Sender<Event>,
    kicked: HashMap<(u32, IpAddr), Duration>,
    interfaces: Vec<InterfaceStatus>,
    started: Duration,
    /// When to repeat a reconciliation that failed.
    apply_again: Option<Duration>,
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
            self.kernel.services()?,
        );
        Sender::start(&self.targets(), self.entries.clone(), Some(rescue), told)
            .context("cannot send heartbeats")
    }

    async fn attach(&mut self, links: &[(String, u32)]) -> anyhow::Result<()> {
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
    async fn own_addresses(&self) -> anyhow::Result<()> {
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

    async fn serve(
        mut self,
        listener: tokio::net::UnixListener,
        inputs: Inputs,
        mut tasks: JoinSet<()>,
    ) -> anyhow::Result<()> {
        let Inputs {
            mut heartbeats,
            mut observed,
            mut ended,
        } = inputs;
        let (reports, mut outcomes) = mpsc::channel(probe::REPORTS);
        let (calls, mut requests) = mpsc::channel(api::CALLS);
        let (_stop, stopped) = oneshot::channel();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut news = News::new(self.kernel.events()?)?;

        let backends = &self.controller.config().backends;
        let icmp = Icmp::open()?;
        let mut proofs = Proofs::new(reports.clone(), icmp.clone());
        for (number, backend) in backends.iter().enumerate() {
            let checks = backend.checks.iter().chain(&backend.ready);
            for (check, config) in checks.enumerate() {
                let (address, config) = (backend.address, config.clone());
                let (reports, icmp) = (reports.clone(), icmp.clone());
                let prober = Prober::new(number, check, address, config, reports, icmp);
                tasks.spawn(prober.run());
            }
        }
        let log = self.kernel.log()?;
        tasks.spawn(async move {
            if let Err(error) = pass_on_log(log).await {
                error!("the log of the data path is not shown any more: {error}");
            }
        });
        tasks.spawn(api::serve(listener, calls, stopped));

        let mut audit = tokio::time::interval(AUDIT);
        audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self
                .controller
                .deadline()
                .into_iter()
                .chain(self.apply_again)
                .min();
            tokio::select! {
                biased;
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                // Deaths first: what the sender says of a backend's return is about
                // a death that the data path told before.
                Ok(told) = news.next() => self.told(&told, &mut proofs).await,
                Some(notice) = heartbeats.recv() => self.noticed(notice, &mut proofs).await,
                Some(report) = outcomes.recv() => {
                    if !self.proved(&report, &mut proofs) {
                        self.probed(report);
                    }
                }
                Some(report) = ended.recv() => self.hook_ended(report),
                Some(changes) = observed.recv() => self.network_changed(changes).await,
                Some(call) = requests.recv() => self.answer(call),
                _ = audit.tick() => self.audit(&mut proofs),
                () = sleep_until(deadline) => {
                    self.controller.advance(now());
                    self.apply();
                }
            }
        }
    }

    fn probed(&mut self, report: Report) {
        let (backend, check) = (report.backend, report.check);
        let passed = report.outcome == Outcome::Pass;
        let (sign, text) = match report.outcome {
            Outcome::Pass => (Sign::Good, format!("pass in {:?}", report.took)),
            Outcome::Fail(reason) => (Sign::Bad, reason),
            Outcome::Timeout => (Sign::Bad, format!("no answer in {:?}", report.took)),
        };
        let mut changed = self.controller.probed(backend, check, sign, text, now());
        if passed {
            let started = now().saturating_sub(report.took);
            changed |= self.controller.passed_check(backend, check, started);
        } else {
            self.controller.failed_check(backend, check);
        }
        self.settle(changed, sign == Sign::Bad);
    }

    /// One turn of the watcher: every backend that is worse off is held in the
    /// maps before any policy runs, or services would move to one that is gone
    /// too; then those that are back, then the interfaces.
    async fn network_changed(&mut self, changes: Vec<Change>) {
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
    fn reached(&mut self, batch: &[Change], resolved: bool) -> bool {
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

    /// After holds have changed: a death is written before anything is thought
    /// about; a recovery only after the orders that go with it.
    fn settle(&mut self, changed: bool, worse: bool) {
        if !changed {
            return;
        }
        if worse {
            self.apply();
        }
        self.controller.settle(now());
        self.apply();
    }

    fn apply(&mut self) {
        let applied = self.dataplane.apply(self.controller.desired());
        // The next call goes on from where this one ended.
        self.apply_again = applied.is_err().then(|| now() + AGAIN);
        if let Err(error) = applied {
            error!("{error}");
        }
        self.tell();
        // A hook may follow from what is in the maps, never come before it.
        if self.apply_again.is_none() {
            self.remember();
        }
    }

    /// Records what the controller has to say.
    fn tell(&mut self) {
        for event in self.controller.take_events() {
            self.record(event);
        }
    }

    fn record(&mut self, mut event: Event) {
        event.time = humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string();
        if event.is_bad() {
            warn!("{}", event.what);
        } else {
            info!("{}", event.what);
        }
        // Nobody follows: fine.
        let _ = self.followers.send(event.clone());
        self.history.push(event.clone());
        if let Err(error) = self.journal.add(&event, || self.history.all()) {
            warn!("the event is not kept on disk: {error}");
        }
        self.notify(&event);
    }

    /// The data path could not answer a client: have the kernel find its next hop.
    async fn resolve(&mut self, ifindex: u32, next_hop: IpAddr) {
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

/// Watches the network, also after an error.
async fn watch(addresses: Vec<IpAddr>, changes: mpsc::Sender<Vec<Change>>) {
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

/// The answers of `nat` find their way by the kernel's routes, which it only
/// looks up where it forwards.
fn check_forwarding(config: &Config) -> anyhow::Result<()> {
    for service in &config.services {
        if service.forward != Forward::Nat {
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
                    "service `{}` uses nat, but {interface} does not forward {family}: write `sysctl -w net.{family}.conf.{}.forwarding=1`",
                    service.name,
                    interface.replace('.', "/")
                );
            }
        }
    }
    Ok(())
}

async fn sleep_until(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => {
            tokio::time::sleep_until(Instant::now() + deadline.saturating_sub(now())).await;
        }
        None => std::future::pending().await,
    }
}

/// `CLOCK_MONOTONIC`, the clock of the data path.
fn now() -> Duration {
    // It cannot fail with this clock on Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
