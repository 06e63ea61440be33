//! The program in the kernel, with maps that hold a little of everything.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, HashMap, Map, MapData, ProgramArray, RingBuf};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use bytemuck::Zeroable as _;
use failover_common::{
    Action, Address, Backend, BackendCounters, Counter, Flow, FlowKey, LAYOUT, NatFlow, NatKey,
    News, Pair, Stage, Verdict,
};
use failover_user::dataplane::kernel::{self, Counters, Kernel, KernelMaps, Sizes, Syns};
use failover_user::dataplane::{Maps, State};
use failover_user::heartbeat::Rescue;
use lab::{Family, Namespace, machine};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::frame::Protocol;
use crate::fuzz::Recorder;
use crate::mortals::{self, MORTALS};
use crate::network::{self, BACK, FRONT, ip, mac, padded};
use crate::services;

/// A server of the world: its place in the map, of IPv4; IPv6 has its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    index: u32,
    pub(crate) net: u8,
    pub(crate) host: u8,
    held_at: u64,
    resolved: bool,
    /// Longest packet on the way to it.
    pub(crate) mtu: u32,
    /// Whether we have an address towards it.
    has_source: bool,
}

pub(crate) const PRIMARY: Server = Server::new(1, 2, 11, 0);
pub(crate) const STANDBY: Server = Server::new(2, 2, 12, 0);
pub(crate) const HAIRPIN: Server = Server::new(3, 1, 31, 0);
pub(crate) const HELD_FIRST: Server = Server::new(4, 2, 13, 100);
pub(crate) const HELD_LAST: Server = Server::new(5, 2, 14, u64::MAX);
pub(crate) const HELD_BETWEEN: Server = Server::new(6, 2, 15, 200);
pub(crate) const HELD_WITH_IT: Server = Server::new(7, 2, 16, 200);
pub(crate) const UNRESOLVED: Server = Server::new(8, 2, 17, 0).unresolved();
/// A tunnel to it has room for what every IPv6 host sends, by whichever headers.
pub(crate) const NARROW: Server = Server::new(17, 2, 18, 0).mtu(1400);
/// A tunnel to it has not.
pub(crate) const TIGHT: Server = Server::new(18, 2, 19, 0).mtu(1299);
pub(crate) const SOURCELESS: Server = Server::new(19, 2, 20, 0).sourceless();
const SERVERS: [Server; 11] = [
    PRIMARY,
    STANDBY,
    HAIRPIN,
    HELD_FIRST,
    HELD_LAST,
    HELD_BETWEEN,
    HELD_WITH_IT,
    UNRESOLVED,
    NARROW,
    TIGHT,
    SOURCELESS,
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
            mtu: 1500,
            has_source: true,
        }
    }

    /// The same at the end of another way.
    const fn mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }

    /// The same where the kernel knows no address of ours.
    const fn sourceless(self) -> Self {
        Self {
            has_source: false,
            ..self
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
            source: if self.has_source {
                ip(family, self.net, 1).into()
            } else {
                Address::default()
            },
            mtu: self.mtu,
            ..Backend::zeroed()
        }
    }
}

/// Few, so that a flood is soon more than there is room for.
pub(crate) const FLOWS: u32 = 1024;

/// As many as there are ports.
const NAT_FLOWS: u32 = 16_384;

/// Rows of `SHARES`: one a family.
const SHARES: u32 = 2;

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

/// Works on one CPU.
fn on<T>(cpu: u32, work: impl FnOnce() -> T) -> Result<T> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let mut only = CpuSet::new();
    only.set(usize::try_from(cpu)?)?;
    sched_setaffinity(this, &only)?;
    let result = work();
    sched_setaffinity(this, &allowed)?;
    Ok(result)
}

/// The loaded program and its maps.
pub(crate) struct World {
    kernel: Kernel,
    pub(crate) maps: KernelMaps,
    pub(crate) syns: Rc<Syns>,
    counters: Counters,
    events: RingBuf<MapData>,
    pins: PathBuf,
    /// Once more, to look at.
    pub(crate) backends: Array<MapData, Backend>,
    pub(crate) pairs: Array<MapData, Pair>,
    /// `FLOWS` and `NEW_FLOWS`.
    flows: [HashMap<MapData, FlowKey, Flow>; 2],
    pub(crate) nat: HashMap<MapData, NatKey, NatFlow>,
    /// Whether a frame was sent, and a SYN may be remembered.
    pub(crate) sent: bool,
}

/// Runs `work` inside a network of its own, with a program of its own. Nothing
/// is left behind, also by a panic.
pub(crate) fn in_world(work: impl FnOnce(&mut World) -> Result<()> + Send) -> Result<()> {
    in_namespace(|pins| {
        let mut world = World::load(pins)?;
        place(&mut world.maps)?;
        for family in Family::ALL {
            for server in MORTALS {
                let backend = server.backend(family);
                world.maps.set_backend(server.index(family), &backend);
            }
            for protocol in Protocol::ALL {
                mortals::place(&mut world.maps, family, protocol)?;
            }
        }
        work(&mut world)
    })
}

/// The same where nothing lives or dies, and what the maps hold.
pub(crate) fn in_still_world(
    work: impl FnOnce(&mut World, State) -> Result<()> + Send,
) -> Result<()> {
    in_namespace(|pins| {
        let mut world = World::load(pins)?;
        let mut recorder = Recorder::default();
        place(&mut world.maps)?;
        place(&mut recorder)?;
        work(&mut world, recorder.0)
    })
}

fn in_namespace(work: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
    machine::require_root()?;
    machine::mount_bpffs()?;
    let namespace = Namespace::new("packets")?;
    network::build(&namespace)?;
    let pins = Pins(Path::new(machine::BPFFS).join(namespace.name()));
    namespace.run(|| work(&pins.0))
}

/// Everything but [`MORTALS`] and their services.
fn place(maps: &mut impl Maps) -> Result<()> {
    for family in Family::ALL {
        for server in SERVERS {
            maps.set_backend(server.index(family), &server.backend(family));
        }
        for protocol in Protocol::ALL {
            services::place(maps, family, protocol)?;
        }
    }
    Ok(())
}

/// The CPU on which [`World::run`] runs the program.
pub(crate) fn cpu() -> u32 {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("of this thread");
    let cpus = 0..u32::try_from(CpuSet::count()).expect("a few hundred");
    let mut cpus = cpus.filter(|cpu| allowed.is_set(*cpu as usize) == Ok(true));
    cpus.next().expect("it runs somewhere")
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
        let mut kernel = Kernel::open(
            pins,
            Sizes {
                flows: FLOWS,
                nat_flows: NAT_FLOWS,
                shares: SHARES,
            },
        )?;
        kernel.load()?;
        let (maps, _empty) = kernel.maps()?;
        Ok(Self {
            maps,
            syns: Rc::new(kernel.syns()?),
            counters: kernel.counters()?,
            events: kernel.events()?,
            backends: array(pins, "BACKENDS")?,
            pairs: array(pins, "PAIRS")?,
            flows: [lru(pins, "FLOWS")?, lru(pins, "NEW_FLOWS")?],
            nat: lru(pins, "NAT_FLOWS")?,
            sent: false,
            pins: pins.to_owned(),
            kernel,
        })
    }

    /// Runs the program on a frame that came in by the interface `ingress`.
    pub(crate) fn run(&mut self, frame: &[u8], ingress: u32) -> Result<Outcome> {
        let length = u32::try_from(frame.len())?;
        self.run_in(frame, &context(length, ingress, 0), length)
    }

    /// The same with `taken` bytes of the room in front of the frame in use by somebody
    /// else, as metadata: a multiple of four, at most 216.
    pub(crate) fn run_taken(&mut self, frame: &[u8], ingress: u32, taken: u8) -> Result<Outcome> {
        let length = u32::try_from(frame.len())?;
        let all = [&vec![0; taken.into()], frame].concat();
        let mut context = context(length + u32::from(taken), ingress, 0);
        context[..4].copy_from_slice(&u32::from(taken).to_ne_bytes());
        self.run_in(&all, &context, length)
    }

    fn run_in(&mut self, frame: &[u8], context: &[u8], length: u32) -> Result<Outcome> {
        let before = self.counters.verdicts()?;
        let mut out = vec![0; frame.len() + 256];
        let program = self.kernel.program()?;
        let result = on(cpu(), || {
            program.test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(context),
                ..TestRunOptions::new()
            })
        })?
        .with_context(|| format!("{length} bytes"))?;
        out.truncate(result.data_size_out as usize);
        let verdict = only_change(&before, &self.counters.verdicts()?, length)?;
        let action = result.return_value;
        ensure!(
            action == number(verdict.action()),
            "{verdict:?} came with the action {action}"
        );
        let outcome = Outcome {
            verdict,
            frame: out,
        };
        self.sent |= outcome.sent();
        Ok(outcome)
    }

    /// Nobody has a flow, nor a port.
    pub(crate) fn forget_flows(&mut self) -> Result<()> {
        for map in &mut self.flows {
            clear(map)?;
        }
        clear(&mut self.nat)
    }

    /// Changes what is known of a flow.
    pub(crate) fn change_flow(&mut self, key: &FlowKey, change: impl Fn(&mut Flow)) -> Result<()> {
        for map in &mut self.flows {
            if let Ok(mut flow) = map.get(key, 0) {
                change(&mut flow);
                map.insert(key, flow, 0)?;
            }
        }
        Ok(())
    }

    /// What is known of a flow.
    pub(crate) fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.iter().find_map(|map| map.get(key, 0).ok())
    }

    /// Takes away what the entry goes on to.
    pub(crate) fn remove_stages(&mut self) -> Result<()> {
        let mut entries = std::fs::read_dir(&self.pins)?.flatten();
        let pin = entries.find(|entry| entry.file_name().to_string_lossy().starts_with("stages-"));
        let pin = pin.context("no pin of the stages")?.path();
        let mut stages = ProgramArray::try_from(Map::ProgramArray(MapData::from_pin(pin)?))?;
        for stage in Stage::ALL {
            stages.clear_index(&(stage as u32))?;
        }
        Ok(())
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

    /// What a sender repeats SYNs with.
    pub(crate) fn rescue(&self) -> Result<Rescue> {
        let (syns, services) = (self.kernel.syns()?, self.maps.services());
        Ok(Rescue::new(self.maps.entries(), syns, services))
    }

    /// The news since the last call.
    pub(crate) fn events(&mut self) -> Vec<News> {
        news(&mut self.events)
    }

    /// The parts, for several threads.
    pub(crate) fn parts(&mut self) -> Result<(&Xdp, &mut KernelMaps, &mut RingBuf<MapData>)> {
        let program = self.kernel.program()?;
        Ok((program, &mut self.maps, &mut self.events))
    }
}

/// The news since the last call.
pub(crate) fn news(events: &mut RingBuf<MapData>) -> Vec<News> {
    let mut news = Vec::new();
    while let Some(item) = events.next() {
        news.push(bytemuck::pod_read_unaligned(&item));
    }
    news
}

/// `struct xdp_md` (linux/bpf.h) of a frame: data, `data_end`, `data_meta`,
/// `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
pub(crate) fn context(length: u32, ingress: u32, queue: u32) -> Vec<u8> {
    let words = [0, length, 0, ingress, queue, 0].map(u32::to_ne_bytes);
    words.as_flattened().to_vec()
}

fn lru<K: aya::Pod, V: aya::Pod>(pins: &Path, name: &str) -> Result<HashMap<MapData, K, V>> {
    let pin = pins.join(format!("layout-{LAYOUT}")).join(name);
    Ok(Map::LruHashMap(MapData::from_pin(pin)?).try_into()?)
}

fn clear<K: aya::Pod, V: aya::Pod>(map: &mut HashMap<MapData, K, V>) -> Result<()> {
    for key in map.keys().collect::<Result<Vec<_>, _>>()? {
        map.remove(&key)?;
    }
    Ok(())
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
