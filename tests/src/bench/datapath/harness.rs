//! The harness (`failover-ebpf/src/harness.rs`) from outside.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Bytes that the harness writes anew before each run.
const HEAD: usize = 96;

/// A program of the harness's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// Passes everything.
    Pass,
    /// Swaps the MACs and sends the frame back.
    Swap,
}

impl Floor {
    const ALL: [Self; 2] = [Self::Pass, Self::Swap];

    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Swap => "swap",
        }
    }
}

/// The loaded harness; its thread stays on the CPU on which it was loaded.
pub(super) struct Harness {
    object: Ebpf,
    turn: Array<MapData, [u32; 3]>,
    frames: Array<MapData, [u8; HEAD]>,
    timed: ProgramArray<MapData>,
    /// What the kernel is given: as long as every frame.
    frame: Vec<u8>,
}

impl Harness {
    /// With room for so many frames.
    pub(super) fn load(frames: u32) -> Result<Self> {
        let mut only = CpuSet::new();
        only.set(sched_getcpu()?)?;
        sched_setaffinity(Pid::from_raw(0), &only)?;
        let mut object = EbpfLoader::new()
            .btf(None)
            .map_max_entries("FRAMES", frames)
            .load(aya::include_bytes_aligned!(env!("HARNESS_OBJECT")))
            .context("cannot read the BPF object of the harness")?;
        for name in [RESTORE].into_iter().chain(Floor::ALL.map(Floor::name)) {
            let program = program(&mut object, name)?;
            let loaded = program.load();
            loaded.with_context(|| format!("cannot load XDP program {name}"))?;
        }
        let mut map = |name| object.take_map(name).with_context(|| format!("no {name}"));
        Ok(Self {
            turn: map("TURN")?.try_into()?,
            frames: map("FRAMES")?.try_into()?,
            timed: map("TIMED")?.try_into()?,
            frame: Vec::new(),
            object,
        })
    }

    /// From now on these come in, one after the other; all are of one length.
    pub(super) fn set_frames(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let first = frames.first().context("no frame")?;
        for (index, frame) in (0..).zip(frames) {
            ensure!(frame.len() == first.len(), "frames of several lengths");
            let (head, _) = frame.split_first_chunk().context("too short a frame")?;
            self.frames.set(index, head, 0)?;
        }
        let (count, length) = (frames.len().try_into()?, first.len().try_into()?);
        self.turn.set(0, [0, count, length], 0)?;
        self.frame.clone_from(first);
        Ok(())
    }

    /// From now on this is timed.
    pub(super) fn set_floor(&mut self, floor: Floor) -> Result<()> {
        let program = program(&mut self.object, floor.name())?;
        Ok(self.timed.set(0, program.fd()?, 0)?)
    }

    /// From now on this is timed.
    pub(super) fn set_program(&mut self, program: &Xdp) -> Result<()> {
        Ok(self.timed.set(0, program.fd()?, 0)?)
    }

    /// What the thread needs for so many packets that come in by the interface `ingress`.
    pub(super) fn time(&mut self, packets: u32, ingress: u32) -> Result<Duration> {
        let length = u32::try_from(self.frame.len())?;
        // `struct xdp_md` (linux/bpf.h): data, its end, metadata, ingress, queue, egress.
        let context = [0, length, 0, ingress, 0, 0].map(u32::to_ne_bytes);
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(context.as_flattened()),
            repeat: packets,
            ..TestRunOptions::new()
        };
        let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
        let restore = program(&mut self.object, RESTORE)?;
        let began = clock.now()?;
        let result = restore.test_run(options)?;
        let ended = clock.now()?;
        ensure!(
            result.return_value != ABORTED,
            "the harness could not make the frame"
        );
        Ok(Duration::from(ended - began))
    }
}

const RESTORE: &str = "restore";

/// Of `enum xdp_action` (linux/bpf.h).
const ABORTED: u32 = 0;

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let found = object
        .program_mut(name)
        .with_context(|| format!("no XDP program {name}"))?;
    Ok(found.try_into()?)
}
