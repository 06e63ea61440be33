//! Backends that have expired: what is known of their deaths, and when they have
//! shown enough life to be eligible again.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use failover_common::{HeartbeatKind, Hold, Holds, News, Signal};

use super::Controller;
use crate::{
    config::Protocol,
    event::{Event, Timeline, What},
    health::Sign,
};

/// Attempts in a row that must not be refused before a port counts as open again, and
/// probes in a row that must pass where there are no heartbeats.
const PROOFS: u32 = 3;

/// A backend that has expired.
#[derive(Debug)]
pub(super) struct Death {
    timeline: Timeline,
    /// Its heartbeats are answered again; where there are none, its checks pass.
    risen: bool,
    /// Probes of its checks in a row that have passed since.
    passes: u32,
    /// The port that clients' traffic showed to be dead. Heartbeats say nothing of
    /// it.
    port: Option<(Protocol, u16)>,
    /// Attempts in a row that it did not refuse since.
    proofs: u32,
}

impl Death {
    /// One that an earlier agent knew of.
    fn adopted(held_at: u64) -> Self {
        Self {
            timeline: Timeline {
                latched_ns: held_at,
                ..Timeline::default()
            },
            risen: false,
            passes: 0,
            port: None,
            proofs: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.risen && (self.port.is_none() || self.proofs >= PROOFS)
    }
}

impl Controller {
    /// A backend has expired, says the data path or the sender of heartbeats;
    /// `passed_at`: when the first packet went past it, if one did (nanoseconds).
    /// Returns whether its holds have changed.
    pub fn expired(&mut self, news: &News, passed_at: Option<u64>) -> bool {
        let Some(backend) = self.by_index(news.index) else {
            return false;
        };
        let signal = Signal::ALL.get(news.signal as usize).copied();
        let known = |nanoseconds: u64| (nanoseconds != 0).then_some(nanoseconds);
        let timeline = Timeline {
            signal: signal.map_or("unknown", Signal::name).to_owned(),
            answered_ns: known(news.answered_at),
            unanswered_ns: known(news.unanswered_at),
            latched_ns: news.at,
            passed_ns: passed_at.filter(|passed| *passed >= news.at),
        };
        let passive = signal.is_some_and(Signal::is_passive);
        let port = passive.then(|| self.port_of(news.pair)).flatten();
        let config = &self.config.backends[backend];
        self.events.push(Event::new(
            Duration::from_nanos(news.at),
            What::Expired {
                backend: config.name.clone(),
                timeline: timeline.clone(),
            },
        ));
        self.backends[backend].death = Some(Death {
            timeline,
            // Also where clients' traffic showed it and heartbeats never fell silent:
            // they may have since, and a port of a dead host refuses nothing.
            risen: false,
            passes: 0,
            port,
            proofs: 0,
        });
        self.hold(
            backend,
            &[(Hold::Expired, true)],
            Duration::from_nanos(news.at),
        )
    }

    /// The first packet went past a backend that has expired.
    pub fn passed(&mut self, index: u32, at: u64) {
        let Some(backend) = self.by_index(index) else {
            return;
        };
        let Some(death) = &mut self.backends[backend].death else {
            return;
        };
        if death.timeline.passed_ns.is_none() {
            death.timeline.passed_ns = Some(at);
            let latched_ns = death.timeline.latched_ns;
            self.events.push(Event::new(
                Duration::from_nanos(at),
                What::Passed {
                    backend: self.config.backends[backend].name.clone(),
                    after_latch_us: at.saturating_sub(latched_ns) / 1000,
                },
            ));
        }
    }

    /// The heartbeats of a backend are answered again, or not any more. Returns
    /// whether its holds have changed.
    pub fn risen(&mut self, index: u32, risen: bool, now: Duration) -> bool {
        let Some(backend) = self.by_index(index) else {
            return false;
        };
        // About a death whose news is still on its way or got lost, it would undo what we
        // do not know. It is told again.
        let Some(death) = &mut self.backends[backend].death else {
            return false;
        };
        death.risen = risen;
        self.revive(backend, now)
    }

    /// An attempt at the port of a backend that clients could not reach has come to
    /// its end. Returns whether its holds have changed.
    pub fn proven(&mut self, backend: usize, sign: Sign, now: Duration) -> bool {
        let Some(state) = self.backends.get_mut(backend) else {
            return false;
        };
        let Some(death) = &mut state.death else {
            return false;
        };
        death.proofs = match sign {
            Sign::Good => death.proofs + 1,
            Sign::Bad => 0,
        };
        self.revive(backend, now)
    }

    /// A probe of a check has ended: proof of life where there are no heartbeats.
    /// Returns whether the backend's holds have changed.
    pub(super) fn checked(&mut self, backend: usize, sign: Sign, now: Duration) -> bool {
        if self.config.backends[backend].heartbeat.kind != HeartbeatKind::None {
            return false;
        }
        let Some(death) = &mut self.backends[backend].death else {
            return false;
        };
        death.passes = match sign {
            Sign::Good => death.passes + 1,
            Sign::Bad => 0,
        };
        death.risen = death.passes >= PROOFS;
        self.revive(backend, now)
    }

    /// Whether it is known that the backend whose entry is at `index` has expired.
    #[must_use]
    pub fn knows_death(&self, index: u32) -> bool {
        let backend = self.by_index(index);
        backend.is_some_and(|backend| self.backends[backend].death.is_some())
    }

    /// The port that must be open again before a backend is eligible.
    #[must_use]
    pub fn proof_wanted(&self, backend: usize) -> Option<(Protocol, SocketAddr)> {
        let death = self.backends.get(backend)?.death.as_ref()?;
        let (protocol, port) = death.port.filter(|_| !death.is_over())?;
        let address: IpAddr = self.config.backends[backend].address;
        Some((protocol, SocketAddr::new(address, port)))
    }

    /// Takes up a death that an earlier agent knew of.
    pub(super) fn adopt_death(&mut self, backend: usize) {
        let state = &mut self.backends[backend];
        let Some(entry) = self.desired.backends.get(&state.index) else {
            return;
        };
        if !Holds(entry.holds).contains(Hold::Expired) {
            return;
        }
        state.death = Some(Death::adopted(entry.held_at));
    }

    /// How the death went that moved a service away from the backend at `from`.
    pub(super) fn timeline(&self, service: usize, from: usize) -> Option<Timeline> {
        let backend = self.config.services[service].backends.get(from)?.backend;
        let death = self.backends[backend].death.as_ref()?;
        Some(death.timeline.clone())
    }

    /// Number of the backend whose entry is at `index`.
    #[must_use]
    pub fn by_index(&self, index: u32) -> Option<usize> {
        self.backends.iter().position(|state| state.index == index)
    }

    fn revive(&mut self, backend: usize, now: Duration) -> bool {
        let state = &mut self.backends[backend];
        if !state.death.as_ref().is_some_and(Death::is_over) {
            return false;
        }
        state.death = None;
        let index = state.index;
        // The data path may have set what nobody told us of.
        if let Some(entry) = self.desired.backends.get_mut(&index) {
            entry.holds = Holds(entry.holds).with(Hold::Expired, true).0;
        }
        self.hold(backend, &[(Hold::Expired, false)], now)
    }

    /// Port on the backend of a pair, where an attempt can show that it is open.
    fn port_of(&self, pair: u32) -> Option<(Protocol, u16)> {
        let mut position = usize::try_from(pair).ok()?;
        for service in &self.config.services {
            match service.backends.get(position) {
                Some(backend) => {
                    return (backend.port != 0).then_some((service.protocol, backend.port));
                }
                None => position -= service.backends.len(),
            }
        }
        None
    }
}
