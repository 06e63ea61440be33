use std::time::Duration;

use super::{
    AGAIN, Ending, Fence, Hook, Kind, Lost, Member, Note, Phase, Promotion, Reason, Refusal, Sight,
    Spec, Step, Task,
};
use crate::policy::Failback;

mod model;
mod world;

use world::World;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A primary, a warm standby and a cold one, each with every hook it can have.
fn spec() -> Spec {
    let member = |kind| Member {
        kind,
        start: kind == Kind::Cold,
        promote: true,
        demote: true,
        stop: kind == Kind::Cold,
        fence: Fence::Required,
        ready: false,
        stands_in_for: None,
    };
    Spec {
        members: [Kind::Hot, Kind::Warm, Kind::Cold].map(member).into(),
        failback: Failback::Auto,
        hold_down: s(10),
        patience: s(1),
        ready_timeout: s(60),
        budget: None,
    }
}

/// Servers that keep nothing: the standby is only started.
fn stateless() -> Spec {
    let mut spec = spec();
    spec.members.remove(1);
    for member in &mut spec.members {
        member.promote = false;
        member.demote = false;
        member.fence = Fence::None;
    }
    spec
}

/// What happens, and then: who may serve, which hooks are wanted, and where it
/// stands, in short.
type Row<'a> = (Event, &'a [usize], &'a [(Hook, usize)], &'a str);

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The backend at this position answers and passes, or not.
    Alive(usize, bool),
    /// It answers, and its checks fail.
    Failing(usize),
    /// It is drained or disabled, or not any more.
    Allowed(usize, bool),
    /// Its checks, those for `ready` included, have passed anew.
    Ready(usize),
    /// A hook has ended.
    Ended(Hook, usize, Ending),
    /// Seconds pass.
    Wait(u64),
    Switch(Option<usize>),
    Go,
    Declare(usize),
    Rejoined(usize),
    /// Another agent goes on.
    Restart,
}

use Ending::{Done, Failed, Unknown};
use Event::{Alive, Allowed, Declare, Ended, Failing, Go, Ready, Rejoined, Restart, Switch, Wait};
use Hook::{Demote, Promote, Start, Stop};

#[track_caller]
fn check(spec: Spec, rows: &[Row<'_>]) {
    let mut world = World::new(spec);
    for (index, (event, serving, hooks, phase)) in rows.iter().enumerate() {
        let row = format!("row {index}: {event:?}");
        world.run(*event).expect(&row);
        let promotion = &world.promotion;
        let positions = 0..world.sights.len();
        let may: Vec<usize> = positions.filter(|&at| promotion.may_serve(at)).collect();
        let tasks: Vec<_> = promotion.tasks(world.now).into_iter().collect();
        let tasks: Vec<_> = tasks
            .iter()
            .map(|task| (task.hook, task.position))
            .collect();
        assert_eq!(world.phase(), *phase, "{row}: phase");
        assert_eq!(may, *serving, "{row}: may serve");
        assert_eq!(tasks, *hooks, "{row}: hooks");
    }
}

#[rustfmt::skip]
#[test]
fn a_warm_standby_is_promoted_and_the_way_back() {
    check(spec(), &[
        (Wait(1), &[0], &[], "open 0"),
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
        (Ended(Hook::Fence, 0, Done), &[], &[(Promote, 1)], "promote 0>1"),
        (Ended(Promote, 1, Done), &[], &[], "ready 0>1"),
        (Ready(1), &[1], &[], "open 1"),
        // The old primary has to become a standby before it counts for anything.
        (Alive(0, true), &[1], &[(Demote, 0)], "open 1"),
        (Wait(60), &[1], &[(Demote, 0)], "open 1"),
        (Ended(Demote, 0, Done), &[1], &[], "open 1"),
        (Wait(9), &[1], &[], "open 1"),
        // The way back: the standby is demoted, which makes fencing needless.
        (Wait(1), &[], &[(Demote, 1)], "demote 1>0"),
        (Ended(Demote, 1, Done), &[], &[(Promote, 0)], "promote 1>0"),
        (Ended(Promote, 0, Done), &[], &[], "ready 1>0"),
        (Ready(0), &[0], &[], "open 0"),
    ]);
}

#[rustfmt::skip]
#[test]
fn what_recovers_within_the_patience_was_nothing() {
    check(spec(), &[
        (Alive(0, false), &[0], &[], "open 0"),
        (Alive(0, true), &[0], &[], "open 0"),
        (Wait(5), &[0], &[], "open 0"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_cold_standby_is_started_and_stopped() {
    check(stateless(), &[
        (Alive(1, false), &[0], &[], "open 0"),
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Start, 1)], "start 0>1"),
        (Ended(Start, 1, Done), &[], &[], "reach 0>1"),
        (Failing(1), &[], &[], "ready 0>1"),
        (Alive(1, true), &[], &[], "ready 0>1"),
        (Ready(1), &[1], &[], "open 1"),
        (Failing(0), &[1], &[], "open 1"),
        (Wait(99), &[1], &[], "open 1"),
        (Alive(0, true), &[1], &[], "open 1"),
        (Wait(10), &[0], &[(Stop, 1)], "open 0"),
        (Ended(Stop, 1, Failed), &[0], &[], "open 0"),
        (Wait(30), &[0], &[(Stop, 1)], "open 0"),
        (Ended(Stop, 1, Done), &[0], &[], "open 0"),
    ]);
}

#[rustfmt::skip]
#[test]
fn who_comes_back_while_the_standby_starts_keeps_the_service() {
    check(stateless(), &[
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Start, 1)], "start 0>1"),
        (Alive(0, true), &[0], &[(Stop, 1)], "open 0"),
    ]);
}

#[rustfmt::skip]
#[test]
fn without_the_fence_nobody_is_promoted() {
    for ending in [Failed, Unknown] {
        check(spec(), &[
            (Alive(0, false), &[0], &[], "open 0"),
            (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
            (Ended(Hook::Fence, 0, ending), &[], &[], "blocked Fence 0>1"),
            (Wait(9999), &[], &[], "blocked Fence 0>1"),
            (Restart, &[], &[], "blocked Fence 0>1"),
            (Go, &[], &[(Promote, 1)], "promote 0>1"),
        ]);
        // It comes back, nobody else was promoted: it goes on.
        check(spec(), &[
            (Alive(0, false), &[0], &[], "open 0"),
            (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
            (Ended(Hook::Fence, 0, ending), &[], &[], "blocked Fence 0>1"),
            (Alive(0, true), &[0], &[], "open 0"),
        ]);
        let mut optional = spec();
        optional.members[0].fence = Fence::Optional;
        check(optional, &[
            (Alive(0, false), &[0], &[], "open 0"),
            (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
            (Ended(Hook::Fence, 0, ending), &[], &[(Promote, 1)], "promote 0>1"),
        ]);
    }
}

#[rustfmt::skip]
#[test]
fn a_promotion_that_failed_waits_for_a_person() {
    for (ending, phase) in [(Failed, "blocked Promote 0>1"), (Unknown, "blocked Unknown 0>1")] {
        let start: [Row<'_>; 4] = [
            (Alive(0, false), &[0], &[], "open 0"),
            (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
            (Ended(Hook::Fence, 0, Done), &[], &[(Promote, 1)], "promote 0>1"),
            (Ended(Promote, 1, ending), &[], &[], phase),
        ];
        let ends: [&[Row<'_>]; 3] = [
            // The old primary is no way out: the new one may be promoted.
            &[(Alive(0, true), &[], &[], phase), (Ready(1), &[], &[], phase)],
            &[(Go, &[], &[], "ready 0>1"), (Ready(1), &[1], &[], "open 1")],
            &[(Alive(0, true), &[], &[], phase), (Declare(0), &[], &[], "ready 1>0"),
              (Ready(0), &[0], &[(Demote, 1)], "open 0")],
        ];
        for end in ends {
            check(spec(), &[&start, end].concat());
        }
    }
}

#[rustfmt::skip]
#[test]
fn an_agent_that_ends_while_it_promotes_does_not_promote_twice() {
    let start: [Row<'_>; 4] = [
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
        (Restart, &[], &[(Hook::Fence, 0)], "fence 0>1"),
        (Ended(Hook::Fence, 0, Done), &[], &[(Promote, 1)], "promote 0>1"),
    ];
    check(spec(), &[&start[..], &[
        (Restart, &[], &[], "blocked Unknown 0>1"),
        (Ready(1), &[], &[], "blocked Unknown 0>1"),
    ]].concat());
    // Checks that only a promoted backend passes tell.
    let mut telling = spec();
    telling.members[1].ready = true;
    check(telling, &[&start[..], &[
        (Restart, &[], &[], "blocked Unknown 0>1"),
        (Ready(1), &[1], &[], "open 1"),
        (Restart, &[1], &[], "open 1"),
    ]].concat());
}

#[rustfmt::skip]
#[test]
fn one_that_cannot_be_started_makes_room_for_the_next() {
    let mut spec = spec();
    spec.members[1] = spec.members[2].clone();
    check(spec, &[
        (Alive(2, false), &[0], &[], "open 0"),
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
        (Ended(Hook::Fence, 0, Done), &[], &[(Start, 1)], "start 0>1"),
        (Ended(Start, 1, Failed), &[], &[(Start, 2)], "start 0>2"),
        // It never answers; the first one is tried again.
        (Ended(Start, 2, Done), &[], &[], "reach 0>2"),
        (Wait(60), &[], &[(Start, 1)], "start 0>1"),
        (Ended(Start, 1, Failed), &[], &[(Stop, 1), (Stop, 2)], "closed 0"),
        (Alive(0, true), &[0], &[(Stop, 1), (Stop, 2)], "open 0"),
    ]);
}

#[rustfmt::skip]
#[test]
fn one_that_does_not_get_ready_makes_room_for_the_next() {
    check(spec(), &[
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
        (Ended(Hook::Fence, 0, Done), &[], &[(Promote, 1)], "promote 0>1"),
        (Ended(Promote, 1, Done), &[], &[], "ready 0>1"),
        (Failing(1), &[], &[], "ready 0>1"),
        (Wait(59), &[], &[], "ready 0>1"),
        // It was promoted, so it is fenced like any other.
        (Wait(1), &[], &[(Hook::Fence, 1)], "fence 1>2"),
        (Ended(Hook::Fence, 1, Done), &[], &[(Start, 2)], "start 1>2"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_switch_keeps_the_service_until_the_next_one_answers() {
    check(spec(), &[
        (Alive(2, false), &[0], &[], "open 0"),
        (Switch(Some(2)), &[0], &[(Start, 2)], "start 0>2"),
        (Ended(Start, 2, Done), &[0], &[], "reach 0>2"),
        (Alive(2, true), &[], &[(Demote, 0)], "demote 0>2"),
        (Ended(Demote, 0, Done), &[], &[(Promote, 2)], "promote 0>2"),
        (Ended(Promote, 2, Done), &[], &[], "ready 0>2"),
        (Ready(2), &[2], &[], "open 2"),
        // The operator's choice stays.
        (Wait(9999), &[2], &[], "open 2"),
        (Restart, &[2], &[], "open 2"),
        (Wait(9999), &[2], &[], "open 2"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_switch_that_fails_leaves_the_service_where_it_is() {
    check(spec(), &[
        (Switch(Some(2)), &[0], &[(Start, 2)], "start 0>2"),
        (Ended(Start, 2, Failed), &[0], &[(Stop, 2)], "open 0"),
        (Switch(None), &[], &[(Demote, 0)], "demote 0>1"),
        (Ended(Demote, 0, Failed), &[0], &[(Stop, 2)], "open 0"),
    ]);
}

#[rustfmt::skip]
#[test]
fn who_is_drained_gives_the_service_away_at_once() {
    check(spec(), &[
        (Allowed(1, false), &[0], &[], "open 0"),
        (Allowed(0, false), &[0], &[(Start, 2)], "start 0>2"),
        (Ended(Start, 2, Done), &[], &[(Demote, 0)], "demote 0>2"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_standby_bound_to_one_primary_takes_over_from_that_one_only() {
    let mut bound = spec();
    bound.members[1].kind = Kind::Hot;
    bound.members[2].stands_in_for = Some(1);
    for member in &mut bound.members[..2] {
        (member.promote, member.demote, member.fence) = (false, false, Fence::None);
    }
    check(bound.clone(), &[
        (Alive(1, false), &[0, 1], &[], "open 0"),
        (Alive(0, false), &[0, 1], &[], "open 0"),
        (Wait(99), &[0, 1], &[], "open 0"),
    ]);
    check(bound, &[
        (Alive(0, false), &[0, 1], &[], "open 0"),
        (Alive(1, false), &[0, 1], &[], "open 0"),
        // Both hot ones are side 0, so the cold one is side 1.
        (Wait(1), &[], &[(Start, 2)], "start 0>1"),
    ]);
}

#[rustfmt::skip]
#[test]
fn old_data_does_not_come_back_by_itself() {
    let mut spec = spec();
    spec.members[0].demote = false;
    let start: [Row<'_>; 6] = [
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Hook::Fence, 0)], "fence 0>1"),
        (Ended(Hook::Fence, 0, Done), &[], &[(Promote, 1)], "promote 0>1"),
        (Ended(Promote, 1, Done), &[], &[], "ready 0>1"),
        (Ready(1), &[1], &[], "open 1"),
        (Alive(0, true), &[1], &[], "open 1"),
    ];
    check(spec.clone(), &[&start[..], &[
        (Wait(9999), &[1], &[], "open 1"),
        (Rejoined(0), &[1], &[], "open 1"),
        (Wait(10), &[], &[(Demote, 1)], "demote 1>0"),
    ]].concat());
    check(spec, &[&start[..], &[
        (Alive(2, false), &[1], &[], "open 1"),
        (Alive(1, false), &[1], &[], "open 1"),
        (Wait(1), &[], &[(Hook::Fence, 1)], "fence 1>2"),
    ]].concat());
}

#[rustfmt::skip]
#[test]
fn after_the_budget_a_person_must_say_go() {
    let mut spec = stateless();
    spec.budget = Some(1);
    check(spec, &[
        (Alive(0, false), &[0], &[], "open 0"),
        (Wait(1), &[], &[(Start, 1)], "start 0>1"),
        (Ended(Start, 1, Done), &[], &[], "ready 0>1"),
        (Ready(1), &[1], &[], "open 1"),
        (Alive(0, true), &[1], &[], "open 1"),
        (Wait(3500), &[1], &[], "open 1"),
        (Go, &[0], &[(Stop, 1)], "open 0"),
    ]);
}

#[test]
fn what_the_operator_cannot_do() {
    let mut world = World::new(spec());
    let mut refused = |event, refusal| assert_eq!(world.run(event), Err(refusal), "{event:?}");
    refused(Switch(Some(0)), Refusal::AlreadyServing);
    refused(Switch(Some(7)), Refusal::NoSuchBackend);
    refused(Declare(7), Refusal::NoSuchBackend);
    refused(Go, Refusal::NothingWaits);
    world.run(Alive(1, false)).unwrap();
    let mut refused = |event, refusal| assert_eq!(world.run(event), Err(refusal), "{event:?}");
    refused(Switch(Some(1)), Refusal::NotFit);
    world.run(Allowed(2, false)).unwrap();
    assert_eq!(world.run(Switch(None)), Err(Refusal::NoOtherFit));
    world.run(Allowed(2, true)).unwrap();
    world.run(Switch(None)).unwrap();
    assert_eq!(world.run(Switch(None)), Err(Refusal::Busy));
    let mut world = World::new(spec());
    world.promotion = Promotion::held_by(spec(), 0, world.now);
    assert_eq!(world.run(Switch(None)), Err(Refusal::NeedsGo));
    world.run(Alive(0, false)).unwrap();
    world.run(Wait(60)).unwrap();
    assert_eq!(world.phase(), "open 0", "frozen");
    world.run(Go).unwrap();
    assert_eq!(world.phase(), "fence 0>1");
}

#[test]
fn where_nobody_knows_who_is_promoted_nobody_serves() {
    let mut world = World::new(spec());
    world.promotion = Promotion::unknown(spec(), world.now);
    for event in [Alive(1, true), Wait(99), Restart, Wait(99)] {
        world.run(event).unwrap();
        assert!((0..3).all(|at| !world.promotion.may_serve(at)), "{event:?}");
    }
    world.run(Declare(1)).unwrap();
    world.run(Ready(1)).unwrap();
    assert_eq!(world.phase(), "open 1");
}

#[test]
fn a_memory_of_backends_that_are_gone() {
    let world = World::new(spec());
    let memory = world.promotion.memory(&["a", "b", "c"]);
    let restored = |names: &[&str]| Promotion::restored(spec(), &memory, [], names, s(0));
    assert!(restored(&["a", "b", "c"]).is_ok());
    assert_eq!(restored(&["x", "b", "c"]).err(), Some(Lost("a".into())));
}

#[test]
fn what_is_told() {
    let mut world = World::new(spec());
    let mut told = |event| world.run(event).unwrap();
    assert_eq!(told(Alive(0, false)), []);
    let (from, to) = (0, 1);
    let reason = Reason::Died;
    let step = |step| Note::Enters { to, step };
    let begins = Note::Begins { from, to, reason };
    assert_eq!(told(Wait(1)), [begins]);
    assert_eq!(told(Ended(Hook::Fence, 0, Done)), [step(Step::Promote)]);
    assert_eq!(told(Ended(Promote, 1, Done)), [step(Step::Ready)]);
    assert_eq!(told(Ready(1)), [Note::Serves { from, to, reason }]);
}
