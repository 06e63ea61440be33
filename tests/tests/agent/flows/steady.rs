//! Planned changes under steady requests: not one is lost, and no connection ends.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{ScopedJoinHandle, scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Family, Lab, Options, wait};

use super::{Connection, SOON, World, connect, new_ones_go_to};
use crate::{standby::done, world::named};

/// Connections over each family that are begun before each change.
const LONG_LIVED: usize = 3;

/// From an answer to the next request.
const PAUSE: Duration = Duration::from_millis(5);

/// What a client has seen: every request was answered.
#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    slowest: Duration,
}

impl Seen {
    /// Asks once more.
    fn ask(&mut self, request: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        request().with_context(|| format!("request {}", self.requests))?;
        self.requests += 1;
        self.slowest = self.slowest.max(began.elapsed());
        sleep(PAUSE);
        Ok(())
    }
}

/// Asks over one connection until the end. Whoever has it answers.
fn keep_asking(mut connection: Connection, stop: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        seen.ask(|| connection.ensure_alive())?;
    }
    Ok(seen)
}

/// Asks over a connection of its own each time.
fn keep_connecting(lab: &Lab, family: Family, stop: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        seen.ask(|| connect(lab, family).map(drop))?;
    }
    Ok(seen)
}

/// Says this of every family.
fn order(agent: &Agent, words: [&str; 2]) -> Result<()> {
    let [verb, of] = words;
    for family in Family::ALL {
        done(agent, &[verb, &format!("{of}-{family:?}")])?;
    }
    Ok(())
}

type Change = fn(&mut Agent) -> Result<()>;

/// What is done in turn, and who has new connections then.
const CHANGES: [(&str, Change); 6] = [
    ("primary", |_| Ok(())),
    ("standby", |agent| order(agent, ["switch", "tcp"])),
    ("standby", |agent| {
        agent.kill9()?;
        agent.restart()
    }),
    ("primary", |agent| order(agent, ["switch", "tcp"])),
    ("standby", |agent| order(agent, ["drain", "primary"])),
    // After `hold_down`, by itself.
    ("primary", |agent| order(agent, ["enable", "primary"])),
];

#[test]
fn planned_changes_lose_nothing() -> Result<()> {
    let policy = "failback = \"drain\"\nhold_down = \"100ms\"";
    let mut world = World::new(Options::default(), policy, "")?;
    let World { agent, lab, .. } = &mut world;
    let (lab, stop) = (&*lab, &AtomicBool::new(false));
    let all = scope(|scope| {
        let mut clients: Vec<ScopedJoinHandle<'_, Result<Seen>>> = Vec::new();
        let changed = (|| {
            for family in Family::ALL {
                clients.push(scope.spawn(move || keep_connecting(lab, family, stop)));
            }
            for (name, change) in CHANGES {
                change(agent)?;
                new_ones_go_to(lab, name)?;
                for family in Family::ALL.repeat(LONG_LIVED) {
                    let connection = connect(lab, family)?;
                    clients.push(scope.spawn(move || keep_asking(connection, stop)));
                }
            }
            sleep(PAUSE * 20);
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let seen = clients.into_iter().map(ScopedJoinHandle::join);
        let seen = seen.map(|seen| seen.expect("it does not panic"));
        let seen: Result<Vec<Seen>> = seen.collect();
        changed.and(seen)
    });
    let all = all.with_context(|| agent.log())?;
    let requests: usize = all.iter().map(|seen| seen.requests).sum();
    let slowest = all.iter().map(|seen| seen.slowest).max();
    let slowest = slowest.unwrap_or_default();
    println!(
        "{} clients made {requests} requests, the slowest took {slowest:?}",
        all.len()
    );
    ensure!(all.iter().all(|seen| seen.requests >= 5), "{all:?}");
    ensure!(requests >= 1000, "no steady traffic: {requests}");
    Ok(())
}

/// How a backend is taken out of service: switch, wait until its connections have ended,
/// disable it.
#[test]
fn a_backend_is_taken_out() -> Result<()> {
    let world = World::new(Options::default(), "failback = \"drain\"", "")?;
    let left = || {
        let status = world.agent.status().unwrap_or_default();
        let of = |name| named(&status, "backends", name)["flows"].as_u64();
        Some(of("primary-V4")? + of("primary-V6")?)
    };
    let mut all = Vec::new();
    for family in Family::ALL {
        all.push(connect(&world.lab, family)?);
    }
    order(&world.agent, ["switch", "tcp"])?;
    new_ones_go_to(&world.lab, "standby")?;
    wait::until(SOON, "both are left", || left() == Some(2))?;
    all.iter_mut().try_for_each(Connection::ensure_alive)?;
    drop(all);
    wait::until(SOON, "none is left", || left() == Some(0))?;
    order(&world.agent, ["disable", "primary"])?;
    new_ones_go_to(&world.lab, "standby")
}
