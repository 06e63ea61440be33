//! Flows: who keeps them, and what becomes of them.

use failover_common::{FLOWS, OnFailure};

use super::{check, edit, parse};

/// Two backends; more keys of the service from line 7 on, and of each backend from lines
/// 11 and 15 on, if each is one line.
fn file(service: &str, [a, b]: [&str; 2]) -> String {
    format!(
        "[agent]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"db\"\naddress = \"10.0.0.100\"\nport = 5432\n{service}\n\
         [[service.backend]]\nname = \"a\"\naddress = \"10.0.0.11\"\n{a}\n\
         [[service.backend]]\nname = \"b\"\naddress = \"10.0.0.12\"\n{b}\n"
    )
}

const APART: [&str; 2] = ["", ""];
const TOGETHER: [&str; 2] = ["priority = 1", "priority = 1"];
const UDP: &str = "protocol = \"udp\"";

#[test]
fn who_keeps_flows() {
    for (description, service, backends, shares, keeps, on_failure) in [
        ("a standby", "", APART, false, false, OnFailure::Forward),
        ("by UDP", UDP, APART, false, false, OnFailure::Forward),
        (
            "said so",
            "on_failure = \"forward\"",
            APART,
            false,
            false,
            OnFailure::Forward,
        ),
        ("a tier", "", TOGETHER, true, true, OnFailure::Reset),
        ("of UDP", UDP, TOGETHER, true, true, OnFailure::Forward),
        (
            "asked for forward",
            "on_failure = \"forward\"",
            TOGETHER,
            true,
            true,
            OnFailure::Forward,
        ),
        (
            "asked for reset",
            "on_failure = \"reset\"",
            APART,
            false,
            true,
            OnFailure::Reset,
        ),
        (
            "asked for drop",
            "on_failure = \"drop\"",
            APART,
            false,
            true,
            OnFailure::Drop,
        ),
        (
            "drained",
            "failback = \"drain\"",
            APART,
            false,
            true,
            OnFailure::Reset,
        ),
        (
            "of UDP, drained",
            "failback = \"drain\"\nprotocol = \"udp\"",
            APART,
            false,
            true,
            OnFailure::Forward,
        ),
        (
            "where one is promoted, one serves",
            "",
            [
                "priority = 1",
                "priority = 2\nstandby = \"warm\"\npromote.command = [\"/p\"]",
            ],
            false,
            false,
            OnFailure::Forward,
        ),
    ] {
        let config =
            parse(&file(service, backends)).unwrap_or_else(|e| panic!("{description}: {e}"));
        let service = &config.services[0];
        assert_eq!(service.shares(), shares, "{description}");
        assert_eq!(service.keeps_flows(), keeps, "{description}");
        assert_eq!(service.on_failure, on_failure, "{description}");
        assert_eq!(
            config.flows(),
            if keeps { FLOWS } else { 0 },
            "{description}"
        );
    }
}

#[test]
fn weights_and_tiers() {
    let config = parse(&file("", ["priority = 3", "priority = 3\nweight = 100"])).unwrap();
    let service = &config.services[0];
    let weights: Vec<u8> = service
        .backends
        .iter()
        .map(|backend| backend.weight)
        .collect();
    assert_eq!((weights, service.tiers().count()), (vec![1, 100], 1));
    let config = parse(&file("", APART)).unwrap();
    assert_eq!(config.services[0].tiers().count(), 2);
    let tiers = [0, 1].map(|position| config.services[0].tier(position));
    assert_eq!(tiers, [0, 1]);
}

#[test]
fn how_many() {
    let agent = |line: &str| edit("[agent]", &format!("[agent]\n{line}"));
    let config = parse(&agent("flows = 2048")).unwrap();
    assert_eq!((config.agent.flows, config.flows()), (2048, 0));
    assert_eq!(config.nat_flows(), 0);
    check(&[
        (
            "few",
            agent("flows = 1023"),
            "2: `flows` is 1023: write a number from 1024 to 16777216",
        ),
        (
            "many",
            agent("flows = 16777217"),
            "2: `flows` is 16777217: write a number from 1024 to 16777216",
        ),
    ]);
}

#[test]
fn what_does_not_go_together() {
    let warm = "priority = 2\nstandby = \"warm\"\npromote.command = [\"/p\"]";
    check(&[
        (
            "a word",
            file("on_failure = \"hang\"", APART),
            "7: unknown on_failure `hang`: expected one of `forward`, `reset`, `drop`",
        ),
        (
            "a reset of UDP",
            file("on_failure = \"reset\"\nprotocol = \"udp\"", APART),
            "7: on_failure = \"reset\" with protocol = \"udp\", whose flows always go on to the next backend: remove it",
        ),
        (
            "UDP that stays on a dead backend",
            file("protocol = \"udp\"\non_failure = \"drop\"", APART),
            "8: on_failure = \"drop\" with protocol = \"udp\", whose flows always go on to the next backend: remove it",
        ),
        (
            "two serve",
            file("failback = \"drain\"", ["", warm]),
            "7: failback = \"drain\" with a warm or cold standby, and two that serve at the same time are worse than none: write failback = \"auto\"",
        ),
        (
            "no weight",
            file("", ["priority = 1\nweight = 0", "priority = 1"]),
            "12: `weight` is 0: write a number from 1 to 100",
        ),
        (
            "too much",
            file("", ["priority = 1\nweight = 101", "priority = 1"]),
            "12: `weight` is 101: write a number from 1 to 100",
        ),
        (
            "over nobody",
            file("", ["weight = 2", ""]),
            "11: `weight` of backend `a`, which is alone in its tier: remove it, or write the same `priority` for those that it shares with",
        ),
        (
            "of one that is promoted",
            file("", ["weight = 2", warm]),
            "11: `weight` with a warm or cold standby, where one backend serves at a time: remove it",
        ),
    ]);
}
