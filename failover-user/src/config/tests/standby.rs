//! Standbys, hooks, damping and the budget.

use std::time::Duration;

use failover_common::DuringSwitch;

use super::{check, edit, parse};
use crate::{
    config::{Action, Hook, Hooks, Member, Method, Verb},
    promotion::Kind,
};

/// Three backends; `service` and each of the others are more keys, from lines 7, 11, 15
/// and 19 on if each is one line.
fn file(service: &str, [a, b, c]: [&str; 3]) -> String {
    format!(
        "[agent]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"db\"\naddress = \"10.0.0.100\"\nport = 5432\n{service}\n\
         [[service.backend]]\nname = \"a\"\naddress = \"10.0.0.11\"\n{a}\n\
         [[service.backend]]\nname = \"b\"\naddress = \"10.0.0.12\"\n{b}\n\
         [[service.backend]]\nname = \"c\"\naddress = \"10.0.0.13\"\n{c}\n"
    )
}

const WARM: &str = "standby = \"warm\"\npromote.command = [\"/p\"]";
const COLD: &str = "standby = \"cold\"\nstart.command = [\"/s\"]";

fn hook(action: Action, retries: u32) -> Hook {
    Hook {
        action,
        timeout: Duration::from_secs(30),
        retries,
        backoff: Duration::from_secs(1),
        required: true,
    }
}

fn command(program: &str) -> Action {
    let arguments = vec![];
    let program = program.into();
    Action::Command { program, arguments }
}

#[test]
fn every_key() {
    let service = r#"
        patience = "2s"
        ready_timeout = "5s"
        during_switch = "hold"
        takeovers_per_hour = 3
        start.command = ["/start"]
        fence = { command = ["/fence", "--now", ""], timeout = "5s", retries = 0, backoff = "0s", required = false }
        demote = { http = "http://[2001:db8::1]:8008/demote?now=1", method = "PUT" }
        notify.command = ["/notify"]
        ready = [{ kind = "tcp", port = 9999 }]
    "#;
    let warm = "standby = \"warm\"\npromote.http = \"http://10.0.0.12:80/\"\nstands_in_for = \"a\"";
    let cold = "standby = \"cold\"\nstop.command = [\"/stop\"]\nfence.command = [\"/own\"]";
    let config = parse(&file(service, ["", warm, cold])).unwrap();
    let service = &config.services[0];
    assert_eq!(service.budget, Some(3));
    assert_eq!(service.notify, Some(hook(command("/notify"), 2)));
    assert_eq!(config.backends[0].ready.len(), 1);
    let standby = service.standby.clone().unwrap();
    assert_eq!(standby.patience, Duration::from_secs(2));
    assert_eq!(standby.ready_timeout, Duration::from_secs(5));
    assert_eq!(standby.during_switch, DuringSwitch::Hold);
    let fence = Hook {
        action: Action::Command {
            program: "/fence".into(),
            arguments: vec!["--now".into(), String::new()],
        },
        timeout: Duration::from_secs(5),
        retries: 0,
        backoff: Duration::ZERO,
        required: false,
    };
    let http = |to: &str, path: &str, method| Action::Http {
        to: to.parse().unwrap(),
        path: path.into(),
        method,
    };
    let demote = hook(http("[2001:db8::1]:8008", "/demote?now=1", Method::Put), 2);
    let shared = Hooks {
        fence: Some(fence),
        demote: Some(demote),
        ..Hooks::default()
    };
    let member = |kind, stands_in_for, hooks| Member {
        kind,
        stands_in_for,
        hooks,
    };
    let promote = hook(http("10.0.0.12:80", "/", Method::Post), 0);
    let warm = Hooks {
        promote: Some(promote),
        ..shared.clone()
    };
    let cold = Hooks {
        start: Some(hook(command("/start"), 2)),
        stop: Some(hook(command("/stop"), 2)),
        fence: Some(hook(command("/own"), 2)),
        ..shared.clone()
    };
    let members = [
        member(Kind::Hot, None, shared),
        member(Kind::Warm, Some(0), warm),
        member(Kind::Cold, None, cold),
    ];
    assert_eq!(standby.members, members);
}

#[test]
fn several_backends_in_a_tier() {
    let config = parse(&file("", ["priority = 2", "priority = 1", "priority = 2"])).unwrap();
    let order: Vec<usize> = config.services[0]
        .backends
        .iter()
        .map(|b| b.backend)
        .collect();
    assert_eq!(order, [1, 0, 2]);
    assert_eq!(config.services[0].standby, None);
}

#[test]
fn hooks() {
    let warm = |promote: &str| {
        let warm = format!("standby = \"warm\"\npromote = {promote}");
        file("", ["", &warm, ""])
    };
    check(&[
        (
            "nothing to do",
            warm("{ timeout = \"1s\" }"),
            "16: `promote` says nothing to do: write `command`, `http` or `systemd`, as in \
             promote = { command = [\"/usr/local/sbin/promote\"] }",
        ),
        (
            "two things to do",
            warm("{ command = [\"/p\"], http = \"http://10.0.0.1:80/\" }"),
            "16: `promote` says several things to do: write one of `command`, `http`, `systemd`, `wake`",
        ),
        (
            "a shell string",
            warm("{ command = \"/p now\" }"),
            "16: found `\"/p now\"`: write an array",
        ),
        (
            "no program",
            warm("{ command = [] }"),
            "16: `command` is empty: write the program and its arguments, as in \
             command = [\"/usr/local/sbin/promote\", \"db-b\"]",
        ),
        (
            "a program that is looked for",
            warm("{ command = [\"p\"] }"),
            "16: `command` is `p`: write an absolute path, as in command = \"/usr/local/sbin/promote\"",
        ),
        (
            "a zero byte",
            warm("{ command = [\"/p\", \"a\\u0000\"] }"),
            "16: an argument has a zero byte, which no program can be given: remove it",
        ),
        (
            "a name",
            warm("{ http = \"http://db-b:80/\" }"),
            "16: `http` is `http://db-b:80/`: write http://ADDRESS:PORT/PATH, an IPv6 address in brackets",
        ),
        (
            "no path",
            warm("{ http = \"http://10.0.0.1:80\" }"),
            "16: `http` is `http://10.0.0.1:80`: write http://ADDRESS:PORT/PATH, an IPv6 address in brackets",
        ),
        (
            "a method without a request",
            warm("{ command = [\"/p\"], method = \"PUT\" }"),
            "16: `method` has no meaning for kind `command`: remove it",
        ),
        (
            "another method",
            warm("{ http = \"http://10.0.0.1:80/\", method = \"GET\" }"),
            "16: unknown method `GET`: expected one of `POST`, `PUT`",
        ),
        (
            "a unit without its kind",
            warm("{ systemd = \"promote-db\" }"),
            "16: `systemd` is `promote-db`: write the name of a unit and its kind, as in systemd = \"nginx.service\"",
        ),
        (
            "a unit that is a path",
            warm("{ systemd = \"/etc/db.service\" }"),
            "16: `systemd` is `/etc/db.service`: write the name of a unit and its kind, as in \
             systemd = \"nginx.service\"",
        ),
        (
            "a unit and a method",
            warm("{ systemd = \"db.service\", method = \"PUT\" }"),
            "16: `method` has no meaning for kind `systemd`: remove it",
        ),
        (
            "waking as a promotion",
            warm("{ wake = \"52:54:00:12:34:56\", broadcast = \"10.0.0.255\" }"),
            "16: `wake` has a meaning for `start` only: a machine that wakes up does nothing else for sure",
        ),
        (
            "no time",
            warm("{ command = [\"/p\"], timeout = \"0s\" }"),
            "16: timeout = \"0s\" leaves no time for it: write timeout = \"30s\"",
        ),
        (
            "retries",
            warm("{ command = [\"/p\"], retries = 101 }"),
            "16: `retries` is 101: write a number from 0 to 100",
        ),
        (
            "required",
            warm("{ command = [\"/p\"], required = false }"),
            "16: `required` has a meaning for `fence` only: remove it",
        ),
    ]);
}

#[test]
fn waking() {
    let cold = |start: &str| {
        let cold = format!("standby = \"cold\"\nstart = {start}");
        file("", ["", &cold, COLD])
    };
    let address = |mac: &str| cold(&format!("{{ wake = {mac:?}, broadcast = \"10.0.0.255\" }}"));
    let refused = |mac: &str| {
        format!(
            "16: `wake` is `{mac}`: write the hardware address of a card, as in \
             wake = \"52:54:00:12:34:56\""
        )
    };
    for mac in [
        "",
        "52:54:00:12:34",
        "52:54:00:12:34:56:78",
        "52-54-00-12-34-56",
        "5:54:00:12:34:56",
        "+5:54:00:12:34:56",
        "53:54:00:12:34:56",
        "00:00:00:00:00:00",
    ] {
        check(&[(mac, address(mac), &refused(mac))]);
    }
    check(&[
        (
            "nobody hears it",
            cold("{ wake = \"52:54:00:12:34:56\" }"),
            "16: missing key `broadcast`: write broadcast = \"10.0.0.255\"",
        ),
        (
            "a name hears it",
            cold("{ wake = \"52:54:00:12:34:56\", broadcast = \"lan\" }"),
            "16: `broadcast` is `lan`: write the IPv4 broadcast address of the card's network, as in \
             broadcast = \"10.0.0.255\"",
        ),
        (
            "a broadcast that is for nothing",
            cold("{ command = [\"/s\"], broadcast = \"10.0.0.255\" }"),
            "16: `broadcast` has no meaning for kind `command`: remove it",
        ),
    ]);
    let config = parse(&address("52:54:00:ab:CD:ef")).unwrap();
    let standby = config.services[0].standby.clone().unwrap();
    let action = Action::Wake {
        mac: [0x52, 0x54, 0, 0xab, 0xcd, 0xef],
        broadcast: [10, 0, 0, 255].into(),
    };
    assert_eq!(standby.members[1].hooks.start, Some(hook(action, 2)));
}

#[test]
fn units() {
    let keys = ["start", "promote", "fence", "demote", "stop"]
        .map(|hook| format!("{hook}.systemd = \"db@a-1.service\"\n"))
        .concat();
    let config = parse(&file(
        "",
        ["", &format!("standby = \"cold\"\n{keys}"), COLD],
    ))
    .unwrap();
    let hooks = config.services[0].standby.clone().unwrap().members[1]
        .hooks
        .clone();
    let rows = [
        (hooks.start, Verb::Start, 2),
        (hooks.promote, Verb::Start, 0),
        (hooks.fence, Verb::Stop, 2),
        (hooks.demote, Verb::Start, 2),
        (hooks.stop, Verb::Stop, 2),
    ];
    for (found, verb, retries) in rows {
        let unit = "db@a-1.service".into();
        assert_eq!(found, Some(hook(Action::Systemd { unit, verb }, retries)));
    }
}

#[test]
fn standbys() {
    let row = |service: &str, backends| file(service, backends);
    check(&[
        (
            "warm without promote",
            row("", ["", "standby = \"warm\"", COLD]),
            "13: standby = \"warm\", but nothing promotes it: write promote = { command = [..] }, or \
             standby = \"hot\" if it may serve at once",
        ),
        (
            "cold without start",
            row("", ["", WARM, "standby = \"cold\""]),
            "18: standby = \"cold\", but nothing starts it: write start = { command = [..] }",
        ),
        (
            "start of one that runs",
            row("", ["", &format!("{WARM}\nstart.command = [\"/s\"]"), COLD]),
            "17: `start` has a meaning for standby = \"cold\" only: remove it",
        ),
        (
            "nobody hot",
            row("", [WARM, WARM, COLD]),
            "9: no backend of service `db` is hot, and somebody must serve first: write one",
        ),
        (
            "a hot one behind a warm one",
            row("", ["", WARM, ""]),
            "18: a hot backend behind a warm or cold one would take over before it: write a `priority` below 2",
        ),
        (
            "several hot ones, one of them promoted",
            row("demote.command = [\"/d\"]", ["", "priority = 1", COLD]),
            "9: `demote` for hot backend `a`, but service `db` has several, which serve without being \
             promoted: remove it, or make all but one of them warm",
        ),
        (
            "hot, standing in",
            row("", ["stands_in_for = \"b\"", WARM, COLD]),
            "11: `stands_in_for` has a meaning for a warm or cold standby only: remove it",
        ),
        (
            "hot, standing in, all hot",
            row("", ["stands_in_for = \"b\"", "", ""]),
            "11: `stands_in_for` has a meaning for a warm or cold standby only: remove it",
        ),
        (
            "standing in for itself",
            row("", ["", &format!("{WARM}\nstands_in_for = \"b\""), COLD]),
            "17: stands_in_for = \"b\": write another backend of the service: `a`, `c`",
        ),
        (
            "standing in for nobody",
            row("", ["", &format!("{WARM}\nstands_in_for = \"x\""), COLD]),
            "17: stands_in_for = \"x\": write another backend of the service: `a`, `c`",
        ),
        (
            "shared",
            row("", ["", WARM, COLD])
                + "[[service]]\nname = \"x\"\naddress = \"10.0.0.100\"\nport = 80\n\
                   backend = [{ name = \"a\", address = \"10.0.0.11\" }]",
            "26: backend `a` is also in service `db` (line 9), and who is promoted is decided by one service: \
             give the server a second name there",
        ),
    ]);
}

#[test]
fn meanwhile() {
    let warm = |service: &str| file(service, ["", WARM, COLD]);
    for (line, during_switch) in [
        ("", DuringSwitch::Drop),
        ("during_switch = \"drop\"", DuringSwitch::Drop),
        ("during_switch = \"reset\"", DuringSwitch::Reset),
        ("during_switch = \"hold\"", DuringSwitch::Hold),
        (
            "during_switch = \"drop\"\nprotocol = \"udp\"",
            DuringSwitch::Drop,
        ),
    ] {
        let config = parse(&warm(line)).unwrap();
        let standby = config.services[0].standby.as_ref().unwrap();
        assert_eq!(standby.during_switch, during_switch, "{line}");
    }
    check(&[
        (
            "a word",
            warm("during_switch = \"wait\""),
            "7: unknown during_switch `wait`: expected one of `drop`, `reset`, `hold`",
        ),
        (
            "a reset of UDP",
            warm("during_switch = \"reset\"\nprotocol = \"udp\""),
            "7: during_switch = \"reset\" with protocol = \"udp\", of which nothing is answered and \
             nobody's kernel tries again: remove it",
        ),
        (
            "UDP that waits",
            warm("protocol = \"udp\"\nduring_switch = \"hold\""),
            "8: during_switch = \"hold\" with protocol = \"udp\", of which nothing is answered and \
             nobody's kernel tries again: remove it",
        ),
    ]);
}

#[test]
fn nothing_to_promote() {
    // {key, line, of the service, of a backend}
    for (key, line, service, backend) in [
        ("fence", 7, "fence.command = [\"/f\"]", ""),
        ("fence", 15, "", "fence.command = [\"/f\"]"),
        ("patience", 7, "patience = \"1s\"", ""),
        ("during_switch", 7, "during_switch = \"reset\"", ""),
        ("during_switch", 7, "during_switch = \"drop\"", ""),
        ("ready", 7, "ready = [{ kind = \"tcp\" }]", ""),
    ] {
        let error = format!(
            "{line}: `{key}` has no effect, since no backend of service `db` is warm or cold: \
             remove it"
        );
        check(&[(key, file(service, ["", backend, ""]), &error)]);
    }
}

#[test]
fn damping_and_the_budget() {
    let damping = |keys: &str| {
        edit(
            "[[service]]",
            &format!("[agent.damping]\n{keys}\n[[service]]"),
        )
    };
    check(&[
        (
            "no half-life",
            damping("half_life = \"0s\""),
            "5: half_life = \"0s\" is too short: write half_life = \"1s\" or more",
        ),
        (
            "one death is enough",
            damping("suppress = 1000"),
            "5: `suppress` is 1000: write a number from 1001 to 100000",
        ),
        (
            "for ever",
            damping("reuse = 2000"),
            "5: reuse = 2000 is not below suppress = 2000, so that a backend would be damped for ever: \
             write a smaller one",
        ),
        (
            "shorter than a half-life",
            damping("half_life = \"1m\"\nmax_suppress = \"59s\""),
            "6: max_suppress = \"59s\" is too short: write max_suppress = \"1m\" or more",
        ),
        (
            "budget",
            edit("port     = 80", "port = 80\ntakeovers_per_hour = -1"),
            "8: `takeovers_per_hour` is -1: write a number from 0 to 65535",
        ),
    ]);
    let config = parse(&damping("half_life = \"1m\"")).unwrap();
    let spec = config.agent.damping.unwrap();
    assert_eq!(spec.half_life, Duration::from_mins(1));
    assert_eq!(spec.max_suppress, Duration::from_mins(4));
    assert_eq!((spec.suppress, spec.reuse), (2000.0, 750.0));
    assert_eq!(parse(&edit("", "")).unwrap().agent.damping, None);
}

/// What a reader copies is valid.
#[test]
fn the_configurations_of_the_documentation() {
    let pages = [
        include_str!("../../../../docs/standby.md"),
        include_str!("../../../../docs/configuration.md"),
    ];
    let blocks = pages.iter().flat_map(|page| {
        let blocks = page.split("```toml\n").skip(1);
        blocks.filter_map(|block| block.split("```").next())
    });
    let mut count = 0;
    for block in blocks {
        parse(block).unwrap_or_else(|error| panic!("{error}:\n{block}"));
        count += 1;
    }
    assert_eq!(count, 4);
}
