//! The end of a tunnel, on a backend: the program of `failover decap` on an interface,
//! with maps of its own.
//!
//! ```text
//! PIN_PATH/INTERFACE/link              the link
//! PIN_PATH/INTERFACE/DIRECTORS         whose tunnels end here
//! PIN_PATH/INTERFACE/DECAP_VERDICTS    counters
//! ```
//!
//! No process is needed once it is attached: what is pinned outlives the command that
//! made it. Done again, the program and both maps are replaced as one, without a packet
//! between them.

use std::{fmt, fs, net::IpAddr, path::Path, str::FromStr};

use aya::{
    EbpfLoader,
    maps::{LpmTrie, Map, MapData, PerCpuArray, lpm_trie::Key},
};
use failover_common::{Address, Counter, DecapVerdict};
use serde::Serialize;
use thiserror::Error;

use super::{
    KernelError, MapError, attach, chain,
    maps::failed,
    pins::{create_directory, list, mount_bpf_fs, remove},
    take, xdp,
};
use crate::config::XdpMode;

/// The BPF object, as `failover-user/build.rs` made it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap"));

/// The XDP program in [`OBJECT`].
pub const PROGRAM: &str = "decap";

const LINK: &str = "link";
const DIRECTORS: &str = "DIRECTORS";
const DECAP_VERDICTS: &str = "DECAP_VERDICTS";

type Directors = LpmTrie<MapData, [u8; 16], u32>;
type Verdicts = PerCpuArray<MapData, Counter>;

/// Whose packets are taken out of their tunnels: a director, or a network of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Director {
    address: IpAddr,
    /// Length of the prefix, bits.
    length: u8,
}

/// Not a [`Director`].
#[derive(Debug, Error)]
#[error("write the address of a director, as in 10.0.0.1, or a network, as in 10.0.0.0/24")]
pub struct NotADirector;

impl FromStr for Director {
    type Err = NotADirector;

    fn from_str(text: &str) -> Result<Self, NotADirector> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotADirector)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(bits), |length| length.parse().map_err(|_| NotADirector))?;
        // Nobody's tunnels, and everybody's, are both a mistake.
        let is_network = (1..=bits).contains(&length) && !address.is_unspecified();
        is_network
            .then_some(Self { address, length })
            .ok_or(NotADirector)
    }
}

impl fmt::Display for Director {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        write!(f, "{}", self.address)?;
        if self.length == whole {
            return Ok(());
        }
        write!(f, "/{}", self.length)
    }
}

impl Director {
    /// Its key in the map, where IPv4 addresses are mapped.
    fn key(self) -> Key<[u8; 16]> {
        let more = if self.address.is_ipv4() { 96 } else { 0 };
        Key::new(
            u32::from(self.length) + more,
            Address::from(self.address).bytes(),
        )
    }

    fn of(key: Key<[u8; 16]>) -> Self {
        let (address, bits) = (
            IpAddr::from(Address::from_bytes(key.data())),
            key.prefix_len(),
        );
        let bits = if address.is_ipv4() {
            bits.saturating_sub(96)
        } else {
            bits
        };
        Self {
            address,
            length: u8::try_from(bits).unwrap_or(u8::MAX),
        }
    }
}

/// An interface where tunnels end, for people.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub interface: String,
    /// Whose tunnels.
    pub directors: Vec<String>,
    /// Packets and bytes by verdict.
    pub verdicts: Vec<VerdictStatus>,
}

/// What became of packets.
#[derive(Debug, Serialize)]
pub struct VerdictStatus {
    /// [`DecapVerdict::name`].
    pub verdict: &'static str,
    /// How many.
    pub packets: u64,
    /// Of how many bytes.
    pub bytes: u64,
}

/// Ends the tunnels of `directors` on an interface, and of nobody else. Returns whether
/// tunnels ended there before.
///
/// # Errors
///
/// `pin_path` cannot be used, or the kernel refuses.
pub fn attach(
    pin_path: &Path,
    interface: &str,
    ifindex: u32,
    directors: &[Director],
) -> Result<bool, KernelError> {
    mount_bpf_fs(pin_path)?;
    create_directory(pin_path)?;
    let _lock = lock(pin_path)?;
    let pins = pin_path.join(interface);
    create_directory(&pins)?;
    let attached = attach_at(&pins, interface, ifindex, directors);
    if attached.is_err() && !pins.join(LINK).exists() {
        remove(&pins)?;
    }
    attached
}

fn attach_at(
    pins: &Path,
    interface: &str,
    ifindex: u32,
    directors: &[Director],
) -> Result<bool, KernelError> {
    let mut ebpf = EbpfLoader::new()
        .load(OBJECT)
        .map_err(|error| KernelError::Load(chain(&error)))?;
    let mut allowed: Directors = take(&mut ebpf, DIRECTORS)?;
    for director in directors {
        allowed
            .insert(&director.key(), 1, 0)
            .map_err(|error| failed("write", DIRECTORS, &error))?;
    }
    let verdicts: Verdicts = take(&mut ebpf, DECAP_VERDICTS)?;
    let program = xdp(&mut ebpf, PROGRAM)?;
    program
        .load()
        .map_err(|error| KernelError::Load(chain(&error)))?;
    let link = pins.join(LINK);
    let (_, replaced) = attach::attach(program, interface, ifindex, XdpMode::Auto, &link)?;
    for (name, pin) in [
        (DIRECTORS, Pin::Directors(allowed)),
        (DECAP_VERDICTS, Pin::Verdicts(verdicts)),
    ] {
        let path = pins.join(name);
        remove(&path)?;
        let pinned = match pin {
            Pin::Directors(map) => map.pin(&path),
            Pin::Verdicts(map) => map.pin(&path),
        };
        pinned.map_err(|error| KernelError::Load(chain(&error)))?;
    }
    Ok(replaced)
}

/// What is pinned beside the link.
enum Pin {
    Directors(Directors),
    Verdicts(Verdicts),
}

/// Every interface where tunnels end.
///
/// # Errors
///
/// A map cannot be read.
pub fn status(pin_path: &Path) -> Result<Vec<Status>, KernelError> {
    if !pin_path.exists() {
        return Ok(Vec::new());
    }
    let _lock = lock(pin_path)?;
    let mut all = list(pin_path)?
        .iter()
        .map(|pins| status_of(pins))
        .collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(all)
}

fn status_of(pins: &Path) -> Result<Status, KernelError> {
    let open = |name: &'static str| {
        MapData::from_pin(pins.join(name)).map_err(|error| failed("open", name, &error))
    };
    let allowed = Directors::try_from(Map::LpmTrie(open(DIRECTORS)?))
        .map_err(|error| failed("open", DIRECTORS, &error))?;
    let mut directors = allowed
        .keys()
        .map(|key| key.map(|key| Director::of(key).to_string()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed("read", DIRECTORS, &error))?;
    directors.sort();
    let counters = Verdicts::try_from(Map::PerCpuArray(open(DECAP_VERDICTS)?))
        .map_err(|error| failed("open", DECAP_VERDICTS, &error))?;
    let count = |verdict: DecapVerdict| {
        let values = counters
            .get(&(verdict as u32), 0)
            .map_err(|error| failed("read", DECAP_VERDICTS, &error))?;
        let mut sum = Counter::default();
        values.iter().for_each(|value| sum += *value);
        Ok(VerdictStatus {
            verdict: verdict.name(),
            packets: sum.packets,
            bytes: sum.bytes,
        })
    };
    let verdicts = DecapVerdict::ALL
        .into_iter()
        .map(count)
        .collect::<Result<_, MapError>>()?;
    let interface = pins.file_name().unwrap_or_default().to_string_lossy();
    Ok(Status {
        interface: interface.into_owned(),
        directors,
        verdicts,
    })
}

/// Ends no tunnels any more, on one interface or on all; returns on which.
///
/// # Errors
///
/// A pin cannot be removed.
pub fn detach(pin_path: &Path, interface: Option<&str>) -> Result<Vec<String>, KernelError> {
    if !pin_path.exists() {
        return Ok(Vec::new());
    }
    let _lock = lock(pin_path)?;
    let mut removed = Vec::new();
    for pins in list(pin_path)? {
        let name = pins.file_name().unwrap_or_default().to_string_lossy();
        // Not what is somebody else's.
        if interface.is_none_or(|one| one == name) && pins.join(LINK).exists() {
            remove(&pins)?;
            removed.push(name.into_owned());
        }
    }
    if list(pin_path)?.is_empty() {
        remove(pin_path)?;
    }
    removed.sort();
    Ok(removed)
}

/// One command at a time; it ends with the file.
fn lock(pin_path: &Path) -> Result<fs::File, KernelError> {
    let locked = fs::File::open(pin_path).and_then(|directory| {
        directory.lock()?;
        Ok(directory)
    });
    locked.map_err(|source| KernelError::Pin {
        path: pin_path.to_owned(),
        action: "lock it",
        source,
    })
}

#[cfg(test)]
mod tests;
