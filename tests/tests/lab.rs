//! The lab itself, without the agent: everything the other tests stand on.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::client::{TcpClient, http_get, udp_request};
use lab::server::{Protocol, Server};
use lab::wait::until;
use lab::{Agent, Family, Forward, Host, Lab, Options, Stream, clock};

/// For an answer that comes.
const SOON: Duration = Duration::from_secs(2);
/// For an answer that does not.
const SHORT: Duration = Duration::from_millis(100);

const UDP: u16 = 7001;
const TCP: u16 = 7002;
const HTTP: u16 = 7003;

const LAYOUTS: [Options; 4] = [
    Options {
        forward: Forward::Nat,
        two_armed: false,
        third: true,
    },
    Options {
        forward: Forward::Nat,
        two_armed: true,
        third: false,
    },
    Options {
        forward: Forward::Dsr,
        two_armed: false,
        third: false,
    },
    Options {
        forward: Forward::Dsr,
        two_armed: true,
        third: true,
    },
];

#[test]
fn client_reaches_every_backend() -> Result<()> {
    for options in LAYOUTS {
        let lab = Lab::new(options)?;
        ensure!(lab.backends().count() == if options.third { 3 } else { 2 });
        for host in lab.backends() {
            let _servers = [
                Server::start(host, Protocol::Udp, UDP)?,
                Server::start(host, Protocol::Tcp, TCP)?,
                Server::start(host, Protocol::Http, HTTP)?,
            ];
            for family in Family::ALL {
                check_answers(&lab, host, family)
                    .with_context(|| format!("{} {family:?} {options:?}", host.name()))?;
            }
        }
    }
    Ok(())
}

fn check_answers(lab: &Lab, host: &Host, family: Family) -> Result<()> {
    let at = |port| SocketAddr::new(host.address(family), port);
    let expected = format!("{} hello", host.name());
    let answer = udp_request(&lab.client, at(UDP), "hello", SOON);
    assert_eq!(answer.as_deref(), Some(expected.as_str()));

    let mut connection = TcpClient::connect(&lab.client, at(TCP), SOON)?;
    assert_eq!(connection.request("hello", SOON)?, expected);
    assert_eq!(connection.request("hello", SOON)?, expected);

    assert_eq!(http_get(&lab.client, at(HTTP), "/any", SOON)?, host.name());
    Ok(())
}

#[test]
fn nat_traffic_passes_the_director_and_dsr_answers_do_not() -> Result<()> {
    for options in LAYOUTS {
        let lab = Lab::new(options)?;
        let via_director = options.forward == Forward::Nat || options.two_armed;
        for family in Family::ALL {
            let target = lab.client.address(family).to_string();
            let route = lab
                .primary
                .command("ip")
                .args(["route", "get", &target])
                .output()?;
            let route = String::from_utf8(route.stdout)?;
            assert_eq!(
                route.contains(" via "),
                via_director,
                "{options:?}: {route}"
            );
        }
    }
    Ok(())
}

/// What the director will do for `dsr`, done here by a static neighbour: the
/// backend serves the service address, though it never answers for it.
#[test]
fn dsr_backend_answers_from_the_service_address() -> Result<()> {
    let lab = Lab::new(Options {
        forward: Forward::Dsr,
        ..Options::default()
    })?;
    let _server = Server::start(&lab.primary, Protocol::Udp, UDP)?;
    let mac = lab.primary.mac()?;
    for family in Family::ALL {
        let vip = SocketAddr::new(lab.vip(family), UDP);
        assert_eq!(
            udp_request(&lab.client, vip, "hello", SHORT),
            None,
            "{family:?}"
        );
        let neighbour = [
            "neigh",
            "replace",
            &vip.ip().to_string(),
            "lladdr",
            &mac,
            "dev",
            "eth0",
        ];
        let added = lab.client.command("ip").args(neighbour).status()?;
        ensure!(added.success());
        let answer = udp_request(&lab.client, vip, "hello", SOON);
        assert_eq!(answer.as_deref(), Some("primary hello"), "{family:?}");
    }
    Ok(())
}

type Fault = fn(&Host) -> Result<u64>;

#[test]
fn a_cut_link_and_a_frozen_host_are_silent_and_come_back() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let _servers = [&lab.primary, &lab.standby].map(|host| Server::start(host, Protocol::Udp, UDP));
    let faults: [(Fault, Fault); 2] = [
        (Host::cut_link, Host::restore_link),
        (Host::freeze, Host::thaw),
    ];
    for (fault, repair) in faults {
        for family in Family::ALL {
            assert!(answers(&lab, &lab.primary, family, SOON));
            fault(&lab.primary)?;
            assert!(!answers(&lab, &lab.primary, family, SHORT));
            assert!(
                answers(&lab, &lab.standby, family, SOON),
                "the fault is the primary's"
            );
            repair(&lab.primary)?;
            until(SOON, "the primary answers again", || {
                answers(&lab, &lab.primary, family, SHORT)
            })?;
        }
    }
    ensure!(
        lab.director.freeze().is_err(),
        "its XDP program is the agent's"
    );
    Ok(())
}

#[test]
fn a_changed_hardware_address_is_announced() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let _server = Server::start(&lab.primary, Protocol::Udp, UDP)?;
    for family in Family::ALL {
        assert!(answers(&lab, &lab.primary, family, SOON));
        let before = lab.primary.mac()?;
        let announced = lab.primary.change_mac()?;
        assert_ne!(before, announced);
        assert_eq!(lab.primary.mac()?, announced);
        until(SOON, "the primary answers at its new address", || {
            answers(&lab, &lab.primary, family, SHORT)
        })?;
    }
    Ok(())
}

#[test]
fn servers_die_hang_and_come_back() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let to = SocketAddr::new(lab.primary.address(Family::V4), TCP);
    let mut server = Server::start(&lab.primary, Protocol::Tcp, TCP)?;
    let mut connection = TcpClient::connect(&lab.client, to, SOON)?;
    assert_eq!(connection.request("1", SOON)?, "primary 1");

    server.stop()?;
    let error = connection.request("2", SHORT).expect_err("it is stopped");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    server.cont()?;
    assert_eq!(connection.request("3", SOON)?, "primary 2", "the late one");

    let mut connection = TcpClient::connect(&lab.client, to, SOON)?;

    server.kill()?;
    assert!(connection.request("4", SOON).is_err());
    assert!(
        TcpClient::connect(&lab.client, to, SOON).is_err(),
        "refused"
    );
    server.restart()?;
    assert_eq!(
        TcpClient::connect(&lab.client, to, SOON)?.request("5", SOON)?,
        "primary 5"
    );
    Ok(())
}

#[test]
fn streams_see_an_outage() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let at = |port| SocketAddr::new(lab.primary.address(Family::V4), port);
    let _servers = [
        Server::start(&lab.primary, Protocol::Udp, UDP)?,
        Server::start(&lab.primary, Protocol::Http, HTTP)?,
    ];
    let udp = Stream::udp(&lab.client, at(UDP), 1_000)?;
    let http = Stream::http(&lab.client, at(HTTP), 100, Duration::from_millis(50))?;
    std::thread::sleep(Duration::from_millis(300));
    let fault = lab.primary.freeze()?;
    // With other labs being built the kernel may get to it much later.
    let frozen = clock::now_ns();
    std::thread::sleep(Duration::from_millis(200));
    let repair = lab.primary.thaw()?;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(udp.progress().serving.as_deref(), Some("primary"));

    for (record, allowed) in [(udp.stop(), 0), (http.stop(), 1)] {
        let before = record.between(0, fault - 20_000_000);
        assert!(before.sent() > 10, "{}", before.sent());
        assert!(
            before.lost() <= allowed,
            "{} of {}",
            before.lost(),
            before.sent()
        );
        let during = record.between(frozen, repair);
        assert_eq!(during.answered(), 0);
        assert!(record.between(repair + 60_000_000, clock::now_ns()).lost() <= allowed);
        let gap = record.longest_gap();
        assert!((150_000..400_000).contains(&gap.us()), "{} us", gap.us());
        assert_eq!(record.first_answer_not_by("primary"), None);
    }
    Ok(())
}

#[test]
fn nothing_is_left_after_a_drop_or_a_panic() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let name = lab.client.namespace().name().to_owned();
    let path = Path::new("/run/netns").join(name);
    assert!(path.exists());
    drop(lab);
    assert!(!path.exists());

    let mut path = None;
    let mut server = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new(Options::default()).expect("a lab");
        path = Some(Path::new("/run/netns").join(lab.client.namespace().name()));
        server = Some(Server::start(&lab.primary, Protocol::Udp, UDP).expect("a server"));
        std::panic::resume_unwind(Box::new("a failed test"));
    }));
    assert!(panicked.is_err());
    assert!(path.is_some_and(|path| !path.exists()));
    Ok(())
}

#[test]
fn two_labs_do_not_meet() -> Result<()> {
    let first = Lab::new(Options::default())?;
    let second = Lab::new(Options::default())?;
    let _server = Server::start(&first.primary, Protocol::Udp, UDP)?;
    assert!(answers(&first, &first.primary, Family::V4, SOON));
    assert!(!answers(&second, &second.primary, Family::V4, SHORT));
    Ok(())
}

/// A stand-in for the binary, to test how the lab handles it.
#[test]
fn an_agent_is_started_asked_killed_and_cleaned_up() -> Result<()> {
    let lab = Lab::new(Options::default())?;
    let directory = tempfile::tempdir()?;
    let binary = directory.path().join("failover");
    // `run` is ready a moment later and pins something; `status` says where it
    // runs; `detach` does nothing.
    let script = r#"#!/bin/sh
case "$*" in
    run*) echo "started $RUST_LOG"; sleep 0.1; touch "$0.ready"
          mkdir "$(sed -n 's/pin_path = "\(.*\)"/\1/p' "$3")"; exec sleep 1000 ;;
    *status*) test -e "$0.ready" && echo "{\"interfaces\": $(ip -json address)}" ;;
    detach*) touch "$0.detached" ;;
esac
"#;
    std::fs::write(&binary, script)?;
    ensure!(
        Command::new("chmod")
            .arg("+x")
            .arg(&binary)
            .status()?
            .success()
    );

    let mut agent = Agent::start_binary(&lab, &binary, "metrics = \"127.0.0.1:9464\"\n")?;
    let inside = agent.status()?.to_string();
    assert!(
        inside.contains(&lab.director.address(Family::V4).to_string()),
        "{inside}"
    );
    let config = std::fs::read_to_string(agent.config_path())?;
    assert!(config.starts_with("[agent]\ninterfaces = [\"eth0\"]\npin_path = \"/sys/fs/bpf/fo-"));
    assert!(
        config.ends_with("metrics = \"127.0.0.1:9464\"\n"),
        "{config}"
    );
    assert_eq!(agent.log(), "started info\n");

    agent.kill9()?;
    assert_eq!(agent.pid(), None);
    agent.restart()?;
    agent.terminate()?;
    agent.restart()?;
    let pid = agent.pid().context("it runs")?;
    let pins = agent.pin_path().to_owned();
    assert!(pins.exists());
    drop(agent);
    assert!(!pins.exists());
    assert!(directory.path().join("failover.detached").exists());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());

    std::fs::write(&binary, "#!/bin/sh\necho no such interface; exit 1\n")?;
    let error = Agent::start_binary(&lab, &binary, "")
        .err()
        .context("it cannot start")?;
    assert!(
        format!("{error:#}").contains("no such interface"),
        "{error:#}"
    );
    Ok(())
}

fn answers(lab: &Lab, host: &Host, family: Family, timeout: Duration) -> bool {
    let to = SocketAddr::new(host.address(family), UDP);
    udp_request(&lab.client, to, "hello", timeout).is_some()
}
