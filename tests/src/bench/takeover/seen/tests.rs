use super::*;

fn answered(sent_us: u64, at_us: u64, by: Host) -> Request {
    Request {
        sent_ns: sent_us * 1_000,
        connect_ns: None,
        outcome: Outcome::Answered {
            at_ns: at_us * 1_000,
            by,
        },
    }
}

fn lost(sent_us: u64, outcome: Outcome) -> Request {
    Request {
        sent_ns: sent_us * 1_000,
        connect_ns: None,
        outcome,
    }
}

fn connected(request: Request, connect_us: u64) -> Request {
    Request {
        connect_ns: Some(connect_us * 1_000),
        ..request
    }
}

#[test]
fn a_takeover() {
    let requests = [
        answered(0, 40, Host::Primary),
        answered(50, 90, Host::Primary),
        lost(100, Outcome::Unanswered),
        lost(150, Outcome::Unanswered),
        answered(350, 430, Host::Standby),
        answered(400, 440, Host::Standby),
    ];
    let run = conclude(&requests, 95_000).expect("the primary was serving");
    let takeover = Takeover {
        takeover_us: 335,
        silence_us: 340,
        first_hit_us: 330,
        first_connect_us: None,
        sender_stall_us: 200,
    };
    assert_eq!(run.takeover, Some(takeover));
    assert_eq!((run.lost.total(), run.lost.unanswered), (2, 2));
    // As above, but the fault came while the first of them was under way.
    let run = conclude(&requests, 110_000).expect("the primary was serving");
    assert_eq!((run.lost.begun, run.lost.unanswered), (1, 1));
    assert_eq!((run.slow_connects, run.max_connect_us), (0, None));
}

#[test]
fn what_happens_to_connections() {
    let requests = [
        connected(answered(0, 300, Host::Primary), 5_000),
        connected(lost(390, Outcome::Reset), 150),
        lost(500, Outcome::Refused),
        connected(lost(600, Outcome::Reset), 150),
        connected(answered(700, 4_000, Host::Standby), 3_200),
        connected(answered(900, 3_000, Host::Standby), 2_000),
    ];
    let run = conclude(&requests, 400_000).expect("the primary was serving");
    let expected = Lost {
        begun: 1,
        refused: 1,
        reset: 1,
        unanswered: 0,
    };
    assert_eq!(run.lost, expected);
    assert_eq!((run.slow_connects, run.max_connect_us), (1, Some(3_200)));
    let takeover = run.takeover.expect("the standby answered");
    assert_eq!(
        (takeover.takeover_us, takeover.first_hit_us),
        (2_600, 2_610)
    );
    assert_eq!(takeover.first_connect_us, Some(3_200));
}

#[test]
fn the_standby_never_answers() {
    let requests = [
        answered(0, 40, Host::Primary),
        lost(50, Outcome::Unanswered),
    ];
    let run = conclude(&requests, 45_000).expect("the primary was serving");
    assert_eq!((run.takeover, run.lost.total()), (None, 1));
}

#[test]
fn no_measurement() {
    for (why, requests) in [
        ("nothing was sent", vec![]),
        (
            "the standby was serving",
            vec![
                answered(0, 10, Host::Primary),
                answered(20, 30, Host::Standby),
                answered(100, 110, Host::Standby),
            ],
        ),
        ("the primary was not", vec![answered(60, 90, Host::Primary)]),
    ] {
        assert_eq!(conclude(&requests, 50_000), None, "{why}");
    }
}

#[test]
fn answers_of_the_primary_after_the_takeover_do_not_count() {
    let requests = [
        answered(0, 40, Host::Primary),
        answered(50, 90_000, Host::Primary),
        answered(100, 400, Host::Standby),
    ];
    let run = conclude(&requests, 45_000).expect("the primary was serving");
    assert_eq!(run.takeover.map(|takeover| takeover.silence_us), Some(360));
}
