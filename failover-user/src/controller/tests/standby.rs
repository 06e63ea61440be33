//! Warm standbys, maintenance, damping and budgets, as far as the maps and the store
//! see them.

use failover_common::{DuringSwitch, Hold};

use super::{CONFIG, FALL, RISE, World, key};
use crate::{
    config::Config,
    controller::{Anchor, Controller, Past},
    dataplane::State,
    event::What,
    health::Sign,
    promotion::{Ending, Hook},
};
use std::{path::Path, time::Duration};

/// `db` with a warm standby, without the other service.
fn warm() -> String {
    let (db, _) = CONFIG.rsplit_once("[[service]]").unwrap();
    format!(
        "{}standby = \"warm\"\npromote.command = [\"/promote\"]\n",
        db.replace("port = 5432", "port = 5432\nfence.command = [\"/fence\"]")
    )
}

fn up() -> World {
    World::with(&warm(), &State::default()).come_up()
}

impl World {
    fn holds(&self, backend: u32) -> u64 {
        self.controller.desired().backends[&backend].holds
    }

    /// The order of `db`, and the hooks that are wanted.
    fn stands(&self) -> (Vec<u32>, Vec<(Hook, usize)>) {
        let jobs = self.controller.jobs(self.now);
        let jobs = jobs.iter().map(|job| (job.task.hook, job.task.position));
        (self.order(5432), jobs.collect())
    }

    fn end(&mut self, hook: Hook, ending: Ending) {
        let jobs = self.controller.jobs(self.now);
        let job = jobs.iter().find(|job| job.task.hook == hook).unwrap();
        let (service, task) = (job.service, job.task);
        self.controller.hook_ended(service, task, ending, self.now);
        self.controller.settle(self.now);
    }

    /// The next agent, with what this one had in the maps and in the store.
    fn restart(self, past: Option<Past>, config: &str) -> Self {
        let past = past.unwrap_or_else(|| Past::Kept(self.controller.kept(self.now)));
        let config = Config::parse(config, Path::new("test.toml")).unwrap();
        let found = self.controller.desired();
        let anchor = Anchor::default();
        let controller = Controller::recalled(config, found, &past, anchor, self.now);
        Self { controller, ..self }
    }

    fn waits_for(&self) -> String {
        let status = self.controller.status(self.now);
        status.services[0].waits_for.clone().unwrap_or_default()
    }
}

const NOT_PROMOTED: u64 = Hold::NotPromoted as u64;

#[test]
fn who_is_not_promoted_is_held_from_the_first_write_on() {
    let world = World::with(&warm(), &State::default());
    assert_ne!(world.holds(1) & NOT_PROMOTED, 0);
    assert_eq!(world.holds(0) & NOT_PROMOTED, 0);
    assert_eq!(world.order(5432), [0]);
}

#[test]
fn the_map_says_what_becomes_of_clients_meanwhile() {
    for during_switch in DuringSwitch::ALL {
        let line = format!("port = 5432\nduring_switch = \"{}\"", during_switch.name());
        let config = warm().replace("port = 5432", &line);
        let world = World::with(&config, &State::default());
        let found = world.controller.desired().services[&key(5432)].during_switch;
        assert_eq!(found, during_switch as u8, "{during_switch:?}");
    }
}

#[test]
fn a_promotion_and_what_the_maps_say_meanwhile() {
    let mut world = up();
    assert_eq!(world.stands(), (vec![0], vec![]));
    world.probe(0, Sign::Bad, FALL);
    assert_eq!(world.stands(), (vec![0], vec![]), "patience");
    world.wait(1);
    assert_eq!(world.stands(), (vec![], vec![(Hook::Fence, 0)]));
    world.end(Hook::Fence, Ending::Done);
    assert_eq!(world.stands(), (vec![], vec![(Hook::Promote, 1)]));
    world.end(Hook::Promote, Ending::Done);
    assert_eq!(world.stands(), (vec![], vec![]));
    // A probe from before the promotion says nothing.
    let before = world.now.saturating_sub(Duration::from_millis(1));
    assert!(world.controller.passed_check(1, 0, before));
    world.controller.settle(world.now);
    assert!(world.order(5432).is_empty());
    assert!(world.controller.passed_check(1, 0, world.now));
    world.controller.settle(world.now);
    assert_eq!(world.stands(), (vec![1], vec![]));
    assert_eq!(
        (world.holds(0) & NOT_PROMOTED, world.holds(1)),
        (NOT_PROMOTED, 0)
    );
    let told: Vec<String> = world
        .controller
        .take_events()
        .iter()
        .filter(|event| !matches!(event.what, What::Holds { .. }))
        .map(|event| event.what.to_string())
        .collect();
    let wanted = [
        "service db: NO ELIGIBLE BACKEND, db-a keeps it as the one that was held last",
        "service db: db-b is to take over from db-a (died)",
        "service db: on the way to db-b: promote",
        "service db: on the way to db-b: ready",
        "service db: db-b holds it, after db-a (died)",
        "service db: takeover from db-a to db-b",
        "service db: a backend is eligible again",
    ];
    assert_eq!(told, wanted);
    // The next agent goes on from there; the old primary stays where it is.
    let mut next = world.restart(None, &warm());
    next.probe(0, Sign::Good, RISE);
    assert_eq!(next.stands(), (vec![1], vec![]));
    assert_eq!(next.holds(0), NOT_PROMOTED);
    assert_eq!(next.waits_for(), "");
}

#[test]
fn a_store_that_does_not_fit_the_maps() {
    let served_by_standby = || {
        let mut world = up();
        world.controller.go("db", Some("db-b"), world.now).unwrap();
        assert!(world.controller.passed_check(1, 0, world.now));
        world.controller.settle(world.now);
        assert_eq!(world.order(5432), [1]);
        world
    };
    let rows = [
        (
            "nothing known",
            served_by_standby(),
            Past::Nothing,
            vec![1],
            "db-b serves, and nothing is known of its promotion",
        ),
        (
            "unreadable",
            served_by_standby(),
            Past::Unreadable,
            vec![1],
            "what is known of promotions could not be read",
        ),
        (
            "another one",
            served_by_standby(),
            Past::Kept(up().controller.kept(up().now)),
            vec![1],
            "db-b serves, but db-a was promoted last",
        ),
        (
            "nothing known of the first choice",
            up(),
            Past::Nothing,
            vec![0],
            "",
        ),
    ];
    for (description, world, past, order, says) in rows {
        let mut next = world.restart(Some(past), &warm());
        assert_eq!(next.order(5432), order, "{description}");
        assert!(
            next.waits_for().starts_with(says),
            "{description}: {}",
            next.waits_for()
        );
        assert_eq!(
            says.is_empty(),
            next.waits_for().is_empty(),
            "{description}"
        );
        // Whoever dies, nothing happens by itself.
        let dies = usize::from(order == [1]);
        next.probe(dies, Sign::Bad, FALL);
        next.wait(60);
        assert_eq!(
            next.stands().1.is_empty(),
            !says.is_empty(),
            "{description}"
        );
    }
    // After a reboot the maps say nothing; then nobody serves.
    let mut world = up();
    world.controller.desired = State::default();
    let next = world.restart(Some(Past::Unreadable), &warm());
    assert!(next.order(5432).is_empty());
    // The backend that was promoted is gone from the configuration.
    let world = served_by_standby();
    let renamed = warm().replace("db-b", "db-c");
    let next = world.restart(None, &renamed);
    let says = next.waits_for();
    assert!(
        says.contains("`db-b` is not one of the service any more"),
        "{says}"
    );
}

#[test]
fn maintenance() {
    let mut world = World::up();
    let reason = Some("new disk".to_owned());
    let hour = Some(Duration::from_hours(1));
    world
        .controller
        .maintain("db-a", false, reason, hour, world.now)
        .unwrap();
    world.controller.settle(world.now);
    assert_eq!(world.holds(0), Hold::Drained as u64);
    let mut world = world.restart(None, CONFIG);
    assert_eq!(world.holds(0), Hold::Drained as u64);
    let status = world.controller.status(world.now);
    assert_eq!(status.backends[0].reason.as_deref(), Some("new disk"));
    assert_eq!(status.backends[0].enabled_in_s, Some(3600));
    world.wait(3599);
    assert_eq!(world.holds(0), Hold::Drained as u64);
    world.wait(1);
    assert_eq!(world.holds(0), 0);
    let refused = world
        .controller
        .enable("db-a", None, world.now)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "backend `db-a` is neither drained nor disabled"
    );
    // Disabled after drained is disabled.
    for disabled in [false, true] {
        world
            .controller
            .maintain("db-a", disabled, None, None, world.now)
            .unwrap();
    }
    assert_eq!(world.holds(0), Hold::Disabled as u64);
    world.controller.enable("db-a", None, world.now).unwrap();
    assert_eq!(world.holds(0), 0);
}

#[test]
fn who_flaps_is_damped_while_another_one_can_serve() {
    let damping = "[agent]\ndamping = { half_life = \"10s\", suppress = 1900, reuse = 500 }";
    let config = CONFIG.replace("[agent]", damping);
    let mut world = World::with(&config, &State::default()).come_up();
    let damped = Hold::Damped as u64;
    for _ in 0..2 {
        world.probe(0, Sign::Bad, FALL);
        world.probe(0, Sign::Good, RISE);
    }
    assert_eq!(world.holds(0), damped);
    world.wait(6);
    assert_eq!(world.order(5432), [1, 0], "no failback");
    // Better one that flaps than none.
    world.probe(1, Sign::Bad, FALL);
    assert_eq!(world.holds(0), 0);
    world.probe(1, Sign::Good, RISE);
    assert_eq!(world.holds(0), damped);
    let mut world = world.restart(None, &config);
    assert_eq!(world.holds(0), damped, "not forgotten");
    world.wait(15);
    assert_eq!(world.holds(0), 0, "decayed");
}

#[test]
fn a_budget_of_a_service_that_is_hot() {
    let config = CONFIG.replacen(
        "hold_down = \"5s\"",
        "hold_down = \"5s\"\ntakeovers_per_hour = 1",
        1,
    );
    let mut world = World::with(&config, &State::default()).come_up();
    world.probe(0, Sign::Bad, FALL);
    world.probe(0, Sign::Good, RISE);
    world.wait(60);
    assert_eq!(world.order(5432), [1, 0], "no failback");
    let mut world = world.restart(None, &config);
    world.wait(60);
    assert_eq!(world.order(5432), [1, 0], "nor by the next agent");
    assert!(
        world.waits_for().ends_with("`failover go db`"),
        "{}",
        world.waits_for()
    );
    world.controller.go("db", None, world.now).unwrap();
    world.wait(0);
    assert_eq!(world.order(5432), [0, 1]);
}

/// What was warm is hot, or nobody is damped any more.
#[test]
fn a_new_configuration_leaves_no_hold_of_the_old_one() {
    let world = up();
    assert_eq!(world.holds(1), NOT_PROMOTED);
    let next = world.restart(None, CONFIG);
    assert_eq!(next.holds(1), 0);
    assert_eq!(next.order(5432), [0, 1]);
    let damping = "[agent]\ndamping = { suppress = 1001 }";
    let damped = CONFIG.replace("[agent]", damping);
    let mut world = World::with(&damped, &State::default()).come_up();
    for _ in 0..2 {
        world.probe(0, Sign::Bad, FALL);
        world.probe(0, Sign::Good, RISE);
    }
    assert_eq!(world.holds(0), Hold::Damped as u64);
    let next = world.restart(None, CONFIG);
    assert_eq!(next.holds(0), 0);
}
