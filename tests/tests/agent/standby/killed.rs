//! The agent is killed at each step of a change of the holder, and another one goes on.

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::wait;

use super::{
    done, held_by, service,
    steps::{AUTO, MANUAL, When, World},
};
use crate::world::SOON;

/// What happens to the service, and so which hooks run.
#[derive(Clone, Copy)]
enum Fault {
    /// The primary's cable is cut.
    Cut,
    /// It is plugged in again once the standby serves.
    Back,
    /// None: the operator switches.
    Switch,
}

/// What the next agent does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It runs the hook again and finishes.
    Resumes,
    /// Nobody knows whether it ran: a person says.
    Asks,
}

struct Row {
    killer: (&'static str, When),
    next: Next,
    /// What was run in the end. A promotion that was run twice is here twice, of others
    /// once is enough.
    runs: &'static [&'static str],
}

/// What all rows of a test have in common.
struct Scene {
    kind: &'static str,
    keys: &'static str,
    fault: Fault,
    /// Who serves while there is no agent.
    meanwhile: Option<&'static str>,
    /// Who serves in the end.
    serves: &'static str,
}

impl Scene {
    fn check(&self, rows: &[Row]) -> Result<()> {
        for row in rows {
            self.check_row(row)
                .with_context(|| format!("{:?}", row.killer))?;
        }
        Ok(())
    }

    fn check_row(&self, row: &Row) -> Result<()> {
        let mut world = World::new(self.kind, self.keys, row.killer)?;
        match self.fault {
            Fault::Cut => _ = world.lab.primary.cut_link()?,
            Fault::Back => {
                world.lab.primary.cut_link()?;
                world.served_by("standby")?;
                world.lab.primary.restore_link()?;
            }
            Fault::Switch => done(&world.agent, &["switch", "db"])?,
        }
        world.killed()?;
        // Who is promoted serves, and nobody else, whatever the agent.
        let serves = world.answerer();
        ensure!(
            serves.as_deref() == self.meanwhile,
            "{serves:?} without an agent"
        );
        world.agent.restart()?;
        if row.next == Next::Asks {
            asks(&world)?;
            done(&world.agent, &["go", "db"])?;
        }
        world.served_by(self.serves)?;
        let runs = || {
            let mut runs = world.runs();
            runs.dedup_by(|next, last| next == last && !next.starts_with("promote"));
            runs
        };
        wait::until(SOON, "every hook is run", || runs() == row.runs)
            .with_context(|| format!("{:?}\n{}", runs(), world.agent.log()))?;
        ensure!(runs() == row.runs, "and then {:?}", runs());
        Ok(())
    }
}

/// Nothing happens before a person has said go, not even if the old primary is back.
fn asks(world: &World) -> Result<()> {
    held_by(&world.agent, "standby", "blocked")?;
    let says = service(&world.agent)["waits_for"].to_string();
    ensure!(says.contains("failover go db"), "{says}");
    world.lab.primary.restore_link()?;
    sleep(Duration::from_millis(300));
    held_by(&world.agent, "standby", "blocked")?;
    let serves = world.answerer();
    ensure!(serves.is_none(), "{serves:?} serves");
    Ok(())
}

#[test]
fn on_the_way_to_a_warm_standby() -> Result<()> {
    let row = |killer, next, runs| Row { killer, next, runs };
    Scene {
        kind: "warm",
        keys: MANUAL,
        fault: Fault::Cut,
        meanwhile: None,
        serves: "standby",
    }
    .check(&[
        row(
            ("fence", When::Before),
            Next::Resumes,
            &["fence primary", "promote standby"],
        ),
        row(
            ("fence", When::After),
            Next::Resumes,
            &["fence primary", "promote standby"],
        ),
        row(
            ("promote", When::Before),
            Next::Asks,
            &["fence primary", "demote primary"],
        ),
        row(
            ("promote", When::After),
            Next::Asks,
            &["fence primary", "promote standby", "demote primary"],
        ),
    ])
}

#[test]
fn on_the_way_to_a_cold_standby() -> Result<()> {
    let runs = &["fence primary", "start standby", "promote standby"];
    let row = |when| Row {
        killer: ("start", when),
        next: Next::Resumes,
        runs,
    };
    Scene {
        kind: "cold",
        keys: MANUAL,
        fault: Fault::Cut,
        meanwhile: None,
        serves: "standby",
    }
    .check(&[row(When::Before), row(When::After)])
}

#[test]
fn when_the_old_primary_becomes_a_standby() -> Result<()> {
    let runs = &["fence primary", "promote standby", "demote primary"];
    let row = |when| Row {
        killer: ("demote", when),
        next: Next::Resumes,
        runs,
    };
    Scene {
        kind: "warm",
        keys: MANUAL,
        fault: Fault::Back,
        meanwhile: Some("standby"),
        serves: "standby",
    }
    .check(&[row(When::Before), row(When::After)])
}

#[test]
fn when_the_holder_is_demoted() -> Result<()> {
    let row = |when| Row {
        killer: ("demote", when),
        next: Next::Resumes,
        runs: &["demote primary", "promote standby"],
    };
    Scene {
        kind: "warm",
        keys: MANUAL,
        fault: Fault::Switch,
        meanwhile: None,
        serves: "standby",
    }
    .check(&[row(When::Before), row(When::After)])
}

#[test]
fn when_a_cold_standby_is_stopped() -> Result<()> {
    let row = |when| Row {
        killer: ("stop", when),
        next: Next::Resumes,
        runs: &[
            "fence primary",
            "start standby",
            "promote standby",
            "demote primary",
            "demote standby",
            "promote primary",
            "stop standby",
        ],
    };
    Scene {
        kind: "cold",
        keys: AUTO,
        fault: Fault::Back,
        meanwhile: Some("primary"),
        serves: "primary",
    }
    .check(&[row(When::Before), row(When::After)])
}

/// Checks that only a promoted backend passes spare the person.
#[test]
fn checks_show_that_it_is_promoted() -> Result<()> {
    let ready = "ready = [{ kind = \"tcp\", interval = \"20ms\", timeout = \"20ms\" }]";
    let keys = format!("{MANUAL}\n{ready}");
    let mut world = World::new("warm", &keys, ("promote", When::After))?;
    world.lab.primary.cut_link()?;
    world.killed()?;
    world.agent.restart()?;
    world.served_by("standby")?;
    ensure!(world.runs() == ["fence primary", "promote standby"]);
    // And the next agent knows who holds it, also from nothing but the store.
    world.agent.kill9()?;
    world.agent.restart()?;
    world.served_by("standby")?;
    held_by(&world.agent, "standby", "waiting")
}
