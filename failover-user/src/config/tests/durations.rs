use super::{check, edit};

/// [`super::VALID`] with another interval: line 12.
fn interval(value: &str) -> String {
    edit("\"500ms\"", value)
}

/// With a timeout for the interval of 500 ms: line 13.
fn timeout(value: &str) -> String {
    edit("\"500ms\"", &format!("\"500ms\"\ntimeout = {value}"))
}

/// With a hold-down: line 8.
fn hold_down(value: &str) -> String {
    edit("port     = 80", &format!("port = 80\nhold_down = {value}"))
}

/// With a silence: line 8.
fn silence(value: &str) -> String {
    edit("port     = 80", &format!("port = 80\nsilence = {value}"))
}

#[test]
fn units() {
    check(&[
        (
            "number below zero",
            interval("-5"),
            "12: interval = \"-5\" is not a duration: write a number and its unit, as in \"500ms\"",
        ),
        (
            "no number",
            interval("inf"),
            "12: unknown unit `inf` in interval = \"inf\": expected one of `us`, `ms`, `s`, `m`",
        ),
        (
            "number",
            interval("500"),
            "12: missing unit in interval = 500: write interval = \"500ms\", or with us, s or m",
        ),
        (
            "fraction",
            interval("0.5"),
            "12: missing unit in interval = 0.5: write interval = \"0.5ms\", or with us, s or m",
        ),
        (
            "text",
            interval("\"500\""),
            "12: missing unit in interval = 500: write interval = \"500ms\", or with us, s or m",
        ),
        (
            "zero",
            hold_down("0"),
            "8: missing unit in hold_down = 0: write hold_down = \"0ms\", or with us, s or m",
        ),
        (
            "hours",
            hold_down("\"1h\""),
            "8: unknown unit `h` in hold_down = \"1h\": expected one of `us`, `ms`, `s`, `m`",
        ),
        (
            "months",
            hold_down("\"5M\""),
            "8: unknown unit `M` in hold_down = \"5M\": expected one of `us`, `ms`, `s`, `m`",
        ),
        (
            "no unit after a unit",
            interval("\"1s 500\""),
            "12: interval = \"1s 500\" is not a duration: write a number and its unit, as in \"500ms\"",
        ),
        (
            "empty",
            interval("\"\""),
            "12: interval = \"\" is not a duration: write a number and its unit, as in \"500ms\"",
        ),
        (
            "below zero",
            interval("\"-5s\""),
            "12: interval = \"-5s\" is not a duration: write a number and its unit, as in \"500ms\"",
        ),
        (
            "too long",
            hold_down("\"1441m\""),
            "8: hold_down = \"1441m\" is too long: write \"1440m\" or less",
        ),
        (
            "too long to count",
            hold_down("\"99999999999999999999s\""),
            "8: hold_down = \"99999999999999999999s\" is too long: write \"1440m\" or less",
        ),
    ]);
}

#[test]
fn intervals_and_timeouts() {
    check(&[
        (
            "interval 0",
            interval("\"0s\""),
            "12: an interval of zero would check without a pause: write interval = \"1ms\" or more",
        ),
        (
            "interval below 1 ms",
            interval("\"999us\""),
            "12: interval = \"999us\" is too short: write interval = \"1ms\" or more",
        ),
        (
            "timeout 0",
            timeout("\"0ms\""),
            "13: a timeout of zero fails every check: write timeout = \"500ms\" or less, above zero",
        ),
        (
            "timeout longer than the interval",
            timeout("\"501ms\""),
            "13: timeout = \"501ms\" is longer than the interval of 500ms, so a new probe would start before the last \
             one is decided: write timeout = \"500ms\" or less",
        ),
        (
            "timeout longer than an interval of hours, nanoseconds and no round unit",
            edit(
                "interval = \"500ms\"",
                "interval = \"90m 0.001us\"\ntimeout = \"91m\"",
            ),
            "13: timeout = \"91m\" is longer than the interval of 5400000000.001us, so a new probe would start before \
             the last one is decided: write timeout = \"5400000000.001us\" or less",
        ),
        (
            "timeout longer than an interval with a fraction",
            edit(
                "interval = \"500ms\"",
                "interval = \"1.5s\"\ntimeout = \"2m\"",
            ),
            "13: timeout = \"2m\" is longer than the interval of 1500ms, so a new probe would start before the last \
             one is decided: write timeout = \"1500ms\" or less",
        ),
    ]);
}

#[test]
fn silences() {
    check(&[
        (
            "no unit",
            silence("8"),
            "8: missing unit in silence = 8: write silence = \"8ms\", or with us, s or m",
        ),
        (
            "zero",
            silence("\"0s\""),
            "8: silence = \"0s\": write silence = \"1ms\" or more, or \"off\"",
        ),
        (
            "below 1 ms",
            silence("\"999us\""),
            "8: silence = \"999us\": write silence = \"1ms\" or more, or \"off\"",
        ),
        (
            "less than two heartbeats take",
            silence("\"8ms\"\nheartbeat = { interval = \"10ms\" }"),
            "8: silence = \"8ms\" is less than two heartbeats take at an interval of 10ms: write \
             silence = \"20ms\" or more, or \"off\"",
        ),
        (
            "another word",
            silence("\"never\""),
            "8: silence = \"never\": write silence = \"1ms\" or more, or \"off\"",
        ),
        (
            "empty",
            silence("\"\""),
            "8: silence = \"\": write silence = \"1ms\" or more, or \"off\"",
        ),
        (
            "above 4 s",
            silence("\"5s\""),
            "8: silence = \"5s\" is too long: write \"4s\" or less",
        ),
    ]);
}
