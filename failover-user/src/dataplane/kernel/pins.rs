//! The pins in bpffs, by which the data path outlives the agent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;
use failover_common::{
    Backend, BackendCounters, Counter, FLOWS_PER_NEW, Flow, FlowKey, HINTS, LAYOUT, MAX_BACKENDS,
    MAX_PAIRS, MAX_SYNS, NAT_LOCKS, NatFlow, NatKey, Pair, Place, REVERSE_BITS, REVERSE_SLOTS,
    Reverse, ReverseKey, SERVICE_BITS, SERVICE_SLOTS, Service, ServiceKey, Shares, Slot, Syn,
    Verdict, places,
};
use log::{info, warn};

use super::KernelError;

/// How large the maps are that nobody needs where no service keeps flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Flows that there is room for.
    pub flows: u32,
    /// Of them, flows with a port of ours (`fullnat`).
    pub nat_flows: u32,
    /// Tiers whose backends serve together.
    pub shares: u32,
}

impl Sizes {
    /// Those of these maps that are not fixed, with their entries; a map has one at least.
    pub(super) fn entries(self) -> [(&'static str, u32); 4] {
        [
            ("FLOWS", self.flows.max(1)),
            ("NEW_FLOWS", (self.flows / FLOWS_PER_NEW).max(1)),
            ("NAT_FLOWS", self.nat_flows.max(1)),
            ("SHARES", self.shares.max(1)),
        ]
    }
}

/// The maps that outlive the agent.
pub(super) const PINNED_MAPS: [&str; 16] = [
    "FLOWS",
    "NEW_FLOWS",
    "NAT_FLOWS",
    "NAT_LOCKS",
    "SHARES",
    "SERVICES",
    "SERVICE_PLACES",
    "PAIRS",
    "SYNS",
    "SYN_BACKENDS",
    "REVERSE",
    "REVERSE_PLACES",
    "HINTS",
    "BACKENDS",
    "VERDICTS",
    "BACKEND_COUNTERS",
];

/// What the name of a pin of the map `STAGES` begins with.
pub(super) const STAGES: &str = "stages-";

/// `statfs` type of a BPF file system (linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Removes our pins under `pin_path`, and with them the links, the program and
/// the maps; nothing else that may be there. Returns whether there was anything.
///
/// # Errors
///
/// `pin_path` is not on a bpf file system, an agent runs with it, or a pin
/// cannot be removed.
pub fn detach(pin_path: &Path) -> Result<bool, KernelError> {
    if !pin_path.exists() {
        return Ok(false);
    }
    if !is_bpf_fs(pin_path) {
        return Err(not_bpf_fs(pin_path, io::ErrorKind::InvalidInput.into()));
    }
    let _lock = lock(pin_path)?;
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = ["layout-", STAGES];
        name == "links" || name == "program" || ours.iter().any(|start| name.starts_with(start))
    };
    let mut pins: Vec<PathBuf> = list(pin_path)?.into_iter().filter(ours).collect();
    // The links first: the interfaces are free before the maps go.
    pins.sort_by_key(|path| !path.ends_with("links"));
    for pin in &pins {
        remove(pin)?;
    }
    if list(pin_path)?.is_empty() {
        remove(pin_path)?;
    }
    Ok(!pins.is_empty())
}

/// Locks the pins for one agent: it ends with the file, however the agent ends.
///
/// # Errors
///
/// Another agent has them.
pub(super) fn lock(pin_path: &Path) -> Result<fs::File, KernelError> {
    let failed = |source| KernelError::Pin {
        path: pin_path.to_owned(),
        action: "lock it",
        source,
    };
    let directory = fs::File::open(pin_path).map_err(failed)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(fs::TryLockError::WouldBlock) => Err(KernelError::InUse(pin_path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

pub(super) fn maps_directory(pin_path: &Path) -> PathBuf {
    pin_path.join(format!("layout-{LAYOUT}"))
}

/// A map under our layout's name that is not of its sizes is of no use to us. If it is only
/// that the configuration wants another number of flows, those are forgotten and no more.
pub(super) fn discard_incompatible(maps: &Path, sizes: Sizes) -> Result<(), KernelError> {
    for (name, entries) in sizes.entries() {
        let pin = maps.join(name);
        let other = |info: MapInfo| info.max_entries() != entries;
        if MapInfo::from_pin(&pin).is_ok_and(other) {
            info!("{}: made anew, with {entries} entries", pin.display());
            remove(&pin)?;
        }
    }
    let elastic = |wanted: &str| {
        let mut all = sizes.entries().into_iter();
        all.find_map(|(name, entries)| (name == wanted).then_some(entries as usize))
    };
    // Sizes of key and value in bytes, and the number of entries.
    let shape = |name| -> (usize, usize, usize) {
        match name {
            "SERVICES" => (4, size_of::<Slot<ServiceKey, Service>>(), SERVICE_SLOTS),
            "SERVICE_PLACES" => (4, size_of::<Place>(), places(SERVICE_BITS)),
            "REVERSE" => (4, size_of::<Slot<ReverseKey, Reverse>>(), REVERSE_SLOTS),
            "HINTS" => (4, HINTS, 1),
            "REVERSE_PLACES" => (4, size_of::<Place>(), places(REVERSE_BITS)),
            "FLOWS" | "NEW_FLOWS" => (
                size_of::<FlowKey>(),
                size_of::<Flow>(),
                elastic(name).unwrap_or(0),
            ),
            "NAT_FLOWS" => (
                size_of::<NatKey>(),
                size_of::<NatFlow>(),
                elastic(name).unwrap_or(0),
            ),
            "NAT_LOCKS" => (4, size_of::<u64>(), NAT_LOCKS as usize),
            "SHARES" => (4, size_of::<Shares>(), elastic(name).unwrap_or(0)),
            "BACKENDS" => (4, size_of::<Backend>(), MAX_BACKENDS),
            "PAIRS" => (4, size_of::<Pair>(), MAX_PAIRS),
            "SYNS" => (4, size_of::<Syn>(), MAX_SYNS),
            "SYN_BACKENDS" => (4, size_of::<[u16; MAX_SYNS]>(), 1),
            "VERDICTS" => (4, size_of::<Counter>(), Verdict::COUNT),
            _ => (4, size_of::<BackendCounters>(), MAX_BACKENDS),
        }
    };
    for name in PINNED_MAPS {
        let pin = maps.join(name);
        let fits = MapInfo::from_pin(&pin).is_ok_and(|info| {
            let (key, value) = (info.key_size() as usize, info.value_size() as usize);
            (key, value, info.max_entries() as usize) == shape(name)
        });
        if pin.exists() && !fits {
            warn!(
                "{}: not a map of this version: the state is replaced",
                pin.display()
            );
            return remove(maps).and_then(|()| create_directory(maps));
        }
    }
    Ok(())
}

/// Makes sure that `pin_path` lies on a BPF file system.
pub(super) fn mount_bpf_fs(pin_path: &Path) -> Result<(), KernelError> {
    const USUAL: &str = "/sys/fs/bpf";
    let existing = pin_path.ancestors().find(|path| path.exists());
    if existing.is_some_and(is_bpf_fs) {
        return Ok(());
    }
    let error = |source| not_bpf_fs(pin_path, source);
    if !pin_path.starts_with(USUAL) {
        return Err(error(io::ErrorKind::InvalidInput.into()));
    }
    nix::mount::mount(
        Some("bpf"),
        USUAL,
        Some("bpf"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|errno| error(errno.into()))?;
    info!("mounted a bpf file system at {USUAL}");
    Ok(())
}

fn is_bpf_fs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type().0 == BPF_FS_MAGIC)
}

fn not_bpf_fs(pin_path: &Path, source: io::Error) -> KernelError {
    KernelError::Pin {
        path: pin_path.to_owned(),
        action: "use it for pins: it must be on a bpf file system, such as below /sys/fs/bpf",
        source,
    }
}

pub(super) fn create_directory(path: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(path).map_err(|source| KernelError::Pin {
        path: path.to_owned(),
        action: "create it",
        source,
    })
}

/// What is in a directory; nothing if there is none.
pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(KernelError::Pin {
                path: path.to_owned(),
                action: "list it",
                source,
            });
        }
    };
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Removes a pin or a directory of pins; it is fine if there is none.
pub(super) fn remove(path: &Path) -> Result<(), KernelError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KernelError::Pin {
            path: path.to_owned(),
            action: "remove it",
            source: error,
        }),
        _ => Ok(()),
    }
}
