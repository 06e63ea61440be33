//! How many ICMP errors are made, whoever asks for them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use failover_common::Verdict;
use lab::Family;

use crate::network::FRONT;
use crate::rows;
use crate::services::Port;
use crate::tunnel::request;
use crate::world::World;

/// Packets of a flood.
const FLOOD: u32 = 2000;

/// As many are answered at once; after that one a millisecond.
const BURST: u32 = 50;

/// "Time exceeded".
pub(crate) fn exceeded(world: &mut World) -> Result<()> {
    let rows = rows::all();
    let mut rows = rows.iter();
    let row = rows.find(|row| row.verdict == Verdict::HopLimitAnswered);
    let frame = &row.context("no row that is answered")?.input;
    check(
        world,
        frame,
        Verdict::HopLimitAnswered,
        Verdict::HopLimitDropped,
    )
}

/// "Packet too big".
pub(crate) fn too_big(world: &mut World) -> Result<()> {
    let frame = request(Family::V4, 40_000, Port::Ipip).sized(1481).bytes();
    check(
        world,
        &frame,
        Verdict::TunnelTooBigAnswered,
        Verdict::TunnelTooBig,
    )
}

/// `frame` gets `answered` so often; the rest of a flood gets `dropped`.
fn check(world: &mut World, frame: &[u8], answered: Verdict, dropped: Verdict) -> Result<()> {
    let began = Instant::now();
    let mut count: u128 = 0;
    for _ in 0..FLOOD {
        let verdict = world.run(frame, FRONT)?.verdict;
        ensure!(verdict == answered || verdict == dropped, "{verdict:?}");
        count += u128::from(verdict == answered);
    }
    let elapsed = began.elapsed();
    let most = elapsed.as_millis() + u128::from(BURST) + 1;
    ensure!(
        (BURST.into()..=most).contains(&count) && count < FLOOD.into(),
        "{count} of {FLOOD} in {elapsed:?}"
    );
    thread::sleep(Duration::from_millis(60));
    for number in 0..BURST {
        let verdict = world.run(frame, FRONT)?.verdict;
        ensure!(verdict == answered, "after a pause, {number}: {verdict:?}");
    }
    Ok(())
}
