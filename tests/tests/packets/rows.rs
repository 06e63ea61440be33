//! The table: what the program must do with which frame.

mod control;
mod elsewhere;
mod extension;
mod flows;
mod forwarded;
mod fragments;
mod fullnat;
mod heartbeat;
mod hop;
mod late;
mod lease;
mod lengths;
mod passed;
mod passive;
mod rescue;
mod returned;
mod scene;
mod switch;
mod tags;
mod too_big;
mod tunnel;

use std::net::SocketAddr;

use failover_common::{News, Verdict};
use lab::Family;

use crate::before::Before;
use crate::frame::{ACK, Frame, Protocol, RST, SYN, Segment};
use crate::network::{BACK, CLIENT, FRONT, at, mac};
use crate::services::VIP;
use crate::state::Change;
use crate::world::Server;

/// One frame, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) description: String,
    /// Index of the interface it comes in by.
    pub(crate) ingress: u32,
    pub(crate) input: Vec<u8>,
    pub(crate) verdict: Verdict,
    /// The frame afterwards, sent or not.
    pub(crate) output: Vec<u8>,
    /// The backend whose counters go up.
    pub(crate) backend: Option<u32>,
    /// What the agent is told, beside what follows from `changes`.
    pub(crate) event: Option<News>,
    /// What the maps hold before.
    pub(crate) before: Before,
    /// What changes in them.
    pub(crate) changes: Vec<Change>,
}

impl Row {
    /// `input` is sent on as `output`, on the account of `backend`.
    fn sent(
        description: impl Into<String>,
        ingress: u32,
        input: &Frame,
        verdict: Verdict,
        output: &Frame,
        backend: u32,
    ) -> Self {
        Self {
            output: output.bytes(),
            backend: Some(backend),
            ..Self::unchanged(description, ingress, input.bytes(), verdict)
        }
    }

    /// `input` is passed or dropped as it is.
    fn unchanged(
        description: impl Into<String>,
        ingress: u32,
        input: Vec<u8>,
        verdict: Verdict,
    ) -> Self {
        Self {
            description: description.into(),
            ingress,
            output: input.clone(),
            input,
            verdict,
            backend: None,
            event: None,
            before: Before::default(),
            changes: Vec::new(),
        }
    }
}

/// Every row.
pub(crate) fn all() -> Vec<Row> {
    [
        forwarded::rows(),
        returned::rows(),
        passed::rows(),
        heartbeat::rows(),
        rescue::rows(),
        late::rows(),
        lease::rows(),
        passive::rows(),
        tunnel::rows(),
        too_big::rows(),
        hop::rows(),
        fragments::rows(),
        extension::rows(),
        control::rows(),
        lengths::rows(),
        tags::rows(),
        elsewhere::rows(),
        flows::rows(),
        fullnat::rows(),
        switch::rows(),
    ]
    .concat()
}

/// Every family with every protocol.
fn kinds() -> impl Iterator<Item = (Family, Protocol)> {
    Family::ALL
        .into_iter()
        .flat_map(|family| Protocol::ALL.map(|protocol| (family, protocol)))
}

/// The client's socket.
fn client(family: Family) -> SocketAddr {
    at(family, 1, CLIENT, 40_000)
}

/// From the client to a port of [`VIP`].
fn request(family: Family, protocol: Protocol, port: u16) -> Frame {
    Frame::new(protocol, client(family), at(family, 1, VIP, port))
}

/// `frame` with the MACs of the way to `server`, one hop further.
fn towards(server: Server, frame: Frame) -> Frame {
    further(frame).macs(mac(server.net, server.host), mac(server.net, 1))
}

/// A router takes one from TTL or hop limit.
pub(crate) fn further(frame: Frame) -> Frame {
    Frame {
        hop_limit: frame.hop_limit - 1,
        ..frame
    }
}

/// `frame` with the MACs of the way to the client of net `net`, one hop further; the
/// VLAN of net 5 has the MAC of the interface it is on.
fn to_client(net: u8, frame: Frame) -> Frame {
    let own = if net == 5 { 1 } else { net };
    further(frame).macs(mac(net, CLIENT), mac(own, 1))
}

/// The reset that answers a segment (RFC 9293, section 3.5.2), by the way it came; what was
/// longer stays behind it as padding.
fn reset_of(input: &Frame) -> Vec<u8> {
    reset_in(input, &input.bytes())
}

/// The same, of one that came in as these bytes.
fn reset_in(input: &Frame, bytes: &[u8]) -> Vec<u8> {
    let tcp = input.tcp;
    let (flags, sequence, acknowledgment) = if tcp.flags & ACK != 0 {
        (RST, tcp.acknowledgment, 0)
    } else {
        let next = tcp.sequence.wrapping_add(u32::from(tcp.flags & SYN != 0));
        (RST | ACK, 0, next)
    };
    let reset = Frame {
        src_mac: input.dst_mac,
        dst_mac: input.src_mac,
        vlan: input.vlan,
        tos: input.tos,
        identification: 0,
        ..Frame::segment(flags, input.destination, input.source).numbers(sequence, acknowledgment)
    };
    let reset = Frame {
        tcp: Segment {
            window: 0,
            ..reset.tcp
        },
        ..reset
    };
    let reset = reset.bytes();
    [&reset, &bytes[reset.len()..]].concat()
}

/// The interface by which a server's frames come in.
fn ingress(server: Server) -> u32 {
    if server.net == 1 { FRONT } else { BACK }
}
