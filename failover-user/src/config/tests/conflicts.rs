//! What services and backends may not share, and the limits of the maps.

use std::fmt::Write as _;

use failover_common::{MAX_BACKENDS, MAX_SERVICES};

use super::{check, edit, parse};

const AGENT: &str = "[agent]\ninterfaces = [\"eth0\"]\n";

/// A file of services, each (name, VIP, port, more keys, backends), each
/// backend (name, address, more keys). A service has five lines and a backend
/// four: the first service starts on line 3.
type Row<'a> = (
    &'a str,
    &'a str,
    u16,
    &'a str,
    &'a [(&'a str, &'a str, &'a str)],
);

fn services(rows: &[Row<'_>]) -> String {
    let mut text = AGENT.to_owned();
    for (name, address, port, more, backends) in rows {
        let _ = write!(
            text,
            "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {port}\n{more}\n"
        );
        for (name, address, more) in *backends {
            let _ = write!(
                text,
                "[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n{more}\n"
            );
        }
    }
    text
}

#[test]
fn between_services() {
    check(&[
        (
            "name",
            edit("\"dns\"", "\"web\""),
            "23: duplicate service name `web` (line 5): write another name",
        ),
        (
            "VIP, port and protocol",
            edit("10.0.0.101", "10.0.0.100")
                .replace("53", "80")
                .replace("udp", "tcp"),
            "24: 10.0.0.100, tcp port 80, is already service `web` (line 6): write another address, port or protocol",
        ),
        (
            "VIP, every port and protocol",
            services(&[
                ("a", "10.0.0.1", 0, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.1", 0, "", &[]),
            ]),
            "14: 10.0.0.1, every tcp port, is already service `a` (line 5): write another address, port or protocol",
        ),
        (
            "VIP that is a backend of its own service",
            edit("10.0.0.12", "10.0.0.100"),
            "20: 10.0.0.100 is also service `web` (line 6): write the server's own address",
        ),
        (
            "VIP that is a backend of a service before",
            edit("10.0.0.101", "10.0.0.12"),
            "24: 10.0.0.12 is also backend `web-b` (line 20): write an address that no server has",
        ),
        (
            "VIP that is a backend of a service after",
            edit("10.0.0.21", "10.0.0.100"),
            "30: 10.0.0.100 is also service `web` (line 6): write the server's own address",
        ),
        (
            "one backend name, two addresses",
            edit("dns-a", "web-b"),
            "30: backend `web-b` has address 10.0.0.12 on line 20: write that, or another name if it is another server",
        ),
        (
            "one way back",
            services(&[
                ("a", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.2", 80, "", &[("x", "10.1.0.1", "")]),
            ]),
            "19: answers from 10.1.0.1, tcp port 80, already go back as service `a` (line 10): write another port for \
             this backend, or forward = \"dsr\" in one of the two services",
        ),
        (
            "one way back, to another port, from a server by two names",
            services(&[
                ("a", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.1", 81, "", &[("y", "10.1.0.1", "port = 80")]),
            ]),
            "20: answers from 10.1.0.1, tcp port 80, already go back as service `a` (line 10): write another port for \
             this backend, or forward = \"dsr\" in one of the two services",
        ),
        (
            "one way back, of every port",
            services(&[
                ("a", "10.0.0.1", 0, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.2", 0, "", &[("x", "10.1.0.1", "")]),
            ]),
            "19: answers from 10.1.0.1, every tcp port, already go back as service `a` (line 10): write a port for each \
             service, or forward = \"dsr\" in one of the two services",
        ),
        (
            "one way back, of one port and of every port",
            services(&[
                ("a", "10.0.0.1", 0, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.2", 80, "", &[("x", "10.1.0.1", "")]),
            ]),
            "19: answers from 10.1.0.1, tcp port 80, already go back as service `a` (line 10): write a port for each \
             service, or forward = \"dsr\" in one of the two services",
        ),
        (
            "one way back, of one port to another and of every port",
            services(&[
                ("a", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "port = 8080")]),
                ("b", "10.0.0.1", 0, "", &[("x", "10.1.0.1", "")]),
            ]),
            "19: answers from 10.1.0.1, tcp port 8080, already go back as service `a` (line 11): write a port for each \
             service, or forward = \"dsr\" in one of the two services",
        ),
    ]);
}

#[test]
fn between_nat_and_fullnat() {
    check(&[
        (
            "one way back, with the source rewritten and without",
            services(&[
                ("a", "10.0.0.1", 80, FULLNAT, &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.2", 80, "", &[("x", "10.1.0.1", "")]),
            ]),
            "19: answers from 10.1.0.1, tcp port 80, already go back as service `a` (line 10): write another port for \
             this backend, or forward = \"fullnat\" in both services",
        ),
        (
            "one way back, of every port, without and with",
            services(&[
                ("a", "10.0.0.1", 0, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.2", 80, FULLNAT, &[("x", "10.1.0.1", "")]),
            ]),
            "19: answers from 10.1.0.1, tcp port 80, already go back as service `a` (line 10): write another port for \
             this backend, or forward = \"fullnat\" in both services",
        ),
    ]);
}

const FULLNAT: &str = "forward = \"fullnat\"";
const TCP_SYN: &str = "heartbeat.kind = \"tcp-syn\"";

#[test]
fn between_the_heartbeats_of_a_backend() {
    let x: &[_] = &[("x", "10.1.0.1", "")];
    check(&[
        (
            "one says nothing, the second something else",
            services(&[
                ("a", "10.0.0.1", 80, "", x),
                ("b", "10.0.0.1", 81, "heartbeat.fall = 4", x),
            ]),
            "16: service `b` has another heartbeat for backend `x` than service `a` (line 9), and a backend has one \
             lease: write the same [service.heartbeat] in both, or give the server a second name",
        ),
        (
            "one says something else, the second nothing",
            services(&[
                ("a", "10.0.0.1", 80, "heartbeat.kind = \"none\"", x),
                ("b", "10.0.0.1", 81, "", x),
            ]),
            "18: service `b` has another heartbeat for backend `x` than service `a` (line 7), and a backend has one \
             lease: write the same [service.heartbeat] in both, or give the server a second name",
        ),
        (
            "the third",
            services(&[
                ("a", "10.0.0.1", 80, "", x),
                ("b", "10.0.0.1", 81, "heartbeat.rise = 20", x),
                (
                    "c",
                    "10.0.0.2",
                    82,
                    "forward = \"dsr\"\nheartbeat.interval = \"1ms\"",
                    x,
                ),
            ]),
            "26: service `c` has another heartbeat for backend `x` than service `a` (line 9), and a backend has one \
             lease: write the same [service.heartbeat] in both, or give the server a second name",
        ),
        (
            "ports by default",
            services(&[
                ("a", "10.0.0.1", 80, TCP_SYN, x),
                ("b", "10.0.0.1", 81, TCP_SYN, x),
            ]),
            "16: service `b` sends heartbeats to port 81 of backend `x` and service `a` (line 7) to port 80, and a \
             backend has one lease: write port = 80 in [service.heartbeat] of both, or give the server a second name",
        ),
        (
            "a port, and the backend's by default",
            services(&[
                (
                    "a",
                    "10.0.0.1",
                    80,
                    "heartbeat = { kind = \"udp\", port = 7 }",
                    x,
                ),
                (
                    "b",
                    "10.0.0.1",
                    81,
                    "heartbeat = { kind = \"udp\" }",
                    &[("x", "10.1.0.1", "port = 8080")],
                ),
            ]),
            "16: service `b` sends heartbeats to port 8080 of backend `x` and service `a` (line 7) to port 7, and a \
             backend has one lease: write port = 7 in [service.heartbeat] of both, or give the server a second name",
        ),
        (
            "more than the port",
            services(&[
                ("a", "10.0.0.1", 80, TCP_SYN, x),
                (
                    "b",
                    "10.0.0.1",
                    81,
                    "heartbeat = { kind = \"tcp-syn\", fall = 4 }",
                    x,
                ),
            ]),
            "16: service `b` has another heartbeat for backend `x` than service `a` (line 7), and a backend has one \
             lease: write the same [service.heartbeat] in both, or give the server a second name",
        ),
    ]);
}

#[test]
fn within_a_service() {
    check(&[
        (
            "name",
            edit("web-b", "web-a"),
            "19: duplicate backend name `web-a` (line 15): write another name",
        ),
        (
            "server",
            edit("10.0.0.12", "10.0.0.11"),
            "20: backend `web-a` (line 16) has this address and port in this service already: \
             write another address or port",
        ),
    ]);
}

#[test]
fn what_can_be_shared() {
    let rows: &[(&str, &[Row<'_>])] = &[
        (
            "a VIP, by port and by protocol",
            &[
                ("a", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.1", 81, "", &[("x", "10.1.0.1", "")]),
                (
                    "c",
                    "10.0.0.1",
                    80,
                    "protocol = \"udp\"",
                    &[("x", "10.1.0.1", "")],
                ),
            ],
        ),
        (
            "a server, by one port and by every port of the same VIP",
            &[
                ("a", "10.0.0.1", 0, "", &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "")]),
            ],
        ),
        (
            "a server, where its answers do not come by here",
            &[
                ("a", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "")]),
                (
                    "b",
                    "10.0.0.2",
                    80,
                    "forward = \"dsr\"",
                    &[("x", "10.1.0.1", "")],
                ),
                (
                    "c",
                    "10.0.0.3",
                    80,
                    "forward = \"dsr\"",
                    &[("x", "10.1.0.1", "port = 80")],
                ),
            ],
        ),
        (
            "a heartbeat, written or not",
            &[
                ("a", "10.0.0.1", 80, "", &[("x", "10.1.0.1", "")]),
                (
                    "b",
                    "10.0.0.1",
                    81,
                    "heartbeat = { kind = \"icmp\", timeout = \"0.8ms\" }",
                    &[("x", "10.1.0.1", "")],
                ),
            ],
        ),
        (
            "a heartbeat, by the port of the other's backend",
            &[
                ("a", "10.0.0.1", 80, TCP_SYN, &[("x", "10.1.0.1", "")]),
                (
                    "b",
                    "10.0.0.1",
                    81,
                    "heartbeat = { kind = \"tcp-syn\", port = 80 }",
                    &[("x", "10.1.0.1", "")],
                ),
            ],
        ),
        (
            "a host, by two servers with a heartbeat each",
            &[
                ("a", "10.0.0.1", 80, TCP_SYN, &[("x", "10.1.0.1", "")]),
                ("b", "10.0.0.1", 81, TCP_SYN, &[("y", "10.1.0.1", "")]),
            ],
        ),
        (
            "a host, by two servers",
            &[(
                "a",
                "10.0.0.1",
                80,
                "",
                &[("x", "10.1.0.1", ""), ("y", "10.1.0.1", "port = 81")],
            )],
        ),
    ];
    for (description, rows) in rows {
        assert!(
            parse(&services(rows)).is_ok(),
            "{description}: {:?}",
            parse(&services(rows))
        );
    }
}

/// `count` services, each with `each` backends: one server for all services
/// every time, or servers of their own.
fn many(count: usize, each: usize, forward: &str, own: bool) -> String {
    let mut text = AGENT.to_owned();
    let address =
        |net: usize, n: usize| format!("10.{}.{}.{}", net + (n >> 16), (n >> 8) & 255, n & 255);
    for service in 0..count {
        let _ = write!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"{}\"\nport = {}\nforward = \"{forward}\"\n",
            address(0, 1),
            1 + service,
        );
        for backend in 0..each {
            let backend = if own {
                service * each + backend
            } else {
                backend
            };
            let _ = write!(
                text,
                "[[service.backend]]\nname = \"b{backend}\"\naddress = \"{}\"\n",
                address(100, backend),
            );
        }
    }
    text
}

#[test]
fn limits() {
    check(&[
        (
            "backends in a service",
            many(1, 17, "nat", true),
            "56: too many backends in service `s0`: write at most 16",
        ),
        (
            "services",
            many(MAX_SERVICES + 1, 1, "dsr", false),
            "131076: too many services: write at most 16384",
        ),
        (
            "backends",
            many(257, 16, "dsr", true),
            "13577: too many backends: write at most 4096 names",
        ),
        (
            "ways back",
            many(1025, 16, "nat", false),
            "54282: too many backends in services that forward by `nat`: write at most 16384 in all, \
             or forward = \"dsr\"",
        ),
    ]);
    assert_eq!(
        parse(&many(256, 16, "nat", true)).unwrap().backends.len(),
        MAX_BACKENDS
    );
    assert_eq!(
        parse(&many(MAX_SERVICES, 1, "nat", false))
            .unwrap()
            .services
            .len(),
        MAX_SERVICES
    );
}
