use std::time::Duration;

use super::Budget;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The limit, when it was spent, the time, whether one more is allowed, and if not,
/// when.
type Row<'a> = (Option<usize>, &'a [u64], u64, bool, Option<u64>);

#[test]
fn what_is_allowed() {
    let rows: [Row<'_>; 7] = [
        (None, &[1, 2, 3], 4, true, None),
        (Some(2), &[], 0, true, None),
        (Some(2), &[1], 4, true, None),
        (Some(2), &[1, 2], 4, false, Some(61)),
        (Some(2), &[1, 2], 61, true, None),
        // A limit that was lowered.
        (Some(1), &[1, 2], 4, false, Some(62)),
        (Some(0), &[], 4, false, None),
    ];
    for (limit, spent, now, allows, deadline) in rows {
        let budget = Budget::new(limit, spent.iter().map(|at| minutes(*at)));
        let now = minutes(now);
        assert_eq!(budget.allows(now), allows, "{budget:?}");
        assert_eq!(budget.deadline(now), deadline.map(minutes), "{budget:?}");
    }
}

#[test]
fn what_is_spent_counts_for_an_hour_or_until_the_go() {
    let mut budget = Budget::new(Some(2), []);
    budget.spend(minutes(0));
    budget.spend(minutes(50));
    assert!(!budget.allows(minutes(59)));
    assert!(budget.allows(minutes(60)));
    budget.spend(minutes(60));
    assert_eq!(budget.spent(minutes(60)).count(), 2);
    assert!(!budget.allows(minutes(60)));
    budget.reset();
    assert!(budget.allows(minutes(60)));
}
