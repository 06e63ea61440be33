use proptest::prelude::*;

use super::{BackendHealth, Change, Health, Sign, State, Thresholds};

const UNKNOWN: State = State::Unknown;
const RISE_3_FALL_2: Thresholds = Thresholds { rise: 3, fall: 2 };

const fn up(bad: u32) -> State {
    State::Up { bad }
}

const fn down(good: u32) -> State {
    State::Down { good }
}

#[test]
fn every_transition() {
    const TABLE: &[(State, Sign, State, Option<Change>)] = &[
        (UNKNOWN, Sign::Good, up(0), Some(Change::Up)),
        (UNKNOWN, Sign::Bad, down(0), Some(Change::Down)),
        (up(0), Sign::Good, up(0), None),
        (up(0), Sign::Bad, up(1), None),
        (up(1), Sign::Good, up(0), None),
        (up(1), Sign::Bad, down(0), Some(Change::Down)),
        (down(0), Sign::Good, down(1), None),
        (down(0), Sign::Bad, down(0), None),
        (down(1), Sign::Good, down(2), None),
        (down(1), Sign::Bad, down(0), None),
        (down(2), Sign::Good, up(0), Some(Change::Up)),
        (down(2), Sign::Bad, down(0), None),
    ];
    for &(state, sign, want_state, want_change) in TABLE {
        let mut health = Health {
            thresholds: RISE_3_FALL_2,
            state,
        };
        let got = (health.observe(sign), health.state());
        assert_eq!(got, (want_change, want_state), "{state:?} {sign:?}");
    }
}

#[test]
fn adopted_needs_the_full_threshold() {
    let mut was_up = Health::adopted(RISE_3_FALL_2, true);
    assert_eq!(was_up.observe(Sign::Bad), None);
    assert_eq!(was_up.observe(Sign::Bad), Some(Change::Down));

    let mut was_down = Health::adopted(RISE_3_FALL_2, false);
    assert!(!was_down.is_up());
    assert_eq!(was_down.observe(Sign::Good), None);
    assert_eq!(was_down.observe(Sign::Good), None);
    assert_eq!(was_down.observe(Sign::Good), Some(Change::Up));
}

#[test]
fn a_backend_is_up_while_all_checks_are() {
    const AT_ONCE: Thresholds = Thresholds { rise: 1, fall: 1 };
    const ROWS: &[(usize, Sign, Option<Change>, bool)] = &[
        (0, Sign::Good, None, true),
        (1, Sign::Bad, Some(Change::Down), false),
        (0, Sign::Bad, None, false),
        (1, Sign::Good, None, false),
        (0, Sign::Good, Some(Change::Up), true),
    ];
    let mut backend = BackendHealth::new([AT_ONCE; 2]);
    assert!(backend.is_up(), "not checked yet");
    for (row, &(check, sign, want, up)) in ROWS.iter().enumerate() {
        let got = (backend.observe(check, sign), backend.is_up());
        assert_eq!(got, (want, up), "row {row}");
    }
    assert!(BackendHealth::new([]).is_up(), "no checks");
    assert!(!BackendHealth::adopted([AT_ONCE], false).is_up());
}

/// How many signs at the end of `history` are like its last one.
fn run_length(history: &[Sign]) -> usize {
    let last = history.last();
    let alike = |sign: &&Sign| Some(*sign) == last;
    history.iter().rev().take_while(alike).count()
}

proptest! {
    /// Up or down changes with the first sign and then exactly when `rise` or
    /// `fall` signs in a row contradict it: never earlier, never later.
    #[test]
    fn changes_at_the_threshold_only(
        rise in 1u32..5,
        fall in 1u32..5,
        signs in prop::collection::vec(prop_oneof![Just(Sign::Good), Just(Sign::Bad)], 1..80),
    ) {
        let mut health = Health::new(Thresholds { rise, fall });
        for end in 1..=signs.len() {
            let sign = signs[end - 1];
            let (was, row) = (health.state(), run_length(&signs[..end]));
            let change = health.observe(sign);

            let (agrees, wanted, threshold) = match sign {
                Sign::Good => (matches!(was, State::Up { .. }), Change::Up, rise),
                Sign::Bad => (matches!(was, State::Down { .. }), Change::Down, fall),
            };
            let due = was == State::Unknown || (!agrees && row >= threshold as usize);
            prop_assert_eq!(change, due.then_some(wanted));
            if let Some(change) = change {
                prop_assert_eq!(health.is_up(), change == Change::Up);
            }
        }
    }

    /// The whole is what its checks are, and reports each change of that once.
    #[test]
    fn a_backend_reports_each_change_once(
        signs in prop::collection::vec((0usize..3, any::<bool>()), 0..80),
    ) {
        let mut backend = BackendHealth::new([RISE_3_FALL_2; 3]);
        let mut up = true;
        for (check, good) in signs {
            match backend.observe(check, if good { Sign::Good } else { Sign::Bad }) {
                Some(Change::Up) => prop_assert!(!std::mem::replace(&mut up, true)),
                Some(Change::Down) => prop_assert!(std::mem::replace(&mut up, false)),
                None => (),
            }
            prop_assert_eq!(up, backend.is_up());
            prop_assert_eq!(up, backend.checks().iter().all(Health::is_up));
        }
    }
}
