use super::*;

fn text(connect_ms: u64, checks: Checks) -> String {
    let at = |text: &str| text.parse().expect("an address");
    let places = Places {
        vip: at("10.77.1.100:7000"),
        servers: &[
            ("primary", at("10.77.2.11:7000")),
            ("standby", at("10.77.2.12:7000")),
        ],
        socket: Path::new("/tmp/bench/haproxy.sock"),
    };
    config(&places, Duration::from_millis(connect_ms), checks)
}

#[test]
fn the_fastest_it_accepts() {
    let config = text(1, Checks::Connection);
    let lines: Vec<_> = config.lines().map(str::trim).collect();
    for line in [
        "nbthread 1",
        "stats socket /tmp/bench/haproxy.sock",
        "timeout connect 1ms",
        "option redispatch 1",
        "bind 10.77.1.100:7000",
        "server primary 10.77.2.11:7000",
        "server standby 10.77.2.12:7000 backup",
    ] {
        assert!(lines.contains(&line), "{line:?} in\n{config}");
    }
    for words in [
        "check inter 1ms fastinter 1ms downinter 1ms fall 1 rise 1",
        "on-marked-down shutdown-sessions",
        "observe layer4 error-limit 1 on-error mark-down",
    ] {
        assert!(config.contains(words), "{words:?} in\n{config}");
    }
    assert!(!config.contains("tcp-check"), "{config}");
    assert!(text(5, Checks::Connection).contains("timeout connect 5ms"));
}

#[test]
fn an_application_that_hangs_takes_a_check_of_it() {
    let config = text(1, Checks::Application);
    assert!(config.contains("option tcp-check\n"), "{config}");
    assert!(config.contains("tcp-check connect port 7001\n"), "{config}");
    for fault in Fault::ALL {
        let wanted = match fault {
            Fault::ProcessStopped => Checks::Application,
            _ => Checks::Connection,
        };
        assert_eq!(Checks::for_fault(fault), wanted, "{fault:?}");
    }
}

#[test]
fn states_of_servers() {
    let csv = "# pxname,svname,status,weight\nbench,primary,UP,1\nbench,standby,DOWN,1\n\n";
    assert_eq!(states(csv), ["UP", "DOWN"]);
    assert!(states("").is_empty());
}
