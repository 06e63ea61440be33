//! The program and its maps, in a namespace with two interfaces and a client.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use bytemuck::Zeroable as _;
use failover_common::{
    Backend, Be16, Counter, FLOWS, Hold, Holds, Pulse, Reverse, ReverseKey, Service,
    ServiceBackend, ServiceKey, Verdict,
};
use failover_user::dataplane::kernel::{self, Counters, Kernel, KernelMaps, Sizes};
use failover_user::dataplane::{Dataplane, State};
use lab::{Family, Namespace, machine};

use super::case::Case;
use super::frame::{self, CLIENT, PORT};

/// Index of the interface towards the clients.
pub(super) const FRONT: u32 = 11;
/// Index of the interface towards the backends.
pub(super) const BACK: u32 = 12;

const MTU: u32 = 1500;
const FRONT_MAC: [u8; 8] = [2, 0, 0, 0, 1, 1, 0, 0];
const BACK_MAC: [u8; 8] = [2, 0, 0, 0, 2, 1, 0, 0];

/// Room for a flow of every service.
const SIZES: Sizes = Sizes {
    flows: FLOWS,
    nat_flows: FLOWS,
    shares: 0,
};

/// The loaded program.
pub(super) struct World {
    kernel: Kernel,
    dataplane: Dataplane<KernelMaps>,
    counters: Counters,
}

/// Runs `work` in a network of its own, with a program of its own. Nothing is left behind.
pub(super) fn in_world<T: Send>(work: impl FnOnce(&mut World) -> Result<T> + Send) -> Result<T> {
    machine::mount_bpffs()?;
    let namespace = Namespace::new("datapath")?;
    build(&namespace)?;
    let pins = Pins(Path::new(machine::BPFFS).join(namespace.name()));
    namespace.run(|| work(&mut World::load(&pins.0)?))
}

struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        // If it fails, the next run of the lab sweeps them away.
        let _removed = kernel::detach(&self.0);
    }
}

fn build(namespace: &Namespace) -> Result<()> {
    // Before the interfaces: they inherit it.
    namespace.sysctl(&[
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/forwarding", "1"),
    ])?;
    let mut lines = vec!["link set lo up".to_owned()];
    for (name, index, mac, net) in [("front", FRONT, FRONT_MAC, 1), ("back", BACK, BACK_MAC, 2)] {
        let mac = text(mac);
        lines.push(format!(
            "link add {name} index {index} address {mac} mtu {MTU} type veth peer name {name}-peer"
        ));
        lines.push(format!("link set {name}-peer up"));
        lines.push(format!("link set {name} up"));
        for (family, length) in [(Family::V4, "16"), (Family::V6, "64 nodad")] {
            let address = frame::ip(family, net, 1);
            let (length, nodad) = length.split_once(' ').unwrap_or((length, ""));
            lines.push(format!("address add {address}/{length} dev {name} {nodad}"));
        }
    }
    for family in Family::ALL {
        let (client, mac) = (frame::ip(family, 1, CLIENT), text([2, 0, 0, 0, 1, 9, 0, 0]));
        lines.push(format!(
            "neigh add {client} lladdr {mac} dev front nud permanent"
        ));
    }
    lab::iproute::ip(namespace, &lines)
}

fn text(mac: [u8; 8]) -> String {
    let [mac @ .., _, _] = mac;
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl World {
    fn load(pins: &Path) -> Result<Self> {
        let mut kernel = Kernel::open(pins, SIZES)?;
        kernel.load()?;
        let (maps, empty) = kernel.maps()?;
        Ok(Self {
            dataplane: Dataplane::new(maps, empty),
            counters: kernel.counters()?,
            kernel,
        })
    }

    /// Writes what a case needs into the maps, and nothing else.
    pub(super) fn place(&mut self, case: &Case) -> Result<()> {
        // There is no room for the reverse entries of two large worlds.
        for state in [State::default(), state(case)] {
            self.dataplane.apply(&state).context("the maps")?;
        }
        Ok(())
    }

    pub(super) fn program(&mut self) -> Result<&Xdp> {
        Ok(self.kernel.program()?)
    }

    pub(super) fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>> {
        Ok(self.counters.verdicts()?)
    }
}

fn state(case: &Case) -> State {
    let scale = case.scale;
    State {
        backends: (0..scale.backends)
            .map(|index| (index, backend(case, index)))
            .collect(),
        services: (0..scale.services).map(|at| service(case, at)).collect(),
        reverse: (0..scale.services).map(|at| reverse(case, at)).collect(),
        ..State::default()
    }
}

/// One with a lease: all its heartbeats are answered.
fn backend(case: &Case, index: u32) -> Backend {
    let address = |address: IpAddr| address.into();
    // The first of every service; see `frame::backends`.
    let is_dead = case.kind.first_dead && index.is_multiple_of(2);
    let [.., high, low] = index.to_be_bytes();
    let mut name = [0; 64];
    name[..4].copy_from_slice(&index.to_be_bytes());
    Backend {
        holds: Holds::NONE.with(Hold::Expired, is_dead).0,
        held_at: u64::from(is_dead),
        passed_at: u64::from(is_dead),
        pulse: Pulse {
            sent: 100,
            answered: 100,
        },
        fall: 3,
        timeout: 800_000,
        witness: index,
        ifindex: BACK,
        dst_mac: [2, 0, 0, 1, high, low, 0, 0],
        src_mac: BACK_MAC,
        address: address(frame::backend(case.family, index)),
        source: address(frame::ip(case.family, 2, 1)),
        mtu: MTU,
        name,
        ..Backend::zeroed()
    }
}

fn service(case: &Case, at: u32) -> (ServiceKey, Service) {
    let key = ServiceKey {
        address: frame::vip(case.family, at).into(),
        port: Be16::new(PORT),
        protocol: case.protocol.number(),
        reserved: [0; 5],
    };
    let mut service = Service {
        forward: case.kind.forward as u8,
        len: 2,
        flows: u8::from(case.keeps_flows()),
        ..Service::zeroed()
    };
    let indices = frame::backends(at, case.scale.backends);
    for (entry, index) in service.backends.iter_mut().zip(indices) {
        *entry = ServiceBackend {
            index,
            port: Be16::new(frame::backend_port(at)),
            ..ServiceBackend::default()
        };
    }
    (key, service)
}

/// Of the first backend, which alone answers: the map has no room for all.
fn reverse(case: &Case, at: u32) -> (ReverseKey, Reverse) {
    let [index, _] = frame::backends(at, case.scale.backends);
    let key = ReverseKey {
        address: frame::backend(case.family, index).into(),
        port: Be16::new(frame::backend_port(at)),
        protocol: case.protocol.number(),
        reserved: [0; 5],
    };
    let reverse = Reverse {
        address: frame::vip(case.family, at).into(),
        port: Be16::new(PORT),
        index,
        ..Reverse::zeroed()
    };
    (key, reverse)
}
