//! What must hold whatever happens.

use proptest::prelude::*;

use super::*;

const BACKENDS: usize = 4;

fn specs() -> impl Strategy<Value = Spec> {
    let failback = prop_oneof![3 => Just(Failback::Auto), 1 => Just(Failback::Manual)];
    let hold_down = (0u64..8).prop_map(ms);
    (failback, hold_down).prop_map(|(failback, hold_down)| Spec {
        failback,
        hold_down,
    })
}

fn eligible() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), BACKENDS)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        5 => eligible().prop_map(Event::Eligible),
        4 => (0u64..10).prop_map(Event::Wait),
        1 => (0u64..10).prop_map(Event::Stall),
        2 => prop::option::of(0..=BACKENDS).prop_map(Event::Switch),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 0..60)
}

/// What a bystander remembers, to judge the moves by.
struct Witness {
    /// The operator chose the serving backend, and it has not died since.
    switched: bool,
    /// When each backend last took the service back.
    failed_back: [Option<Duration>; BACKENDS],
}

impl Witness {
    /// Judges what `event` made of `old`, all that there was before it.
    fn judge(&mut self, world: &World, event: &Event, old: &World, step: &Step) {
        let serving = world.policy.serving();
        let alive = |world: &World, position: usize| world.path.backends[position].eligible;

        let mut order = world.path.order.clone();
        order.sort_unstable();
        assert!(order.into_iter().eq(0..BACKENDS), "not a permutation");

        let from = old.policy.serving();
        let from_alive = alive(old, from) && alive(world, from);
        match step.moved.map(|moved| moved.cause) {
            Some(Cause::Takeover) => {
                assert!(!alive(world, from), "left an eligible backend");
                // What recovers just now comes after what the data path has
                // gone to already.
                let survivor = (0..BACKENDS).find(|&at| alive(old, at) && alive(world, at));
                let followed = survivor.is_none_or(|best| serving == best);
                assert!(
                    followed || world.spec.hold_down.is_zero(),
                    "past a survivor"
                );
                self.switched = false;
            }
            Some(Cause::Failback) => {
                assert_eq!(
                    world.spec.failback,
                    Failback::Auto,
                    "manual moved by itself"
                );
                assert!(!self.switched, "undid the operator's switch");
                let healthy = world.now.saturating_sub(world.since[serving]);
                assert!(
                    healthy >= world.spec.hold_down,
                    "before the hold-down was over"
                );
                let before = self.failed_back[serving].replace(world.now);
                let apart = before.is_none_or(|at| world.now >= at + world.spec.hold_down);
                assert!(apart, "flaps faster than the hold-down");
            }
            Some(Cause::Switch) => {
                assert!(matches!(event, Event::Switch(_)), "nobody wanted it");
                self.switched = true;
            }
            None => assert!(from == serving, "moved in silence"),
        }
        self.switched &= alive(world, serving);

        // The data path does a takeover by itself: only what recovers with it
        // can need another order.
        let recovered = (0..BACKENDS).any(|at| !alive(old, at) && alive(world, at));
        if step
            .moved
            .is_some_and(|moved| moved.cause == Cause::Takeover)
            && !recovered
        {
            assert_eq!(step.order, None, "a plain takeover wrote the order");
        }
        if step.moved.is_none() && from_alive && !recovered {
            assert_eq!(
                step.order, None,
                "nothing happened, yet the order was written"
            );
        }

        self.best_serves(world, event);
    }

    /// The best eligible backend serves, unless there is a reason.
    fn best_serves(&self, world: &World, event: &Event) {
        let serving = world.policy.serving();
        let all_dead = world.path.backends.iter().all(|backend| !backend.eligible);
        assert_eq!(world.policy.state() == State::Lost, all_dead);
        let asleep = matches!(event, Event::Stall(_));
        if all_dead || asleep || self.switched || world.spec.failback == Failback::Manual {
            return;
        }
        for better in (0..serving).filter(|&at| world.path.backends[at].eligible) {
            let over = world.since[better] + world.spec.hold_down;
            assert!(over > world.now, "{better} is better than {serving}");
            let deadline = world.policy.deadline();
            assert!(
                deadline.is_some_and(|due| due <= over),
                "nothing will wake us"
            );
        }
    }
}

/// Lets `events` happen from `origin` on; returns what was said, with the time
/// since the origin until the next deadline.
fn history(
    spec: Spec,
    start: &[bool],
    events: &[Event],
    origin: Duration,
) -> Vec<(Result<Step, Refusal>, Option<Duration>)> {
    let mut world = World::new(spec, start, origin);
    let mut said = Vec::new();
    for event in events {
        let answer = world.run(event);
        let deadline = world
            .policy
            .deadline()
            .map(|due| due.checked_sub(origin).unwrap());
        said.push((answer, deadline));
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_happens(spec in specs(), start in eligible(), events in events()) {
        let mut world = World::new(spec, &start, ms(1));
        let mut witness = Witness { switched: false, failed_back: [None; BACKENDS] };
        for event in &events {
            // Time passes a millisecond at a time: one failback a step at most.
            let (parts, part) = match *event {
                Event::Wait(ms) => (ms, Event::Wait(1)),
                Event::Eligible(_) | Event::Stall(_) | Event::Switch(_) | Event::Restart => {
                    (1, event.clone())
                }
            };
            for _ in 0..parts {
                let old = World {
                    spec,
                    policy: world.policy.clone(),
                    path: world.path.clone(),
                    now: world.now,
                    since: world.since.clone(),
                };
                match world.run(&part) {
                    Ok(step) => witness.judge(&world, &part, &old, &step),
                    Err(_) => assert_eq!(world.policy.order(), old.policy.order()),
                }
            }
        }
    }

    /// Nothing depends on where time starts.
    #[test]
    fn the_same_at_any_time(
        spec in specs(),
        start in eligible(),
        events in events(),
        origin in 1u64..1_000_000_000_000,
    ) {
        prop_assert_eq!(
            history(spec, &start, &events, ms(1)),
            history(spec, &start, &events, ms(1) + Duration::from_micros(origin))
        );
    }
}
