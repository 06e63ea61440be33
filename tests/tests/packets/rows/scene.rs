//! A client's connection to a service of mortals.

use std::net::SocketAddr;

use etherparse::TcpOptionElement;
use failover_common::{Signal, Verdict};
use lab::Family;

use super::{Row, client, ingress, to_client, towards};
use crate::before::{Before, Earlier};
use crate::frame::{ACK, CWR, ECE, Frame, RST, SYN, Segment};
use crate::mortals::Offer;
use crate::network::{FRONT, at, mac};
use crate::state::{Change, Entry};
use crate::world::Server;

/// Most bytes of TCP options.
const MAX_OPTIONS: usize = 40;

#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) family: Family,
    pub(super) offer: Offer,
    /// The client's SYN.
    pub(super) syn: Frame,
}

impl Scene {
    /// The service and a SYN that has a bit of everything.
    pub(super) fn new(family: Family, offer: Offer) -> Self {
        let port = if offer.port == 0 { 77 } else { offer.port };
        let to = at(family, 1, offer.vip, port);
        let plain = Frame::segment(SYN | ECE | CWR, client(family), to);
        Self {
            family,
            offer,
            syn: Frame {
                tos: 0x2b,
                hop_limit: 33,
                tcp: Segment {
                    sequence: u32::MAX,
                    window: 4242,
                    ..plain.tcp
                },
                tcp_options: vec![
                    TcpOptionElement::MaximumSegmentSize(1460),
                    TcpOptionElement::SelectiveAcknowledgementPermitted,
                    TcpOptionElement::Timestamp(0x1234_5678, 0),
                    TcpOptionElement::Noop,
                    TcpOptionElement::WindowScale(7),
                ],
                ..plain
            },
        }
    }

    /// The same by another port of the client's.
    pub(super) fn by(mut self, port: u16) -> Self {
        self.syn.source.set_port(port);
        self
    }

    pub(super) fn index(&self, server: Server) -> u32 {
        server.index(self.family)
    }

    pub(super) fn pair(&self, server: Server) -> u32 {
        let mut backends = (self.offer.pair..).zip(self.offer.backends);
        let found = backends.find(|(_, backend)| backend.host == server.host);
        found.expect("one of the service's").0
    }

    /// Where `server` listens.
    pub(super) fn socket(&self, server: Server) -> SocketAddr {
        let port = self.offer.port_on_backend(self.syn.destination.port());
        at(self.family, server.net, server.host, port)
    }

    /// All backends are well, and then this happens.
    pub(super) fn before(&self, earlier: Vec<Earlier>) -> Before {
        let entry = |server: &Server| Entry::new(*server, self.family);
        Before {
            entries: self.offer.backends.iter().map(entry).collect(),
            traffic: Vec::new(),
            earlier,
        }
    }

    /// The SYN comes in and goes to `server`.
    pub(super) fn syn_to(&self, server: Server) -> Earlier {
        let verdict = if ingress(server) == FRONT {
            Verdict::ForwardedTx
        } else {
            Verdict::ForwardedRedirect
        };
        Earlier::Frame(FRONT, self.syn.bytes(), verdict)
    }

    /// `server` refuses it, and it goes to another one.
    pub(super) fn rescued_from(&self, server: Server, verdict: Verdict) -> Earlier {
        Earlier::Frame(ingress(server), self.refusal(server).bytes(), verdict)
    }

    /// The way of a segment from `server` to the client.
    fn answer(&self, server: Server, flags: u8) -> Frame {
        Frame::segment(flags, self.socket(server), self.syn.source)
            .macs(mac(server.net, 1), mac(server.net, server.host))
    }

    /// What `server` says where nobody listens.
    pub(super) fn refusal(&self, server: Server) -> Frame {
        let next = self.syn.tcp.sequence.wrapping_add(1);
        self.answer(server, RST | ACK).numbers(0, next)
    }

    /// What `server` says where somebody does.
    pub(super) fn acceptance(&self, server: Server) -> Frame {
        let next = self.syn.tcp.sequence.wrapping_add(1);
        Frame {
            tcp_options: vec![TcpOptionElement::MaximumSegmentSize(1460)],
            ..self.answer(server, SYN | ACK).numbers(0x9000_0000, next)
        }
    }

    /// The SYN on its way to `server`.
    pub(super) fn sent(&self, server: Server) -> Frame {
        towards(server, self.syn.clone().to(self.socket(server)))
    }

    /// The SYN as it must arrive at `server`, in place of `refusal`.
    pub(super) fn repeated(&self, server: Server, refusal: &Frame) -> Frame {
        let mut repeated = Frame {
            vlan: refusal.vlan,
            identification: 0,
            ip_options: Vec::new(),
            padding: Vec::new(),
            ..self.sent(server)
        };
        let refusal = refusal.bytes();
        let room = repeated.l4() + 20 + MAX_OPTIONS;
        repeated.padding = vec![0; room - repeated.bytes().len()];
        repeated
            .padding
            .extend(refusal.get(room..).unwrap_or_default());
        repeated
    }

    /// `input` goes on to the client as what it is.
    pub(super) fn returned(
        &self,
        what: &str,
        before: Before,
        server: Server,
        input: &Frame,
    ) -> Row {
        let verdict = if ingress(server) == FRONT {
            Verdict::ReturnedTx
        } else {
            Verdict::ReturnedRedirect
        };
        let output = to_client(1, input.clone().from(self.syn.destination));
        Row {
            before,
            ..Row::sent(
                format!("{what}: {:?}", self.family),
                ingress(server),
                input,
                verdict,
                &output,
                self.index(server),
            )
        }
    }

    /// A refused SYN shows that `server` is dead.
    pub(super) fn refused(&self, server: Server) -> Change {
        Change::shown(self.index(server), Signal::Refused, self.pair(server))
    }
}

/// The verdict on what had gone to `from` and goes to `to` now.
pub(super) fn rescued_to(from: Server, to: Server) -> Verdict {
    if from.net == to.net {
        Verdict::RescuedTx
    } else {
        Verdict::RescuedRedirect
    }
}
