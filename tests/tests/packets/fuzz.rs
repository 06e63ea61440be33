//! Any frame in the real program, against the model: the frames of the table, changed where
//! it hurts. Verdict and bytes must be those that the model says.
//!
//! Each case begins from a number alone, so that it can be found again; but what was
//! remembered of fragments is of the cases before it.

mod mutate;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use failover_common::{Backend, Holds, Reverse, ReverseKey, Service, ServiceKey, Shares};
use failover_user::dataplane::{MapError, Maps, State};

use crate::before::Earlier;
use crate::model::Model;
use crate::network::{BACK, CLOSED, FRONT};
use crate::rows::{self, Row};
use crate::world::World;

/// Packets, unless [`PACKETS_VARIABLE`] says how many.
const PACKETS: u64 = 20_000;

/// Environment variable: a million takes some minutes.
const PACKETS_VARIABLE: &str = "FAILOVER_FUZZ";

/// Environment variable: where to begin. Each number is another million.
const SEED_VARIABLE: &str = "FAILOVER_FUZZ_SEED";

pub(crate) fn check(world: &mut World, state: State) -> Result<()> {
    let packets = number(PACKETS_VARIABLE, PACKETS)?;
    let seed = number(SEED_VARIABLE, 1)?;
    println!("{PACKETS_VARIABLE}={packets} {SEED_VARIABLE}={seed}");
    let rows = rows::all();
    let mut model = Model::new(state);
    let mut verdicts = BTreeMap::new();
    let mut done = 0;
    for case in 0.. {
        if done >= packets {
            break;
        }
        let mut rng = fastrand::Rng::with_seed(seed << 32 | case);
        let row = &rows[rng.usize(..rows.len())];
        for (ingress, frame) in frames(row, &mut rng) {
            let expected = model.expect(&frame, ingress);
            let outcome = world.run(&frame, ingress)?;
            world.events();
            done += 1;
            *verdicts.entry(outcome.verdict.name()).or_insert(0_u64) += 1;
            let found = crate::model::Expected {
                verdict: outcome.verdict,
                frame: outcome.frame,
            };
            ensure!(
                expected.contains(&found),
                "case {case} of seed {seed}, from {:?}, by interface {ingress}:\n{}\n{:?}\n{}\nnot \
                 {:?}\n{}",
                row.description,
                hex(&frame),
                found.verdict,
                hex(&found.frame),
                expected[0].verdict,
                hex(&expected[0].frame)
            );
        }
    }
    println!("{done} packets: {verdicts:?}");
    // Of some five or six a few thousand packets may have none.
    ensure!(verdicts.len() >= 20, "the mutations leave nothing to test");
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64> {
    std::env::var(variable).map_or(Ok(default), |text| {
        text.parse().with_context(|| format!("{variable}={text}"))
    })
}

/// The frame of a row and those before it, most of them changed.
fn frames(row: &Row, rng: &mut fastrand::Rng) -> Vec<(u32, Vec<u8>)> {
    let before = row.before.earlier.iter().filter_map(|step| match step {
        Earlier::Frame(ingress, frame, _) => Some((*ingress, frame.clone())),
        Earlier::Entry(_) => None,
    });
    before
        .chain([(row.ingress, row.input.clone())])
        .map(|(ingress, mut frame)| {
            if rng.u8(..4) != 0 {
                mutate::mutate(&mut frame, rng);
            }
            let ingress = match rng.u8(..16) {
                0 => *rng.choice([FRONT, BACK, CLOSED].iter()).expect("three"),
                _ => ingress,
            };
            (ingress, frame)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Writes down what the maps are to hold.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) State);

impl Maps for Recorder {
    fn change_holds(&mut self, _: u32, _: Holds, _: Holds, _: u64) {
        unreachable!("nothing here lives or dies");
    }

    fn set_next_hop(&mut self, _: u32, _: &Backend) {
        unreachable!("next hops are part of the backends");
    }

    fn set_backend(&mut self, index: u32, backend: &Backend) {
        self.0.backends.insert(index, *backend);
    }

    fn set_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), MapError> {
        self.0.services.insert(*key, *service);
        Ok(())
    }

    fn remove_service(&mut self, _: &ServiceKey) {
        unreachable!("services stay");
    }

    fn set_shares(&mut self, row: u32, shares: &Shares) -> Result<(), MapError> {
        self.0.shares.insert(row, Box::new(*shares));
        Ok(())
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: &Reverse) -> Result<(), MapError> {
        self.0.reverse.insert(*key, *reverse);
        Ok(())
    }

    fn remove_reverse(&mut self, _: &ReverseKey) {
        unreachable!("services stay");
    }
}
