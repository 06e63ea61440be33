//! What files mean.

use std::time::Duration;

use failover_common::{
    Address, Be16, FLOWS, FLOWS_PER_NEW, Forward, HeartbeatKind, OnFailure, ServiceKey,
};

use super::{Config, VALID, edit, parse};
use crate::config::{
    Backend, Check, CheckKind, Failback, Heartbeat, Protocol, Service, ServiceBackend, XdpMode,
};

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A check with the defaults.
fn default(kind: CheckKind) -> Check {
    Check {
        kind,
        interval: ms(500),
        timeout: ms(200),
        fall: 2,
        rise: 3,
    }
}

fn accept(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_least_there_can_be() {
    let config = accept(
        r#"
        agent.interfaces = ["eth0"]
        [[service]]
        name = "db"
        address = "2001:db8::100"
        port = 5432
        [[service.backend]]
        name = "db-a"
        address = "2001:db8::11"
        "#,
    );
    let agent = &config.agent;
    assert_eq!(agent.interfaces, ["eth0"]);
    assert_eq!(agent.xdp_mode, XdpMode::Auto);
    assert_eq!(agent.pin_path.to_str(), Some("/sys/fs/bpf/failover"));
    assert_eq!(agent.api.to_str(), Some("/run/failover.sock"));
    assert_eq!(agent.api_group, None);
    let service = Service {
        name: "db".into(),
        address: "2001:db8::100".parse().unwrap(),
        port: 5432,
        protocol: Protocol::Tcp,
        forward: Forward::Nat,
        failback: Failback::Auto,
        hold_down: ms(5000),
        on_failure: OnFailure::Forward,
        passive: true,
        silence: Some(ms(40)),
        budget: None,
        standby: None,
        notify: None,
        backends: vec![ServiceBackend {
            backend: 0,
            port: 5432,
            priority: 1,
            weight: 1,
        }],
    };
    assert_eq!(config.services, [service]);
    let backend = Backend {
        name: "db-a".into(),
        address: "2001:db8::11".parse().unwrap(),
        checks: vec![default(CheckKind::Icmp)],
        ready: vec![],
        heartbeat: Heartbeat::DEFAULT,
    };
    assert_eq!(config.backends, [backend]);
}

/// The example of the design, without what does not exist yet.
#[test]
fn every_key() {
    let config = accept(
        r#"
        [agent]
        interfaces = ["eth0", "eth1"]
        xdp_mode   = "native"
        pin_path   = "/sys/fs/bpf/other"
        api        = "/run/other.sock"
        api_group  = "adm"

        [[service]]
        name       = "db"
        address    = "10.0.0.100"
        port       = 5432
        protocol   = "tcp"
        forward    = "nat"
        failback   = "manual"
        hold_down  = "0s"
        passive    = false
        silence    = "20ms"

          [service.heartbeat]
          kind     = "tcp-syn"
          port     = 5431
          interval = "500us"
          timeout  = "1.5ms"
          fall     = 4
          rise     = 1000

          [[service.check]]
          kind     = "http"
          port     = 8008
          path     = "/healthz?full=1"
          interval = "1s 500ms"
          timeout  = "1.5s"
          fall     = 1
          rise     = 4

          [[service.backend]]
          name     = "db-b"
          address  = "10.0.0.12"
          port     = 5433
          priority = 200
          standby  = "hot"

          [[service.backend]]
          name     = "db-a"
          address  = "10.0.0.11"
          priority = 1
        "#,
    );
    let agent = &config.agent;
    assert_eq!(agent.interfaces, ["eth0", "eth1"]);
    assert_eq!(agent.xdp_mode, XdpMode::Native);
    assert_eq!(agent.pin_path.to_str(), Some("/sys/fs/bpf/other"));
    assert_eq!(agent.api.to_str(), Some("/run/other.sock"));
    assert_eq!(agent.api_group.as_deref(), Some("adm"));
    let service = &config.services[0];
    assert_eq!(service.failback, Failback::Manual);
    assert_eq!(service.hold_down, Duration::ZERO);
    assert!(!service.passive);
    assert_eq!(service.silence, Some(ms(20)));
    // The order of the file is that of `backends`, priority that of a service.
    assert_eq!(
        service.backends,
        [
            ServiceBackend {
                backend: 1,
                port: 5432,
                priority: 1,
                weight: 1,
            },
            ServiceBackend {
                backend: 0,
                port: 5433,
                priority: 200,
                weight: 1,
            },
        ]
    );
    let check = Check {
        kind: CheckKind::Http {
            port: 8008,
            path: "/healthz?full=1".into(),
        },
        interval: ms(1500),
        timeout: ms(1500),
        fall: 1,
        rise: 4,
    };
    let [b, a] = &config.backends[..] else {
        panic!("{:?}", config.backends)
    };
    assert_eq!(b.checks, [check]);
    assert_eq!(a.checks, b.checks);
    let heartbeat = Heartbeat {
        kind: HeartbeatKind::TcpSyn,
        port: 5431,
        interval: us(500),
        timeout: us(1500),
        fall: 4,
        rise: 1000,
    };
    assert_eq!(b.heartbeat, heartbeat);
    assert_eq!(a.heartbeat, heartbeat);
}

#[test]
fn what_traffic_shows() {
    let rows = [
        ("nat", "", (true, Some(ms(40)))),
        ("dsr", "forward = \"dsr\"", (false, None)),
        ("ipip", "forward = \"ipip\"", (false, None)),
        ("gue", "forward = \"gue\"", (false, None)),
        ("fullnat", "forward = \"fullnat\"", (false, None)),
        ("silence off", "silence = \"off\"", (true, None)),
        ("the shortest", "silence = \"1ms\"", (true, Some(ms(1)))),
        ("the longest", "silence = \"4s\"", (true, Some(ms(4000)))),
        (
            "heartbeats that come less often",
            "heartbeat = { interval = \"100ms\" }",
            (true, Some(ms(200))),
        ),
        (
            "two of them",
            "silence = \"20ms\"\nheartbeat = { interval = \"10ms\" }",
            (true, Some(ms(20))),
        ),
        (
            "none of them, by default",
            "heartbeat = { kind = \"none\" }",
            (true, Some(ms(100))),
        ),
        (
            "none of them",
            "silence = \"1ms\"\nheartbeat = { kind = \"none\" }",
            (true, Some(ms(1))),
        ),
        ("not passive", "passive = false", (false, Some(ms(40)))),
        ("passive", "passive = true", (true, Some(ms(40)))),
    ];
    for (description, line, expected) in rows {
        let config = accept(&edit("port     = 80", &format!("port = 80\n{line}")));
        let service = &config.services[0];
        assert_eq!(
            (service.passive, service.silence),
            expected,
            "{description}"
        );
    }
}

#[test]
fn checks_of_a_backend_are_those_of_its_services() {
    let config = accept(
        r#"
        agent.interfaces = ["eth0"]
        [[service]]
        name = "a"
        address = "10.0.0.100"
        port = 80
        check = [{ kind = "tcp" }, { kind = "icmp" }]
        backend = [
            { name = "x", address = "10.0.0.11", port = 8080 },
            { name = "y", address = "10.0.0.12" },
        ]
        [[service]]
        name = "b"
        address = "10.0.0.100"
        port = 443
        check = [{ kind = "icmp" }, { kind = "icmp", fall = 9 }, { kind = "tcp", port = 8080 }]
        backend = [{ name = "x", address = "10.0.0.11" }]
        [[service]]
        name = "c"
        address = "10.0.0.100"
        port = 53
        protocol = "udp"
        backend = [{ name = "y", address = "10.0.0.12" }]
        "#,
    );
    let icmp = default(CheckKind::Icmp);
    let [x, y] = &config.backends[..] else {
        panic!("{:?}", config.backends)
    };
    let often = Check {
        fall: 9,
        ..icmp.clone()
    };
    assert_eq!(
        x.checks,
        [default(CheckKind::Tcp { port: 8080 }), icmp.clone(), often]
    );
    assert_eq!(y.checks, [default(CheckKind::Tcp { port: 80 }), icmp]);
    assert_eq!(config.services[1].backends[0].backend, 0);
    assert_eq!(config.services[2].backends[0].backend, 1);
}

#[test]
fn timeout_follows_a_short_interval() {
    let config = accept(&edit("500ms", "1ms"));
    let kind = CheckKind::Http {
        port: 80,
        path: "/".into(),
    };
    let check = Check {
        interval: ms(1),
        timeout: ms(1),
        ..default(kind)
    };
    assert_eq!(config.backends[0].checks, [check]);
}

#[test]
fn every_port() {
    let text = edit("80", "0").replace("\"http\"", "\"tcp\"\nport = 22");
    let config = accept(&text.replace("\"10.0.0.12\"", "\"10.0.0.12\"\nport = 0"));
    let ports: Vec<_> = config.services[0]
        .backends
        .iter()
        .map(|backend| backend.port)
        .collect();
    assert_eq!(ports, [0, 0]);
    assert!(!config.services[0].passive, "no port that must be open");
    assert_eq!(
        config.backends[0].checks[0].kind,
        CheckKind::Tcp { port: 22 }
    );
}

#[test]
fn key_of_a_service() {
    let key = accept(VALID).services[1].key();
    let address = Address::from_v4([10, 0, 0, 101]);
    assert_eq!(
        key,
        ServiceKey {
            address,
            port: Be16([0, 53]),
            protocol: 17,
            reserved: [0; 5]
        }
    );
}

#[test]
fn a_moved_line_changes_nothing() {
    assert_eq!(accept(VALID), accept(&format!("# comment\n\n{VALID}")));
    assert_ne!(accept(VALID), accept(&edit("eth0", "eth1")));
}

#[test]
fn one_server_by_nat_and_by_tunnels_of_both_families() {
    let services = [
        ("a", "10.0.0.1", "nat"),
        ("b", "10.0.0.2", "ipip"),
        ("c", "2001:db8::3", "gue"),
    ]
    .map(|(name, address, forward)| {
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nport = 80\n\
             forward = \"{forward}\"\nbackend = [{{ name = \"x\", address = \"10.1.0.1\" }}]\n"
        )
    });
    let text = format!("agent.interfaces = [\"eth0\"]\n{}", services.concat());
    let config = accept(&text);
    let forwards: Vec<_> = config.services.iter().map(|one| one.forward).collect();
    assert_eq!(forwards, [Forward::Nat, Forward::Ipip, Forward::Gue]);
    assert_eq!(config.backends.len(), 1);
}

/// The ports of ours tell the answers apart.
#[test]
fn services_by_fullnat_share_a_server() {
    let services = [("a", 80), ("b", 81)].map(|(name, port)| {
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"10.0.0.1\"\nport = {port}\n\
             forward = \"fullnat\"\n\
             backend = [{{ name = \"x\", address = \"10.1.0.1\", port = 8080 }}]\n"
        )
    });
    let text = format!("agent.interfaces = [\"eth0\"]\n{}", services.concat());
    let config = accept(&text);
    for service in &config.services {
        assert_eq!(service.forward, Forward::FullNat);
        assert!(service.keeps_flows());
        assert_eq!(service.on_failure, OnFailure::Reset);
    }
    assert_eq!(config.flows(), FLOWS);
    assert_eq!(config.nat_flows(), FLOWS + FLOWS / FLOWS_PER_NEW);
}
