//! Tiers whose backends serve together.

use failover_common::{OnFailure, SHARE_PLACES, Service};

use super::*;

const CONFIG: &str = r#"
[agent]
interfaces = ["eth0"]

[[service]]
name = "db"
address = "10.0.0.100"
port = 5432
  [[service.backend]]
  name = "db-a"
  address = "10.0.0.11"
  [[service.backend]]
  name = "db-b"
  address = "10.0.0.12"

[[service]]
name = "web"
address = "10.0.0.100"
port = 80
  [[service.backend]]
  name = "far"
  address = "10.0.0.13"
  priority = 9
  [[service.backend]]
  name = "db-a"
  address = "10.0.0.11"
  priority = 2
  weight = 3
  [[service.backend]]
  name = "db-b"
  address = "10.0.0.12"
  priority = 2

[[service]]
name = "api"
address = "10.0.0.100"
port = 81
  [[service.backend]]
  name = "db-a"
  address = "10.0.0.11"
  priority = 1
  [[service.backend]]
  name = "db-b"
  address = "10.0.0.12"
  priority = 1
"#;

fn service(world: &World, port: u16) -> Service {
    world.controller.desired().services[&key(port)]
}

fn up() -> World {
    let mut world = World::with(CONFIG, &State::default());
    for backend in 0..3 {
        world.reach(backend, HOP);
        world.probe(backend, Sign::Good, 1);
    }
    world.controller.take_events();
    world
}

#[test]
fn each_tier_has_a_row() {
    let world = up();
    let shares = &world.controller.desired().shares;
    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    for (port, flows, shares, tiers) in [
        (5432, 0, 0, &[0, 1][..]),
        (80, 1, 1, &[0, 0, 1]),
        (81, 1, 3, &[0, 0]),
    ] {
        let service = service(&world, port);
        let used = &service.backends[..usize::from(service.len)];
        let is: Vec<u8> = used.iter().map(|backend| backend.tier).collect();
        assert_eq!(is, tiers, "{port}");
        assert_eq!((service.flows, service.shares), (flows, shares), "{port}");
        let reset = if flows == 0 {
            OnFailure::Forward
        } else {
            OnFailure::Reset
        };
        assert_eq!(service.on_failure, reset as u8, "{port}");
    }
    let share = |row: u32, index: u32| {
        let places = shares[&row]
            .iter()
            .filter(|place| u32::from(**place) == index);
        places.count()
    };
    let [a, b, far] = [0, 1, 2].map(|backend| world.controller.index(backend));
    assert_eq!(share(0, a) + share(0, b), SHARE_PLACES);
    assert_eq!(share(0, a) / share(0, b), 3);
    assert_eq!(share(1, far), SHARE_PLACES);
    assert_eq!(share(2, a) / share(2, b), 1);
}

#[test]
fn a_death_in_a_tier_is_no_takeover() {
    let mut world = up();
    let serving = |world: &World| {
        world.controller.status(world.now).services[1]
            .serving
            .clone()
    };
    let shares = world.controller.desired().shares.clone();
    assert_eq!(serving(&world), "db-a, db-b");
    world.probe(0, Sign::Bad, FALL);
    assert_eq!(serving(&world), "db-b");
    let words = |world: &mut World| {
        let events = world.controller.take_events();
        let moves = events.iter().map(|event| event.what.to_string());
        let of_web = moves.filter(|words| words.starts_with("service web:"));
        of_web.collect::<Vec<_>>()
    };
    assert_eq!(words(&mut world), [""; 0]);
    world.probe(1, Sign::Bad, FALL);
    assert_eq!(
        words(&mut world),
        ["service web: takeover from db-b to far"]
    );
    assert_eq!(serving(&world), "far");
    assert_eq!(
        world.controller.desired().shares,
        shares,
        "no table follows a death"
    );
}

#[test]
fn the_next_agent_finds_the_same_tables() {
    let found = up().controller.desired().clone();
    let next = World::with(CONFIG, &found);
    assert_eq!(next.controller.desired(), &found);
}
