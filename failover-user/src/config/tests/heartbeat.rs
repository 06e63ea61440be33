//! `[service.heartbeat]`, apart from what services may not share.

use std::time::Duration;

use failover_common::HeartbeatKind;

use super::{check, edit, parse};
use crate::config::Heartbeat;

const ICMP: Heartbeat = Heartbeat::DEFAULT;

/// To port 80; without an answer it means nothing.
const UDP: Heartbeat = Heartbeat {
    kind: HeartbeatKind::Udp,
    port: 80,
    timeout: Duration::ZERO,
    fall: 0,
    ..ICMP
};

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn paced(interval: Duration, timeout: Duration) -> Heartbeat {
    Heartbeat {
        interval,
        timeout,
        ..ICMP
    }
}

/// [`super::VALID`] with a heartbeat of this line in the first service: line 11, its
/// table line 10.
fn heartbeat(line: &str) -> String {
    written(&format!("[service.heartbeat]\n{line}"))
}

/// With these lines at the end of the first service's own keys: from line 10.
fn written(lines: &str) -> String {
    edit("[[service.check]]", &format!("{lines}\n[[service.check]]"))
}

/// Every row: what it shows, lines of the first service, and the heartbeat of
/// both of its backends.
fn accept(rows: &[(&str, &str, Heartbeat)]) {
    for (description, lines, expected) in rows {
        let config =
            parse(&written(lines)).unwrap_or_else(|error| panic!("{description}: {error}"));
        let [a, b, other] = &config.backends[..] else {
            panic!("{description}: {:?}", config.backends)
        };
        assert_eq!(a.heartbeat, *expected, "{description}");
        assert_eq!(b.heartbeat, *expected, "{description}");
        assert_eq!(other.heartbeat, ICMP, "{description}");
    }
}

#[test]
fn kinds() {
    accept(&[
        ("nothing", "", ICMP),
        ("an empty table", "[service.heartbeat]", ICMP),
        ("an inline table", "heartbeat = { kind = \"icmp\" }", ICMP),
        (
            "dotted keys",
            "heartbeat.fall = 2",
            Heartbeat { fall: 2, ..ICMP },
        ),
        (
            "the defaults, written",
            "[service.heartbeat]\nkind = \"icmp\"\ninterval = \"0.2ms\"\ntimeout = \"800us\"\nfall = 3\nrise = 20",
            ICMP,
        ),
        (
            "the backend's port",
            "[service.heartbeat]\nkind = \"tcp-syn\"",
            Heartbeat {
                kind: HeartbeatKind::TcpSyn,
                port: 80,
                ..ICMP
            },
        ),
        (
            "silence of UDP means nothing",
            "[service.heartbeat]\nkind = \"udp\"",
            UDP,
        ),
        (
            "the rest of UDP",
            "[service.heartbeat]\nkind = \"udp\"\nport = 53\ninterval = \"1s\"\nrise = 1",
            Heartbeat {
                port: 53,
                interval: ms(1_000),
                rise: 1,
                ..UDP
            },
        ),
        (
            "none",
            "[service.heartbeat]\nkind = \"none\"",
            Heartbeat {
                kind: HeartbeatKind::None,
                port: 0,
                ..UDP
            },
        ),
    ]);
}

#[test]
fn times_and_thresholds() {
    accept(&[
        (
            "timeout follows the interval",
            "[service.heartbeat]\ninterval = \"1ms\"",
            paced(ms(1), ms(4)),
        ),
        (
            "the shortest",
            "[service.heartbeat]\ninterval = \"50us\"\ntimeout = \"100us\"",
            paced(us(50), us(100)),
        ),
        (
            "the longest timeout for an interval",
            "[service.heartbeat]\ninterval = \"50us\"\ntimeout = \"700us\"",
            paced(us(50), us(700)),
        ),
        (
            "the longest",
            "[service.heartbeat]\ninterval = \"1s\"\ntimeout = \"4s\"",
            paced(ms(1000), ms(4000)),
        ),
        (
            "fall that takes longer than the timeout",
            "[service.heartbeat]\ntimeout = \"400us\"\nfall = 14\nrise = 1000000",
            Heartbeat {
                timeout: us(400),
                fall: 14,
                rise: 1_000_000,
                ..ICMP
            },
        ),
    ]);
}

#[test]
fn heartbeats_go_to_the_port_of_each_backend() {
    let text = edit(
        "[[service.check]]",
        "[service.heartbeat]\nkind = \"tcp-syn\"\n[[service.check]]",
    );
    let config = parse(&text.replace("\"10.0.0.12\"", "\"10.0.0.12\"\nport = 8080")).unwrap();
    let ports: Vec<_> = config
        .backends
        .iter()
        .map(|backend| backend.heartbeat.port)
        .collect();
    assert_eq!(ports, [80, 8080, 0]);
}

#[test]
fn shape() {
    check(&[
        (
            "unknown key of a heartbeat",
            edit("[[service.check]]\nkind", "[service.heartbeat]\nwitness"),
            "11: unknown key `witness`: expected one of `kind`, `port`, `interval`, `timeout`, `fall`, `rise`",
        ),
        (
            "heartbeat twice",
            edit(
                "[[service.check]]",
                "[service.heartbeat]\n[service.heartbeat]\n[[service.check]]",
            ),
            "11: duplicate key `heartbeat`: write it once",
        ),
        (
            "more than one table",
            edit("[[service.check]]", "[[service.heartbeat]]"),
            "10: `[[service.heartbeat]]` can be there only once: write [service.heartbeat]",
        ),
        (
            "array for a table",
            edit("port     = 80", "port = 80\nheartbeat = [\"icmp\"]"),
            "8: found `[\"icmp\"]`: write a table",
        ),
    ]);
}

#[test]
fn words_and_numbers() {
    check(&[
        (
            "kind of heartbeat of later work",
            heartbeat("kind = \"bfd\""),
            "11: unknown kind `bfd`: expected one of `icmp`, `tcp-syn`, `udp`, `none`",
        ),
        (
            "kind of a check for a heartbeat",
            heartbeat("kind = \"tcp\""),
            "11: unknown kind `tcp`: expected one of `icmp`, `tcp-syn`, `udp`, `none`",
        ),
        (
            "heartbeat port 0",
            heartbeat("kind = \"tcp-syn\"\nport = 0"),
            "12: `port` is 0: write a number from 1 to 65535",
        ),
        (
            "heartbeat fall 1",
            heartbeat("fall = 1"),
            "11: `fall` is 1: write a number from 2 to 14",
        ),
        (
            "heartbeat fall 15",
            heartbeat("fall = 15"),
            "11: `fall` is 15: write a number from 2 to 14",
        ),
        (
            "heartbeat rise 0",
            heartbeat("rise = 0"),
            "11: `rise` is 0: write a number from 1 to 1000000",
        ),
        (
            "heartbeat rise above a million",
            heartbeat("rise = 1000001"),
            "11: `rise` is 1000001: write a number from 1 to 1000000",
        ),
    ]);
}

#[test]
fn keys_of_other_kinds() {
    check(&[
        (
            "port of an icmp heartbeat, by default",
            heartbeat("port = 80"),
            "11: `port` has no meaning for kind `icmp`: remove it",
        ),
        (
            "timeout of an udp heartbeat",
            heartbeat("kind = \"udp\"\ntimeout = \"800us\""),
            "12: `timeout` has no meaning for kind `udp`: remove it",
        ),
        (
            "fall of an udp heartbeat",
            heartbeat("kind = \"udp\"\nfall = 3"),
            "12: `fall` has no meaning for kind `udp`: remove it",
        ),
        (
            "port of no heartbeat",
            heartbeat("kind = \"none\"\nport = 80"),
            "12: `port` has no meaning for kind `none`: remove it",
        ),
        (
            "interval of no heartbeat",
            heartbeat("kind = \"none\"\ninterval = \"200us\""),
            "12: `interval` has no meaning for kind `none`: remove it",
        ),
        (
            "timeout of no heartbeat",
            heartbeat("kind = \"none\"\ntimeout = \"800us\""),
            "12: `timeout` has no meaning for kind `none`: remove it",
        ),
        (
            "fall of no heartbeat",
            heartbeat("kind = \"none\"\nfall = 3"),
            "12: `fall` has no meaning for kind `none`: remove it",
        ),
        (
            "rise of no heartbeat",
            heartbeat("kind = \"none\"\nrise = 20"),
            "12: `rise` has no meaning for kind `none`: remove it",
        ),
        (
            "a SYN to every port",
            heartbeat("kind = \"tcp-syn\"").replace("80", "0"),
            "10: missing key `port`: service `web` serves every port, write the one to send heartbeats to, \
             as in port = 80",
        ),
        (
            "a datagram to every port",
            edit("= 80", "= 0\nheartbeat.kind = \"udp\""),
            "8: missing key `port`: service `web` serves every port, write the one to send heartbeats to, \
             as in port = 80",
        ),
    ]);
}

#[test]
fn durations() {
    check(&[
        (
            "no unit",
            heartbeat("interval = 200"),
            "11: missing unit in interval = 200: write interval = \"200ms\", or with us, s or m",
        ),
        (
            "interval 0",
            heartbeat("interval = \"0us\""),
            "11: interval = \"0us\" is too short: write interval = \"50us\" or more",
        ),
        (
            "interval below 50 us",
            heartbeat("interval = \"49.999us\""),
            "11: interval = \"49.999us\" is too short: write interval = \"50us\" or more",
        ),
        (
            "interval above 1 s",
            heartbeat("interval = \"1001ms\""),
            "11: interval = \"1001ms\" is too long: write \"1s\" or less",
        ),
        (
            "interval too long to count",
            heartbeat("interval = \"99999999999999999999s\""),
            "11: interval = \"99999999999999999999s\" is too long: write \"1s\" or less",
        ),
        (
            "timeout 0",
            heartbeat("timeout = \"0s\""),
            "11: timeout = \"0s\" is too short for an interval of 200us: write timeout = \"400us\" or more",
        ),
        (
            "timeout below two intervals",
            heartbeat("interval = \"1ms\"\ntimeout = \"1999us\""),
            "12: timeout = \"1999us\" is too short for an interval of 1ms: write timeout = \"2ms\" or more",
        ),
        (
            "timeout above 14 intervals",
            heartbeat("timeout = \"2801us\""),
            "11: timeout = \"2801us\" is longer than 14 intervals of 200us, and no more heartbeats are remembered: \
             write timeout = \"2800us\" or less, or a longer interval",
        ),
        (
            "timeout above 4 s",
            heartbeat("interval = \"1s\"\ntimeout = \"4001ms\""),
            "12: timeout = \"4001ms\" is too long: write \"4s\" or less",
        ),
    ]);
}
