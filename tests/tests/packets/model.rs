//! What the data path must do with any frame, once more and in plain words: from the RFCs
//! and the list of verdicts in docs/configuration.md, without a line of the program.
//!
//! It knows services whose backends neither live nor die: no leases, nothing that traffic
//! shows. Everything else it knows: bytes in, and what the maps hold; verdict and bytes out.

mod icmp;
mod read;
mod rewrite;
mod route;
mod sum;
mod switch;
mod tunnel;

use std::collections::HashMap;
use std::net::IpAddr;

use failover_common::{
    Address, Backend, Be16, Forward, MAX_BACKENDS, Reverse, ReverseKey, Service, ServiceKey,
    Verdict,
};
use failover_user::dataplane::State;

use self::read::{Datagram, Packet};

/// What may become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) frame: Vec<u8>,
}

/// The maps, and what is remembered of fragments.
pub(crate) struct Model {
    pub(crate) state: State,
    fragments: HashMap<Datagram, First>,
    /// How many first fragments there were.
    firsts: u64,
}

/// What a first fragment says.
#[derive(Clone, Copy, Debug)]
struct First {
    protocol: u8,
    ports: [u16; 2],
    /// Index of the backend it went to.
    index: u32,
    /// Its place among all of them.
    number: u64,
}

/// The table of fragments keeps at least so many of the newest, wherever the kernel begins
/// to clear it.
const KEPT: u64 = 1000;

/// The end of a packet's way that changed nothing.
type Stopped = Verdict;

/// The end of a packet's way: verdict and frame.
type Done = Result<(Verdict, Vec<u8>), Stopped>;

impl Model {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            fragments: HashMap::new(),
            firsts: 0,
        }
    }

    /// What may become of a frame that comes in by the interface `ingress`. More than one:
    /// a limit may be reached, or a fragment forgotten.
    pub(crate) fn expect(&mut self, frame: &[u8], ingress: u32) -> Vec<Expected> {
        let unchanged = |verdict| Expected {
            verdict,
            frame: frame.to_vec(),
        };
        let packet = match read::packet(frame) {
            Ok(packet) => packet,
            Err(verdict) => return vec![unchanged(verdict)],
        };
        let known = self.first_of(&packet);
        let mut ways = vec![known];
        if known.is_some_and(|first| self.firsts - first.number > KEPT) {
            ways.push(None);
        }
        let mut expected = Vec::new();
        for first in ways {
            match self.way(frame, ingress, &packet, first) {
                Ok((verdict, frame)) => {
                    expected.push(Expected { verdict, frame });
                    // What we say ourselves is limited.
                    match verdict {
                        Verdict::HopLimitAnswered => {
                            expected.push(unchanged(Verdict::HopLimitDropped));
                        }
                        Verdict::TunnelTooBigAnswered => {
                            expected.push(unchanged(Verdict::TunnelTooBig));
                        }
                        _ => {}
                    }
                }
                Err(verdict) => expected.push(unchanged(verdict)),
            }
        }
        expected
    }

    fn first_of(&self, packet: &Packet) -> Option<First> {
        let later = packet.fragment.filter(|_| packet.is_headless())?;
        self.fragments.get(&later).copied()
    }

    fn way(&mut self, frame: &[u8], ingress: u32, packet: &Packet, first: Option<First>) -> Done {
        if packet.is_control() {
            return self.control(frame, ingress, packet);
        }
        let mut packet = packet.clone();
        if let Some(first) = first {
            packet.protocol = first.protocol;
            packet.ports = Some(first.ports);
        }
        let ports = packet.ports.unwrap_or_default();
        if let Some(service) = self.service(packet.ip.destination, ports[1], packet.protocol) {
            if packet.ip.hop_limit <= 1 {
                return icmp::time_exceeded(frame, &packet).ok_or(Verdict::HopLimitDropped);
            }
            let (index, port) = match first {
                // It has no port to be rewritten.
                Some(first) => (first.index, 0),
                None => match self.during_switch(frame, &packet, &service) {
                    Some(done) => return done,
                    None => self.serving(&service).ok_or(Verdict::NoBackend)?,
                },
            };
            self.remember(&packet, index);
            let port = if port == 0 { ports[1] } else { port };
            return self.to_backend(frame, ingress, &packet, (&service, index, port));
        }
        let Some(reverse) = self.reverse(packet.ip.source, ports[0], packet.protocol) else {
            if packet.is_headless() {
                return Err(Verdict::Fragment);
            }
            if let Some(datagram) = packet.fragment {
                self.fragments.remove(&datagram);
            }
            return Err(Verdict::NoService);
        };
        self.remember(&packet, reverse.index);
        let next_hop = route::to_client(frame, ingress, &packet)?;
        if packet.ip.hop_limit <= 1 {
            return Err(Verdict::HopLimitPassed);
        }
        let port = if reverse.port == Be16::ZERO {
            ports[0]
        } else {
            reverse.port.get()
        };
        let mut out = frame.to_vec();
        rewrite::source(&mut out, &packet, reverse.address.into(), port);
        Ok(next_hop.send(
            out,
            ingress,
            [Verdict::ReturnedTx, Verdict::ReturnedRedirect],
        ))
    }

    fn to_backend(
        &self,
        frame: &[u8],
        ingress: u32,
        packet: &Packet,
        (service, index, port): (&Service, u32, u16),
    ) -> Done {
        let backend = self.backend(index).ok_or(Verdict::NoBackend)?;
        let next_hop = route::to_backend(&backend)?;
        let mut out = frame.to_vec();
        if service.forward == Forward::Nat as u8 {
            rewrite::destination(&mut out, packet, backend.address.into(), port);
        } else if service.forward == Forward::Dsr as u8 {
            rewrite::one_hop(&mut out, packet.ip.l3);
        } else {
            let gue = service.forward == Forward::Gue as u8;
            match tunnel::send(frame, packet, &backend, gue) {
                Ok(tunnelled) => out = tunnelled,
                Err(Verdict::TunnelTooBig) => {
                    let room = backend.mtu.saturating_sub(tunnel::overhead(&backend, gue));
                    return icmp::too_big(frame, packet, room).ok_or(Verdict::TunnelTooBig);
                }
                Err(verdict) => return Err(verdict),
            }
        }
        Ok(next_hop.send(
            out,
            ingress,
            [Verdict::ForwardedTx, Verdict::ForwardedRedirect],
        ))
    }

    /// ICMP, none of it in fragments.
    fn control(&self, frame: &[u8], ingress: u32, packet: &Packet) -> Done {
        if let Some(reply) = icmp::echo(frame, packet)
            && self.is_vip(packet.ip.destination)
        {
            return Ok((Verdict::EchoAnswered, reply));
        }
        let Some(quote) = icmp::quote(frame, packet) else {
            return Err(Verdict::OtherProtocol);
        };
        let [from, to] = quote.ports;
        if let Some(service) = self.service(quote.ip.source, from, quote.protocol) {
            // There is no answer to an ICMP error (RFC 1122, section 3.2.2).
            if packet.ip.hop_limit <= 1 {
                return Err(Verdict::HopLimitDropped);
            }
            let (index, port) = self.serving(&service).ok_or(Verdict::NoBackend)?;
            if service.forward == Forward::Nat as u8 {
                let backend = self.backend(index).ok_or(Verdict::NoBackend)?;
                let next_hop = route::to_backend(&backend)?;
                let port = if port == 0 { from } else { port };
                let out = icmp::to_backend(frame, packet, &quote, backend.address.into(), port);
                let verdicts = [Verdict::ForwardedTx, Verdict::ForwardedRedirect];
                return Ok(next_hop.send(out, ingress, verdicts));
            }
            return self.to_backend(frame, ingress, packet, (&service, index, 0));
        }
        let Some(reverse) = self.reverse(quote.ip.destination, to, quote.protocol) else {
            return Err(Verdict::OtherProtocol);
        };
        let next_hop = route::to_client(frame, ingress, packet)?;
        if packet.ip.hop_limit <= 1 {
            return Err(Verdict::HopLimitDropped);
        }
        let port = if reverse.port == Be16::ZERO {
            to
        } else {
            reverse.port.get()
        };
        let out = icmp::to_client(frame, packet, &quote, reverse.address.into(), port);
        let verdicts = [Verdict::ReturnedTx, Verdict::ReturnedRedirect];
        Ok(next_hop.send(out, ingress, verdicts))
    }

    fn remember(&mut self, packet: &Packet, index: u32) {
        let (Some(datagram), Some(ports), false) = (packet.fragment, packet.ports, packet.is_later)
        else {
            return;
        };
        self.firsts += 1;
        let first = First {
            protocol: packet.protocol,
            ports,
            index,
            number: self.firsts,
        };
        self.fragments.insert(datagram, first);
    }

    /// A port of its own goes before every port (0).
    fn service(&self, address: IpAddr, port: u16, protocol: u8) -> Option<Service> {
        let at = |port| ServiceKey {
            address: address.into(),
            port: Be16::new(port),
            protocol,
            reserved: [0; 5],
        };
        let services = &self.state.services;
        services.get(&at(port)).or(services.get(&at(0))).copied()
    }

    fn reverse(&self, address: IpAddr, port: u16, protocol: u8) -> Option<Reverse> {
        let at = |port| ReverseKey {
            address: address.into(),
            port: Be16::new(port),
            protocol,
            reserved: [0; 5],
        };
        let reverse = &self.state.reverse;
        reverse.get(&at(port)).or(reverse.get(&at(0))).copied()
    }

    fn is_vip(&self, address: IpAddr) -> bool {
        let key = ServiceKey::of_address(Address::from(address));
        self.state.services.contains_key(&key)
    }

    /// An entry that nobody has written is all zero.
    fn backend(&self, index: u32) -> Option<Backend> {
        ((index as usize) < MAX_BACKENDS).then(|| {
            let known = self.state.backends.get(&index).copied();
            known.unwrap_or_else(bytemuck::Zeroable::zeroed)
        })
    }

    /// Index and port of the first eligible backend, else of the one that was held last.
    fn serving(&self, service: &Service) -> Option<(u32, u16)> {
        let known = service.backends[..usize::from(service.len)]
            .iter()
            .filter_map(|entry| Some((entry, self.backend(entry.index)?)));
        let mut last: Option<(u64, (u32, u16))> = None;
        for (entry, backend) in known {
            let found = (entry.index, entry.port.get());
            if backend.holds == 0 {
                return Some(found);
            }
            if last.is_none_or(|(held_at, _)| backend.held_at > held_at) {
                last = Some((backend.held_at, found));
            }
        }
        last.map(|(_, found)| found)
    }
}
