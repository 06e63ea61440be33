//! What the data path and the sender of heartbeats tell of deaths, and the
//! connections that show whether a port is open again.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytemuck::Zeroable as _;
use failover_common::{Hold, News, NewsKind};
use tokio::{net::UdpSocket, sync::mpsc, task::AbortHandle};

use super::{Agent, now};
use crate::{
    config::{Check, CheckKind, Protocol},
    event::{Event, What},
    health::Sign,
    heartbeat::{Notice, Target},
    probe::{Outcome, Prober, Report, icmp::Icmp},
};

/// Number of the check, in reports, whose outcome is a proof of life.
const PROOF: usize = usize::MAX;

/// How often a port is tried that clients could not reach.
const PROOF_EVERY: Duration = Duration::from_millis(100);

/// Linux says once a second that a port is closed (`icmp_ratelimit`); asked more
/// often, its silence would mean nothing.
const REFUSAL_EVERY: Duration = Duration::from_millis(1100);

/// How often the maps are searched for deaths that nobody told of, because the ring
/// buffer was full. What is found twice is not just being told.
pub(super) const AUDIT: Duration = Duration::from_millis(500);

/// The connections that are tried to ports of backends that have expired.
pub(super) struct Proofs {
    reports: mpsc::Sender<Report>,
    icmp: Icmp,
    /// By number of the backend.
    running: HashMap<usize, AbortHandle>,
    /// Indexes of backends that the last audit found expired and nobody had told of.
    untold: HashSet<u32>,
}

impl Proofs {
    pub(super) fn new(reports: mpsc::Sender<Report>, icmp: Icmp) -> Self {
        Self {
            reports,
            icmp,
            running: HashMap::new(),
            untold: HashSet::new(),
        }
    }
}

impl Agent {
    /// Everybody who gets heartbeats.
    pub(super) fn targets(&self) -> Vec<Target> {
        let backends = self.controller.config().backends.iter().enumerate();
        backends
            .map(|(number, backend)| Target {
                index: self.controller.index(number),
                address: backend.address,
                heartbeat: backend.heartbeat,
            })
            .collect()
    }

    pub(super) async fn told(&mut self, told: &News, proofs: &mut Proofs) {
        if told.kind == NewsKind::NextHopMissing as u32 {
            self.resolve(told.index, told.address.into()).await;
        } else if told.kind == NewsKind::Expired as u32 {
            self.died(told, proofs);
        } else if told.kind == NewsKind::Passed as u32 {
            self.controller.passed(told.index, told.at);
            self.tell();
        }
    }

    pub(super) async fn noticed(&mut self, notice: Notice, proofs: &mut Proofs) {
        match notice {
            Notice::Expired(news) => self.died(&news, proofs),
            Notice::Risen { index } => {
                let changed = self.controller.risen(index, true, now());
                self.settle(changed, false);
            }
            Notice::Fallen { index } => {
                self.controller.risen(index, false, now());
            }
            Notice::Doubt { ifindex, begins } => {
                let links = self.netlink.links().await.unwrap_or_default();
                let name = links.into_iter().find(|(_, index)| *index == ifindex);
                let interface = name.map_or_else(|| ifindex.to_string(), |(name, _)| name);
                self.record(Event::new(now(), What::Doubt { interface, begins }));
            }
            Notice::Trouble(trouble) => {
                self.record(Event::new(now(), What::Trouble { trouble }));
            }
        }
    }

    /// Takes up deaths that are in the maps and that nobody has told of for a while.
    pub(super) fn audit(&mut self, proofs: &mut Proofs) {
        for number in 0..self.controller.config().backends.len() {
            let index = self.controller.index(number);
            let expired = self.entries.holds(index).contains(Hold::Expired);
            if !expired || self.controller.knows_death(index) {
                proofs.untold.remove(&index);
            } else if !proofs.untold.insert(index) {
                let news = News {
                    kind: NewsKind::Expired as u32,
                    index,
                    at: self.entries.held_at(index),
                    // Nobody knows.
                    signal: u32::MAX,
                    ..News::zeroed()
                };
                self.died(&news, proofs);
            }
        }
    }

    /// Whether a report is about a proof; if so, it was dealt with.
    pub(super) fn proved(&mut self, report: &Report, proofs: &mut Proofs) -> bool {
        if report.check != PROOF {
            return false;
        }
        let sign = match report.outcome {
            Outcome::Pass => Sign::Good,
            Outcome::Fail(_) | Outcome::Timeout => Sign::Bad,
        };
        let changed = self.controller.proven(report.backend, sign, now());
        self.settle(changed, false);
        self.prove(report.backend, proofs);
        true
    }

    fn died(&mut self, news: &News, proofs: &mut Proofs) {
        let passed = self.entries.passed_at(news.index);
        let changed = self.controller.expired(news, Some(passed));
        self.settle(changed, true);
        if let Some(backend) = self.controller.by_index(news.index) {
            self.prove(backend, proofs);
        }
    }

    /// Starts or ends the connections to a backend that are its proof of life.
    fn prove(&self, backend: usize, proofs: &mut Proofs) {
        let wanted = self.controller.proof_wanted(backend);
        match (wanted, proofs.running.contains_key(&backend)) {
            (Some((protocol, address)), false) => {
                let (reports, icmp) = (proofs.reports.clone(), proofs.icmp.clone());
                let task = match protocol {
                    Protocol::Tcp => {
                        let check = Check {
                            kind: CheckKind::Tcp {
                                port: address.port(),
                            },
                            interval: PROOF_EVERY,
                            timeout: PROOF_EVERY,
                            fall: 1,
                            rise: 1,
                        };
                        let prober =
                            Prober::new(backend, PROOF, address.ip(), check, reports, icmp);
                        tokio::spawn(prober.run())
                    }
                    Protocol::Udp => tokio::spawn(prove_datagrams(backend, address, reports)),
                };
                proofs.running.insert(backend, task.abort_handle());
            }
            (None, true) => {
                if let Some(task) = proofs.running.remove(&backend) {
                    task.abort();
                }
            }
            (Some(_), true) | (None, false) => {}
        }
    }
}

/// Sends empty datagrams; a port that is closed says so.
async fn prove_datagrams(backend: usize, to: SocketAddr, reports: mpsc::Sender<Report>) {
    loop {
        tokio::time::sleep(REFUSAL_EVERY).await;
        let outcome = match refuses(to).await {
            Ok(()) => Outcome::Pass,
            Err(error) => Outcome::Fail(error.to_string()),
        };
        let report = Report {
            backend,
            check: PROOF,
            outcome,
            at: std::time::Instant::now(),
            took: Duration::ZERO,
        };
        if reports.send(report).await.is_err() {
            return;
        }
    }
}

/// An error: the port is closed, or nothing can be sent there.
async fn refuses(to: SocketAddr) -> std::io::Result<()> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(to).await?;
    socket.send(&[]).await?;
    match tokio::time::timeout(PROOF_EVERY, socket.recv(&mut [0; 1])).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

impl Drop for Proofs {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}
