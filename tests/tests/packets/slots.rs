//! The table of SYNs: who gives way to whom, and who goes without.
//!
//! The places are unpredictable, so flows that share a set of slots are looked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use failover_common::{SYN_WAYS, Syn, Verdict};
use lab::Family;

use crate::before::Before;
use crate::frame::{ACK, Frame, RST, SYN};
use crate::mortals::{FIRST, PASSIVE, SECOND};
use crate::network::{BACK, CLIENT, FRONT, at, mac};
use crate::state::Entry;
use crate::world::World;

const WAYS: usize = SYN_WAYS as usize;

/// One flow more than there is room for.
const FLOWS: usize = WAYS + 1;

/// What happens; the number is that of a flow of one set.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The client sends its SYN.
    Syn(usize),
    /// The backend accepts it.
    Accepted(usize),
    /// The agent has its slot from now on.
    Taken(usize),
}

pub(crate) fn check(world: &mut World) -> Result<()> {
    use Step::{Accepted, Syn, Taken};

    let ports = one_set(world)?;
    let full = [Syn(0), Syn(1), Syn(2), Syn(3)];
    for (what, steps, remembered) in [
        ("there is room", &[][..], [0, 1, 2, 3]),
        ("the oldest", &[Syn(4)], [1, 2, 3, 4]),
        ("who came again is young", &[Syn(0), Syn(4)], [0, 2, 3, 4]),
        ("who was answered", &[Accepted(2), Syn(4)], [0, 1, 3, 4]),
        (
            "answered and came again",
            &[Accepted(2), Syn(2), Syn(4)],
            [1, 2, 3, 4],
        ),
        ("the oldest is taken", &[Taken(0), Syn(4)], [0, 2, 3, 4]),
        ("another is taken", &[Taken(1), Syn(4)], [1, 2, 3, 4]),
        (
            "who was answered is taken",
            &[Accepted(2), Taken(2), Syn(4)],
            [1, 2, 3, 4],
        ),
    ] {
        fresh(world)?;
        play(world, &ports, &[&full, steps].concat()).with_context(|| what.to_owned())?;
        let found = remembered_ports(world);
        let found = (0..FLOWS).filter(|flow| found.iter().any(|(_, port)| *port == ports[*flow]));
        let found: Vec<usize> = found.collect();
        ensure!(found == remembered, "{what}: {found:?}, not {remembered:?}");
    }
    while_taken(world, ports[0])
}

/// While the agent has a slot the data path goes without, and afterwards it finds what
/// the agent left.
fn while_taken(world: &mut World, port: u16) -> Result<()> {
    fresh(world)?;
    run(world, &syn(port), FRONT, Verdict::ForwardedRedirect)?;
    holding(world, port, |world| {
        run(world, &syn(port), FRONT, Verdict::ForwardedRedirect)?;
        for flags in [RST | ACK, SYN | ACK] {
            let answer = answer(port, flags);
            run(world, &answer, BACK, Verdict::ReturnedRedirect)?;
        }
        Ok(())
    })?;
    ensure!(world.events().is_empty(), "a refusal without its SYN");
    let refusal = answer(port, RST | ACK);
    run(world, &refusal, BACK, Verdict::RescuedTx)
}

fn play(world: &mut World, ports: &[u16], steps: &[Step]) -> Result<()> {
    let Some((step, rest)) = steps.split_first() else {
        return Ok(());
    };
    match *step {
        Step::Syn(flow) => {
            run(world, &syn(ports[flow]), FRONT, Verdict::ForwardedRedirect)?;
        }
        Step::Accepted(flow) => {
            let answer = answer(ports[flow], SYN | ACK);
            run(world, &answer, BACK, Verdict::ReturnedRedirect)?;
        }
        Step::Taken(flow) => {
            return holding(world, ports[flow], |world| play(world, ports, rest));
        }
    }
    play(world, ports, rest)
}

/// Works as long as the slot of a flow is taken.
fn holding(
    world: &mut World,
    port: u16,
    work: impl FnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    let syns = Rc::clone(&world.syns);
    let (mut work, mut result) = (Some(work), None);
    syns.visit(
        |syn| syn.client_port.get() == port,
        |_| {
            if let Some(work) = work.take() {
                result = Some(work(world));
            }
        },
    );
    result.context("the SYN is not remembered")?
}

/// Ports of a client whose flows have the same slots.
fn one_set(world: &mut World) -> Result<[u16; FLOWS]> {
    let mut sets = BTreeMap::<usize, Vec<u16>>::new();
    // So few at once that hardly one gives way to another.
    for first in (10_000_u16..30_000).step_by(500) {
        fresh(world)?;
        for port in first..first + 500 {
            run(world, &syn(port), FRONT, Verdict::ForwardedRedirect)?;
        }
        for (slot, port) in remembered_ports(world) {
            sets.entry(slot / WAYS).or_default().push(port);
        }
        let full = sets.values().find_map(|ports| ports.first_chunk());
        if let Some(ports) = full {
            return Ok(*ports);
        }
    }
    anyhow::bail!("no {FLOWS} flows have the same slots")
}

fn fresh(world: &mut World) -> Result<()> {
    let entries = [FIRST, SECOND].map(|server| Entry::new(server, Family::V4));
    world.prepare(&Before::entries(&entries))?;
    Ok(())
}

/// Slots that are in use, and the client's port of each.
fn remembered_ports(world: &World) -> Vec<(usize, u16)> {
    let found = RefCell::new(Vec::new());
    let look = |syn: &Syn| {
        found.borrow_mut().push(*syn);
        false
    };
    world.syns.visit(look, |_| {});
    let slots = found.into_inner().into_iter().enumerate();
    let used = slots.filter(|(_, syn)| syn.sent_at != 0);
    used.map(|(slot, syn)| (slot, syn.client_port.get()))
        .collect()
}

fn run(world: &mut World, frame: &Frame, ingress: u32, verdict: Verdict) -> Result<()> {
    let outcome = world.run(&frame.bytes(), ingress)?;
    ensure!(outcome.verdict == verdict, "{:?}", outcome.verdict);
    Ok(())
}

fn syn(port: u16) -> Frame {
    let client = at(Family::V4, 1, CLIENT, port);
    Frame::segment(SYN, client, at(Family::V4, 1, PASSIVE.vip, PASSIVE.port)).numbers(1, 0)
}

/// Of [`FIRST`].
fn answer(port: u16, flags: u8) -> Frame {
    let source = PASSIVE.port_on_backend(PASSIVE.port);
    let source = at(Family::V4, FIRST.net, FIRST.host, source);
    Frame::segment(flags, source, at(Family::V4, 1, CLIENT, port))
        .macs(mac(FIRST.net, 1), mac(FIRST.net, FIRST.host))
        .numbers(0, 2)
}
