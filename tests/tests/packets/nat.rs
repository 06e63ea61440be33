//! Ports of `fullnat`: who gets which, and when it is free again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use bytemuck::Zeroable as _;
use failover_common::{
    Be16, FlowKey, FlowState, NAT_QUIET, NAT_TRIES, NatFlow, NatKey, NatPorts, Verdict,
};
use lab::{Family, clock::now_ns};

use crate::before::Before;
use crate::flows::key;
use crate::frame::{ACK, FIN, Frame, RST, SYN};
use crate::mortals::{FIRST, FULLNAT, SECOND};
use crate::network::{BACK, CLIENT, FRONT, at, ip};
use crate::race;
use crate::services::VIP;
use crate::state::Entry;
use crate::world::{World, context};

const FAMILY: Family = Family::V4;

/// Flows of each CPU in a round: together as many as can be remembered.
const RACERS: usize = 60;

/// First ports that all of them want.
const WANTED: u16 = 8;

const ROUNDS: usize = 150;

/// Nanoseconds: longer than any test here.
const LONG: u64 = 1_000_000_000_000;

/// Two CPUs claim the same ports at once, which flows had that nobody remembers: every flow
/// has its own.
pub(crate) fn check_race(world: &mut World) -> Result<()> {
    let cpus = race::cpus()?;
    let mut rivals = clients().filter(|client| first_port(*client) < 16_384 + WANTED);
    let teams = [0, 1].map(|_| rivals.by_ref().take(RACERS).collect::<Vec<_>>());
    for round in 0..ROUNDS {
        prepare(world)?;
        world.forget_flows()?;
        for port in 0..WANTED {
            abandon(world, 16_384 + port)?;
        }
        let (program, _, _) = world.parts()?;
        let barrier = Barrier::new(2);
        let run = |cpu: usize, team: &[SocketAddr]| -> Result<Vec<Vec<u8>>> {
            race::pin(cpu)?;
            barrier.wait();
            let frames = team.iter().map(|client| segment(*client, SYN));
            frames.map(|frame| sent(program, &frame)).collect()
        };
        let (run, [first, second]) = (&run, &teams);
        let outputs = thread::scope(|scope| {
            let other = scope.spawn(move || run(cpus[1], second));
            let here = scope.spawn(move || run(cpus[0], first));
            [here, other].map(|team| team.join().expect("no panic"))
        });
        let mut owners = HashMap::new();
        for (team, outputs) in teams.iter().zip(outputs) {
            for (client, output) in team.iter().zip(outputs?) {
                let port = source_port(&output);
                if let Some(other) = owners.insert(port, client) {
                    anyhow::bail!("round {round}: {client} and {other} have port {port}");
                }
                let held = world.nat.get(&nat_key(port), 0).context("no entry")?;
                ensure!(held.flow == flow_of(*client), "round {round}: {held:?}");
            }
        }
        ensure!(
            (0..WANTED).all(|port| owners.contains_key(&(16_384 + port))),
            "round {round}: nobody has a port that was free"
        );
    }
    Ok(())
}

/// What the client and the backend say, and whether the flow is over by that.
struct End {
    what: &'static str,
    says: &'static [u8],
    backend_says: &'static [u8],
    is_over: bool,
}

const ENDS: [End; 6] = [
    End {
        what: "a connection",
        says: &[ACK],
        backend_says: &[],
        is_over: false,
    },
    End {
        what: "the client is done",
        says: &[ACK, FIN | ACK],
        backend_says: &[SYN | ACK],
        is_over: false,
    },
    End {
        what: "the backend is done",
        says: &[ACK],
        backend_says: &[FIN | ACK],
        is_over: false,
    },
    End {
        what: "both are",
        says: &[ACK, FIN | ACK],
        backend_says: &[FIN | ACK],
        is_over: true,
    },
    End {
        what: "the client gives up",
        says: &[ACK, RST],
        backend_says: &[],
        is_over: true,
    },
    End {
        what: "the backend gives up",
        says: &[ACK],
        backend_says: &[RST],
        is_over: true,
    },
];

/// A flow ends, and after a while another one has its port; not before.
pub(crate) fn check_reuse(world: &mut World) -> Result<()> {
    let mut all = clients();
    let first = all.next().context("no client")?;
    let port = first_port(first);
    let second = all.find(|client| first_port(*client) == port);
    let second = second.context("no other client with this port")?;
    for End {
        what,
        says,
        backend_says,
        is_over,
    } in ENDS
    {
        for seconds in [0, 59, 61] {
            prepare(world)?;
            world.forget_flows()?;
            ensure!(ours(world, &segment(first, SYN))? == port, "{what}");
            for flags in says {
                ensure!(ours(world, &segment(first, *flags))? == port, "{what}");
            }
            let backend = at(FAMILY, FIRST.net, FIRST.host, FULLNAT.port + 1000);
            for flags in backend_says {
                let own = at(FAMILY, FIRST.net, 1, port);
                let answer = Frame::segment(*flags, backend, own);
                let outcome = world.run(&answer.bytes(), BACK)?;
                ensure!(outcome.verdict == Verdict::ReturnedRedirect, "{what}");
            }
            let before = now_ns().saturating_sub(seconds * 1_000_000_000);
            world.change_flow(&flow_of(first), |flow| flow.seen_at = before)?;
            let given = ours(world, &segment(second, SYN))?;
            let is_free = is_over && seconds * 1_000_000_000 > NAT_QUIET[0];
            ensure!(
                (given == port) == is_free,
                "{what}, {seconds} s ago: {given}, and the first had {port}"
            );
            // Who comes back late has a port, and takes nobody's.
            let late = ours(world, &segment(first, ACK))?;
            ensure!((late == port) != is_free, "{what}, {seconds} s ago: {late}");
            let held = world.nat.get(&nat_key(given), 0)?;
            ensure!(held.flow == flow_of(second), "{what}: {held:?}");
        }
    }
    Ok(())
}

/// All the ports that a flow tries are taken: its packets are dropped, and no other's. What
/// has ended is given away after a second then, rather than nothing.
pub(crate) fn check_exhausted(world: &mut World) -> Result<()> {
    let client = at(FAMILY, 1, CLIENT, 40_000);
    let frame = segment(client, SYN);
    prepare(world)?;
    world.forget_flows()?;
    let tried = tried_by(client);
    for port in &tried {
        occupy(world, *port)?;
    }
    let dropped = world.run(&frame.bytes(), FRONT)?;
    ensure!(
        dropped.verdict == Verdict::NoPort && dropped.frame == frame.bytes(),
        "{dropped:?}"
    );
    ours(world, &segment(at(FAMILY, 1, CLIENT, 40_001), SYN))?;
    // The last one that is tried will do.
    let last = *tried.last().context("none")?;
    abandon(world, last)?;
    ensure!(ours(world, &frame)? == last);
    ensure!(ours(world, &segment(client, RST))? == last);

    let rival = clients().find(|it| *it != client && first_port(*it) == last);
    let rival = rival.context("no other client with this port")?;
    for port in &tried_by(rival)[1..] {
        occupy(world, *port)?;
    }
    for (milliseconds, verdict) in [(500, Verdict::NoPort), (1500, Verdict::ForwardedRedirect)] {
        let before = now_ns() - milliseconds * 1_000_000;
        world.change_flow(&flow_of(client), |flow| flow.seen_at = before)?;
        let outcome = world.run(&segment(rival, SYN).bytes(), FRONT)?;
        ensure!(outcome.verdict == verdict, "{milliseconds} ms: {outcome:?}");
    }
    ensure!(ours(world, &segment(rival, SYN))? == last);
    Ok(())
}

/// The table forgets whose port it is: the next packet claims it anew, if nobody has it.
pub(crate) fn check_forgotten(world: &mut World) -> Result<()> {
    let client = at(FAMILY, 1, CLIENT, 40_000);
    prepare(world)?;
    world.forget_flows()?;
    let port = ours(world, &segment(client, SYN))?;
    ours(world, &segment(client, ACK))?;
    let state = world.flow(&flow_of(client)).map(|flow| flow.state);
    ensure!(state == Some(FlowState::Established as u8), "{state:?}");
    world.nat.remove(&nat_key(port))?;
    ensure!(ours(world, &segment(client, ACK))? == port, "another port");
    // Somebody else has it meanwhile.
    occupy(world, port)?;
    let other = ours(world, &segment(client, ACK))?;
    ensure!(other != port, "it is not ours any more");
    ensure!(ours(world, &segment(client, ACK))? == other, "it stays");
    let noted = world.flow(&flow_of(client)).map(|flow| flow.nat_port);
    ensure!(noted == Some(Be16::new(other)), "{noted:?}");
    Ok(())
}

/// Both backends are well.
fn prepare(world: &mut World) -> Result<()> {
    world.prepare(&Before::entries(&[
        Entry::new(FIRST, FAMILY),
        Entry::new(SECOND, FAMILY),
    ]))?;
    Ok(())
}

/// A port that a flow had which nobody knows any more.
fn abandon(world: &mut World, port: u16) -> Result<()> {
    let value = NatFlow {
        backend: FIRST.index(FAMILY),
        ..NatFlow::zeroed()
    };
    Ok(world.nat.insert(nat_key(port), value, 0)?)
}

/// A port that somebody has claimed just now.
fn occupy(world: &mut World, port: u16) -> Result<()> {
    let value = NatFlow {
        claimed_at: now_ns() + LONG,
        ..NatFlow::zeroed()
    };
    Ok(world.nat.insert(nat_key(port), value, 0)?)
}

/// The ports that a client's flow tries.
fn tried_by(client: SocketAddr) -> Vec<u16> {
    let mut ports = NatPorts::of(&flow_of(client), Be16::ZERO);
    (0..NAT_TRIES).map(|_| ports.turn().get()).collect()
}

/// A frame goes to the first backend. From which port of ours?
fn ours(world: &mut World, frame: &Frame) -> Result<u16> {
    let outcome = world.run(&frame.bytes(), FRONT)?;
    ensure!(
        matches!(
            outcome.verdict,
            Verdict::ForwardedRedirect | Verdict::StrayRedirect
        ),
        "{:?}",
        outcome.verdict
    );
    Ok(source_port(&outcome.frame))
}

fn sent(program: &Xdp, frame: &Frame) -> Result<Vec<u8>> {
    let frame = frame.bytes();
    let context = context(u32::try_from(frame.len())?, FRONT, 0);
    let mut out = vec![0; frame.len()];
    program.test_run(TestRunOptions {
        data_in: Some(&frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    })?;
    Ok(out)
}

/// Of a frame without tags and IP options.
fn source_port(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

/// Every client there could be; the way to the first ones is known.
fn clients() -> impl Iterator<Item = SocketAddr> {
    let hosts = std::iter::once(CLIENT).chain(50..250);
    hosts.flat_map(|host| (1024..u16::MAX).map(move |port| at(FAMILY, 1, host, port)))
}

fn segment(client: SocketAddr, flags: u8) -> Frame {
    Frame::segment(flags, client, at(FAMILY, 1, VIP, FULLNAT.port))
}

fn flow_of(client: SocketAddr) -> FlowKey {
    key(&segment(client, SYN))
}

fn first_port(client: SocketAddr) -> u16 {
    tried_by(client)[0]
}

/// A port of ours towards the first backend.
fn nat_key(port: u16) -> NatKey {
    NatKey {
        backend: ip(FAMILY, FIRST.net, FIRST.host).into(),
        source: ip(FAMILY, FIRST.net, 1).into(),
        backend_port: Be16::new(FULLNAT.port + 1000),
        source_port: Be16::new(port),
        protocol: 6,
        reserved: [0; 3],
    }
}
