//! PostgreSQL with a synchronous standby: a warm one, configured as the documentation
//! prints it.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Host, Lab, Options, Postgres, Scripts, Writer,
    postgres::{PORT, Session, ask},
    printed,
};

use super::{backend, events, held_by};
use crate::world::SOON;

/// For a connection and for a transaction: far longer than either takes.
const LIMIT: Duration = Duration::from_millis(500);

/// Acknowledged before anything happens.
const ROWS: usize = 50;

/// What happens to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Its cable is cut; it lives on, unless it is fenced.
    Cut,
    /// Its processes are killed.
    Killed,
}

/// Writes rows from a host, each in a transaction.
fn write(writer: &Writer, from: &Host) {
    let mut session = None;
    writer.run(|number| {
        let open = session
            .take()
            .map_or_else(|| Session::open(from, printed::service(PORT), LIMIT), Ok)?;
        open.query(&format!("INSERT INTO written VALUES ({number})"))?;
        session = Some(open);
        Ok(())
    });
}

fn check(fault: Fault) -> Result<()> {
    let lab = Lab::new(Options::default())?;
    printed::add_addresses(&lab)?;
    let (mut primary, _standby) = Postgres::pair(&lab.primary, &lab.standby)?;
    ask(
        &lab.primary,
        &lab.primary,
        "CREATE TABLE written (number bigint)",
    )?;
    let scripts = Scripts::new()?;
    // As a switch of the power would: it does not ask the server.
    scripts.add(
        "power-off",
        &format!("[ \"$1\" = a ] && {{ {}; }}", primary.kill_command()),
    )?;
    let agent = Agent::start_printed(
        &lab,
        printed::configuration("PostgreSQL")?,
        scripts.directory(),
    )?;
    let writer = Writer::default();
    let gap = thread::scope(|scope| {
        scope.spawn(|| write(&writer, &lab.client));
        let gap = takes_over(&lab, &mut primary, &writer, fault).with_context(|| agent.log());
        writer.stop();
        gap
    })?;
    held_by(&agent, "b", "waiting")?;
    let acknowledged: HashSet<u64> = writer.acknowledged().iter().map(|it| it.number).collect();
    let present = ask(&lab.director, &lab.standby, "SELECT number FROM written")?;
    let present: HashSet<u64> = present
        .iter()
        .map(|it| it.parse())
        .collect::<Result<_, _>>()?;
    let lost: Vec<_> = acknowledged.difference(&present).collect();
    println!(
        "{fault:?}: {} rows acknowledged, {} of them lost, acknowledged again after {gap:?}",
        acknowledged.len(),
        lost.len(),
    );
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let recovers = ask(&lab.director, &lab.standby, "SELECT pg_is_in_recovery()")?;
    ensure!(recovers == ["f"], "{recovers:?}");
    let promoted = [("backend", "b"), ("hook", "promote"), ("outcome", "done")];
    ensure!(events(&agent, "hook", &promoted)? == 1);
    ensure!(primary.has_ended()?, "the old primary lives on");

    // It comes back, and gets nothing until a person says that it is a standby.
    let sent = || backend(&agent, "a")["forwarded"]["packets"].clone();
    let before = sent();
    lab.primary.restore_link()?;
    let session = Session::open(&lab.client, printed::service(PORT), SOON)?;
    session.query("INSERT INTO written VALUES (-1)")?;
    ensure!(sent() == before, "packets went to the old primary");
    Ok(())
}

/// How long nothing is acknowledged from the fault on.
fn takes_over(
    lab: &Lab,
    primary: &mut Postgres,
    writer: &Writer,
    fault: Fault,
) -> Result<Duration> {
    writer.wait_for(ROWS, SOON)?;
    let fault_at = Instant::now();
    match fault {
        Fault::Cut => _ = lab.primary.cut_link()?,
        Fault::Killed => primary.kill()?,
    }
    Ok(writer.wait_for_one_after(Instant::now(), SOON)?.at - fault_at)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_cable_is_cut() -> Result<()> {
    check(Fault::Cut)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_primary_is_killed() -> Result<()> {
    check(Fault::Killed)
}
