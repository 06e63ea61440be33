//! One machine of the lab, and the faults that can happen to it.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::net::if_::if_nametoindex;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{
    DefaultNla, ErrorMessage, NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkProtoInfoBridge};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::clock;
use crate::iproute::ip;
use crate::machine::prefer_this_thread;
use crate::namespace::Namespace;
use crate::topology::{Family, Plan};
use crate::xdp::{Port, Program};

/// From when a cable is out until the carrier is gone: a card takes milliseconds too.
const CARRIER: Duration = Duration::from_millis(5);

/// A namespace with the interface `eth0` (the director may have `eth1`) on a
/// bridge.
///
/// Each fault is in force when its function returns, and returns the moment just
/// before, [`clock::now_ns`]: what is measured from there is never too short. The
/// kernel serialises changes of the network, so the fault itself comes late while
/// other labs are being built; measure one lab at a time.
pub struct Host {
    pub(crate) plan: Plan,
    pub(crate) namespace: Arc<Namespace>,
    /// The namespace of the bridges, where the other ends of the cables are.
    pub(crate) net: Arc<Namespace>,
    /// `eth0`, unless its XDP program is the agent's.
    pub(crate) eth0: Option<Port>,
}

impl Host {
    /// The name its servers answer with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.plan.name
    }

    /// Its own address; the director's on the client's side.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.plan.address(family)
    }

    /// The namespace it is.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The namespace of the switch that its cables lead to.
    #[must_use]
    pub fn switch(&self) -> &Namespace {
        &self.net
    }

    /// The switch's end of the cable of `eth0`.
    #[must_use]
    pub fn port(&self) -> &'static str {
        self.plan.cables()[0].port
    }

    /// Runs `work` on the host and waits for it. See [`Namespace::run`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work)
    }

    /// A command to run on the host. See [`Namespace::command`].
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Changes the host's own network: lines of `ip -batch`.
    pub fn configure(&self, lines: &[String]) -> Result<()> {
        ip(&self.namespace, lines)
    }

    /// The hardware address of `eth0`, as `ip` prints it.
    pub fn mac(&self) -> Result<String> {
        let output = self
            .command("ip")
            .args(["-json", "link", "show", "eth0"])
            .output()?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let mac = links[0]["address"]
            .as_str()
            .context("ip shows no hardware address")?;
        Ok(mac.to_owned())
    }

    /// Pulls the cable out of the switch: the port on the bridge forwards no more,
    /// then goes down, and `eth0` loses its carrier.
    pub fn cut_link(&self) -> Result<u64> {
        self.cut_link_announced(&AtomicU64::new(0))
    }

    /// [`Host::cut_link`] for another thread that has to act a set time after it:
    /// `moment` becomes what is returned as soon as it is known, which is before
    /// the kernel is done.
    pub fn cut_link_announced(&self, moment: &AtomicU64) -> Result<u64> {
        self.set_port(false, moment)
    }

    /// Plugs the cable in again.
    pub fn restore_link(&self) -> Result<u64> {
        self.set_port(true, &AtomicU64::new(0))
    }

    /// The host hangs: everything that arrives is dropped without a sound. Its
    /// link stays up. Not for the director, whose XDP program is the agent's.
    pub fn freeze(&self) -> Result<u64> {
        self.swap(Program::Freeze)
    }

    /// The end of [`Host::freeze`].
    pub fn thaw(&self) -> Result<u64> {
        self.swap(Program::Pass)
    }

    /// Gives `eth0` a new hardware address, which the host announces as a
    /// machine with a replaced card would, and returns it.
    pub fn change_mac(&self) -> Result<String> {
        let mut octets = old_octets(&self.mac()?)?;
        // Another unicast address, still locally administered.
        octets[5] = octets[5].wrapping_add(1);
        let mac = octets.map(|octet| format!("{octet:02x}")).join(":");
        ip(&self.namespace, &[format!("link set eth0 address {mac}")])?;
        Ok(mac)
    }

    fn swap(&self, program: Program) -> Result<u64> {
        let port = self
            .eth0
            .as_ref()
            .context("eth0 of this host has another program")?;
        self.namespace.run(|| {
            // Or others are let before. The thread ends with this.
            prefer_this_thread();
            let before = clock::now_ns();
            port.swap(program)?;
            Ok(before)
        })
    }

    /// By netlink, not by a process, whose start would take longer than the
    /// takeover that is measured from here; prepared, so that nothing but the system
    /// call is between the moment and the fault.
    fn set_port(&self, up: bool, moment: &AtomicU64) -> Result<u64> {
        let port = self.port();
        let switched = self.net.run(|| {
            let index = if_nametoindex(port)?;
            let link = LinkUnspec::new_with_index(index);
            let mut requests = vec![RouteNetlinkMessage::SetLink(
                if up { link.up() } else { link.down() }.build(),
            )];
            if !up {
                // A cable is out at once. The kernel takes some hundred microseconds of
                // every CPU to bring a port down, and lets packets through meanwhile.
                requests.insert(0, RouteNetlinkMessage::SetLink(disable(index)));
            }
            let requests: Vec<_> = requests.into_iter().map(encode).collect();
            let socket = Socket::new(NETLINK_ROUTE)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Or others are let before. The thread ends with this.
            prefer_this_thread();
            let before = clock::now_ns();
            moment.store(before, Ordering::Release);
            for (number, request) in requests.iter().enumerate() {
                if number > 0 {
                    thread::sleep(CARRIER);
                }
                socket.send(request, 0)?;
                acknowledged(&socket)?;
            }
            anyhow::Ok(before)
        });
        switched.with_context(|| format!("cannot switch the port of {}", self.name()))
    }
}

/// Has a port of a bridge forward nothing, as `bridge link set dev PORT state 0` does.
fn disable(index: u32) -> LinkMessage {
    /// `IFLA_BRPORT_STATE` and `BR_STATE_DISABLED` (`linux/if_link.h`, `linux/if_bridge.h`).
    const STATE: u16 = 1;
    const DISABLED: u8 = 0;
    let state = DefaultNla::new(STATE, vec![DISABLED]);
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    message.attributes.push(LinkAttribute::ProtoInfoBridge(vec![
        LinkProtoInfoBridge::Other(state),
    ]));
    message
}

/// A request that the kernel acknowledges.
fn encode(request: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes the kernel's answer to one request.
fn acknowledged(socket: &Socket) -> Result<()> {
    let (answer, _) = socket.recv_from_full()?;
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
    match message.payload {
        NetlinkPayload::Error(ErrorMessage { code: None, .. }) => Ok(()),
        NetlinkPayload::Error(error) => Err(error.to_io().into()),
        other => bail!("the kernel answers {other:?}"),
    }
}

fn old_octets(mac: &str) -> Result<[u8; 6]> {
    let octets: Vec<u8> = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16))
        .collect::<Result<_, _>>()
        .with_context(|| format!("{mac} is no hardware address"))?;
    octets
        .try_into()
        .ok()
        .with_context(|| format!("{mac} is no Ethernet address"))
}
