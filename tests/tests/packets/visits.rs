//! The sender's visits to the unanswered SYNs of a backend that it sees die. There are
//! two: a packet that was on its way past the lease notes its SYN after the first.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use failover_common::{Syn, Verdict};
use failover_user::config::Heartbeat;
use failover_user::heartbeat::{Sender, Target};
use lab::Family;
use tokio::sync::mpsc::unbounded_channel;

use crate::before::Before;
use crate::frame::{Frame, SYN};
use crate::mortals::{FIRST, PASSIVE, SECOND, THIRD};
use crate::network::{CLIENT, FRONT, at, ip};
use crate::state::Entry;
use crate::world::{Server, World};

const FAMILY: Family = Family::V4;

/// Ports of a client whose SYNs are noted before the death, and just after the first
/// visit.
const EARLY: u16 = 40_001;
const LATE: u16 = 40_002;

/// How long the first visit takes at most.
const VISIT: Duration = Duration::from_millis(2);

/// The sender sleeps for a twentieth of a second at most.
const LONG: Duration = Duration::from_secs(1);

/// "Just after" is before the sender wakes up again, for which this thread may be late.
const ATTEMPTS: usize = 5;

pub(crate) fn check(world: &mut World) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if is_visited_again(world)? {
            return Ok(());
        }
    }
    bail!("the SYN was left to its client, {ATTEMPTS} times")
}

fn is_visited_again(world: &mut World) -> Result<bool> {
    let entries = [FIRST, SECOND, THIRD].map(|server| Entry::new(server, FAMILY));
    world.prepare(&Before::entries(&entries))?;
    for port in [EARLY, LATE] {
        let client = at(FAMILY, 1, CLIENT, port);
        let vip = at(FAMILY, 1, PASSIVE.vip, PASSIVE.port);
        let outcome = world.run(&Frame::segment(SYN, client, vip).bytes(), FRONT)?;
        ensure!(outcome.verdict == Verdict::ForwardedRedirect, "{outcome:?}");
        ensure!(goes_to(world, port, FIRST), "port {port} is not remembered");
    }
    // For as long as it is not noted, it is where the sender has nothing to look for.
    redirect(world, LATE, (FIRST, THIRD));
    let target = Target {
        index: FIRST.index(FAMILY),
        address: ip(FAMILY, FIRST.net, FIRST.host),
        // It is over between two heartbeats: the sender sleeps then.
        heartbeat: Heartbeat {
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(120),
            fall: 1,
            ..Heartbeat::DEFAULT
        },
    };
    let (notices, _told) = unbounded_channel();
    let (entries, rescue) = (world.maps.entries(), world.rescue()?);
    let _sender = Sender::start(&[target], entries, Some(rescue), notices)?;
    ensure!(waits_for(world, EARLY), "no SYN was repeated");
    thread::sleep(VISIT);
    redirect(world, LATE, (THIRD, FIRST));
    Ok(waits_for(world, LATE))
}

/// Whether the SYN is repeated to [`SECOND`] before long.
fn waits_for(world: &World, port: u16) -> bool {
    let until = Instant::now() + LONG;
    while !goes_to(world, port, SECOND) {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_micros(100));
    }
    true
}

/// Whether the SYN from `port` is remembered as one to `server`.
fn goes_to(world: &World, port: u16, server: Server) -> bool {
    let found = Cell::new(false);
    let look = |syn: &Syn| {
        let is_it = syn.client_port.get() == port && syn.backend == server.index(FAMILY);
        found.set(found.get() || is_it);
        false
    };
    world.syns.visit(look, |_| {});
    found.get()
}

/// Has the SYN from `port` noted as one to another backend.
fn redirect(world: &World, port: u16, (from, to): (Server, Server)) {
    let (from, to) = (from.index(FAMILY), to.index(FAMILY));
    world
        .syns
        .visit_unanswered(from, 0, |syn| (syn.client_port.get() == port).then_some(to));
}
