//! The end of a tunnel: the program of `failover decap`, in the real kernel, on frames
//! that are given to it.

mod rows;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{LpmTrie, MapData, PerCpuArray, lpm_trie::Key};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use failover_common::{Address, Counter, DecapVerdict};
use failover_user::dataplane::kernel::decap::{OBJECT, PROGRAM};
use lab::{Family, machine};

use crate::network::ip;

/// One frame, and what becomes of it.
struct Row {
    description: String,
    input: Vec<u8>,
    verdict: DecapVerdict,
    output: Vec<u8>,
}

impl Row {
    fn unchanged(description: impl Into<String>, input: Vec<u8>, verdict: DecapVerdict) -> Self {
        Self {
            description: description.into(),
            output: input.clone(),
            input,
            verdict,
        }
    }
}

/// The loaded program; the director's addresses in net 2 are known, and those of net 1
/// as a network.
struct World {
    object: Ebpf,
    counters: PerCpuArray<MapData, Counter>,
}

impl World {
    fn load() -> Result<Self> {
        machine::require_root()?;
        let mut object = EbpfLoader::new().load(OBJECT)?;
        let map = object.take_map("DIRECTORS").context("no DIRECTORS")?;
        let mut directors: LpmTrie<_, [u8; 16], u32> = map.try_into()?;
        for family in Family::ALL {
            let own = Address::from(ip(family, 2, 1)).bytes();
            directors.insert(&Key::new(128, own), 1, 0)?;
            let network = Address::from(ip(family, 1, 0)).bytes();
            let length = if family == Family::V4 { 96 + 24 } else { 64 };
            directors.insert(&Key::new(length, network), 1, 0)?;
        }
        let map = object.take_map("DECAP_VERDICTS");
        let counters = map.context("no DECAP_VERDICTS")?.try_into()?;
        let mut world = Self { object, counters };
        world.program()?.load()?;
        Ok(world)
    }

    fn program(&mut self) -> Result<&mut Xdp> {
        let program = self.object.program_mut(PROGRAM).context("no program")?;
        Ok(program.try_into()?)
    }

    fn counts(&self) -> Result<Vec<Counter>> {
        let count = |verdict: DecapVerdict| {
            let mut sum = Counter::default();
            let values = self.counters.get(&(verdict as u32), 0)?;
            values.iter().for_each(|value| sum += *value);
            Ok(sum)
        };
        DecapVerdict::ALL.into_iter().map(count).collect()
    }

    fn run(&mut self, frame: &[u8]) -> Result<(DecapVerdict, Vec<u8>)> {
        let before = self.counts()?;
        let mut out = vec![0; frame.len() + 64];
        let result = self.program()?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        out.truncate(result.data_size_out as usize);
        let after = self.counts()?;
        let changed: Vec<_> = (0..before.len())
            .filter(|&at| before[at] != after[at])
            .collect();
        let [index] = changed[..] else {
            bail!("not one verdict was counted, but {changed:?}");
        };
        let (before, after) = (before[index], after[index]);
        ensure!(
            after.packets == before.packets + 1 && after.bytes == before.bytes + frame.len() as u64,
            "from {before:?} to {after:?}"
        );
        let verdict = DecapVerdict::ALL[index];
        // XDP_DROP and XDP_PASS (linux/bpf.h).
        let action = if verdict.is_drop() { 1 } else { 2 };
        ensure!(
            result.return_value == action,
            "{verdict:?} is {}",
            result.return_value
        );
        Ok((verdict, out))
    }
}

pub(crate) fn check_table() -> Result<()> {
    let rows = rows::all();
    println!("{} rows", rows.len());
    let mut world = World::load()?;
    let mut failed = Vec::new();
    for row in &rows {
        let (verdict, frame) = world.run(&row.input)?;
        if verdict != row.verdict || frame != row.output {
            failed.push(format!(
                "{}: {verdict:?} instead of {:?}\n{frame:02x?} instead of\n{:02x?}",
                row.description, row.verdict, row.output
            ));
        }
    }
    ensure!(
        failed.is_empty(),
        "{} rows:\n{}",
        failed.len(),
        failed.join("\n")
    );
    let met: BTreeSet<_> = rows.iter().map(|row| row.verdict as usize).collect();
    ensure!(
        met.len() == DecapVerdict::COUNT,
        "no row for some verdict: {met:?}"
    );
    Ok(())
}

/// Cut anywhere it is never taken for whole, and not a byte changes.
pub(crate) fn check_truncated() -> Result<()> {
    let mut world = World::load()?;
    for (description, frame) in rows::tunnels() {
        for length in 14..frame.len() {
            let cut = &frame[..length];
            let (verdict, out) = world.run(cut)?;
            ensure!(
                matches!(verdict, DecapVerdict::Other | DecapVerdict::Malformed) && out == cut,
                "{description} cut to {length} bytes: {verdict:?}"
            );
        }
    }
    Ok(())
}
