//! Frames, built by a library that knows nothing of the program: every length
//! and every checksum in them is etherparse's own.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep, TcpHeader,
    TcpOptionElement,
};

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The IP protocol number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// The fields of a frame; what is not here is always the same.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) src_mac: [u8; 6],
    pub(crate) dst_mac: [u8; 6],
    /// VLAN of its tag.
    pub(crate) vlan: Option<u16>,
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// Identification of the IPv4 header.
    pub(crate) identification: u16,
    /// Options of the IPv4 header, a multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) tcp_options: Vec<TcpOptionElement>,
    /// False: the UDP checksum is zero, "not made" (RFC 768).
    pub(crate) checksum: bool,
    pub(crate) payload: Vec<u8>,
    /// Bytes behind the packet, as Ethernet pads short ones.
    pub(crate) padding: Vec<u8>,
}

impl Frame {
    /// An ordinary one from `source` to `destination`.
    pub(crate) fn new(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            src_mac: [6; 6],
            dst_mac: [8; 6],
            vlan: None,
            protocol,
            source,
            destination,
            identification: 0x1234,
            ip_options: Vec::new(),
            tcp_options: Vec::new(),
            checksum: true,
            payload: b"an odd payload.".to_vec(),
            padding: Vec::new(),
        }
    }

    /// The same with other MACs.
    pub(crate) fn macs(mut self, dst_mac: [u8; 6], src_mac: [u8; 6]) -> Self {
        (self.dst_mac, self.src_mac) = (dst_mac, src_mac);
        self
    }

    /// The same to another address and port.
    pub(crate) fn to(mut self, destination: SocketAddr) -> Self {
        self.destination = destination;
        self
    }

    /// The same from another address and port.
    pub(crate) fn from(mut self, source: SocketAddr) -> Self {
        self.source = source;
        self
    }

    /// Where the IP header begins.
    pub(crate) fn l3(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    /// Where the TCP or UDP header begins.
    pub(crate) fn l4(&self) -> usize {
        self.l3()
            + if self.source.is_ipv4() {
                20 + self.ip_options.len()
            } else {
                40
            }
    }

    /// Where its TCP or UDP checksum lies.
    pub(crate) fn l4_checksum(&self) -> usize {
        self.l4()
            + if self.protocol == Protocol::Tcp {
                16
            } else {
                6
            }
    }

    /// The bytes on the wire, with every checksum computed in full.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(self.src_mac, self.dst_mac);
        let step = match self.vlan {
            Some(id) => link
                .single_vlan(id.try_into().expect("twelve bits"))
                .ip(self.ip()),
            None => link.ip(self.ip()),
        };
        let mut bytes = self.behind_ip(step);
        if !self.checksum {
            let at = self.l4_checksum();
            bytes[at..at + 2].fill(0);
        }
        bytes.extend(&self.padding);
        bytes
    }

    fn ip(&self) -> IpHeaders {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header {
                    identification: self.identification,
                    time_to_live: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    options: self
                        .ip_options
                        .as_slice()
                        .try_into()
                        .expect("a legal length"),
                    ..Ipv4Header::default()
                };
                IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    traffic_class: 0x28,
                    next_header: IpNumber(self.protocol.number()),
                    hop_limit: 64,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
            }
            mixed => panic!("of two families: {mixed:?}"),
        }
    }

    fn behind_ip(&self, step: PacketBuilderStep<IpHeaders>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (from, to) = (self.source.port(), self.destination.port());
        let written = match self.protocol {
            Protocol::Tcp => {
                let mut header = TcpHeader::new(from, to, 0x0102_0304, 0xfaf0);
                header.syn = true;
                header.set_options(&self.tcp_options).expect("they fit");
                step.tcp_header(header).write(&mut bytes, &self.payload)
            }
            Protocol::Udp => step.udp(from, to).write(&mut bytes, &self.payload),
        };
        written.expect("a frame that can be built");
        bytes
    }
}

/// A payload with which `frame`'s TCP or UDP checksum computes to zero.
pub(crate) fn payload_for_zero(frame: &Frame) -> Vec<u8> {
    let mut frame = frame.clone();
    frame.payload = vec![0; 2];
    let bytes = frame.bytes();
    // Adding a checksum to what it covers makes the sum all ones.
    bytes[frame.l4_checksum()..][..2].to_vec()
}

/// An identification with which `frame`'s IPv4 header checksum computes to zero.
pub(crate) fn identification_for_zero(frame: &Frame) -> u16 {
    let mut frame = frame.clone();
    frame.identification = 0;
    let bytes = frame.bytes();
    let at = frame.l3() + 10;
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
