//! Packets inside others.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder,
    UdpHeader,
};
use failover_common::{Address, GUE_PORT, Verdict};
use lab::Family;

use crate::control::Control;
use crate::frame::{Frame, Protocol};
use crate::network::{FRONT, at, ip, mac};
use crate::rows::further;
use crate::services::{Port, VIP};
use crate::world::{Server, World};

/// How a packet is put into another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    /// Of the outer packet.
    pub(crate) family: Family,
    pub(crate) gue: bool,
    pub(crate) server: Server,
}

impl Tunnel {
    /// Length of all headers in front, bytes.
    pub(crate) fn overhead(self) -> usize {
        let ip = match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        if self.gue { ip + 8 } else { ip }
    }

    /// `input` on its way to the backend, every length and checksum by etherparse.
    pub(crate) fn carry(self, input: &Frame) -> Vec<u8> {
        let further = further(input.clone());
        let inner = &further.bytes()[input.l3()..][..input.packet_length()];
        let no_sum = input.protocol == Protocol::Udp && !input.checksum;
        self.put(input, hash(input, input.protocol.number()), inner, no_sum)
    }

    /// `packet` on its way, which has the tags of `input` and is of its flow. No sum of it
    /// can be known.
    pub(crate) fn carry_odd(self, input: &Frame, packet: &[u8]) -> Vec<u8> {
        self.put(input, hash(input, input.protocol.number()), packet, true)
    }

    /// `message`, one hop further: it has no ports.
    pub(crate) fn carry_message(self, message: &Control) -> Vec<u8> {
        let portless = |mut socket: SocketAddr| {
            socket.set_port(0);
            socket
        };
        let frame = further(message.frame.clone());
        let frame = Frame {
            source: portless(frame.source),
            destination: portless(frame.destination),
            ..frame
        };
        let number = if frame.source.is_ipv4() { 1 } else { 58 };
        let l3 = frame.l3();
        let hash = hash(&frame, number);
        let bytes = Control {
            frame: frame.clone(),
            ..message.clone()
        }
        .bytes();
        self.put(&frame, hash, &bytes[l3..], true)
    }

    fn put(self, input: &Frame, hash: u32, inner: &[u8], no_sum: bool) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(
            mac(self.server.net, 1),
            mac(self.server.net, self.server.host),
        );
        let headers = self.ip(input.tos, hash);
        let step = input.behind_tags(link, headers);
        let mut bytes = Vec::new();

        let written = if self.gue {
            let port = 0xc000 | u16::try_from(hash >> 16).expect("sixteen bits");
            step.udp(port, GUE_PORT).write(&mut bytes, inner)
        } else {
            let protocol = IpNumber(if input.source.is_ipv4() { 4 } else { 41 });
            step.write(&mut bytes, protocol, inner)
        };
        written.expect("a frame that can be built");
        if self.gue && (self.family == Family::V4 || no_sum) {
            let at = input.l3() + self.overhead() - 2;
            bytes[at..at + 2].fill(0);
        }
        bytes.extend(&input.padding);
        bytes
    }

    fn ip(self, tos: u8, hash: u32) -> IpHeaders {
        let source = ip(self.family, self.server.net, 1);
        let destination = ip(self.family, self.server.net, self.server.host);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => IpHeaders::Ipv4(
                Ipv4Header {
                    dscp: (tos >> 2).try_into().expect("six bits"),
                    ecn: (tos & 3).try_into().expect("two bits"),
                    dont_fragment: true,
                    time_to_live: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv4Header::default()
                },
                Ipv4Extensions::default(),
            ),
            (IpAddr::V6(source), IpAddr::V6(destination)) => IpHeaders::Ipv6(
                Ipv6Header {
                    traffic_class: tos,
                    flow_label: (hash & 0xf_ffff).try_into().expect("twenty bits"),
                    hop_limit: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                },
                Ipv6Extensions::default(),
            ),
            mixed => panic!("of two families: {mixed:?}"),
        }
    }
}

/// What spreads the flows, once more: another director, and another version, must send
/// a flow to the same receive queue.
fn hash(frame: &Frame, protocol: u8) -> u32 {
    let (from, to) = (frame.source, frame.destination);
    flow_hash((from.ip(), to.ip()), [from.port(), to.port()], protocol)
}

/// The same of who talks to whom.
pub(crate) fn flow_hash(ends: (IpAddr, IpAddr), ports: [u16; 2], protocol: u8) -> u32 {
    let words = |address: IpAddr| {
        let bytes = Address::from(address).bytes();
        let [low, high] = bytes.as_chunks::<8>().0 else {
            panic!("sixteen bytes");
        };
        [u64::from_ne_bytes(*low), u64::from_ne_bytes(*high)]
    };
    let [s0, s1] = words(ends.0);
    let [d0, d1] = words(ends.1);
    let [source, destination] = ports.map(|port| u64::from(port.swap_bytes()));
    let last = (source | destination << 16) << 8 | u64::from(protocol);
    let factors = [
        0x6a09_e667_f3bc_c909_u64,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x9e37_79b9_7f4a_7c15,
    ];
    let mixed = [s0, s1, d0, d1, last]
        .into_iter()
        .zip(factors)
        .fold(0, |sum, (word, factor)| sum ^ word.wrapping_mul(factor));
    let folded = (mixed ^ mixed >> 32).wrapping_mul(factors[4]);
    u32::try_from(folded >> 32).expect("the upper half")
}

/// From a port of the client to a service.
pub(crate) fn request(family: Family, client_port: u16, port: Port) -> Frame {
    let client = at(family, 1, crate::network::CLIENT, client_port);
    Frame::new(Protocol::Udp, client, at(family, 1, VIP, port as u16))
}

/// A flow keeps its port and label; flows are spread evenly by them.
pub(crate) fn check_spread(world: &mut World) -> Result<()> {
    const FLOWS: u16 = 4096;
    const QUEUES: u16 = 16;
    for (family, service, port_at, label_at) in [
        (Family::V4, Port::Gue, 14 + 20, None),
        (Family::V6, Port::GueOther, 14 + 20, None),
        (Family::V4, Port::GueOther, 14 + 40, Some(14)),
        (Family::V6, Port::Ipip, 0, Some(14)),
    ] {
        let mut ports: HashMap<u16, u16> = HashMap::new();
        let mut labels: HashMap<u32, u16> = HashMap::new();
        for client_port in 0..FLOWS {
            let frame = request(family, 20_000 + client_port, service).bytes();
            let sent = world.run(&frame, FRONT)?.frame;
            ensure!(sent == world.run(&frame, FRONT)?.frame, "a flow was moved");
            if port_at != 0 {
                let port = u16::from_be_bytes([sent[port_at], sent[port_at + 1]]);
                ensure!(port >= 0xc000, "{port} is not a dynamic port");
                *ports.entry(port % QUEUES).or_default() += 1;
            }
            if let Some(at) = label_at {
                let label = u32::from_be_bytes([0, sent[at + 1] & 0xf, sent[at + 2], sent[at + 3]]);
                *labels.entry(label % u32::from(QUEUES)).or_default() += 1;
            }
        }
        // 256 each on average, with a deviation of 16: five of them.
        let even = |counts: Vec<&u16>| {
            let mut counts = counts.into_iter();
            counts.all(|count| (256 - 80..=256 + 80).contains(count))
        };
        let wanted = |there: bool| if there { usize::from(QUEUES) } else { 0 };
        ensure!(
            ports.len() == wanted(port_at != 0) && even(ports.values().collect()),
            "{service:?}: {ports:?}"
        );
        ensure!(
            labels.len() == wanted(label_at.is_some()) && even(labels.values().collect()),
            "{service:?}: {labels:?}"
        );
    }
    Ok(())
}

/// With more and more of the room in front taken, each tunnel works as long as its
/// headers fit, and then not one byte changes. How much there is the kernel knows.
pub(crate) fn check_room(world: &mut World) -> Result<()> {
    let long = |port| request(Family::V4, 40_000, port).sized(1481);
    let short = |port| request(Family::V4, 40_000, port);
    let (sent, told) = (Verdict::ForwardedRedirect, Verdict::TunnelTooBigAnswered);
    let mut rooms = Vec::new();
    for (input, needs, works, fails) in [
        (short(Port::Ipip), 20, sent, Verdict::NoRoom),
        (short(Port::Gue), 28, sent, Verdict::NoRoom),
        (short(Port::IpipOther), 40, sent, Verdict::NoRoom),
        (short(Port::GueOther), 48, sent, Verdict::NoRoom),
        (long(Port::Ipip), 28, told, Verdict::TunnelTooBig),
    ] {
        let frame = input.bytes();
        let mut room = 0;
        for taken in (0..=212).step_by(4) {
            let outcome = world.run_taken(&frame, FRONT, taken)?;
            if outcome.verdict == works && room == usize::from(taken) {
                room += 4;
                continue;
            }
            let taken = usize::from(taken);
            ensure!(
                outcome.verdict == fails && outcome.frame[taken..] == frame,
                "{:?} with {taken} bytes taken: {outcome:?}",
                input.destination
            );
        }
        rooms.push(room + needs);
    }
    ensure!(
        rooms[0] > 100 && rooms.iter().all(|room| *room == rooms[0]),
        "{rooms:?}"
    );
    Ok(())
}

/// Where the packet of a frame begins.
pub(crate) fn l3(frame: &[u8]) -> usize {
    match [frame[12], frame[13], frame[16], frame[17]] {
        [0x81, 0, 0x81, 0] | [0x88, 0xa8, 0x81, 0] => 22,
        [0x81, 0, ..] | [0x88, 0xa8, ..] => 18,
        _ => 14,
    }
}

/// `packet` as `sent` should be: with one hop less, and a checksum that is right if it was.
fn one_hop_further(packet: &[u8], sent: &[u8]) -> Result<Vec<u8>> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return Ok(packet);
    }
    let is_right = |bytes: &[u8]| -> Result<bool> {
        let (header, _) = Ipv4Header::from_slice(bytes)?;
        Ok(header.header_checksum == header.calc_header_checksum())
    };
    ensure!(
        is_right(&packet)? == is_right(sent)?,
        "the checksum of the packet"
    );
    packet[8] -= 1;
    packet[10..12].copy_from_slice(&sent[10..12]);
    Ok(packet)
}

/// Whether `sent` is `frame` inside another packet; then what is in front must be right.
pub(crate) fn is_inside(frame: &[u8], sent: &[u8]) -> Result<bool> {
    let l3 = l3(frame);
    let Some(overhead) = sent.len().checked_sub(frame.len()) else {
        return Ok(false);
    };
    if !matches!(overhead, 20 | 28 | 40 | 48) {
        return Ok(false);
    }
    let inner = one_hop_further(&frame[l3..], &sent[l3 + overhead..])?;
    ensure!(sent[l3 + overhead..] == inner, "the packet itself changed");
    let (headers, udp) = match overhead {
        20 | 28 => {
            let (header, rest) = Ipv4Header::from_slice(&sent[l3..])?;
            let full = header.calc_header_checksum();
            ensure!(header.header_checksum == full, "{header:?}");
            let payload = &rest[..usize::from(header.payload_len()?)];
            let is_udp = header.protocol == IpNumber::UDP;
            ensure!(!is_udp || UdpHeader::from_slice(payload)?.0.checksum == 0);
            (20, is_udp)
        }
        _ => {
            let (header, rest) = Ipv6Header::from_slice(&sent[l3..])?;
            let payload = &rest[..usize::from(header.payload_length)];
            let is_udp = header.next_header == IpNumber::UDP;
            ensure!(
                !is_udp || usize::from(UdpHeader::from_slice(payload)?.0.length) == payload.len()
            );
            (40, is_udp)
        }
    };
    ensure!(overhead == headers + if udp { 8 } else { 0 });
    Ok(true)
}
