//! Frames, built by a library that knows nothing of the program: every length
//! and every checksum in them is etherparse's own.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    Ethernet2Header, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep,
    TcpHeader, TcpOptionElement,
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

/// TCP flags (RFC 9293, section 3.1).
pub(crate) const FIN: u8 = 1 << 0;
pub(crate) const SYN: u8 = 1 << 1;
pub(crate) const RST: u8 = 1 << 2;
pub(crate) const PSH: u8 = 1 << 3;
pub(crate) const ACK: u8 = 1 << 4;
pub(crate) const URG: u8 = 1 << 5;
pub(crate) const ECE: u8 = 1 << 6;
pub(crate) const CWR: u8 = 1 << 7;

/// What only TCP has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) window: u16,
}

/// The fields of a frame; what is not here is always the same.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) src_mac: [u8; 6],
    pub(crate) dst_mac: [u8; 6],
    /// VLAN of its tag.
    pub(crate) vlan: Option<u16>,
    /// VLAN of a service tag in front of that (802.1ad).
    pub(crate) outer_vlan: Option<u16>,
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// DSCP and ECN.
    pub(crate) tos: u8,
    /// TTL or hop limit.
    pub(crate) hop_limit: u8,
    /// Identification of the IPv4 header, flow label of the IPv6 one.
    pub(crate) identification: u16,
    /// IPv4: whether nobody may cut it.
    pub(crate) dont_fragment: bool,
    /// Options of the IPv4 header, a multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) tcp: Segment,
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
            outer_vlan: None,
            protocol,
            source,
            destination,
            tos: 0x28,
            hop_limit: 64,
            identification: 0x1234,
            dont_fragment: true,
            ip_options: Vec::new(),
            tcp: Segment {
                flags: SYN,
                sequence: 0x0102_0304,
                acknowledgment: 0,
                window: 0xfaf0,
            },
            tcp_options: Vec::new(),
            checksum: true,
            payload: b"an odd payload.".to_vec(),
            padding: Vec::new(),
        }
    }

    /// A TCP segment without data.
    pub(crate) fn segment(flags: u8, source: SocketAddr, destination: SocketAddr) -> Self {
        let mut frame = Self::new(Protocol::Tcp, source, destination);
        frame.tcp.flags = flags;
        frame.payload.clear();
        frame
    }

    /// The same with these numbers.
    pub(crate) fn numbers(mut self, sequence: u32, acknowledgment: u32) -> Self {
        (self.tcp.sequence, self.tcp.acknowledgment) = (sequence, acknowledgment);
        self
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
        match (self.vlan, self.outer_vlan) {
            (None, _) => 14,
            (Some(_), None) => 18,
            (Some(_), Some(_)) => 22,
        }
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

    /// Length of the packet without the Ethernet header and padding.
    pub(crate) fn packet_length(&self) -> usize {
        self.bytes().len() - self.l3() - self.padding.len()
    }

    /// The same with a payload that makes its packet `length` bytes long.
    pub(crate) fn sized(mut self, length: usize) -> Self {
        self.payload.clear();
        let bytes = length - self.packet_length();
        self.payload = (0..=255).cycle().take(bytes).collect();
        self
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
        let mut bytes = self.behind_ip(self.until_ip());
        if !self.checksum {
            let at = self.l4_checksum();
            bytes[at..at + 2].fill(0);
        }
        bytes.extend(&self.padding);
        bytes
    }

    /// Everything in front of the transport header.
    pub(crate) fn until_ip(&self) -> PacketBuilderStep<IpHeaders> {
        let link = PacketBuilder::ethernet2(self.src_mac, self.dst_mac);
        self.behind_tags(link, self.ip())
    }

    /// Its tags, and `ip`.
    pub(crate) fn behind_tags(
        &self,
        link: PacketBuilderStep<Ethernet2Header>,
        ip: IpHeaders,
    ) -> PacketBuilderStep<IpHeaders> {
        let id = |id: u16| id.try_into().expect("twelve bits");
        match (self.vlan, self.outer_vlan) {
            (None, _) => link.ip(ip),
            (Some(inner), None) => link.single_vlan(id(inner)).ip(ip),
            (Some(inner), Some(outer)) => link.double_vlan(id(outer), id(inner)).ip(ip),
        }
    }

    fn ip(&self) -> IpHeaders {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header {
                    dscp: (self.tos >> 2).try_into().expect("six bits"),
                    ecn: (self.tos & 3).try_into().expect("two bits"),
                    identification: self.identification,
                    dont_fragment: self.dont_fragment,
                    time_to_live: self.hop_limit,
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
                    traffic_class: self.tos,
                    flow_label: u32::from(self.identification)
                        .try_into()
                        .expect("twenty bits"),
                    next_header: IpNumber(self.protocol.number()),
                    hop_limit: self.hop_limit,
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
                let Segment {
                    flags,
                    sequence,
                    acknowledgment,
                    window,
                } = self.tcp;
                let has = |flag| flags & flag != 0;
                let mut header = TcpHeader {
                    acknowledgment_number: acknowledgment,
                    fin: has(FIN),
                    syn: has(SYN),
                    rst: has(RST),
                    psh: has(PSH),
                    ack: has(ACK),
                    urg: has(URG),
                    ece: has(ECE),
                    cwr: has(CWR),
                    ..TcpHeader::new(from, to, sequence, window)
                };
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
