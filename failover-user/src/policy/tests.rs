use std::time::Duration;

use super::{Cause, Eligibility, Failback, Move, Outage, Policy, Refusal, Spec, State, Step};

mod properties;
mod world;

use world::{Event, World};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const AUTO: Spec = Spec {
    failback: Failback::Auto,
    hold_down: ms(10),
};
const AT_ONCE: Spec = Spec {
    failback: Failback::Auto,
    hold_down: Duration::ZERO,
};
const MANUAL: Spec = Spec {
    failback: Failback::Manual,
    hold_down: ms(10),
};
const HOLD_DOWN_OVER: fn(u64) -> State = |at| State::Waiting {
    until: Some(ms(at)),
};
const OPERATOR: State = State::Waiting { until: None };

/// An event, then what must come of it: who serves, the order if it is
/// written, the cause if the service moves, and where it stands.
type Row<'a> = (Event, usize, Option<&'a [usize]>, Option<Cause>, State);

/// Runs the rows over three backends, all of them eligible at time 0.
#[track_caller]
fn check(spec: Spec, rows: &[Row<'_>]) {
    let mut world = World::new(spec, &[true; 3], Duration::ZERO);
    for (index, (event, serving, order, cause, state)) in rows.iter().enumerate() {
        let row = format!("row {index}: {event:?}");
        let from = world.policy.serving();
        let step = world.run(event).expect(&row);
        assert_eq!(world.policy.serving(), *serving, "{row}: serving");
        assert_eq!(step.order.as_deref(), *order, "{row}: order");
        let to = *serving;
        let moved = cause.map(|cause| Move { from, to, cause });
        assert_eq!(step.moved, moved, "{row}: moved");
        assert_eq!(world.policy.state(), *state, "{row}: state");
    }
}

fn alive(eligible: [bool; 3]) -> Event {
    Event::Eligible(eligible.to_vec())
}

const ALL: [bool; 3] = [true; 3];
const NONE: [bool; 3] = [false; 3];
const NOT_0: [bool; 3] = [false, true, true];
const NOT_1: [bool; 3] = [true, false, true];
const ONLY_0: [bool; 3] = [true, false, false];
const ONLY_1: [bool; 3] = [false, true, false];
const ONLY_2: [bool; 3] = [false, false, true];

#[rustfmt::skip]
#[test]
fn takeover_then_failback_after_the_hold_down() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (Event::Wait(5), 1, None, None, State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, HOLD_DOWN_OVER(15)),
        (Event::Wait(9), 1, None, None, HOLD_DOWN_OVER(15)),
        (Event::Wait(1), 0, Some(&[0, 1, 2]), Some(Cause::Failback), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_relapse_starts_the_hold_down_again() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, HOLD_DOWN_OVER(10)),
        (Event::Wait(9), 1, None, None, HOLD_DOWN_OVER(10)),
        (alive(NOT_0), 1, None, None, State::Best),
        (alive(ALL), 1, None, None, HOLD_DOWN_OVER(19)),
        (Event::Wait(9), 1, None, None, HOLD_DOWN_OVER(19)),
        (Event::Wait(1), 0, Some(&[0, 1, 2]), Some(Cause::Failback), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_backend_in_its_hold_down_is_better_than_nothing() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, HOLD_DOWN_OVER(10)),
        (alive(NOT_1), 0, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 0, Some(&[0, 1, 2]), None, State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn who_recovers_as_the_serving_one_dies_comes_after_the_survivor() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(NOT_1), 2, Some(&[2, 0, 1]), Some(Cause::Takeover), HOLD_DOWN_OVER(10)),
        (Event::Wait(10), 0, Some(&[0, 1, 2]), Some(Cause::Failback), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn of_several_that_recovered_the_best_whose_hold_down_is_over() {
    check(AUTO, &[
        (alive(ONLY_2), 2, None, Some(Cause::Takeover), State::Best),
        (alive(NOT_0), 2, Some(&[2, 0, 1]), None, HOLD_DOWN_OVER(10)),
        (Event::Wait(4), 2, None, None, HOLD_DOWN_OVER(10)),
        (alive(ALL), 2, None, None, HOLD_DOWN_OVER(10)),
        (Event::Wait(6), 1, Some(&[1, 0, 2]), Some(Cause::Failback), HOLD_DOWN_OVER(14)),
        (Event::Wait(4), 0, Some(&[0, 1, 2]), Some(Cause::Failback), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn without_hold_down_at_once() {
    check(AT_ONCE, &[
        (alive(ONLY_2), 2, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 0, None, Some(Cause::Failback), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn manual_failback_waits_for_the_operator() {
    check(MANUAL, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, OPERATOR),
        (Event::Wait(1_000_000), 1, None, None, OPERATOR),
        (Event::Switch(None), 0, Some(&[0, 1, 2]), Some(Cause::Switch), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_switch_stays_until_that_backend_dies() {
    check(AUTO, &[
        (Event::Switch(None), 1, Some(&[1, 0, 2]), Some(Cause::Switch), State::Switched),
        (Event::Wait(1_000_000), 1, None, None, State::Switched),
        (alive(NOT_0), 1, None, None, State::Switched),
        (alive(ALL), 1, None, None, State::Switched),
        (Event::Switch(Some(2)), 2, Some(&[2, 0, 1]), Some(Cause::Switch), State::Switched),
        (alive(ONLY_0), 0, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 0, Some(&[0, 1, 2]), None, State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_switch_back_to_the_first_choice_ends_it() {
    check(AUTO, &[
        (Event::Switch(Some(2)), 2, Some(&[2, 0, 1]), Some(Cause::Switch), State::Switched),
        (Event::Switch(None), 0, Some(&[0, 1, 2]), Some(Cause::Switch), State::Best),
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, HOLD_DOWN_OVER(10)),
    ]);
}

#[rustfmt::skip]
#[test]
fn when_all_are_dead_the_last_one_keeps_the_service() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (Event::Wait(1), 1, None, None, State::Best),
        (alive(NONE), 1, None, None, State::Lost),
        (Event::Wait(1), 1, None, None, State::Lost),
        // No hold-down: better than nothing.
        (alive(ONLY_2), 2, None, Some(Cause::Takeover), State::Best),
        (alive(NONE), 2, None, None, State::Lost),
        // The one that has the service keeps it, if it recovers with others.
        (alive(NOT_0), 2, Some(&[2, 0, 1]), None, HOLD_DOWN_OVER(12)),
    ]);
}

#[rustfmt::skip]
#[test]
fn of_those_that_recover_from_an_outage_the_best() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, HOLD_DOWN_OVER(10)),
        (alive(ONLY_2), 2, None, Some(Cause::Takeover), State::Best),
        (Event::Wait(1), 2, None, None, State::Best),
        (alive(NONE), 2, None, None, State::Lost),
        // Not 1, which is first in the order.
        (alive([true, true, false]), 0, Some(&[0, 1, 2]), Some(Cause::Takeover), State::Best),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_restart_moves_nothing_and_keeps_the_switch() {
    check(AUTO, &[
        (alive(NOT_0), 1, None, Some(Cause::Takeover), State::Best),
        (alive(ALL), 1, Some(&[1, 0, 2]), None, HOLD_DOWN_OVER(10)),
        (Event::Wait(6), 1, None, None, HOLD_DOWN_OVER(10)),
        (Event::Restart, 1, None, None, HOLD_DOWN_OVER(16)),
        (Event::Switch(Some(2)), 2, Some(&[2, 0, 1]), Some(Cause::Switch), State::Switched),
        (Event::Restart, 2, None, None, State::Switched),
    ]);
}

#[test]
fn outages_begin_and_end_once() {
    let mut world = World::new(AUTO, &ALL, Duration::ZERO);
    let rows = [
        (ONLY_1, None),
        (NONE, Some(Outage::Begins)),
        (NONE, None),
        (ONLY_0, Some(Outage::Ends)),
        (ALL, None),
    ];
    for (eligible, want) in rows {
        let step = world.run(&alive(eligible)).unwrap();
        assert_eq!(step.outage, want, "{eligible:?}");
    }
}

#[test]
fn refusals() {
    let rows: [([bool; 3], Option<usize>, Refusal); 5] = [
        (ALL, Some(0), Refusal::AlreadyServing),
        (ALL, Some(3), Refusal::NoSuchBackend),
        (NOT_1, Some(1), Refusal::NotEligible),
        (ONLY_0, None, Refusal::NoOtherEligible),
        (NONE, None, Refusal::NoOtherEligible),
    ];
    for (eligible, to, want) in rows {
        let mut world = World::new(AUTO, &eligible, Duration::ZERO);
        let got = world.run(&Event::Switch(to));
        assert_eq!(got, Err(want), "{eligible:?} {to:?}");
    }
}

/// Orders an agent may find: whatever they are, the data path's choice stays.
#[test]
fn adopted_goes_on_with_who_serves() {
    type Row<'a> = (&'a [usize], [bool; 3], usize, &'a [usize]);
    let rows: [Row<'_>; 6] = [
        (&[1, 0, 2], ALL, 1, &[1, 0, 2]),
        (&[0, 1, 2], NOT_0, 1, &[0, 1, 2]),
        (&[2, 1, 0], NOT_1, 2, &[2, 0, 1]),
        (&[2, 1, 0], [true, true, false], 1, &[1, 0, 2]),
        // Not a permutation: as if there were none.
        (&[2, 2, 0], ALL, 0, &[0, 1, 2]),
        (&[1, 0], ALL, 0, &[0, 1, 2]),
    ];
    for (found, eligible, serving, order) in rows {
        let eligible = eligible.map(|eligible| Eligibility {
            eligible,
            held_at: 0,
        });
        let policy = Policy::adopted(AUTO, found, false, &eligible, ms(5));
        assert_eq!(
            (policy.serving(), &*policy.order()),
            (serving, order),
            "{found:?}"
        );
    }
}

/// The operator chose 2; it died and 1 took over, without a write. The next
/// agent must not take that for the operator's choice.
#[test]
fn a_choice_that_died_is_not_handed_on() {
    let rows = [
        ([false, true, true], State::Switched),
        ([false, true, false], State::Best),
    ];
    for (eligible, want) in rows {
        let eligible = eligible.map(|eligible| Eligibility {
            eligible,
            held_at: 0,
        });
        let policy = Policy::adopted(AUTO, &[2, 0, 1], true, &eligible, ms(5));
        assert_eq!(policy.state(), want, "{eligible:?}");
    }
}

/// Two of the best tier and one of the next.
#[test]
fn in_a_tier_nobody_is_better() {
    let at = |eligible: [bool; 3]| {
        eligible.map(|eligible| Eligibility {
            eligible,
            held_at: 1,
        })
    };
    let mut policy = Policy::new(AUTO, &at(ALL), ms(0)).in_tiers([1, 1, 2], false);
    let rows: [([bool; 3], usize, State); 4] = [
        (NOT_0, 1, State::Best),
        (ALL, 1, State::Best),
        (ONLY_2, 2, State::Best),
        (ALL, 2, HOLD_DOWN_OVER(10)),
    ];
    for (eligible, serving, state) in rows {
        let _step = policy.update(&at(eligible), ms(0));
        let is = (policy.serving(), policy.state());
        assert_eq!(is, (serving, state), "{eligible:?}");
    }
    policy.pin(true);
    assert_eq!(policy.state(), OPERATOR);
    policy.pin(false);
    let _step = policy.advance(ms(10));
    assert_eq!(policy.serving(), 0);
    policy.switch(Some(1)).map(drop).unwrap();
    assert_eq!(policy.state(), State::Best, "as good as the first choice");
}

/// Two of the best tier, which serve together, and two of the next, which do too.
#[test]
fn a_tier_that_shares_moves_as_one() {
    let at = |eligible: [bool; 4]| {
        eligible.map(|eligible| Eligibility {
            eligible,
            held_at: 1,
        })
    };
    let all = [true; 4];
    let mut policy = Policy::new(AUTO, &at(all), ms(0)).in_tiers([1, 1, 2, 2], true);
    let mut check = |what: &str, eligible: [bool; 4], order: &[usize], moved: Option<Cause>| {
        let step = policy.update(&at(eligible), ms(0));
        assert_eq!(policy.order(), order, "{what}");
        assert_eq!(step.moved.map(|moved| moved.cause), moved, "{what}");
        policy.state()
    };
    let one_left = [false, true, true, true];
    let second = [false, false, true, true];
    let state = check("one of the tier dies", one_left, &[0, 1, 2, 3], None);
    assert_eq!(state, State::Best);
    check("and is back", all, &[1, 0, 2, 3], None);
    let state = check("both die", second, &[1, 0, 2, 3], Some(Cause::Takeover));
    assert_eq!(state, State::Best);
    let state = check("and are back", all, &[2, 3, 0, 1], None);
    assert_eq!(state, HOLD_DOWN_OVER(10));
    let step = policy.advance(ms(10));
    assert_eq!(step.order, Some(vec![0, 1, 2, 3]));
    // The operator chooses a tier.
    assert_eq!(policy.switch(Some(1)), Err(Refusal::AlreadyServing));
    let step = policy.switch(Some(3)).unwrap();
    assert_eq!(step.order, Some(vec![3, 2, 0, 1]));
    assert_eq!(policy.state(), State::Switched);
    let step = policy.update(&at([true, true, true, false]), ms(10));
    assert_eq!(step, Step::default(), "the other one of the tier serves on");
    assert_eq!((policy.serving(), policy.state()), (2, State::Switched));
    let step = policy.update(&at([true, true, false, false]), ms(10));
    assert_eq!(step.moved.map(|moved| moved.to), Some(0));
    assert_eq!(policy.state(), State::Best);
    policy.switch(None).unwrap_err();
}
