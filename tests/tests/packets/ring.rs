//! The ring buffer of news: what anybody can cause leaves room for a death.

use anyhow::{Context as _, Result, ensure};
use failover_common::{News, NewsKind};
use lab::Family;

use crate::before::Before;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, LEASED, SECOND};
use crate::network::{CLIENT, FRONT, at};
use crate::rows;
use crate::state::Entry;
use crate::world::World;

const FAMILY: Family = Family::V4;

/// News that `EVENTS` has room for: 64 KiB, and each has a header of eight bytes.
const ROOM: usize = 65_536 / (size_of::<News>() + 8);

pub(crate) fn check(world: &mut World) -> Result<()> {
    let is_missing = |news: &News| news.kind == NewsKind::NextHopMissing as u32;
    let rows = rows::all();
    let row = rows
        .iter()
        .find(|row| row.event.as_ref().is_some_and(is_missing));
    let row = row.context("no row to a client that nobody knows")?;
    world.prepare(&Before::entries(&[
        Entry::dead(FIRST, FAMILY),
        Entry::new(SECOND, FAMILY),
    ]))?;
    for _ in 0..2 * ROOM {
        world.run(&row.input, row.ingress)?;
    }
    let (client, vip) = (
        at(FAMILY, 1, CLIENT, 40_000),
        at(FAMILY, 1, LEASED.vip, LEASED.port),
    );
    let request = Frame::new(Protocol::Udp, client, vip);
    world.run(&request.bytes(), FRONT)?;

    let told = world.events();
    let (missing, rest) = told.split_at(told.iter().take_while(|news| is_missing(news)).count());
    // The one that makes it more than half is the last.
    ensure!(
        missing.len() == ROOM / 2 + 1,
        "{} of {ROOM} are about next hops",
        missing.len()
    );
    let rest: Vec<_> = rest.iter().map(|news| (news.kind, news.index)).collect();
    let index = FIRST.index(FAMILY);
    let death = [NewsKind::Expired, NewsKind::Passed].map(|kind| (kind as u32, index));
    ensure!(rest == death, "{rest:?} after them");
    Ok(())
}
