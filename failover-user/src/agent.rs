//! The agent: one task that owns every decision and the maps. Everything else
//! (probes, netlink, the API, the data path's news) only tells it something.
//!
//! Cancelling it leaves the data path as it is: fail static.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use aya::maps::{MapData, RingBuf};
use failover_common::NextHopMissing;
use log::{error, info, warn};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};

use crate::{
    api::{self, Answer, Call, Request},
    config::Config,
    controller::{
        Controller,
        status::{InterfaceStatus, Status, Traffic, VerdictStatus},
    },
    dataplane::{
        Dataplane,
        kernel::{Counters, Kernel, KernelMaps},
    },
    event::{Event, History, What},
    health::Sign,
    network::{self, Change, Netlink, Watcher},
    probe::{self, Outcome, Prober, Report, icmp::Icmp},
};

/// Events a slow follower may lag behind before it loses some.
const FOLLOWERS: usize = 1024;

/// How often the kernel is asked at most to resolve one next hop.
const KICK_EVERY: Duration = Duration::from_secs(1);

/// Next hops of clients that are remembered as asked for; then all are forgotten.
const KICKED: usize = 4096;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
///
/// It cannot start. Once it runs, it goes on whatever happens.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let _lock = lock(&config.agent.api)?;
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let names: Vec<String> = links.iter().map(|(name, _)| name.clone()).collect();
    config.check_interfaces(&names)?;
    let listener = api::bind(&config.agent.api, config.agent.api_group.as_deref())?;

    let mut kernel = Kernel::load(&config.agent.pin_path)?;
    let (maps, current) = kernel.maps()?;
    let adopted = !current.services.is_empty();
    let controller = Controller::new(config, &current, now());
    let mut agent = Agent {
        dataplane: Dataplane::new(maps, current),
        counters: kernel.counters()?,
        controller,
        history: History::default(),
        followers: broadcast::channel(FOLLOWERS).0,
        kicked: HashMap::new(),
        interfaces: Vec::new(),
        started: now(),
        kernel,
        netlink,
    };
    // The maps first, then the program that reads them.
    agent.apply();
    agent.attach(&links).await?;
    agent.kernel.finish()?;
    agent.own_addresses().await?;
    agent.record(Event::new(now(), What::Started { adopted }));
    let result = agent.serve(listener).await;
    info!("the agent stops; the data path goes on as it is (failover detach removes it)");
    result
}

struct Agent {
    kernel: Kernel,
    netlink: Netlink,
    dataplane: Dataplane<KernelMaps>,
    counters: Counters,
    controller: Controller,
    history: History,
    followers: broadcast::Sender<Event>,
    kicked: HashMap<(u32, IpAddr), Duration>,
    interfaces: Vec<InterfaceStatus>,
    started: Duration,
}

impl Agent {
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

    async fn serve(mut self, listener: tokio::net::UnixListener) -> anyhow::Result<()> {
        let (reports, mut reported) = mpsc::channel(probe::REPORTS);
        let (changes, mut changed) = mpsc::channel(network::CHANGES);
        let (calls, mut called) = mpsc::channel(api::CALLS);
        let (_stop, stopped) = oneshot::channel();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut news = News::new(self.kernel.events()?)?;

        let backends = &self.controller.config().backends;
        let addresses = backends.iter().map(|backend| backend.address).collect();
        let mut tasks = tokio::task::JoinSet::new();
        let watcher = Watcher::new(addresses)?;
        tasks.spawn(async move {
            if let Err(error) = watcher.run(changes).await {
                error!("neighbours and links are not watched any more: {error}");
            }
        });
        let icmp = Icmp::open()?;
        for (number, backend) in backends.iter().enumerate() {
            for (check, config) in backend.checks.iter().enumerate() {
                let (address, config) = (backend.address, config.clone());
                let (reports, icmp) = (reports.clone(), icmp.clone());
                let prober = Prober::new(number, check, address, config, reports, icmp);
                tasks.spawn(prober.run());
            }
        }
        tasks.spawn(api::serve(listener, calls, stopped));

        loop {
            let deadline = self.controller.deadline();
            tokio::select! {
                biased;
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                Some(report) = reported.recv() => self.probed(report),
                Some(change) = changed.recv() => self.network_changed(change).await,
                Some(call) = called.recv() => self.answer(call),
                Ok(missing) = news.next() => self.resolve(&missing).await,
                () = sleep_until(deadline) => {
                    self.controller.advance(now());
                    self.apply();
                }
            }
        }
    }

    fn probed(&mut self, report: Report) {
        let (sign, text) = match report.outcome {
            Outcome::Pass => (Sign::Good, format!("pass in {:?}", report.took)),
            Outcome::Fail(reason) => (Sign::Bad, reason),
            Outcome::Timeout => (Sign::Bad, format!("no answer in {:?}", report.took)),
        };
        let changed = self
            .controller
            .probed(report.backend, report.check, sign, text, now());
        self.settle(changed, sign == Sign::Bad);
    }

    async fn network_changed(&mut self, change: Change) {
        match change {
            Change::Backend { backend, reach } => {
                let changed = self.controller.reached(backend, &reach, now());
                let worse = !matches!(reach, network::Reach::Resolved(_));
                self.settle(changed, worse);
                // A new next hop needs no policy.
                self.apply();
            }
            Change::Link {
                name,
                ifindex,
                present,
                up,
            } => {
                self.link_changed(&name, ifindex, present, up).await;
            }
        }
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
        if let Err(error) = self.dataplane.apply(self.controller.desired()) {
            // The next call goes on from where this one ended.
            error!("{error}");
        }
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
        self.history.push(event);
    }

    fn answer(&mut self, call: Call) {
        match call.request {
            Request::Status => {
                let answer = match self.status() {
                    Ok(status) => Answer::Status(Box::new(status)),
                    Err(error) => Answer::Refused {
                        error: format!("{error:#}"),
                    },
                };
                reply(&call.answers, answer);
            }
            Request::Switch { service, to } => {
                let switched = self.controller.switch(&service, to.as_deref(), now());
                self.apply();
                reply(
                    &call.answers,
                    match switched {
                        Ok((from, to)) => Answer::Switched { from, to },
                        Err(error) => Answer::Refused {
                            error: error.to_string(),
                        },
                    },
                );
            }
            Request::Events { follow } => {
                let past = self.history.all();
                let live = follow.then(|| self.followers.subscribe());
                tokio::spawn(tell(past, live, call.answers));
            }
        }
    }

    fn status(&self) -> anyhow::Result<Status> {
        let mut status = self.controller.status();
        env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        status.pid = std::process::id();
        status.uptime_ms = u64::try_from((now().saturating_sub(self.started)).as_millis())?;
        status.map_writes = self.dataplane.writes();
        for interface in &self.interfaces {
            status.interfaces.push(InterfaceStatus {
                name: interface.name.clone(),
                xdp: interface.xdp.clone(),
            });
        }
        for (number, backend) in status.backends.iter_mut().enumerate() {
            let counters = self.counters.backend(self.controller.index(number))?;
            backend.forwarded = counters.forwarded.into();
            backend.returned = counters.returned.into();
        }
        for (verdict, counter) in self.counters.verdicts()? {
            status.verdicts.push(VerdictStatus {
                verdict: verdict.name().to_owned(),
                traffic: counter.into(),
            });
        }
        Ok(status)
    }

    /// The data path could not answer a client: have the kernel find its next hop.
    async fn resolve(&mut self, missing: &NextHopMissing) {
        let key = (missing.ifindex, IpAddr::from(missing.address));
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

impl From<failover_common::Counter> for Traffic {
    fn from(counter: failover_common::Counter) -> Self {
        Self {
            packets: counter.packets,
            bytes: counter.bytes,
        }
    }
}

/// The data path's ring buffer as a stream.
struct News(AsyncFd<RingBuf<MapData>>);

impl News {
    fn new(ring: RingBuf<MapData>) -> std::io::Result<Self> {
        // SAFETY: the ring buffer owns its descriptor and keeps it until it is dropped.
        let registered = unsafe { AsyncFd::register(ring) };
        Ok(Self(registered?))
    }

    async fn next(&mut self) -> std::io::Result<NextHopMissing> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            while let Some(item) = ready.get_inner_mut().next() {
                if let Ok(news) = bytemuck::try_pod_read_unaligned(&item) {
                    return Ok(news);
                }
            }
            ready.clear_ready();
        }
    }
}

/// Tells one client the past, and with `live` what happens from now on.
async fn tell(
    past: Vec<Event>,
    live: Option<broadcast::Receiver<Event>>,
    answers: mpsc::Sender<Answer>,
) {
    for event in past {
        if answers.send(Answer::Event(event)).await.is_err() {
            return;
        }
    }
    let Some(mut live) = live else {
        reply(&answers, Answer::End);
        return;
    };
    loop {
        match live.recv().await {
            Ok(event) => {
                if answers.send(Answer::Event(event)).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn reply(answers: &mpsc::Sender<Answer>, answer: Answer) {
    // The client has gone, or does not read: it is its loss.
    let _ = answers.try_send(answer);
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

/// Two agents on one socket would undo each other's work.
fn lock(api: &Path) -> anyhow::Result<File> {
    let mut path = PathBuf::from(api).into_os_string();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "an agent is running already with the socket {}: stop it first",
            api.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
