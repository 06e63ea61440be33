use std::net::IpAddr;

use bytemuck::Zeroable as _;
use failover_common::{
    Backend, Be16, Hold, Holds, Reverse, ReverseKey, SHARE_PLACES, Service, ServiceBackend,
    ServiceKey, Shares,
};

use super::{Dataplane, MapError, Maps, State};

/// Writes down what it is told.
#[derive(Default)]
struct Recorder(Vec<String>);

impl Maps for Recorder {
    fn change_holds(&mut self, index: u32, set: Holds, clear: Holds, held_at: u64) {
        let (set, clear) = (set.0, clear.0);
        self.0
            .push(format!("holds {index} +{set:#x} -{clear:#x} {held_at}"));
    }
    fn set_next_hop(&mut self, index: u32, backend: &Backend) {
        self.0.push(format!("next hop {index} {}", backend.ifindex));
    }
    fn set_backend(&mut self, index: u32, backend: &Backend) {
        let address = IpAddr::from(backend.address);
        self.0.push(format!("backend {index} {address}"));
    }
    fn set_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), MapError> {
        let order: Vec<u32> = service.backends[..usize::from(service.len)]
            .iter()
            .map(|backend| backend.index)
            .collect();
        self.0.push(format!("service {} {order:?}", key.port.get()));
        Ok(())
    }
    fn remove_service(&mut self, key: &ServiceKey) {
        self.0.push(format!("remove service {}", key.port.get()));
    }
    fn set_shares(&mut self, row: u32, table: &Shares) -> Result<(), MapError> {
        self.0.push(format!("table {row} {}", table[0]));
        Ok(())
    }
    fn set_reverse(&mut self, key: &ReverseKey, _: &Reverse) -> Result<(), MapError> {
        self.0.push(format!("reverse {}", key.port.get()));
        Ok(())
    }
    fn remove_reverse(&mut self, key: &ReverseKey) {
        self.0.push(format!("remove reverse {}", key.port.get()));
    }
}

fn key(port: u16) -> ServiceKey {
    ServiceKey {
        address: IpAddr::from([10, 0, 0, 100]).into(),
        port: Be16::new(port),
        protocol: 6,
        reserved: [0; 5],
    }
}

fn service(order: &[u32]) -> Service {
    let mut service = Service::zeroed();
    service.len = u8::try_from(order.len()).unwrap();
    for (slot, &index) in service.backends.iter_mut().zip(order) {
        *slot = ServiceBackend {
            index,
            ..ServiceBackend::zeroed()
        };
    }
    service
}

fn backend(last: u8) -> Backend {
    Backend {
        address: IpAddr::from([10, 0, 0, last]).into(),
        ifindex: 2,
        ..Backend::zeroed()
    }
}

/// Two backends, and services on the given ports that use both.
fn state(ports: std::ops::Range<u16>) -> State {
    let mut state = State::default();
    state.backends.insert(0, backend(11));
    state.backends.insert(1, backend(12));
    for port in ports {
        state.services.insert(key(port), service(&[0, 1]));
    }
    state
}

#[track_caller]
fn check(description: &str, from: &State, to: &State, writes: &[&str]) {
    let mut dataplane = Dataplane::new(Recorder::default(), from.clone());
    dataplane.apply(to).unwrap();
    assert_eq!(dataplane.maps.0, writes, "{description}");
    assert_eq!(dataplane.writes(), writes.len() as u64, "{description}");
    assert_eq!(dataplane.current(), to, "{description}");
    dataplane.apply(to).unwrap();
    assert_eq!(dataplane.maps.0.len(), writes.len(), "{description}: again");
}

#[test]
fn only_the_difference_is_written() {
    let two = state(1..3);
    check("nothing changed", &two, &two, &[]);
    check(
        "from nothing",
        &State::default(),
        &state(1..2),
        &[
            "backend 0 10.0.0.11",
            "backend 1 10.0.0.12",
            "service 1 [0, 1]",
        ],
    );
    let mut shared = state(1..2);
    let ones = vec![1; SHARE_PLACES].into_boxed_slice();
    shared.shares.insert(4, ones.try_into().unwrap());
    check(
        "a table, before the service",
        &State::default(),
        &shared,
        &[
            "backend 0 10.0.0.11",
            "backend 1 10.0.0.12",
            "table 4 1",
            "service 1 [0, 1]",
        ],
    );
    check(
        "to nothing",
        &state(1..2),
        &State::default(),
        &["remove service 1", "backend 0 ::", "backend 1 ::"],
    );
    let mut moved = two.clone();
    moved.backends.get_mut(&1).unwrap().ifindex = 7;
    check("another next hop", &two, &moved, &["next hop 1 7"]);
    let mut narrower = two.clone();
    narrower.backends.get_mut(&1).unwrap().mtu = 1400;
    check("another MTU", &two, &narrower, &["next hop 1 2"]);
    let mut from_elsewhere = two.clone();
    from_elsewhere.backends.get_mut(&1).unwrap().source = IpAddr::from([10, 0, 0, 2]).into();
    check("another source", &two, &from_elsewhere, &["next hop 1 2"]);
    let mut renumbered = two.clone();
    renumbered.backends.insert(1, backend(13));
    check(
        "another server at an index",
        &two,
        &renumbered,
        &["backend 1 10.0.0.13"],
    );
}

#[test]
fn a_thousand_services_move_with_one_write() {
    let all = state(1..1001);
    let mut dead = all.clone();
    let backend = dead.backends.get_mut(&0).unwrap();
    (backend.holds, backend.held_at) = (Hold::CheckFailed as u64, 9);
    check("death", &all, &dead, &["holds 0 +0x2 -0x0 9"]);
}

#[test]
fn deaths_go_first_and_recoveries_last() {
    let mut from = state(1..2);
    from.backends.get_mut(&0).unwrap().holds = Hold::CheckFailed as u64;
    let mut to = state(1..2);
    to.services.insert(key(1), service(&[1, 0]));
    let dead = to.backends.get_mut(&1).unwrap();
    (dead.holds, dead.held_at) = (Hold::LinkDown as u64, 5);
    check(
        "one dies while the other recovers",
        &from,
        &to,
        &[
            "holds 1 +0x40 -0x0 5",
            "service 1 [1, 0]",
            "holds 0 +0x0 -0x2 0",
        ],
    );
}
