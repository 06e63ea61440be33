//! What the verifier goes through for each program of the product.
//!
//! It gives up at a million instructions, and a new agent forwards by the old program for as
//! long as it takes. A branch in the wrong place multiplies all that follows it, which no
//! test of packets shows.

use anyhow::{Context as _, Result, ensure};
use aya::EbpfLoader;
use aya::programs::Xdp;
use failover_user::dataplane::kernel;

/// Instructions that the verifier may go through for each program, all branches of all paths
/// (`verified_insns`): what it takes on Linux 6.18, and some 8 % for other kernels and small
/// changes. A change may raise its line, if it says why.
const BUDGETS: [(&str, u32); 6] = [
    ("failover", 73_000),
    ("detour", 395_000),
    ("flows", 140_000),
    ("tunnel", 16_000),
    ("fullnat", 37_000),
    ("decap", 6_000),
];

/// Each program of ours has a budget and keeps to it, with everything it can log: what an
/// agent loads that logs less is smaller.
pub(crate) fn check() -> Result<()> {
    let mut found = Vec::new();
    for object in [kernel::OBJECT, kernel::decap::OBJECT] {
        let mut ebpf = EbpfLoader::new().load(object)?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load()?;
            let count = program.info()?.verified_instruction_count();
            found.push((name.to_owned(), count.context("of Linux 5.16 or newer")?));
        }
    }
    for (name, count) in &found {
        println!("{name}: {count} instructions verified");
    }
    ensure!(found.len() == BUDGETS.len(), "other programs: {found:?}");
    for (name, count) in found {
        let budget = BUDGETS.into_iter().find(|(program, _)| *program == name);
        let (_, budget) = budget.with_context(|| format!("no budget for {name}"))?;
        ensure!(
            count <= budget,
            "{name}: {count} instructions, not {budget}"
        );
    }
    Ok(())
}
