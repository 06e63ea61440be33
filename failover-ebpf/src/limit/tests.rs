use super::{BURST, INTERVAL, is_due};

#[test]
fn answers_are_spaced_after_a_burst() {
    // {description, moments in milliseconds, how many of them may be told}
    let at_once = |at, count| std::iter::repeat_n(at, count).collect::<Vec<u64>>();
    for (description, moments, expected) in [
        ("one", vec![7], 1),
        ("a burst", at_once(7, 50), 50),
        ("more than a burst", at_once(7, 51), 50),
        ("one a millisecond", (0..500).collect(), 500),
        (
            "two a millisecond",
            (0..500).flat_map(|at| [at, at]).collect(),
            500 + 49,
        ),
        (
            "two bursts with a pause",
            [at_once(7, 80), at_once(57, 80)].concat(),
            100,
        ),
        (
            "two bursts with half a pause",
            [at_once(7, 80), at_once(32, 80)].concat(),
            75,
        ),
    ] {
        let mut due = 0;
        let told = moments
            .iter()
            .filter(|at| is_due(&mut due, **at * INTERVAL))
            .count();
        assert_eq!(told, expected, "{description}");
    }
    assert_eq!(BURST, 50);
}
