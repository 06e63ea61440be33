//! What happens in the demo, in its order.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::client::{http_get, udp_request};
use lab::server::{Protocol, Server};
use lab::{Agent, Family, Lab, Options, Stream, wait};

use crate::phase::{PRIMARY, STANDBY, Seen, Times};
use crate::screen::{Screen, Tone, count};
use crate::timeline::Timeline;
use lab::Interrupt;

const UDP_PORT: u16 = 7;
const HTTP_PORT: u16 = 80;

/// Requests a second.
const UDP_RATE: u32 = 5_000;
const HTTP_RATE: u32 = 200;

/// When the HTTP client gives a request up and turns to the next one: before its
/// second next turn. It sets how soon the client can notice the standby; to wait
/// for the kernel's first retransmission, a second, would hide the takeover.
const HTTP_TIMEOUT: Duration = Duration::from_millis(9);

const HEALTHY: Duration = Duration::from_secs(2);
const TAKEOVER: Duration = Duration::from_secs(3);
/// After the failback was seen.
const SERVED_AGAIN: Duration = Duration::from_secs(2);

/// For what takes well under a second, and for a failback with its hold-down.
const PATIENCE: Duration = Duration::from_secs(7);

/// For the answer to one request while the lab comes up.
const SOON: Duration = Duration::from_millis(100);

/// How much of the agent's log is shown when something went wrong.
const LOG_LINES: usize = 8;

/// As tight as a check from user space can be and still tolerate a machine that
/// is busy with other things.
const CHECKS: &str = r#"
  [[service.check]]
  kind     = "icmp"
  interval = "5ms"
  timeout  = "5ms"
  fall     = 2
  rise     = 10

  [[service.check]]
  kind     = "http"
  port     = 80
  path     = "/"
  interval = "50ms"
  timeout  = "50ms"
  fall     = 2
  rise     = 3

  [[service.check]]
  kind     = "tcp"
  port     = 80
  interval = "50ms"
  timeout  = "50ms"
  fall     = 2
  rise     = 3
"#;

/// Builds the lab, plays the scenario and takes the lab down again.
///
/// A takeover or failback that did not happen is no error here: it is missing in
/// what is returned.
pub(crate) fn play(screen: Screen, interrupt: &Interrupt) -> Result<Seen> {
    screen.line(
        "One client, one service address, two servers behind it: the primary and its standby.",
    );
    screen.line(format_args!(
        "The client sends {} UDP and {HTTP_RATE} HTTP requests a second. Then the primary's cable is cut.\n",
        count(UDP_RATE as usize)
    ));
    let lab = Lab::new(Options::default())?;
    interrupt.check()?;
    let mut servers = Vec::new();
    for host in lab.backends() {
        servers.push(Server::start(host, Protocol::Udp, UDP_PORT)?);
        servers.push(Server::start(host, Protocol::Http, HTTP_PORT)?);
    }
    let agent = Agent::start(&lab, &config(&lab))?;
    let at = |port| SocketAddr::new(lab.vip(Family::V4), port);
    wait_for_primary(&lab, &agent, at, interrupt)?;

    let udp = Stream::udp(&lab.client, at(UDP_PORT), UDP_RATE)?;
    let http = Stream::http(&lab.client, at(HTTP_PORT), HTTP_RATE, HTTP_TIMEOUT)?;
    let mut timeline = Timeline::new(screen, interrupt, (udp, UDP_RATE), (http, HTTP_RATE));

    timeline.watch(HEALTHY)?;
    // Longer only if this machine was too busy for checks this tight.
    let healthy = timeline.watch_until(Some(PRIMARY), PATIENCE)?;
    ensure!(
        healthy,
        "the primary does not serve, though nothing was done to it\n{}",
        last_words(&agent)
    );

    let fault_ns = lab.primary.cut_link()?;
    timeline.say(Tone::Bad, "the primary's cable is cut");
    timeline.watch(TAKEOVER)?;
    let taken_over = timeline.served_by(STANDBY);

    let repair_ns = lab.primary.restore_link()?;
    if taken_over {
        timeline.say(
            Tone::Strong,
            "the primary's cable is plugged in again; it has to stay healthy for 2 s",
        );
        if timeline.watch_until(Some(PRIMARY), PATIENCE)? {
            timeline.watch(SERVED_AGAIN)?;
        } else {
            timeline.say(Tone::Bad, "THE PRIMARY DID NOT GET THE SERVICE BACK");
            screen.line(last_words(&agent));
        }
    } else {
        timeline.say(Tone::Bad, "THE STANDBY DID NOT TAKE OVER");
        screen.line(last_words(&agent));
    }
    let (udp, http) = timeline.stop();
    let times = Times {
        fault_ns,
        repair_ns,
    };
    Ok(Seen { times, udp, http })
}

/// Until both services are answered by the primary and both backends are
/// healthy, so that what is measured is not a start.
fn wait_for_primary(
    lab: &Lab,
    agent: &Agent,
    at: impl Fn(u16) -> SocketAddr,
    interrupt: &Interrupt,
) -> Result<()> {
    wait::until(PATIENCE, "the primary answers both services", || {
        let udp = udp_request(&lab.client, at(UDP_PORT), "hello", SOON);
        let http = http_get(&lab.client, at(HTTP_PORT), "/", SOON);
        let answered = udp.is_some_and(|answer| answer.starts_with(PRIMARY))
            && http.is_ok_and(|answer| answer == PRIMARY);
        (answered && all_eligible(agent)) || interrupt.came()
    })?;
    interrupt.check()
}

fn all_eligible(agent: &Agent) -> bool {
    let status = agent.status().unwrap_or_default();
    let backends = status["backends"].as_array();
    backends.is_some_and(|all| all.iter().all(|backend| backend["eligible"] == true))
}

fn config(lab: &Lab) -> String {
    let mut config = String::new();
    for (name, protocol, port) in [("echo", "udp", UDP_PORT), ("web", "tcp", HTTP_PORT)] {
        let vip = lab.vip(Family::V4);
        // Writing to a string cannot fail.
        let _written = write!(
            config,
            r#"
[[service]]
name      = "{name}"
address   = "{vip}"
port      = {port}
protocol  = "{protocol}"
forward   = "nat"
failback  = "auto"
hold_down = "2s"
{CHECKS}"#
        );
        for (host, priority) in lab.backends().zip(1..) {
            let _written = write!(
                config,
                r#"
  [[service.backend]]
  name     = "{}"
  address  = "{}"
  priority = {priority}
  standby  = "hot"
"#,
                host.name(),
                host.address(Family::V4)
            );
        }
    }
    config
}

/// The end of the agent's log.
fn last_words(agent: &Agent) -> String {
    let log = agent.log();
    let lines: Vec<_> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("the agent's last words:\n  {}", last.join("\n  "))
}
