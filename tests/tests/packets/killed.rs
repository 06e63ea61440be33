//! An agent that is killed: between any two steps of its sender, no backend that
//! answers is called dead, however long nobody sends.

use anyhow::{Context as _, Result, ensure};
use failover_common::{HeartbeatKind, Verdict};
use failover_user::dataplane::kernel::{Entries, Terms};
use lab::{Family, clock::now_ns};

use crate::before::Before;
use crate::control::Control;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, LEASED, SECOND};
use crate::network::{BACK, CLIENT, FRONT, at, mac};
use crate::state::Entry;
use crate::world::World;

const FAMILY: Family = Family::V6;

/// Heartbeats that are sent at most: more than the ring has slots.
const HEARTBEATS: u32 = 20;

/// Nanoseconds: when the agent was killed, and how long a heartbeat may be out.
const AGO: u64 = 20_000_000_000;
const TIMEOUT: u32 = 1_000_000_000;
const INTERVAL: u64 = 1_000_000;

const TOKENS: [u64; 2] = [0x1111_2222_3333_4444, 0x5555_6666_7777_8888];

/// What the sender does for one heartbeat, by its number from 1 on.
#[derive(Clone, Copy, Debug)]
enum Step {
    Stamp(u32),
    Send(u32),
    Note(u32),
}

/// When the backend's answer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Before the sender has noted that it has sent.
    AtOnce,
    /// After that.
    Noted,
    /// When two more are out.
    Late,
    /// As `Noted`, but one that is on its way when the agent is killed gets lost.
    Lost,
}

/// How much of the next agent there is.
#[derive(Clone, Copy, Debug)]
enum Next {
    Nothing,
    /// It has given the entry a new lease.
    Prepared,
    /// And armed it.
    Armed,
}

pub(crate) fn check(world: &mut World) -> Result<()> {
    let steps: Vec<Step> = (1..=HEARTBEATS)
        .flat_map(|n| [Step::Stamp(n), Step::Send(n), Step::Note(n)])
        .collect();
    for answer in [Answer::AtOnce, Answer::Noted, Answer::Late, Answer::Lost] {
        for done in 0..=steps.len() {
            for next in [Next::Nothing, Next::Prepared, Next::Armed] {
                killed(world, &steps[..done], answer, next).with_context(|| {
                    let last = steps[..done].last();
                    format!("killed after {last:?}, answers {answer:?}, next agent {next:?}")
                })?;
            }
        }
    }
    Ok(())
}

fn killed(world: &mut World, steps: &[Step], answer: Answer, next: Next) -> Result<()> {
    let index = FIRST.index(FAMILY);
    // What the agent before left: two are out, and the numbers are about to wrap around.
    let left = Entry {
        sent: u32::MAX - 10,
        answered: u32::MAX - 12,
        ..Entry::new(FIRST, FAMILY)
    };
    world.prepare(&Before::entries(&[left, Entry::new(SECOND, FAMILY)]))?;
    let entries = world.maps.entries();
    let mut at = now_ns() - AGO;
    let first = arm(&entries, TOKENS[0], at);
    // With one lost, one more must be missing before the lease is over.
    entries.set_fall(index, if answer == Answer::Lost { 2 } else { 1 });
    let mut out = Vec::new();
    for step in steps {
        at += INTERVAL / 3;
        match *step {
            Step::Stamp(n) => entries.stamp(index, first.wrapping_add(n), at),
            Step::Send(n) => out.push(first.wrapping_add(n)),
            Step::Note(n) => entries.note_sent(index, first.wrapping_add(n)),
        }
        let arrived = match (answer, step) {
            (Answer::AtOnce, Step::Send(_)) | (Answer::Noted | Answer::Lost, Step::Note(_)) => {
                out.len()
            }
            (Answer::Late, Step::Send(_)) => out.len().saturating_sub(2),
            _ => 0,
        };
        for sequence in out.drain(..arrived) {
            reply(world, sequence, Verdict::HeartbeatAnswered)?;
        }
    }
    // From here on there is no agent.
    match next {
        Next::Nothing => {}
        Next::Prepared => {
            arm(&entries, TOKENS[1], at);
        }
        Next::Armed => {
            arm(&entries, TOKENS[1], at);
            entries.set_fall(index, 1);
        }
    }
    let verdict = match next {
        Next::Nothing => Verdict::HeartbeatAnswered,
        // It is not the token of the agent that is there now.
        Next::Prepared | Next::Armed => Verdict::OtherProtocol,
    };
    if answer != Answer::Lost {
        for sequence in out {
            reply(world, sequence, verdict)?;
        }
    }
    serves(world)
}

/// A new lease of [`FIRST`], not armed yet.
fn arm(entries: &Entries, token: u64, now: u64) -> u32 {
    let terms = Terms {
        kind: HeartbeatKind::Icmp,
        port: 0,
        timeout: TIMEOUT,
        token,
    };
    entries.prepare(FIRST.index(FAMILY), &terms, now)
}

/// [`FIRST`] answers what the first agent sent.
fn reply(world: &mut World, sequence: u32, verdict: Verdict) -> Result<()> {
    let from = at(FAMILY, FIRST.net, FIRST.host, 0);
    let frame = Frame::new(Protocol::Udp, from, at(FAMILY, FIRST.net, 1, 0))
        .macs(mac(FIRST.net, 1), mac(FIRST.net, FIRST.host));
    let reply = Control::echo_reply(frame, FIRST.index(FAMILY), sequence, TOKENS[0]);
    let outcome = world.run(&reply.bytes(), BACK)?;
    ensure!(outcome.verdict == verdict, "{:?}", outcome.verdict);
    Ok(())
}

/// A packet goes to [`FIRST`], and nothing is told.
fn serves(world: &mut World) -> Result<()> {
    let client = at(FAMILY, 1, CLIENT, 40_000);
    let request = Frame::new(
        Protocol::Udp,
        client,
        at(FAMILY, 1, LEASED.vip, LEASED.port),
    );
    let outcome = world.run(&request.bytes(), FRONT)?;
    let to = mac(FIRST.net, FIRST.host);
    ensure!(
        outcome.frame.starts_with(&to),
        "{:02x?}",
        &outcome.frame[..6]
    );
    let told = world.events();
    ensure!(told.is_empty(), "{told:?}");
    let index = FIRST.index(FAMILY);
    let entries = world.maps.entries();
    let (holds, pulse) = (entries.holds(index), entries.pulse(index));
    ensure!(holds.is_empty(), "{holds:?}, {pulse:?}");
    Ok(())
}
