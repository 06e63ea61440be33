//! The data path in the kernel: the program, its maps and its links, and the
//! pins by which they outlive the agent.
//!
//! ```text
//! PIN_PATH/program            the program
//! PIN_PATH/layout-N/MAP       the maps, N is failover_common::LAYOUT
//! PIN_PATH/links/INTERFACE    the links
//! ```
//!
//! A new agent loads its own program onto the maps it finds, brings them up to
//! date, and only then replaces the program in the links (`BPF_LINK_UPDATE`): at
//! no moment is there an interface without a program or a program without maps.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapInfo, PerCpuArray, RingBuf},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use failover_common::{
    Backend, BackendCounters, Counter, LAYOUT, MAX_BACKENDS, Reverse, ReverseKey, Service,
    ServiceKey, Verdict,
};
use log::{info, warn};
use memmap2::{MmapOptions, MmapRaw};
use thiserror::Error;

use super::{MapError, Maps, State};
use crate::config;

/// The BPF object, as `failover-user/build.rs` made it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/failover"));

const PROGRAM: &str = "failover";

/// The maps that outlive the agent.
const PINNED_MAPS: [&str; 5] = [
    "SERVICES",
    "REVERSE",
    "BACKENDS",
    "VERDICTS",
    "BACKEND_COUNTERS",
];

/// `statfs` type of a BPF file system (linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Loading, attaching or removing the data path failed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Something about the pins in bpffs.
    #[error("{path}: cannot {action}: {source}")]
    Pin {
        /// The pin or its directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the program or a map.
    #[error(
        "cannot load the XDP program: {0}: this needs root (CAP_BPF, CAP_NET_ADMIN) and Linux 5.15 or newer"
    )]
    Load(String),
    /// The program could not be attached.
    #[error("cannot attach to {interface}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said, and what to do.
        reason: String,
    },
    /// A map could not be used.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The loaded program and the control maps.
pub struct Kernel {
    ebpf: Ebpf,
    pin_path: PathBuf,
    links: BTreeMap<String, PinnedLink>,
}

impl Kernel {
    /// Loads the program onto the pinned maps under `pin_path`, or onto new ones
    /// that are pinned there.
    ///
    /// # Errors
    ///
    /// `pin_path` cannot be used, or the kernel refuses the program.
    pub fn load(pin_path: &Path) -> Result<Self, KernelError> {
        mount_bpf_fs(pin_path)?;
        let maps = maps_directory(pin_path);
        create_directory(&maps)?;
        discard_incompatible(&maps)?;
        let mut loader = EbpfLoader::new();
        for name in PINNED_MAPS {
            loader.map_pin_path(name, maps.join(name));
        }
        let mut ebpf = loader
            .load(OBJECT)
            .map_err(|error| KernelError::Load(chain(&error)))?;
        let program = xdp(&mut ebpf)?;
        program
            .load()
            .map_err(|error| KernelError::Load(chain(&error)))?;
        Ok(Self {
            ebpf,
            pin_path: pin_path.to_owned(),
            links: BTreeMap::new(),
        })
    }

    /// The program, for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// The object does not hold it.
    pub fn program(&mut self) -> Result<&mut Xdp, KernelError> {
        xdp(&mut self.ebpf)
    }

    /// The whole object, for its log.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Attaches the program to an interface, or replaces the program of a former
    /// agent there. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// The kernel refuses; the reason says what to do.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: config::XdpMode,
    ) -> Result<bool, KernelError> {
        let pin = self.pin_path.join("links").join(interface);
        create_directory(&self.pin_path.join("links"))?;
        if let Ok(pinned) = PinnedLink::from_pin(&pin) {
            match self.replace(pinned, &pin) {
                Ok(link) => {
                    self.links.insert(interface.to_owned(), link);
                    return Ok(true);
                }
                Err(reason) => {
                    warn!(
                        "{interface}: the link of the last agent is of no use ({reason}): attaching anew"
                    );
                    remove(&pin)?;
                }
            }
        }
        let link = self.attach_new(interface, ifindex, mode)?;
        let link = link.pin(&pin).map_err(|error| KernelError::Attach {
            interface: interface.to_owned(),
            reason: chain(&error),
        })?;
        self.links.insert(interface.to_owned(), link);
        Ok(false)
    }

    fn replace(&mut self, pinned: PinnedLink, pin: &Path) -> Result<PinnedLink, String> {
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| chain(&error))?;
        let program = xdp(&mut self.ebpf).map_err(|error| error.to_string())?;
        let id = program
            .attach_to_link(link)
            .map_err(|error| chain(&error))?;
        // The pin keeps the link; ours must not detach it when it is dropped.
        drop(program.take_link(id));
        PinnedLink::from_pin(pin).map_err(|error| chain(&error))
    }

    fn attach_new(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: config::XdpMode,
    ) -> Result<FdLink, KernelError> {
        let attempts: &[(XdpMode, &str)] = match mode {
            config::XdpMode::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
            config::XdpMode::Native => &[(XdpMode::Driver, "native")],
            config::XdpMode::Generic => &[(XdpMode::Skb, "generic")],
        };
        let refused = |reason: String| KernelError::Attach {
            interface: interface.to_owned(),
            reason,
        };
        let mut reasons = Vec::new();
        for (mode, name) in attempts {
            let program = xdp(&mut self.ebpf)?;
            match program.attach_to_if_index(ifindex, *mode) {
                Ok(id) => {
                    let link = program.take_link(id).map_err(|e| refused(chain(&e)))?;
                    info!("{interface}: attached in {name} mode");
                    if *name == "generic" {
                        warn!(
                            "{interface}: generic mode is slower; the driver has no native XDP here ({})",
                            reasons.join(", ")
                        );
                    }
                    return FdLink::try_from(link).map_err(|_| {
                        refused(
                            "the kernel has no BPF links for XDP: Linux 5.9 or newer is needed"
                                .to_owned(),
                        )
                    });
                }
                Err(error) => {
                    let reason = chain(&error);
                    if reason.contains("os error 16") {
                        return Err(refused(format!(
                            "it has an XDP program already: remove it (ip link set dev {interface} xdp off) or name another pin_path's owner"
                        )));
                    }
                    reasons.push(format!("{name}: {reason}"));
                }
            }
        }
        Err(refused(reasons.join("; ")))
    }

    /// Removes links of interfaces that are no longer ours, maps of other
    /// layouts, and pins the program in place of the last one's.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed or made.
    pub fn finish(&mut self) -> Result<(), KernelError> {
        for entry in list(&self.pin_path.join("links"))? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if !self.links.contains_key(name.as_ref()) {
                info!("{name}: not in the configuration any more: detached");
                remove(&entry)?;
            }
        }
        let ours = maps_directory(&self.pin_path);
        for entry in list(&self.pin_path)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("layout-") && entry != ours {
                warn!("{}: state of another version was replaced", entry.display());
                remove(&entry)?;
            }
        }
        let pin = self.pin_path.join("program");
        remove(&pin)?;
        self.program()?
            .pin(&pin)
            .map_err(|error| KernelError::Load(chain(&error)))
    }

    /// What the maps hold now, and the writer for them.
    ///
    /// # Errors
    ///
    /// A map cannot be opened or read.
    pub fn maps(&mut self) -> Result<(KernelMaps, State), KernelError> {
        let maps = KernelMaps {
            services: take(&mut self.ebpf, "SERVICES")?,
            reverse: take(&mut self.ebpf, "REVERSE")?,
            backends: Backends::new(take_data(&mut self.ebpf, "BACKENDS")?)?,
        };
        let state = maps.read()?;
        Ok((maps, state))
    }

    /// The counters.
    ///
    /// # Errors
    ///
    /// A map cannot be opened.
    pub fn counters(&mut self) -> Result<Counters, KernelError> {
        Ok(Counters {
            verdicts: take(&mut self.ebpf, "VERDICTS")?,
            backends: take(&mut self.ebpf, "BACKEND_COUNTERS")?,
        })
    }

    /// The news from the data path.
    ///
    /// # Errors
    ///
    /// The map cannot be opened.
    pub fn events(&mut self) -> Result<RingBuf<MapData>, KernelError> {
        take(&mut self.ebpf, "EVENTS")
    }
}

/// Removes every pin under `pin_path`, and with the pins the links, the program
/// and the maps. Returns whether there was anything.
///
/// # Errors
///
/// A pin cannot be removed.
pub fn detach(pin_path: &Path) -> Result<bool, KernelError> {
    let existed = pin_path.exists();
    // The links first: the interfaces are free before the maps go.
    remove(&pin_path.join("links"))?;
    remove(pin_path)?;
    Ok(existed)
}

/// Writes the control maps in the kernel.
pub struct KernelMaps {
    services: HashMap<MapData, ServiceKey, Service>,
    reverse: HashMap<MapData, ReverseKey, Reverse>,
    backends: Backends,
}

impl KernelMaps {
    fn read(&self) -> Result<State, MapError> {
        let backends = (0..)
            .zip((0..MAX_BACKENDS).map(|index| self.backends.read(index)))
            .filter(|(_, backend)| *backend != bytemuck::Zeroable::zeroed())
            .collect();
        let services = self.services.iter().collect::<Result<_, _>>();
        let reverse = self.reverse.iter().collect::<Result<_, _>>();
        Ok(State {
            backends,
            services: services.map_err(|error| failed("read", "SERVICES", &error))?,
            reverse: reverse.map_err(|error| failed("read", "REVERSE", &error))?,
        })
    }
}

impl Maps for KernelMaps {
    fn set_holds(&mut self, index: u32, holds: failover_common::Holds, held_at: u64) {
        self.backends.set_holds(index as usize, holds.0, held_at);
    }

    fn set_next_hop(&mut self, index: u32, backend: &Backend) {
        self.backends.set_next_hop(index as usize, backend);
    }

    fn set_backend(&mut self, index: u32, backend: &Backend) {
        self.backends.write(index as usize, backend);
    }

    fn set_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), MapError> {
        self.services
            .insert(key, service, 0)
            .map_err(|error| failed("write", "SERVICES", &error))
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), MapError> {
        self.services
            .remove(key)
            .map_err(|error| failed("write", "SERVICES", &error))
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: &Reverse) -> Result<(), MapError> {
        self.reverse
            .insert(key, reverse, 0)
            .map_err(|error| failed("write", "REVERSE", &error))
    }

    fn remove_reverse(&mut self, key: &ReverseKey) -> Result<(), MapError> {
        self.reverse
            .remove(key)
            .map_err(|error| failed("write", "REVERSE", &error))
    }
}

/// The `BACKENDS` map, mapped into memory: a write is a store, no system call.
struct Backends {
    memory: MmapRaw,
    _map: MapData,
}

impl Backends {
    fn new(map: MapData) -> Result<Self, MapError> {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        let memory = MmapOptions::new()
            .len(MAX_BACKENDS * size_of::<Backend>())
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|error| failed("open", "BACKENDS", &error))?;
        Ok(Self { memory, _map: map })
    }

    /// The entry at `index`; panics where the agent miscounts, never on input.
    fn entry(&self, index: usize) -> *mut Backend {
        assert!(index < MAX_BACKENDS);
        // SAFETY: inside the mapping, which holds MAX_BACKENDS entries and is page-aligned.
        unsafe { self.memory.as_mut_ptr().cast::<Backend>().add(index) }
    }

    fn read(&self, index: usize) -> Backend {
        // SAFETY: `entry` is valid; the agent is the only writer.
        unsafe { self.entry(index).read_volatile() }
    }

    fn write(&self, index: usize, backend: &Backend) {
        // SAFETY: `entry` is valid; no service refers to the entry.
        unsafe { self.entry(index).write_volatile(*backend) };
    }

    fn set_holds(&self, index: usize, holds: u32, held_at: u64) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).held_at).write_volatile(held_at) };
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).holds).write_volatile(holds) };
    }

    /// The MACs first: an `ifindex` of 0 keeps packets away until both are there.
    fn set_next_hop(&self, index: usize, backend: &Backend) {
        let entry = self.entry(index);
        // SAFETY: `entry` is valid; the field is eight bytes at an offset that is a multiple of eight.
        unsafe {
            (&raw mut (*entry).dst_mac)
                .cast::<u64>()
                .write_volatile(u64::from_ne_bytes(backend.dst_mac))
        };
        // SAFETY: as above.
        unsafe {
            (&raw mut (*entry).src_mac)
                .cast::<u64>()
                .write_volatile(u64::from_ne_bytes(backend.src_mac))
        };
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        // SAFETY: `entry` is valid and aligned.
        unsafe { (&raw mut (*entry).ifindex).write_volatile(backend.ifindex) };
    }
}

/// Reads the counters of the data path.
pub struct Counters {
    verdicts: PerCpuArray<MapData, Counter>,
    backends: PerCpuArray<MapData, BackendCounters>,
}

impl Counters {
    /// Packets and bytes per verdict, over all CPUs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>, MapError> {
        let read = |verdict: Verdict| {
            let values = self
                .verdicts
                .get(&(verdict as u32), 0)
                .map_err(|error| failed("read", "VERDICTS", &error))?;
            let mut sum = Counter::default();
            values.iter().for_each(|value| sum += *value);
            Ok((verdict, sum))
        };
        Verdict::ALL.into_iter().map(read).collect()
    }

    /// Packets and bytes of the backend at `index`, over all CPUs.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn backend(&self, index: u32) -> Result<BackendCounters, MapError> {
        let values = self
            .backends
            .get(&index, 0)
            .map_err(|error| failed("read", "BACKEND_COUNTERS", &error))?;
        let mut sum = BackendCounters::default();
        values.iter().for_each(|value| sum += *value);
        Ok(sum)
    }
}

fn failed(action: &'static str, map: &'static str, error: &dyn std::error::Error) -> MapError {
    MapError {
        action,
        map,
        reason: chain(error),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let lines: Vec<&str> = text.lines().collect();
    match lines.as_slice() {
        // The verifier's log: what was refused is near its end.
        [first, .., a, b, c, _, _, _, _, _, _] if lines.len() > 12 => {
            format!("{first} ... {a} {b} {c}")
        }
        _ => lines.join(" "),
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, KernelError> {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| KernelError::Load(format!("the object has no XDP program {PROGRAM}")))
}

fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name)
        .ok_or_else(|| KernelError::Load(format!("the object has no map {name}")))
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    T::try_from(take_map(ebpf, name)?)
        .map_err(|error| KernelError::Map(failed("open", name, &error)))
}

fn take_data(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    match take_map(ebpf, name)? {
        Map::Array(data) => Ok(data),
        _ => Err(KernelError::Load(format!("map {name} is not an array"))),
    }
}

fn maps_directory(pin_path: &Path) -> PathBuf {
    pin_path.join(format!("layout-{LAYOUT}"))
}

/// A map under our layout's name that is not of its sizes is of no use to us.
fn discard_incompatible(maps: &Path) -> Result<(), KernelError> {
    let sizes = |name| -> (usize, usize) {
        match name {
            "SERVICES" => (size_of::<ServiceKey>(), size_of::<Service>()),
            "REVERSE" => (size_of::<ReverseKey>(), size_of::<Reverse>()),
            "BACKENDS" => (4, size_of::<Backend>()),
            "VERDICTS" => (4, size_of::<Counter>()),
            _ => (4, size_of::<BackendCounters>()),
        }
    };
    for name in PINNED_MAPS {
        let pin = maps.join(name);
        let fits = MapInfo::from_pin(&pin).is_ok_and(|info| {
            (info.key_size() as usize, info.value_size() as usize) == sizes(name)
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
fn mount_bpf_fs(pin_path: &Path) -> Result<(), KernelError> {
    const USUAL: &str = "/sys/fs/bpf";
    let is_bpf_fs = |path: &Path| {
        nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type().0 as i64 == BPF_FS_MAGIC)
    };
    let existing = pin_path.ancestors().find(|path| path.exists());
    if existing.is_some_and(is_bpf_fs) {
        return Ok(());
    }
    let error = |source| KernelError::Pin {
        path: pin_path.to_owned(),
        action: "use it for pins: it must be on a bpf file system, such as below /sys/fs/bpf",
        source,
    };
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

fn create_directory(path: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(path).map_err(|source| KernelError::Pin {
        path: path.to_owned(),
        action: "create it",
        source,
    })
}

/// What is in a directory; nothing if there is none.
fn list(path: &Path) -> Result<Vec<PathBuf>, KernelError> {
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
fn remove(path: &Path) -> Result<(), KernelError> {
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
