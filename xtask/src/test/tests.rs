use super::Total;

#[test]
fn adds_up_only_results() {
    let cases = [
        (
            "a result",
            "test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured\n",
            3,
            1,
        ),
        (
            "a failure",
            "test result: FAILED. 0 passed; 12 failed; 0 ignored\n",
            0,
            12,
        ),
        ("a test's name", "test result: 3 passed ... ok\n", 0, 0),
        (
            "a test's output",
            "  test result: ok. 3 passed; 0 failed\n",
            0,
            0,
        ),
    ];
    for (description, line, passed, failed) in cases {
        let mut total = Total::default();
        total.add(line);
        assert_eq!(total, Total { passed, failed }, "{description}");
    }
}

#[test]
fn nothing_run_is_a_failure() {
    let cases = [
        ((0, 0), false),
        ((1, 0), true),
        ((1, 1), false),
        ((0, 1), false),
    ];
    for ((passed, failed), success) in cases {
        assert_eq!(
            Total { passed, failed }.is_success(),
            success,
            "{passed} {failed}"
        );
    }
}
