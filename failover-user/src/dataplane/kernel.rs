//! The data path in the kernel: the programs, their maps and links, and the
//! pins by which they outlive the agent.
//!
//! ```text
//! PIN_PATH/program            the program that is attached
//! PIN_PATH/stages-ID          the map of those that it goes on to
//! PIN_PATH/layout-N/MAP       the other maps, N is failover_common::LAYOUT
//! PIN_PATH/links/INTERFACE    the links
//! ```
//!
//! A new agent loads its own programs onto the maps it finds, brings them up to
//! date, and only then replaces the program in the links (`BPF_LINK_UPDATE`): at
//! no moment is there an interface without a program or a program without maps. Its
//! stages are a map of their own, so that each program goes on to what it was built with.

mod attach;
pub mod decap;
mod entries;
mod epoch;
mod flows;
mod hints;
mod mapped;
mod maps;
mod pins;
mod syns;
mod table;

use std::{
    collections::BTreeMap,
    hash::Hash,
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapInfo, ProgramArray, RingBuf},
    programs::{Xdp, links::PinnedLink, loaded_programs},
};
use aya_log::EbpfLogger;
use bytemuck::Pod;
use failover_common::{
    REVERSE_BITS, REVERSE_SLOTS, SERVICE_BITS, SERVICE_SLOTS, Slot, Stage, TableKey,
};
use log::{info, warn};
use thiserror::Error;

pub use self::{
    entries::{Entries, Terms, Way},
    epoch::Epoch,
    flows::Flows,
    maps::{Counters, KernelMaps},
    pins::{Sizes, detach},
    syns::Syns,
    table::View,
};

use self::{
    hints::Hints,
    table::{Size, Table},
};
use self::{
    maps::failed,
    pins::{
        STAGES, create_directory, discard_incompatible, list, maps_directory, mount_bpf_fs, remove,
    },
};
use super::{MapError, State};
use crate::config;

/// The BPF object, as `failover-user/build.rs` made it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/failover"));

const PROGRAM: &str = "failover";

/// Of the map `SERVICES`.
const SERVICES: Size = Size {
    bits: SERVICE_BITS,
    slots: SERVICE_SLOTS,
};

/// Of the map `REVERSE`.
const REVERSE: Size = Size {
    bits: REVERSE_BITS,
    slots: REVERSE_SLOTS,
};

/// Loading, attaching or removing the data path failed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Something about the pins in bpffs.
    #[error("{path}: cannot {action}")]
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
        "cannot load the XDP program: {0}: this needs root (CAP_BPF, CAP_NET_ADMIN) and Linux 5.18 or newer"
    )]
    Load(String),
    /// Another agent runs with the same pins.
    #[error("{0}: an agent is running with these pins: stop it first")]
    InUse(PathBuf),
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

/// The program and the control maps.
pub struct Kernel {
    ebpf: Ebpf,
    /// Id of the map `BACKENDS`.
    backends: u32,
    pin_path: PathBuf,
    /// Pin of the map `STAGES`; none: not loaded yet.
    stages: Option<PathBuf>,
    links: BTreeMap<String, PinnedLink>,
    _lock: std::fs::File,
}

impl Kernel {
    /// Opens the pinned maps under `pin_path`, or makes new ones that are pinned there.
    ///
    /// # Errors
    ///
    /// `pin_path` cannot be used, or the kernel refuses a map.
    pub fn open(pin_path: &Path, sizes: Sizes) -> Result<Self, KernelError> {
        mount_bpf_fs(pin_path)?;
        create_directory(pin_path)?;
        let lock = pins::lock(pin_path)?;
        let maps = maps_directory(pin_path);
        create_directory(&maps)?;
        discard_incompatible(&maps, sizes)?;
        // A constant to the verifier: what is not logged costs nothing.
        let level = log::max_level() as u8;
        let mut loader = EbpfLoader::new();
        loader.override_global(aya_log::LEVEL, &level, true);
        let seed = fastrand::u64(..);
        loader.override_global("SYN_SEED", &seed, true);
        for (name, entries) in sizes.entries() {
            loader.map_max_entries(name, entries);
        }
        for name in pins::PINNED_MAPS {
            loader.map_pin_path(name, maps.join(name));
        }
        let ebpf = loader
            .load(OBJECT)
            .map_err(|error| KernelError::Load(chain(&error)))?;
        let backends = MapInfo::from_pin(maps.join("BACKENDS"))
            .map_err(|error| KernelError::Map(failed("open", "BACKENDS", &error)))?;
        Ok(Self {
            ebpf,
            backends: backends.id(),
            pin_path: pin_path.to_owned(),
            stages: None,
            links: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Loads the programs onto the maps. The kernel takes its time to verify them: some
    /// hundred milliseconds where it is busy.
    ///
    /// # Errors
    ///
    /// The kernel refuses a program, or a pin cannot be made.
    pub fn load(&mut self) -> Result<(), KernelError> {
        let refused = |error: &dyn std::error::Error| KernelError::Load(chain(error));
        self.program()?.load().map_err(|error| refused(&error))?;
        for stage in Stage::ALL {
            let program = xdp(&mut self.ebpf, stage.program())?;
            program.load().map_err(|error| refused(&error))?;
        }
        let map = take_map(&mut self.ebpf, "STAGES")?;
        let Map::ProgramArray(data) = &map else {
            return Err(KernelError::Load("STAGES holds no programs".to_owned()));
        };
        let id = data.info().map_err(|error| refused(&error))?.id();
        let mut stages = ProgramArray::try_from(map).map_err(|error| refused(&error))?;
        for stage in Stage::ALL {
            let program = xdp(&mut self.ebpf, stage.program())?.fd();
            stages
                .set(stage as u32, program.map_err(|error| refused(&error))?, 0)
                .map_err(|error| refused(&error))?;
        }
        // The kernel empties such a map when neither a process nor a pin has it.
        let pin = self.pin_path.join(format!("{STAGES}{id}"));
        stages.pin(&pin).map_err(|error| refused(&error))?;
        self.stages = Some(pin);
        Ok(())
    }

    /// Whether the loaded program with this id works on our maps: an earlier agent's.
    #[must_use]
    pub fn is_used_by(&self, program: u32) -> bool {
        let mut loaded = loaded_programs().flatten();
        let found = loaded.find(|info| info.id() == program);
        let maps = found.and_then(|info| info.map_ids().ok().flatten());
        maps.is_some_and(|maps| maps.contains(&self.backends))
    }

    /// The program, for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// The object does not hold it.
    pub fn program(&mut self) -> Result<&mut Xdp, KernelError> {
        xdp(&mut self.ebpf, PROGRAM)
    }

    /// What the program logs about single packets; it does so only where the
    /// agent's own log shows `debug` when the program is loaded.
    ///
    /// # Errors
    ///
    /// The log cannot be opened.
    pub fn log(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>, KernelError> {
        EbpfLogger::init(&mut self.ebpf).map_err(|error| KernelError::Load(chain(&error)))
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
        let links = self.pin_path.join("links");
        create_directory(&links)?;
        let pin = links.join(interface);
        let program = xdp(&mut self.ebpf, PROGRAM)?;
        let (link, replaced) = attach::attach(program, interface, ifindex, mode, &pin)?;
        self.links.insert(interface.to_owned(), link);
        Ok(replaced)
    }

    /// Removes links of interfaces that are no longer ours, maps of other
    /// layouts and programs, and pins the program in place of the last one's.
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
            // No link has their programs any more.
            if name.starts_with(STAGES) && Some(&entry) != self.stages.as_ref() {
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
        let services = self.table("SERVICES", "SERVICE_PLACES", SERVICES)?;
        let reverse = self.table("REVERSE", "REVERSE_PLACES", REVERSE)?;
        let hints = Hints::open(
            take_data(&mut self.ebpf, "HINTS")?,
            services.iter().map(|(key, _)| key),
            reverse.iter().map(|(key, _)| key),
        )?;
        let maps = KernelMaps {
            services,
            reverse,
            hints,
            shares: take(&mut self.ebpf, "SHARES")?,
            entries: Entries::new(take_data(&mut self.ebpf, "BACKENDS")?)?,
        };
        let state = maps.read();
        Ok((maps, state))
    }

    fn table<K, V>(
        &mut self,
        name: &'static str,
        places: &'static str,
        size: Size,
    ) -> Result<Table<K, V>, KernelError>
    where
        K: TableKey + Hash + Eq,
        V: Copy,
        Slot<K, V>: Pod,
    {
        let places = take_data(&mut self.ebpf, places)?;
        let slots = take_data(&mut self.ebpf, name)?;
        Ok(Table::open(name, size, places, slots)?)
    }

    /// What ends the ways to clients that the data path remembers.
    ///
    /// # Errors
    ///
    /// The map cannot be opened.
    pub fn epoch(&mut self) -> Result<Epoch, KernelError> {
        Ok(Epoch::new(take_data(&mut self.ebpf, "EPOCH")?)?)
    }

    /// The clients' unanswered SYNs.
    ///
    /// # Errors
    ///
    /// The map cannot be opened.
    pub fn syns(&self) -> Result<Syns, KernelError> {
        let open = |name| {
            let pin = maps_directory(&self.pin_path).join(name);
            MapData::from_pin(pin).map_err(|error| failed("open", name, &error))
        };
        Ok(Syns::new(open("SYNS")?, open("SYN_BACKENDS")?)?)
    }

    /// Which backend has which flow.
    ///
    /// # Errors
    ///
    /// A map cannot be opened.
    pub fn flows(&mut self) -> Result<Flows, KernelError> {
        let flows = take_data(&mut self.ebpf, "FLOWS")?;
        Ok(Flows::new(flows, take_data(&mut self.ebpf, "NEW_FLOWS")?))
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

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, KernelError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| KernelError::Load(format!("the object has no XDP program {name}")))
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
        Map::Array(data) | Map::LruHashMap(data) => Ok(data),
        _ => Err(KernelError::Load(format!("map {name} is of another kind"))),
    }
}
