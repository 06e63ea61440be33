//! The program in the kernel, with maps that hold a little of everything.
//!
//! The services have the same ports over IPv4 and IPv6, TCP and UDP.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, RingBuf};
use aya::programs::{TestRun as _, TestRunOptions};
use bytemuck::Zeroable as _;
use failover_common::{
    Action, Backend, BackendCounters, Be16, Counter, Forward, LAYOUT, MAX_BACKENDS, News, Pair,
    Reverse, ReverseKey, Service, ServiceBackend, ServiceKey, Verdict,
};
use failover_user::dataplane::Maps as _;
use failover_user::dataplane::kernel::{self, Counters, Kernel, KernelMaps, Syns};
use lab::{Family, Namespace, machine};

use crate::frame::Protocol;
use crate::mortals::{self, MORTALS};
use crate::network::{self, BACK, FRONT, ip, mac, padded};

/// Host in net 1 of the VIP whose services have ports, [`Port`].
pub(crate) const VIP: u8 = 100;
/// Host in net 1 of the VIP of every port, served by [`STANDBY`].
pub(crate) const VIP_EVERY_PORT: u8 = 101;
/// A port of [`VIP_EVERY_PORT`] with a service of its own, served by [`PRIMARY`].
pub(crate) const OWN_PORT: u16 = 99;
/// A port of [`STANDBY`] with a reverse entry of its own, beside that of every port.
pub(crate) const OWN_REVERSE: u16 = 98;

/// Services of [`VIP`]; the number is the port. A backend's port is 1000 higher.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// `nat`, to another port.
    Nat = 1000,
    /// `nat`, to the same port.
    NatKept = 1001,
    /// `nat`, to a backend in the client's own network.
    Hairpin = 1002,
    /// `dsr`.
    Dsr = 1003,
    /// `dsr`, to a backend in the client's own network.
    DsrHairpin = 1004,
    /// The first backend is held, [`PRIMARY`] is the second.
    FirstHeld = 1005,
    /// Every backend is held, [`HELD_LAST`] the last.
    AllHeld = 1006,
    /// Every backend is held since the same moment, [`HELD_BETWEEN`] is the first.
    HeldAtOnce = 1007,
    /// The backend's next hop is not known.
    Unresolved = 1008,
    /// No backends.
    Empty = 1009,
    /// A backend that the map cannot hold.
    BeyondMap = 1010,
    /// The same, and [`PRIMARY`].
    BeyondMapFirst = 1011,
}

/// A server of the world: its place in the map, of IPv4; IPv6 has its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    index: u32,
    pub(crate) net: u8,
    pub(crate) host: u8,
    held_at: u64,
    resolved: bool,
}

pub(crate) const PRIMARY: Server = Server::new(1, 2, 11, 0);
pub(crate) const STANDBY: Server = Server::new(2, 2, 12, 0);
pub(crate) const HAIRPIN: Server = Server::new(3, 1, 31, 0);
pub(crate) const HELD_FIRST: Server = Server::new(4, 2, 13, 100);
pub(crate) const HELD_LAST: Server = Server::new(5, 2, 14, u64::MAX);
pub(crate) const HELD_BETWEEN: Server = Server::new(6, 2, 15, 200);
pub(crate) const HELD_WITH_IT: Server = Server::new(7, 2, 16, 200);
pub(crate) const UNRESOLVED: Server = Server::new(8, 2, 17, 0).unresolved();
const SERVERS: [Server; 8] = [
    PRIMARY,
    STANDBY,
    HAIRPIN,
    HELD_FIRST,
    HELD_LAST,
    HELD_BETWEEN,
    HELD_WITH_IT,
    UNRESOLVED,
];

impl Server {
    /// A `held_at` of 0: it is eligible.
    pub(crate) const fn new(index: u32, net: u8, host: u8, held_at: u64) -> Self {
        Self {
            index,
            net,
            host,
            held_at,
            resolved: true,
        }
    }

    /// The same while nobody knows the way to it.
    pub(crate) const fn unresolved(self) -> Self {
        Self {
            resolved: false,
            ..self
        }
    }

    /// Its index in the `BACKENDS` map.
    pub(crate) fn index(self, family: Family) -> u32 {
        match family {
            Family::V4 => self.index,
            Family::V6 => self.index + 20,
        }
    }

    /// Its entry, without a lease.
    pub(crate) fn backend(self, family: Family) -> Backend {
        let ifindex = if self.net == 1 { FRONT } else { BACK };
        Backend {
            holds: u64::from(self.held_at != 0) << 1,
            ifindex: if self.resolved { ifindex } else { 0 },
            dst_mac: padded(mac(self.net, self.host)),
            src_mac: padded(mac(self.net, 1)),
            held_at: self.held_at,
            address: ip(family, self.net, self.host).into(),
            ..Backend::zeroed()
        }
    }
}

/// What the program did with one frame.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) frame: Vec<u8>,
}

impl Outcome {
    /// Whether it was sent somewhere.
    pub(crate) fn sent(&self) -> bool {
        matches!(self.verdict.action(), Action::Tx | Action::Redirect)
    }
}

/// The loaded program and its maps.
pub(crate) struct World {
    kernel: Kernel,
    pub(crate) maps: KernelMaps,
    pub(crate) syns: Rc<Syns>,
    counters: Counters,
    events: RingBuf<MapData>,
    /// Once more, to look at.
    pub(crate) backends: Array<MapData, Backend>,
    pub(crate) pairs: Array<MapData, Pair>,
}

/// Runs `work` inside a network of its own, with a program of its own. Nothing
/// is left behind, also by a panic.
pub(crate) fn in_world(work: impl FnOnce(&mut World) -> Result<()> + Send) -> Result<()> {
    machine::require_root()?;
    machine::mount_bpffs()?;
    let namespace = Namespace::new("packets")?;
    network::build(&namespace)?;
    let pins = Pins(Path::new(machine::BPFFS).join(namespace.name()));
    namespace.run(|| work(&mut World::load(&pins.0)?))
}

struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        // In a panic already, or the next test run sweeps it away.
        let _removed = kernel::detach(&self.0);
    }
}

impl World {
    fn load(pins: &Path) -> Result<Self> {
        let mut kernel = Kernel::load(pins)?;
        let (maps, _empty) = kernel.maps()?;
        let mut world = Self {
            maps,
            syns: Rc::new(kernel.syns()?),
            counters: kernel.counters()?,
            events: kernel.events()?,
            backends: array(pins, "BACKENDS")?,
            pairs: array(pins, "PAIRS")?,
            kernel,
        };
        for family in Family::ALL {
            for server in SERVERS.into_iter().chain(MORTALS) {
                world
                    .maps
                    .set_backend(server.index(family), &server.backend(family));
            }
            for protocol in Protocol::ALL {
                world.place_services(family, protocol)?;
                world.place_reverse(family, protocol)?;
                mortals::place(&mut world.maps, family, protocol)?;
            }
        }
        Ok(world)
    }

    fn place_services(&mut self, family: Family, protocol: Protocol) -> Result<()> {
        let one = |server: Server, port| vec![(server.index(family), port)];
        let beyond = u32::try_from(MAX_BACKENDS)?;
        let primary = PRIMARY.index(family);
        let all_held = [HELD_FIRST, HELD_LAST, HELD_BETWEEN];
        let at_once = [HELD_BETWEEN, HELD_WITH_IT];
        for (port, backends) in [
            (Port::Nat, one(PRIMARY, 2000)),
            (Port::NatKept, one(PRIMARY, 0)),
            (Port::Hairpin, one(HAIRPIN, 2002)),
            (Port::Dsr, one(PRIMARY, 2003)),
            (Port::DsrHairpin, one(HAIRPIN, 0)),
            (
                Port::FirstHeld,
                [one(HELD_FIRST, 2005), one(PRIMARY, 2005)].concat(),
            ),
            (
                Port::AllHeld,
                all_held.map(|s| (s.index(family), 2006)).into(),
            ),
            (
                Port::HeldAtOnce,
                at_once.map(|s| (s.index(family), 2007)).into(),
            ),
            (Port::Unresolved, one(UNRESOLVED, 2008)),
            (Port::Empty, vec![]),
            (Port::BeyondMap, vec![(beyond, 2010)]),
            (Port::BeyondMapFirst, vec![(beyond, 1), (primary, 2011)]),
        ] {
            let forward = match port {
                Port::Dsr | Port::DsrHairpin => Forward::Dsr,
                _ => Forward::Nat,
            };
            let key = service_key(family, VIP, port as u16, protocol);
            self.maps.set_service(&key, &service(forward, &backends))?;
        }
        for (port, server) in [(0, STANDBY), (OWN_PORT, PRIMARY)] {
            let key = service_key(family, VIP_EVERY_PORT, port, protocol);
            let backends = one(server, 0);
            self.maps
                .set_service(&key, &service(Forward::Nat, &backends))?;
        }
        Ok(())
    }

    fn place_reverse(&mut self, family: Family, protocol: Protocol) -> Result<()> {
        for (server, port, vip, vip_port) in [
            (PRIMARY, 2000, VIP, Port::Nat as u16),
            (HAIRPIN, 2002, VIP, Port::Hairpin as u16),
            (STANDBY, 0, VIP_EVERY_PORT, 0),
            (STANDBY, OWN_REVERSE, VIP, 1098),
        ] {
            let key = ReverseKey {
                address: ip(family, server.net, server.host).into(),
                port: Be16::new(port),
                protocol: protocol.number(),
                reserved: [0; 5],
            };
            let reverse = Reverse {
                address: ip(family, 1, vip).into(),
                port: Be16::new(vip_port),
                passive: 0,
                reserved: 0,
                index: server.index(family),
                pair: 0,
                padding: [0; 4],
            };
            self.maps.set_reverse(&key, &reverse)?;
        }
        Ok(())
    }

    /// Runs the program on a frame that came in by the interface `ingress`.
    pub(crate) fn run(&mut self, frame: &[u8], ingress: u32) -> Result<Outcome> {
        let before = self.counters.verdicts()?;
        let length = u32::try_from(frame.len())?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex,
        // rx_queue_index, egress_ifindex.
        let context = [0, length, 0, ingress, 0, 0].map(u32::to_ne_bytes);
        let mut out = vec![0; frame.len() + 256];
        let result = self
            .kernel
            .program()?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(context.as_flattened()),
                ..TestRunOptions::new()
            })
            .with_context(|| format!("{length} bytes, in by {ingress}"))?;
        out.truncate(result.data_size_out as usize);
        let verdict = only_change(&before, &self.counters.verdicts()?, length)?;
        let action = result.return_value;
        ensure!(
            action == number(verdict.action()),
            "{verdict:?} came with the action {action}"
        );
        Ok(Outcome {
            verdict,
            frame: out,
        })
    }

    /// The counters of every backend.
    pub(crate) fn backend_counters(&self) -> Result<Vec<(u32, BackendCounters)>> {
        let indices = Family::ALL.into_iter().flat_map(|family| {
            SERVERS
                .into_iter()
                .chain(MORTALS)
                .map(move |s| s.index(family))
        });
        indices
            .map(|index| Ok((index, self.counters.backend(index)?)))
            .collect()
    }

    /// The news since the last call.
    pub(crate) fn events(&mut self) -> Vec<News> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            events.push(bytemuck::pod_read_unaligned(&item));
        }
        events
    }
}

/// Key of a service of host `host` in net 1.
pub(crate) fn service_key(family: Family, host: u8, port: u16, protocol: Protocol) -> ServiceKey {
    ServiceKey {
        address: ip(family, 1, host).into(),
        port: Be16::new(port),
        protocol: protocol.number(),
        reserved: [0; 5],
    }
}

/// A service with these backends: index and port.
pub(crate) fn service(forward: Forward, backends: &[(u32, u16)]) -> Service {
    let mut service = Service {
        forward: forward as u8,
        len: u8::try_from(backends.len()).expect("few backends"),
        switched: 0,
        passive: 0,
        reserved: [0; 4],
        silence: 0,
        backends: Default::default(),
    };
    for (entry, &(index, port)) in service.backends.iter_mut().zip(backends) {
        *entry = ServiceBackend {
            index,
            port: Be16::new(port),
            reserved: [0; 2],
            pair: 0,
        };
    }
    service
}

fn array<V: aya::Pod>(pins: &Path, name: &str) -> Result<Array<MapData, V>> {
    let pin = pins.join(format!("layout-{LAYOUT}")).join(name);
    Ok(Map::Array(MapData::from_pin(pin)?).try_into()?)
}

/// The one verdict that was counted in between, as one packet of `length` bytes.
fn only_change(
    before: &[(Verdict, Counter)],
    after: &[(Verdict, Counter)],
    length: u32,
) -> Result<Verdict> {
    let changed: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after)
        .collect();
    let [((verdict, before), (_, after))] = changed.as_slice() else {
        bail!("not one verdict was counted, but {changed:?}");
    };
    ensure!(
        after.packets == before.packets + 1 && after.bytes == before.bytes + u64::from(length),
        "{verdict:?} went from {before:?} to {after:?} by {length} bytes"
    );
    Ok(*verdict)
}

/// Of `enum xdp_action` (linux/bpf.h).
fn number(action: Action) -> u32 {
    match action {
        Action::Drop | Action::Keep => 1,
        Action::Pass => 2,
        Action::Tx => 3,
        Action::Redirect => 4,
    }
}
