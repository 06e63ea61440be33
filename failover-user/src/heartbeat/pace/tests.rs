use super::*;

const US: u64 = 1000;
const MS: u64 = 1_000_000;

/// Wakes up whenever it is time, `late` nanoseconds late, until `end`; returns who
/// had a turn when.
fn run(pace: &mut Pace, late: u64, end: u64) -> Vec<(u64, usize)> {
    let mut turns = Vec::new();
    while let Some(WakeUp { at: next, .. }) = pace.next()
        && next + late < end
    {
        let now = next + late;
        while let Some(member) = pace.due(now) {
            turns.push((now, member));
        }
        pace.rest(now, now + 5 * US);
    }
    turns
}

#[track_caller]
fn check(description: &str, count: usize, interval: u64, late: u64) {
    let (start, span) = (7 * MS, 100 * MS);
    let mut pace = Pace::new(vec![interval; count], start);
    let turns = run(&mut pace, late, start + span);
    let wakes = turns.chunk_by(|a, b| a.0 == b.0).count();
    assert!(wakes <= 2000, "{description}: {wakes} wake-ups in 100 ms");
    let most = turns.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max();
    let even = count as u64 * (pace.gap + late).min(interval) / interval;
    assert!(
        most.unwrap() as u64 <= even + 2,
        "{description}: {most:?} at once"
    );
    for member in 0..count {
        let mine: Vec<u64> = turns
            .iter()
            .filter(|turn| turn.1 == member)
            .map(|turn| turn.0)
            .collect();
        let expected = span / interval;
        assert!(
            mine.len() as u64 >= expected - 1 && mine.len() as u64 <= expected + 1,
            "{description}: {member} had {} turns",
            mine.len()
        );
        for pair in mine.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(
                apart * 4 >= interval && apart <= 2 * interval,
                "{description}: {member}: {apart} ns"
            );
        }
    }
}

#[test]
fn turns_are_even() {
    check("one", 1, 200 * US, 0);
    check("one, late", 1, 200 * US, 40 * US);
    check("one, fast", 1, 100 * US, 30 * US);
    check("ten, fast", 10, 100 * US, 0);
    check("a hundred", 100, 500 * US, 5 * US);
    check("a thousand", 1000, 10 * MS, 0);
    check("a thousand, late", 1000, 10 * MS, 100 * US);
}

#[test]
fn what_was_missed_is_left_out() {
    let mut pace = Pace::new(vec![200 * US; 10], 0);
    run(&mut pace, 0, 10 * MS);
    let now = 15 * MS + 3;
    let mut members = Vec::new();
    while let Some(member) = pace.due(now) {
        members.push(member);
    }
    members.sort_unstable();
    assert_eq!(members, (0..10).collect::<Vec<_>>(), "each once");
    pace.rest(now, now);
    let turns = run(&mut pace, 0, now + 2 * MS);
    // They are as far apart as before.
    let first: Vec<_> = turns.iter().take(10).map(|turn| turn.0 - now).collect();
    assert!(first.iter().all(|&after| after >= 50 * US), "{first:?}");
    assert!(
        turns.chunk_by(|a, b| a.0 == b.0).all(|at| at.len() <= 4),
        "{turns:?}"
    );
}

#[test]
fn who_has_no_interval_has_no_turn() {
    assert_eq!(Pace::new(vec![0, 0], 5).next(), None);
    let mut pace = Pace::new(vec![0, 300 * US, 2 * MS], 0);
    let turns = run(&mut pace, 0, 30 * MS);
    let count = |member| turns.iter().filter(|turn| turn.1 == member).count();
    assert_eq!((count(0), count(1), count(2)), (0, 100, 15));
}

#[test]
fn it_rests_however_late_it_is() {
    let mut pace = Pace::new(vec![100 * US; 10], 0);
    while pace.due(0).is_some() {}
    pace.rest(0, 3 * MS);
    assert_eq!(pace.next(), Some(turn(3 * MS + REST)));
}

const fn turn(at: u64) -> WakeUp {
    WakeUp {
        at,
        is_reminder: false,
    }
}

#[test]
fn reminders_come_between_turns() {
    let reminder = |at| WakeUp {
        at,
        is_reminder: true,
    };
    let mut pace = Pace::new(vec![MS, MS], 0);
    assert_eq!(pace.due(0), Some(0));
    pace.rest(0, 0);
    assert_eq!(pace.next(), Some(turn(MS / 2)));
    pace.remind(0, MS / 2 + 7);
    assert_eq!(pace.next(), Some(turn(MS / 2)), "a turn is before it");
    pace.remind(1, 300_000);
    pace.remind(0, 5_000);
    for (now, next, reminded) in [
        (4_999, reminder(REST), None),
        (REST, reminder(REST), Some(0)),
        (REST, reminder(300_000), None),
        (300_000, reminder(300_000), Some(1)),
        (300_000, turn(MS / 2), None),
    ] {
        assert_eq!(pace.next(), Some(next), "{now}");
        assert_eq!(pace.reminder(now), reminded, "{now}");
    }
}
