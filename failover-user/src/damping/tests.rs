use std::time::Duration;

use super::{Damping, Spec};

const SPEC: Spec = Spec {
    half_life: Duration::from_secs(10),
    suppress: 2000.0,
    reuse: 500.0,
    max_suppress: Duration::from_secs(30),
};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Deaths at these seconds; then at a second: the penalty and whether it is damped.
#[test]
fn penalties_add_up_and_decay() {
    let rows: [(&[u64], u64, f64, bool); 8] = [
        (&[], 5, 0.0, false),
        (&[0], 0, 1000.0, false),
        (&[0], 10, 500.0, false),
        // One half-life apart never reaches 2000.
        (&[0, 10, 20, 30, 40, 50], 50, 1968.75, false),
        (&[0, 0], 0, 2000.0, true),
        (&[0, 0], 19, 535.89, true),
        (&[0, 0], 21, 466.52, false),
        // Not more than decays in `max_suppress`: 500 x 2^3.
        (&[0, 0, 0, 0, 0, 0, 0], 0, 4000.0, true),
    ];
    for (deaths, at, penalty, damped) in rows {
        let mut damping = Damping::new(SPEC, 0.0, false, Duration::ZERO);
        for death in deaths {
            damping.advance(s(*death));
            damping.died(s(*death));
        }
        let row = format!("{deaths:?} at {at}");
        assert!((damping.penalty(s(at)) - penalty).abs() < 0.01, "{row}");
        assert_eq!(damping.advance(s(at)), damped, "{row}");
    }
}

#[test]
fn it_ends_when_it_says() {
    let mut damping = Damping::new(SPEC, 0.0, false, Duration::ZERO);
    assert_eq!(damping.until(), None);
    for _ in 0..9 {
        damping.died(s(1));
    }
    let until = damping.until().unwrap();
    assert!(until > s(31) && until < s(31) + Duration::from_millis(2));
    assert!(damping.advance(until.saturating_sub(Duration::from_millis(2))));
    assert!(!damping.advance(until));
    assert_eq!(damping.until(), None);
}

#[test]
fn what_an_earlier_agent_counted_goes_on() {
    let mut damping = Damping::new(SPEC, 1500.0, true, s(100));
    assert!(damping.advance(s(110)));
    assert!(!damping.advance(s(120)));
    // It decayed while no agent ran.
    assert!(!Damping::new(SPEC, 400.0, true, s(100)).is_damped());
}
