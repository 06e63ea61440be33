//! The tables of flows when there are more than they can hold, and who moves a flow.

use anyhow::{Result, ensure};
use bytemuck::Zeroable as _;
use failover_common::{Be16, FLOWS_PER_NEW, FlowKey, FlowState, Hold, Verdict};
use lab::Family;

use crate::before::Before;
use crate::frame::{ACK, Frame, SYN};
use crate::mortals::{FIRST, RESCUED, RESET, SECOND};
use crate::network::{BACK, CLIENT, FRONT, at};
use crate::services::VIP;
use crate::state::Entry;
use crate::world::{FLOWS, World};

/// The flow of a client's frame.
pub(crate) fn key(frame: &Frame) -> FlowKey {
    FlowKey {
        client: frame.source.ip().into(),
        vip: frame.destination.ip().into(),
        client_port: Be16::new(frame.source.port()),
        vip_port: Be16::new(frame.destination.port()),
        protocol: frame.protocol.number(),
        ..FlowKey::zeroed()
    }
}

const FAMILY: Family = Family::V4;

/// From a port of the client.
fn segment(port: u16, flags: u8) -> Frame {
    let to = at(FAMILY, 1, VIP, RESET.port);
    Frame::segment(flags, at(FAMILY, 1, CLIENT, port), to).numbers(1, 2)
}

/// Both backends are well, or the first has this hold.
fn prepare(world: &mut World, holds: u64) -> Result<()> {
    let first = Entry {
        holds,
        ..Entry::new(FIRST, FAMILY)
    };
    world.prepare(&Before::entries(&[first, Entry::new(SECOND, FAMILY)]))?;
    Ok(())
}

/// The first backend is drained: from now on it has only what is known to be its own.
fn drain(world: &mut World) {
    let entry = Entry {
        holds: Hold::Drained as u64,
        ..Entry::new(FIRST, FAMILY)
    };
    let now = lab::clock::now_ns();
    failover_user::dataplane::Maps::set_backend(
        &mut world.maps,
        entry.index(),
        &entry.backend(now),
    );
}

fn ensure_sent(world: &mut World, frame: &Frame, verdict: Verdict) -> Result<()> {
    let outcome = world.run(&frame.bytes(), FRONT)?;
    ensure!(
        outcome.verdict == verdict,
        "{:?}, not {verdict:?}",
        outcome.verdict
    );
    Ok(())
}

/// Where the flow of a frame is.
fn holder(world: &World, frame: &Frame) -> Option<u32> {
    world.flow(&key(frame)).map(|flow| flow.backend)
}

/// A flood of whatever never comes twice pushes out no flow that did.
pub(crate) fn check_flood(world: &mut World) -> Result<()> {
    const ESTABLISHED: u16 = 200;
    for (what, flags, verdict) in [
        ("SYNs", SYN, Verdict::ForwardedRedirect),
        ("acknowledgments", ACK, Verdict::StrayRedirect),
    ] {
        prepare(world, 0)?;
        for port in 1..=ESTABLISHED {
            ensure_sent(world, &segment(port, SYN), Verdict::ForwardedRedirect)?;
            ensure_sent(world, &segment(port, ACK), Verdict::ForwardedRedirect)?;
        }
        drain(world);
        let flood = u16::try_from(10 * FLOWS)?;
        for port in 20_000..20_000 + flood {
            ensure_sent(world, &segment(port, flags), verdict)?;
        }
        for port in 1..=ESTABLISHED {
            let frame = segment(port, ACK);
            ensure_sent(world, &frame, Verdict::ForwardedRedirect)?;
            let holder = holder(world, &frame);
            ensure!(
                holder == Some(FIRST.index(FAMILY)),
                "{what}: {port} is with {holder:?}"
            );
        }
        let left =
            (20_000..20_000 + flood).filter(|port| holder(world, &segment(*port, SYN)).is_some());
        let (left, most) = (left.count(), usize::try_from(FLOWS / FLOWS_PER_NEW)?);
        ensure!(
            (1..=most).contains(&left),
            "{what}: {left} of the flood are remembered"
        );
    }
    Ok(())
}

/// More flows than there is room for: those that are forgotten go where a new one would,
/// none is dropped, and each says so once.
pub(crate) fn check_full(world: &mut World) -> Result<()> {
    let flows = u16::try_from(3 * FLOWS)?;
    prepare(world, 0)?;
    for port in 1..=flows {
        ensure_sent(world, &segment(port, SYN), Verdict::ForwardedRedirect)?;
        ensure_sent(world, &segment(port, ACK), Verdict::ForwardedRedirect)?;
    }
    let mut strays = 0;
    for port in 1..=flows {
        let frame = segment(port, ACK);
        let known = holder(world, &frame).is_some();
        let outcome = world.run(&frame.bytes(), FRONT)?;
        let verdict = if known {
            Verdict::ForwardedRedirect
        } else {
            Verdict::StrayRedirect
        };
        ensure!(outcome.verdict == verdict, "{port}: {:?}", outcome.verdict);
        strays += usize::from(!known);
        // The same once more: now it is known.
        ensure_sent(world, &frame, Verdict::ForwardedRedirect)?;
    }
    let least = usize::from(flows) - usize::try_from(FLOWS)?;
    ensure!(strays >= least, "{strays} of {flows} were forgotten");
    Ok(())
}

/// The agent has sent a SYN to another backend. Who accepts it has the flow.
pub(crate) fn check_accepted(world: &mut World) -> Result<()> {
    let to = at(FAMILY, 1, VIP, RESCUED.port);
    let client = at(FAMILY, 1, CLIENT, 40_000);
    let syn = Frame::segment(SYN, client, to).numbers(100, 0);
    let (first, second) = (FIRST.index(FAMILY), SECOND.index(FAMILY));
    prepare(world, 0)?;
    ensure_sent(world, &syn, Verdict::ForwardedRedirect)?;
    ensure!(
        holder(world, &syn) == Some(first),
        "{:?}",
        holder(world, &syn)
    );
    world.syns.visit_unanswered(first, 0, |_| Some(second));
    let backend = at(
        FAMILY,
        SECOND.net,
        SECOND.host,
        RESCUED.port_on_backend(RESCUED.port),
    );
    for (what, acknowledged, expected) in [("forged", 100, first), ("right", 101, second)] {
        let answer = Frame::segment(SYN | ACK, backend, client).numbers(7, acknowledged);
        let outcome = world.run(&answer.bytes(), BACK)?;
        ensure!(
            outcome.verdict == Verdict::ReturnedRedirect,
            "{what}: {outcome:?}"
        );
        ensure!(
            holder(world, &syn) == Some(expected),
            "{what}: {:?}",
            holder(world, &syn)
        );
    }
    let known = world.flow(&key(&syn)).map(|flow| flow.state);
    ensure!(known == Some(FlowState::New as u8), "{known:?}");
    Ok(())
}
