use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use bytemuck::Zeroable as _;
use failover_common::{Be16, Hold, News, NewsKind, ServiceKey, Signal};

use super::Controller;
use crate::{
    config::Config,
    dataplane::State,
    event::What,
    health::Sign,
    network::{NextHop, Reach},
};

mod sharing;
mod standby;

const CONFIG: &str = r#"
[agent]
interfaces = ["eth0"]

[[service]]
name = "db"
address = "10.0.0.100"
port = 5432
hold_down = "5s"
  [[service.backend]]
  name = "db-a"
  address = "10.0.0.11"
  [[service.backend]]
  name = "db-b"
  address = "10.0.0.12"

[[service]]
name = "cache"
address = "10.0.0.100"
port = 6379
forward = "dsr"
failback = "manual"
  [[service.backend]]
  name = "db-a"
  address = "10.0.0.11"
  [[service.backend]]
  name = "db-b"
  address = "10.0.0.12"
"#;

const HOP: Reach = Reach::Resolved(NextHop {
    ifindex: 2,
    egress: 2,
    src_mac: [2, 0, 0, 0, 0, 1],
    dst_mac: [2, 0, 0, 0, 0, 2],
    source: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
    mtu: 1500,
});

/// Thresholds of the default check.
const FALL: u32 = 2;
const RISE: u32 = 3;

struct World {
    controller: Controller,
    now: Duration,
}

impl World {
    fn on(current: &State) -> Self {
        Self::with(CONFIG, current)
    }

    fn with(config: &str, current: &State) -> Self {
        let config = Config::parse(config, Path::new("test.toml")).unwrap();
        let now = Duration::from_secs(100);
        Self {
            controller: Controller::new(config, current, now),
            now,
        }
    }

    /// Both backends reached and up.
    fn up() -> Self {
        Self::on(&State::default()).come_up()
    }

    fn come_up(mut self) -> Self {
        let world = &mut self;
        for backend in 0..2 {
            world.reach(backend, HOP);
            world.probe(backend, Sign::Good, 1);
        }
        world.controller.take_events();
        self
    }

    fn reach(&mut self, backend: usize, reach: Reach) {
        if self.controller.reached(backend, &reach, self.now) {
            self.controller.settle(self.now);
        }
    }

    fn probe(&mut self, backend: usize, sign: Sign, times: u32) {
        for _ in 0..times {
            if self
                .controller
                .probed(backend, 0, sign, "said so".into(), self.now)
            {
                self.controller.settle(self.now);
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.controller.advance(self.now);
    }

    /// Order of a service's map entry, as indexes of backends.
    fn order(&self, port: u16) -> Vec<u32> {
        let service = self.controller.desired().services[&key(port)];
        let used = &service.backends[..usize::from(service.len)];
        used.iter().map(|backend| backend.index).collect()
    }

    #[track_caller]
    fn check(&mut self, db: &[u32], cache: &[u32], moves: &[&str]) {
        assert_eq!(self.order(5432), db, "db");
        assert_eq!(self.order(6379), cache, "cache");
        let events = self.controller.take_events();
        let words: Vec<String> = events
            .iter()
            .filter(|event| !matches!(event.what, What::Holds { .. }))
            .map(|event| event.what.to_string())
            .collect();
        assert_eq!(words, moves);
    }
}

fn key(port: u16) -> ServiceKey {
    ServiceKey {
        address: std::net::IpAddr::from([10, 0, 0, 100]).into(),
        port: Be16::new(port),
        protocol: 6,
        reserved: [0; 5],
    }
}

#[test]
fn a_takeover_changes_the_hold_and_nothing_else() {
    let mut world = World::up();
    let before = world.controller.desired().clone();
    world.probe(0, Sign::Bad, FALL - 1);
    assert_eq!(world.controller.desired(), &before, "one is not enough");
    world.probe(0, Sign::Bad, 1);
    let mut wanted = before;
    let backend = wanted.backends.get_mut(&0).unwrap();
    backend.holds = Hold::CheckFailed as u64;
    backend.held_at = 100_000_000_000;
    assert_eq!(world.controller.desired(), &wanted);
    let moves = [
        "service db: takeover from db-a to db-b",
        "service cache: takeover from db-a to db-b",
    ];
    world.check(&[0, 1], &[0, 1], &moves);
}

#[test]
fn each_service_goes_back_by_its_own_policy() {
    let mut world = World::up();
    world.probe(0, Sign::Bad, FALL);
    world.controller.take_events();
    world.probe(0, Sign::Good, RISE);
    world.check(&[1, 0], &[1, 0], &[]);
    world.wait(4);
    world.check(&[1, 0], &[1, 0], &[]);
    world.wait(1);
    world.check(
        &[0, 1],
        &[1, 0],
        &["service db: failback from db-b to db-a"],
    );
    let moved = world.controller.switch("cache", None, world.now).unwrap();
    assert_eq!(moved, ("db-b".to_owned(), "db-a".to_owned()));
    world.check(
        &[0, 1],
        &[0, 1],
        &["service cache: switched from db-b to db-a"],
    );
}

#[test]
fn links_and_neighbours_hold_too() {
    let mut world = World::up();
    let last = match HOP {
        Reach::Resolved(hop) => Some(hop),
        _ => None,
    };
    world.reach(0, Reach::LinkDown { last });
    let entry = world.controller.desired().backends[&0];
    assert_eq!(entry.holds, Hold::LinkDown as u64);
    assert_eq!(entry.ifindex, 2, "the last way is kept");
    world.reach(0, Reach::NoNeighbour { last });
    assert_eq!(
        world.controller.desired().backends[&0].holds,
        Hold::NoNeighbour as u64
    );
    world.reach(0, HOP);
    assert_eq!(world.controller.desired().backends[&0].holds, 0);
}

#[test]
fn backends_behind_one_link_go_together() {
    let mut world = World::up();
    // As the agent takes a batch: all of them at one moment, then the policy once.
    let down = Reach::LinkDown { last: None };
    for backend in 0..2 {
        assert!(world.controller.reached(backend, &down, world.now));
    }
    let mut held = world.controller.desired().backends.values();
    assert!(held.all(|entry| entry.holds == Hold::LinkDown as u64));
    world.controller.settle(world.now);
    // No takeover to one that is gone too.
    let keeps = |service| {
        format!(
            "service {service}: NO ELIGIBLE BACKEND, db-a keeps it as the one that was held last"
        )
    };
    world.check(&[0, 1], &[0, 1], &[&keeps("db"), &keeps("cache")]);
}

#[test]
fn the_next_agent_goes_on_where_the_last_one_was() {
    let mut world = World::up();
    world.probe(0, Sign::Bad, FALL);
    let found = world.controller.desired().clone();
    let mut next = World::on(&found);
    assert_eq!(next.controller.desired(), &found);
    next.check(&[0, 1], &[0, 1], &[]);
    // Down it was, down it is: it needs the whole rise again.
    next.probe(0, Sign::Good, RISE - 1);
    assert_ne!(next.controller.desired().backends[&0].holds, 0);
    next.probe(0, Sign::Good, 1);
    assert_eq!(next.controller.desired().backends[&0].holds, 0);
    next.check(&[1, 0], &[1, 0], &[]);
}

#[test]
fn an_operators_switch_is_handed_on() {
    let mut world = World::up();
    world
        .controller
        .switch("db", Some("db-b"), world.now)
        .unwrap();
    world.controller.take_events();
    let found = world.controller.desired().clone();
    assert_eq!(found.services[&key(5432)].switched, 1);
    let mut next = World::on(&found);
    next.wait(60);
    next.check(&[1, 0], &[0, 1], &[]);
}

#[test]
fn backends_keep_their_entries_whatever_the_configuration() {
    let mut world = World::up();
    let mut found = world.controller.desired().clone();
    // An earlier configuration had another backend first.
    let mut other = found.backends[&0];
    other.name[0] = b'x';
    let (a, b) = (found.backends[&0], found.backends[&1]);
    found.backends = [(0, other), (1, b), (2, a)].into();
    let next = World::on(&found);
    assert_eq!(next.controller.index(0), 2);
    assert_eq!(next.controller.index(1), 1);
    world.check(&[0, 1], &[0, 1], &[]);
}

#[test]
fn reverse_entries_only_for_nat() {
    let world = World::up();
    let ports: Vec<u16> = world
        .controller
        .desired()
        .reverse
        .iter()
        .map(|(key, reverse)| {
            assert_eq!(reverse.flows, 0);
            key.port.get()
        })
        .collect();
    assert_eq!(ports, [5432, 5432]);
}

#[test]
fn a_lease_is_over_and_begins_again() {
    let mut world = World::up();
    let news = |signal: Signal, pair| News {
        kind: NewsKind::Expired as u32,
        at: 99_000_000_000,
        answered_at: 98_000_000_000,
        unanswered_at: 98_500_000_000,
        signal: signal as u32,
        pair,
        ..News::zeroed()
    };
    // The kernel has moved on; the agent follows, with the kernel's time.
    assert!(
        world
            .controller
            .expired(&news(Signal::Packet, 0), Some(99_000_000_100))
    );
    world.controller.settle(world.now);
    let entry = world.controller.desired().backends[&0];
    assert_eq!((entry.holds, entry.held_at), (1, 99_000_000_000));
    assert_eq!(world.controller.proof_wanted(0), None);
    let moves = [
        "backend db-a expired, seen by: packet",
        "service db: takeover from db-a to db-b",
        "service cache: takeover from db-a to db-b",
    ];
    world.check(&[0, 1], &[0, 1], &moves);
    assert!(!world.controller.risen(0, false, world.now));
    assert!(world.controller.risen(0, true, world.now));
    world.controller.settle(world.now);
    assert_eq!(world.controller.desired().backends[&0].holds, 0);

    // Before the news of a death that is its own.
    world.controller.take_events();
    assert!(!world.controller.risen(0, true, world.now));
    assert_eq!(world.controller.take_events(), []);

    // Refused connections: heartbeats are no proof, accepted connections are.
    assert!(world.controller.expired(&news(Signal::Refused, 0), None));
    let proof = world
        .controller
        .proof_wanted(0)
        .map(|(_, to)| to.to_string());
    assert_eq!(proof.as_deref(), Some("10.0.0.11:5432"));
    assert!(!world.controller.risen(0, true, world.now));
    let good_bad = [Sign::Good, Sign::Good, Sign::Bad, Sign::Good, Sign::Good];
    for sign in good_bad {
        assert!(!world.controller.proven(0, sign, world.now));
    }
    assert!(world.controller.proven(0, Sign::Good, world.now));
    assert_eq!(world.controller.desired().backends[&0].holds, 0);
    assert_eq!(world.controller.proof_wanted(0), None);
}

#[test]
fn without_heartbeats_checks_are_the_proof() {
    let none = "heartbeat = { kind = \"none\" }\n  [[service.backend]]\n  name = \"db-a\"";
    let config = CONFIG.replace("[[service.backend]]\n  name = \"db-a\"", none);
    let mut world = World::with(&config, &State::default()).come_up();
    let news = News {
        kind: NewsKind::Expired as u32,
        at: 99_000_000_000,
        signal: Signal::Silence as u32,
        // A pair of no service: nothing says which port it was.
        pair: 1000,
        ..News::zeroed()
    };
    assert!(world.controller.expired(&news, None));
    assert!(world.controller.knows_death(0) && !world.controller.knows_death(1));
    assert_eq!(world.controller.proof_wanted(0), None);
    for (sign, holds) in [
        (Sign::Good, 1),
        (Sign::Good, 1),
        (Sign::Bad, 1),
        (Sign::Good, 1),
        (Sign::Good, 1),
        (Sign::Good, 0),
    ] {
        world.probe(0, sign, 1);
        assert_eq!(world.controller.desired().backends[&0].holds, holds);
    }
}
