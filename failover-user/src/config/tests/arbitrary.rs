use std::{collections::HashSet, time::Duration};

use failover_common::{Forward, HeartbeatKind};
use proptest::{prelude::*, sample::Index};

use super::{VALID, parse};
use crate::config::{CheckKind, Config, Heartbeat, Service};

/// What can be put in the place of a piece of a valid file.
const PIECES: &[&str] = &[
    "",
    "\n",
    "\"",
    "[",
    "]",
    "[[",
    "=",
    "0",
    "-1",
    "80",
    "65536",
    "\"0s\"",
    "\"5M\"",
    "1.5",
    "true",
    "1979-05-27",
    "{",
    "}",
    "\u{7}",
    "\u{fffd}",
    "::",
    "\"\"\"",
    "priority = 1\n",
    "weight = 2\n",
    "on_failure = \"reset\"\n",
    "failback = \"drain\"\n",
    "port = 0\n",
    "forward = \"dsr\"\n",
    "forward = \"ipip\"\n",
    "forward = \"gue\"\n",
    "forward = \"fullnat\"\n",
    "[service.check]\n",
    "[service.heartbeat]\n",
    "heartbeat.kind = \"none\"\n",
    "kind = \"udp\"\n",
    "fall = 2\n",
    "silence = \"off\"\n",
    "passive = false\n",
    "[[service]]\n",
    "[[service.backend]]\n",
];

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        judge(&text)?;
    }

    #[test]
    fn no_change_of_a_valid_file_panics(
        changes in prop::collection::vec(
            (any::<Index>(), 0..12_usize, prop::sample::select(PIECES)),
            1..5,
        )
    ) {
        let mut text = VALID.to_owned();
        for (at, len, piece) in changes {
            // The file is ASCII, apart from what was put there before.
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary(text.len().min(start + len));
            text.replace_range(start..end, piece);
        }
        judge(&text)?;
    }

    #[test]
    fn no_heartbeat_panics(
        kind in prop::option::of(prop::sample::select(&["icmp", "tcp-syn", "udp", "none"][..])),
        port in prop::option::of(-1..65_537_i64),
        interval in prop::option::of(prop_oneof![0..100_u64, 0..2000_u64, 0..11_000_000_u64]),
        intervals in prop::option::of((0..16_u64, 0..3_u64)),
        fall in prop::option::of(0..17_i64),
        rise in prop::option::of(-1..1_000_002_i64),
    ) {
        let timeout = intervals.map(|(count, more)| count * interval.unwrap_or(200) + more);
        let lines = [
            kind.map(|kind| format!("kind = {kind:?}")),
            port.map(|port| format!("port = {port}")),
            interval.map(|interval| format!("interval = \"{interval}us\"")),
            timeout.map(|timeout| format!("timeout = \"{timeout}us\"")),
            fall.map(|fall| format!("fall = {fall}")),
            rise.map(|rise| format!("rise = {rise}")),
        ];
        let lines: Vec<_> = lines.into_iter().flatten().collect();
        let table = format!("[service.heartbeat]\n{}\n[[service.check]]", lines.join("\n"));
        judge(&VALID.replacen("[[service.check]]", &table, 1))?;
    }

    #[test]
    fn no_order_of_lines_panics(lines in prop::collection::vec(any::<Index>(), 0..60)) {
        let all: Vec<_> = VALID.lines().collect();
        let text: Vec<_> = lines.iter().map(|line| *line.get(&all)).collect();
        judge(&text.join("\n"))?;
    }
}

/// Either it is refused in one line that says which, or it is valid.
fn judge(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Err(error) => {
            let message = error.to_string();
            let rest = message.strip_prefix("/f.toml:").unwrap_or_default();
            let line = rest
                .split_once(": ")
                .and_then(|(line, _)| line.parse::<usize>().ok());
            prop_assert!(line.is_some_and(|line| 0 < line && line <= 1 + text.lines().count()));
            prop_assert!(!message.contains(char::is_control), "{message:?}");
            Ok(())
        }
        Ok(config) => valid(&config),
    }
}

fn valid(config: &Config) -> Result<(), TestCaseError> {
    prop_assert!(!config.agent.interfaces.is_empty());
    prop_assert!(!config.services.is_empty());
    let keys: HashSet<_> = config.services.iter().map(Service::key).collect();
    prop_assert_eq!(keys.len(), config.services.len());
    for service in &config.services {
        prop_assert!(!service.backends.is_empty());
        match service.forward {
            Forward::Nat => prop_assert!(service.silence != Some(Duration::ZERO)),
            Forward::Dsr | Forward::Ipip | Forward::Gue | Forward::FullNat => {
                prop_assert!(!service.passive && service.silence.is_none());
            }
        }
        prop_assert!(
            service
                .backends
                .is_sorted_by(|a, b| a.priority <= b.priority)
        );
        for listed in &service.backends {
            let backend = &config.backends[listed.backend];
            prop_assert!(
                backend.address.is_ipv4() == service.address.is_ipv4()
                    || Forward::is_tunnel(service.forward as u8)
            );
            prop_assert_ne!(backend.address, service.address);
            prop_assert_eq!(listed.port == 0, service.port == 0);
        }
    }
    for backend in &config.backends {
        prop_assert!(!backend.checks.is_empty());
        for check in &backend.checks {
            prop_assert!(!check.timeout.is_zero() && check.timeout <= check.interval);
            prop_assert!(check.fall > 0 && check.rise > 0);
            if let CheckKind::Tcp { port } | CheckKind::Http { port, .. } = &check.kind {
                prop_assert_ne!(*port, 0);
            }
        }
        lives(&backend.heartbeat)?;
    }
    Ok(())
}

/// Whether the data path can have this lease.
fn lives(heartbeat: &Heartbeat) -> Result<(), TestCaseError> {
    let Heartbeat {
        kind,
        port,
        interval,
        timeout,
        fall,
        rise,
    } = *heartbeat;
    let has_port = matches!(kind, HeartbeatKind::TcpSyn | HeartbeatKind::Udp);
    prop_assert_eq!(port != 0, has_port);
    prop_assert!(!interval.is_zero() && rise > 0);
    match kind {
        HeartbeatKind::Icmp | HeartbeatKind::TcpSyn => {
            prop_assert!((2..=14).contains(&fall));
            prop_assert!(!timeout.is_zero() && timeout <= 14 * interval);
            prop_assert!(timeout.as_nanos() <= u32::MAX.into());
        }
        HeartbeatKind::Udp | HeartbeatKind::None => {
            prop_assert_eq!((timeout, fall), (Duration::ZERO, 0));
        }
    }
    Ok(())
}
