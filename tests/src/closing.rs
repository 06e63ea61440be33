//! When a port closes. A process that is killed goes on to be killed for some
//! hundred microseconds, in which the kernel still takes what arrives for it.

use std::fs::{self, File};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, MapData};
use aya::programs::{CgroupAttachMode, CgroupSock};
use aya::{Ebpf, EbpfLoader};

/// Priority (`SO_PRIORITY`) of the sockets that a [`crate::Server`] serves at. Those
/// of its connections do not inherit it.
pub const PRIORITY: i32 = 6;

/// Notes when the kernel closes the socket that a server serves at.
pub struct ClosingWatch {
    /// The process, the priority, and when.
    entry: Array<MapData, [u64; 3]>,
    /// Detaches the program when dropped.
    _object: Ebpf,
}

impl ClosingWatch {
    /// Loads and attaches the program; nothing is watched yet.
    pub fn new() -> Result<Self> {
        let mut object = EbpfLoader::new()
            .btf(None)
            .load(aya::include_bytes_aligned!(env!("LAB_OBJECT")))
            .context("cannot read the lab's BPF object")?;
        let program: &mut CgroupSock = object
            .program_mut("closing")
            .context("no program `closing`")?
            .try_into()?;
        program.load().context("cannot load `closing`")?;
        program
            .attach(everybody()?, CgroupAttachMode::Single)
            .context("cannot attach `closing` to the root of the cgroups")?;
        let entry = object.take_map("CLOSING").context("no map CLOSING")?;
        Ok(Self {
            entry: Array::try_from(entry)?,
            _object: object,
        })
    }

    /// Watches this process from now on.
    pub fn start(&mut self, process: u32) -> Result<()> {
        let priority = u64::try_from(PRIORITY)?;
        Ok(self.entry.set(0, [process.into(), priority, 0], 0)?)
    }

    /// When the first of its sockets was closed, [`crate::clock::now_ns`].
    pub fn closed_at(&self) -> Result<u64> {
        match self.entry.get(&0, 0)? {
            [process, _, 0] => bail!("process {process} has closed no port"),
            [_, _, at] => Ok(at),
        }
    }
}

/// The root of the second version of cgroups, which all processes are in.
fn everybody() -> Result<File> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let path = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(path)
    });
    let path = path.context("no cgroup2 is mounted: mount -t cgroup2 none /mnt")?;
    File::open(path).with_context(|| format!("cannot open {path}"))
}
