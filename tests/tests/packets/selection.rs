//! Which backend is chosen, against a model in three lines.

use std::cell::RefCell;

use anyhow::{Result, ensure};
use bytemuck::Zeroable as _;
use failover_common::{Backend, Forward, Holds, MAX_BACKENDS, Verdict};
use failover_user::dataplane::Maps as _;
use lab::Family;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

use crate::frame::{Frame, Protocol};
use crate::network::{BACK, CLIENT, FRONT, at, ip, mac, padded};
use crate::services::{VIP, service, service_key};
use crate::world::World;

const CASES: u32 = 500;

/// The port of a service that is rewritten for each case.
const PORT: u16 = 9_000;
/// The first of the backends that are.
const FIRST: u32 = 100;
const COUNT: u8 = 8;

/// The words of a backend that the choice depends on.
type Words = (u64, u64);

pub(crate) fn check(world: &mut World) -> Result<()> {
    for n in 0..COUNT {
        let backend = Backend {
            ifindex: BACK,
            dst_mac: padded(mac(2, 100 + n)),
            address: ip(Family::V4, 2, 100 + n).into(),
            ..Backend::zeroed()
        };
        world.maps.set_backend(FIRST + u32::from(n), &backend);
    }
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    // Few values, so that they are often equal; the last index is no entry.
    let holds = prop_oneof![1 => Just(0), 3 => prop::sample::select(vec![1 << 1, 1 << 5, 1 << 31])];
    let held_at = prop_oneof![4 => 0..4_u64, 1 => Just(u64::MAX)];
    let words = prop::collection::vec((holds, held_at), usize::from(COUNT));
    let order = prop::collection::vec((0..=COUNT, 1..4_u16), 0..=16);
    let world = RefCell::new(world);
    let checked = TestRunner::new_with_rng(config, rng).run(&(words, order), |(words, order)| {
        check_one(&mut world.borrow_mut(), &words, &order)
            .map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    checked.map_err(|error| anyhow::anyhow!("{error}"))
}

fn check_one(world: &mut World, words: &[Words], order: &[(u8, u16)]) -> Result<()> {
    for (index, (holds, held_at)) in (FIRST..).zip(words) {
        let clear = Holds(!*holds);
        world
            .maps
            .change_holds(index, Holds(*holds), clear, *held_at);
    }
    let beyond = u32::try_from(MAX_BACKENDS)?;
    let backends: Vec<_> = order
        .iter()
        .map(|&(n, port)| {
            let index = if n < COUNT {
                FIRST + u32::from(n)
            } else {
                beyond
            };
            (index, port)
        })
        .collect();
    let key = service_key(Family::V4, VIP, PORT, Protocol::Udp);
    world
        .maps
        .set_service(&key, &service(Forward::Nat, &backends))?;

    let request = Frame::new(
        Protocol::Udp,
        at(Family::V4, 1, CLIENT, 40_000),
        at(Family::V4, 1, VIP, PORT),
    );
    let outcome = world.run(&request.bytes(), FRONT)?;
    let (verdict, frame) = match model(words, order) {
        Some((n, port)) => {
            let to = at(Family::V4, 2, 100 + n, port);
            let mut sent = request.to(to).macs(mac(2, 100 + n), [0; 6]);
            sent.hop_limit -= 1;
            (Verdict::ForwardedRedirect, sent)
        }
        None => (Verdict::NoBackend, request),
    };
    ensure!(outcome.verdict == verdict, "{:?}", outcome.verdict);
    ensure!(
        outcome.frame == frame.bytes(),
        "not to {:?}",
        frame.destination
    );
    Ok(())
}

/// The first that is eligible, or else the first of those held last.
fn model(words: &[Words], order: &[(u8, u16)]) -> Option<(u8, u16)> {
    let there = || order.iter().filter(|(n, _)| *n < COUNT);
    let words = |n: &u8| words[usize::from(*n)];
    let eligible = there().find(|(n, _)| words(n).0 == 0);
    // `max_by_key` takes the last of equals.
    let held_last = || there().rev().max_by_key(|(n, _)| words(n).1);
    eligible.or_else(held_last).copied()
}
