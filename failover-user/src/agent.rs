//! The agent: one task that owns every decision and the maps. Everything else
//! (probes, netlink, the API, the data path's news) only tells it something.
//!
//! Cancelling it leaves the data path as it is: fail static.

mod answers;
mod hooks;
mod leases;
mod network;
mod news;
mod start;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use failover_common::{Service, ServiceKey};
use log::{error, info, warn};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

pub use self::start::run;
use self::{
    hooks::{Hooks, Id, Saved},
    leases::{AUDIT, Proofs},
    news::{News, pass_on_log},
};
use crate::{
    api,
    controller::{Controller, status::InterfaceStatus},
    dataplane::{
        Dataplane,
        kernel::{Counters, Entries, Epoch, Flows, Kernel, KernelMaps, View},
    },
    event::{Event, History},
    health::Sign,
    heartbeat::Notice,
    hook,
    network::{Change, Netlink},
    probe::{self, Outcome, Prober, Report, icmp::Icmp},
    store::Journal,
    sweep::Sweeper,
};

/// How soon something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the agent hears from those that were at work before it serves.
struct Inputs {
    heartbeats: mpsc::UnboundedReceiver<Notice>,
    observed: mpsc::Receiver<Vec<Change>>,
    ended: mpsc::Receiver<hook::Report<Id>>,
    saved: mpsc::Receiver<Saved>,
}

struct Agent {
    kernel: Kernel,
    netlink: Netlink,
    dataplane: Dataplane<KernelMaps>,
    entries: Entries,
    /// The services, as the data path finds them.
    services: View<ServiceKey, Service>,
    /// Until when the ways to clients are what the data path remembers.
    epoch: Epoch,
    counters: Counters,
    controller: Controller,
    history: History,
    journal: Journal,
    hooks: Hooks,
    followers: broadcast::Sender<Event>,
    kicked: HashMap<(u32, IpAddr), Duration>,
    interfaces: Vec<InterfaceStatus>,
    started: Duration,
    /// Which backend has which flow, and who tells clients that theirs is dead; none: no
    /// service keeps flows.
    flows: Option<(Arc<Flows>, Sweeper)>,
    /// Holds of the backends, in the order of their indexes, when it was called last.
    swept: Vec<u64>,
    /// When to repeat a reconciliation that failed.
    apply_again: Option<Duration>,
}

impl Agent {
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
            mut saved,
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
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                // Deaths first: what the sender says of a backend's return is about
                // a death that the data path told before.
                Ok(told) = news.next() => self.told(&told, &mut proofs).await,
                Some(notice) = heartbeats.recv() => self.noticed(notice, &mut proofs).await,
                Some(report) = outcomes.recv() => {
                    if !self.proved(&report, &mut proofs) {
                        self.probed(report);
                    }
                }
                Some(saved) = saved.recv() => self.saved(saved),
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
        self.save_last(&mut saved).await;
        Ok(())
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
        self.sweep();
        self.tell();
        // A hook may follow from what is in the maps, never come before it.
        if self.apply_again.is_none() {
            self.remember();
        }
    }

    /// After any change of who may serve: those who wait for the dead may have to be told.
    fn sweep(&mut self) {
        let Some((_, sweeper)) = &self.flows else {
            return;
        };
        let backends = self.controller.desired().backends.values();
        let holds = || backends.clone().map(|entry| entry.holds);
        if !holds().eq(self.swept.iter().copied()) {
            self.swept = holds().collect();
            sweeper.call();
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
