//! Takeovers that are more than a write of a map: a database that is promoted, a server
//! that is started. Each runs the configuration that docs/standby.md prints.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use lab::client::{TcpClient, http_get};
use lab::postgres::{self, Session};
use lab::process::Process;
use lab::redis;
use lab::server::Protocol;
use lab::{
    Agent, Interrupt, Lab, Options, Postgres, Redis, Scripts, Server, Writer, printed, wait,
};
use serde::Serialize;

use crate::screen::{Screen, Tone, count, duration};

/// For one request.
const LIMIT: Duration = Duration::from_millis(500);
/// For a connection: short, or a SYN that is lost hides who serves since.
const CONNECT: Duration = Duration::from_millis(100);
/// For a change of who serves.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what is healthy is shown.
const HEALTHY: Duration = Duration::from_secs(2);

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// PostgreSQL with a synchronous standby, which is promoted.
    Postgres,
    /// Redis with a replica, which is promoted.
    Redis,
    /// A web server that is started when it is needed.
    Cold,
}

/// What the client saw.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    scenario: Scenario,
    acknowledged: usize,
    /// Acknowledged, and not there after the takeover.
    lost: usize,
    /// From the fault to the first answer of the standby.
    takeover_us: u128,
}

impl Outcome {
    /// Whether all is as it should be.
    pub(crate) const fn succeeded(&self) -> bool {
        self.lost == 0
    }
}

/// The servers. Those that are only kept running have an underscore.
enum Servers {
    Postgres {
        _primary: Postgres,
        _standby: Postgres,
    },
    Redis {
        primary: Redis,
        _standby: Redis,
    },
    Cold {
        primary: Server,
    },
}

/// Builds the lab, plays the scenario and takes the lab down again.
pub(crate) fn play(scenario: Scenario, screen: Screen, interrupt: &Interrupt) -> Result<Outcome> {
    screen.line(scenario.introduction());
    let lab = Lab::new(Options::default())?;
    printed::add_addresses(&lab)?;
    let scripts = Scripts::new()?;
    let mut servers = scenario.start(&lab, &scripts)?;
    interrupt.check()?;
    let text = printed::configuration(scenario.heading())?;
    let agent = Agent::start_printed(&lab, text, scripts.directory())?;
    let start = Instant::now();
    let say = |tone, text: &str| {
        let time = format!("{:>7.3} s", start.elapsed().as_secs_f64());
        screen.line(format_args!(
            "{}  {}",
            screen.paint(Tone::Quiet, time),
            screen.paint(tone, text)
        ));
    };
    let mut events = agent.client_command();
    events.args(["events", "--follow"]).stdout(Stdio::piped());
    let mut events = Process::spawn(events).context("cannot follow the events")?;
    let told = events.child().stdout.take().context("no standard output")?;

    let writer = Writer::default();
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                // The time, two spaces, the words.
                let words = line.split_once("  ").map_or(&*line, |(_, words)| words);
                say(Tone::Quiet, &format!("agent: {words}"));
            }
        });
        scope.spawn(|| scenario.write(&lab, &writer));
        let outcome = (|| {
            writer.wait_for(1, PATIENCE)?;
            say(Tone::Primary, "the primary answers");
            thread::sleep(HEALTHY);
            interrupt.check()?;
            let fault = Instant::now();
            say(Tone::Bad, scenario.fault());
            match &mut servers {
                Servers::Postgres { .. } => _ = lab.primary.cut_link()?,
                Servers::Redis { primary, .. } => _ = primary.process().kill()?,
                Servers::Cold { primary } => _ = primary.kill()?,
            }
            let broken = Instant::now();
            let first = writer.wait_for_one_after(broken, PATIENCE)?;
            let takeover = first.at - fault;
            let ns = u64::try_from(takeover.as_nanos()).unwrap_or(u64::MAX);
            let text = format!(
                "the standby answers; nobody was served for {}",
                duration(ns)
            );
            say(Tone::Standby, &text);
            thread::sleep(HEALTHY);
            interrupt.check()?;
            if let Servers::Cold { primary } = &mut servers {
                say(
                    Tone::Strong,
                    "the primary is started again; it has to stay healthy for 2 s",
                );
                primary.restart()?;
                wait::until(PATIENCE, "the standby is stopped", || {
                    interrupt.came() || scripts.lines("done").len() == 2
                })?;
                interrupt.check()?;
            }
            anyhow::Ok(takeover)
        })();
        writer.stop();
        // Its end is that of the thread that reads what it says.
        events.kill()?;
        outcome
    })
    .with_context(|| format!("the agent's log:\n{}", agent.log()))?;

    let acknowledged: HashSet<u64> = writer.acknowledged().iter().map(|it| it.number).collect();
    let lost = match scenario {
        Scenario::Postgres | Scenario::Redis => {
            let present = scenario.present(&lab)?;
            acknowledged.difference(&present).count()
        }
        // It keeps nothing.
        Scenario::Cold => 0,
    };
    let tone = if lost == 0 { Tone::Good } else { Tone::Bad };
    let text = match scenario {
        Scenario::Postgres | Scenario::Redis => format!(
            "{} writes were acknowledged; {} of them are not on the standby",
            count(acknowledged.len()),
            count(lost)
        ),
        Scenario::Cold => format!("{} requests were answered", count(acknowledged.len())),
    };
    screen.line(format_args!("\n{}", screen.paint(tone, text)));
    Ok(Outcome {
        scenario,
        acknowledged: acknowledged.len(),
        lost,
        takeover_us: outcome.as_micros(),
    })
}

impl Scenario {
    const fn introduction(self) -> &'static str {
        match self {
            Self::Postgres => {
                "PostgreSQL and a synchronous standby behind one address; a client writes one row \
                 after the other, each in a transaction. Then the primary's cable is cut.\n"
            }
            Self::Redis => {
                "Redis and a replica behind one address; a client sets one key after the other, and \
                 waits until the replica has it. Then the primary is killed.\n"
            }
            Self::Cold => {
                "A web server behind an address, and a standby that is off; a client asks one time \
                 after the other. Then the server is killed, and later started again.\n"
            }
        }
    }

    /// In docs/standby.md.
    const fn heading(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::Cold => "A server that is started at need",
        }
    }

    const fn fault(self) -> &'static str {
        match self {
            Self::Postgres => "the primary's cable is cut",
            Self::Redis | Self::Cold => "the primary is killed",
        }
    }

    fn start(self, lab: &Lab, scripts: &Scripts) -> Result<Servers> {
        Ok(match self {
            Self::Postgres => {
                let (primary, standby) = Postgres::pair(&lab.primary, &lab.standby)?;
                let table = "CREATE TABLE written (number bigint)";
                postgres::ask(&lab.primary, &lab.primary, table)?;
                scripts.add("power-off", &primary.kill_command())?;
                Servers::Postgres {
                    _primary: primary,
                    _standby: standby,
                }
            }
            Self::Redis => {
                let mut primary = Redis::start(&lab.primary, None)?;
                let standby = Redis::start(&lab.standby, Some(&lab.primary))?;
                redis::followed(&lab.primary)?;
                let pid = primary.process().id();
                scripts.add("power-off", &format!("kill -9 {pid} 2>/dev/null; true"))?;
                Servers::Redis {
                    primary,
                    _standby: standby,
                }
            }
            Self::Cold => {
                let b = Ipv4Addr::new(10, 0, 0, 12).into();
                scripts.add_server("on-b", &lab.standby, b, ("http", 80))?;
                let at: IpAddr = Ipv4Addr::new(10, 0, 0, 11).into();
                Servers::Cold {
                    primary: Server::start_at(&lab.primary, &[at], Protocol::Http, 80)?,
                }
            }
        })
    }

    /// The client, until it is stopped.
    fn write(self, lab: &Lab, writer: &Writer) {
        match self {
            Self::Postgres => {
                let to = printed::service(postgres::PORT);
                let mut last = None;
                writer.run(|number| {
                    let open = || Session::open(&lab.client, to, LIMIT);
                    let session = last.take().map_or_else(open, Ok)?;
                    session.query(&format!("INSERT INTO written VALUES ({number})"))?;
                    last = Some(session);
                    Ok(())
                });
            }
            Self::Redis => {
                let to = printed::service(redis::PORT);
                let mut last = None;
                let mut followed = true;
                writer.run(|number| {
                    let open = || TcpClient::connect(&lab.client, to, CONNECT);
                    let Ok(mut client) = last.take().map_or_else(open, Ok) else {
                        // Whoever is next has no replica.
                        followed = false;
                        anyhow::bail!("nobody serves");
                    };
                    let answer = client.request(&format!("SET row:{number} x"), LIMIT);
                    let copies = answer
                        .and_then(|answer| Ok((answer, client.request("WAIT 1 100", LIMIT)?)));
                    followed &= copies.is_ok();
                    let (answer, copies) = copies?;
                    ensure!(answer == "+OK", "{answer}");
                    ensure!(copies == ":1" || !followed, "on one server only");
                    last = Some(client);
                    Ok(())
                });
            }
            Self::Cold => writer.run(|_| {
                http_get(&lab.client, printed::service(80), "/", CONNECT)?;
                Ok(())
            }),
        }
    }

    /// The numbers that are on the standby.
    fn present(self, lab: &Lab) -> Result<HashSet<u64>> {
        let lines = match self {
            Self::Postgres => {
                postgres::ask(&lab.director, &lab.standby, "SELECT number FROM written")?
            }
            Self::Redis => redis::keys(&lab.director, &lab.standby, "row:*")?,
            Self::Cold => Vec::new(),
        };
        let number = |line: &String| line.trim_start_matches("row:").parse();
        Ok(lines.iter().map(number).collect::<Result<_, _>>()?)
    }
}
