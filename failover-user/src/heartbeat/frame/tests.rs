use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;

const WAY: Way = Way {
    ifindex: 3,
    egress: 3,
    dst_mac: [2, 0, 0, 0, 0, 2],
    src_mac: [2, 0, 0, 0, 0, 1],
};
const INDEX: u32 = 0x0102;
const PORT: u16 = 5432;
const TOKEN: u64 = 0x8877_6655_ffff_fff0;

struct Row {
    kind: HeartbeatKind,
    sequence: u32,
    from: IpAddr,
    to: IpAddr,
}

impl Row {
    fn new(kind: HeartbeatKind, v4: bool, sequence: u32) -> Self {
        let [from, to] = if v4 {
            ["10.0.0.1", "10.0.0.2"]
        } else {
            ["fd00::1", "fd00::2"]
        };
        Self {
            kind,
            sequence,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    fn frame(&self) -> Frame {
        let words = Words {
            kind: self.kind,
            index: INDEX,
            port: PORT,
            token: TOKEN,
            way: WAY,
            to: self.to,
        };
        Frame::new(&words, self.from).unwrap()
    }

    /// The token and the number of the heartbeat, added.
    fn sum(&self) -> [u8; 8] {
        TOKEN.wrapping_add(u64::from(self.sequence)).to_be_bytes()
    }

    /// The IP header, in front of so many bytes.
    fn check_ip(&self, net: &NetSlice<'_>, length: usize) {
        let [.., b, c, d] = self.sum();
        let udp = self.kind == HeartbeatKind::Udp;
        match net {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(IpAddr::from(header.source), self.from);
                assert_eq!(IpAddr::from(header.destination), self.to);
                assert_eq!(usize::from(header.total_len), IPV4 + length);
                assert!(header.dont_fragment && !header.more_fragments);
                assert_eq!(header.time_to_live, 64);
                assert_eq!(header.dscp.value() << 2, 0xc0);
                let id = if udp { u16::from_be_bytes([c, d]) } else { 0 };
                assert_eq!(header.identification, id);
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                assert_eq!(IpAddr::from(header.source), self.from);
                assert_eq!(IpAddr::from(header.destination), self.to);
                assert_eq!(usize::from(header.payload_length), length);
                assert_eq!(header.traffic_class, 0xc0);
                assert_eq!(header.hop_limit, 64);
                let flow = u32::from_be_bytes([0, b & 0x0f, c, d]);
                assert_eq!(header.flow_label.value(), if udp { flow } else { 0 });
            }
            NetSlice::Arp(_) => panic!("{net:?}"),
        }
    }

    fn check_transport(&self, transport: &TransportSlice<'_>) {
        match transport {
            TransportSlice::Icmpv4(icmp) => {
                let sum = icmp.icmp_type().calc_checksum(icmp.payload());
                assert_eq!(icmp.checksum(), sum);
                self.check_echo(8, icmp.slice());
            }
            TransportSlice::Icmpv6(icmp) => {
                let (IpAddr::V6(from), IpAddr::V6(to)) = (self.from, self.to) else {
                    panic!("{icmp:?}");
                };
                assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
                self.check_echo(128, icmp.slice());
            }
            TransportSlice::Tcp(tcp) => {
                let header = tcp.to_header();
                let sum = match (self.from, self.to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[])
                    }
                    (from, to) => header.calc_checksum_ipv6_raw(octets(from), octets(to), &[]),
                };
                assert_eq!(header.checksum, sum.unwrap());
                assert_eq!(header.source_port, 61_000 + 0x0102);
                assert_eq!(header.destination_port, PORT);
                let [.., a, b, c, d] = self.sum();
                assert_eq!(header.sequence_number.to_be_bytes(), [a, b, c, d]);
                assert!(header.syn && !header.ack && !header.rst && !header.fin);
                assert_eq!(header.window_size, 1024);
            }
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let sum = match (self.from, self.to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[])
                    }
                    (from, to) => header.calc_checksum_ipv6_raw(octets(from), octets(to), &[]),
                };
                assert_eq!(header.checksum, sum.unwrap());
                assert_eq!(header.source_port, 61_000 + 0x0102);
                assert_eq!(header.destination_port, PORT);
                assert_eq!(header.length, 8);
            }
            TransportSlice::Igmp(_) => panic!("{transport:?}"),
        }
    }

    fn check_echo(&self, kind: u8, icmp: &[u8]) {
        assert_eq!(icmp[..2], [kind, 0]);
        assert_eq!(icmp[4..6], TOKEN.to_be_bytes()[6..]);
        assert_eq!(icmp[6..8], self.sequence.to_be_bytes()[2..]);
        let (index, number) = (INDEX.to_le_bytes(), self.sequence.to_le_bytes());
        let words = [&index[..], &number, &TOKEN.to_le_bytes()];
        assert_eq!(icmp[8..], words.concat());
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(_) => panic!("{address}"),
    }
}

/// Patches the frame for `sequence` and has etherparse read it.
fn check(kind: HeartbeatKind, v4: bool, sequence: u32) {
    println!("{kind:?}, v4 {v4}, {sequence:#x}");
    let row = Row::new(kind, v4, sequence);
    let mut frame = row.frame();
    // What an earlier heartbeat left must not show.
    frame.patch(sequence.wrapping_mul(7).wrapping_add(0x0dea_dbee));
    let bytes = frame.patch(sequence);
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let link = packet.link.unwrap().to_header().unwrap();
    let link = link.ethernet2().unwrap();
    assert_eq!((link.source, link.destination), (WAY.src_mac, WAY.dst_mac));
    let ip = if v4 { IPV4 } else { IPV6 };
    row.check_ip(&packet.net.unwrap(), bytes.len() - ETHERNET - ip);
    row.check_transport(&packet.transport.unwrap());
}

#[test]
fn every_kind_and_family() {
    let kinds = [
        HeartbeatKind::Icmp,
        HeartbeatKind::TcpSyn,
        HeartbeatKind::Udp,
    ];
    for kind in kinds {
        for v4 in [true, false] {
            for sequence in [0, 1, 0x0f, 0x10, 0xffff, 0x1_0000, 0x1234_5678, u32::MAX] {
                check(kind, v4, sequence);
            }
        }
    }
}

#[test]
fn only_a_syn_needs_a_reset_before() {
    for kind in [HeartbeatKind::Icmp, HeartbeatKind::Udp] {
        assert!(Row::new(kind, true, 0).frame().reset(5).is_none());
    }
    let mut frame = Row::new(HeartbeatKind::TcpSyn, true, 0).frame();
    let tcp = |bytes: &[u8]| {
        let packet = SlicedPacket::from_ethernet(bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            panic!("{packet:?}");
        };
        tcp.to_header()
    };
    let before = tcp(frame.patch(4));
    let reset = tcp(frame.reset(5).unwrap());
    assert!(reset.rst && !reset.syn && !reset.ack);
    let sum = reset.calc_checksum_ipv4_raw([10, 0, 0, 1], [10, 0, 0, 2], &[]);
    assert_eq!(reset.checksum, sum.unwrap());
    assert_eq!(
        reset.sequence_number,
        before.sequence_number.wrapping_add(1)
    );
    assert!(tcp(frame.patch(5)).syn);
}

#[test]
fn a_datagram_is_never_without_a_checksum() {
    // The port that makes the sum come out as zero.
    let words = |port| Words {
        kind: HeartbeatKind::Udp,
        index: 0,
        port,
        token: 0,
        way: WAY,
        to: "fd00::2".parse().unwrap(),
    };
    let from = "fd00::1".parse().unwrap();
    let checksum = |port| {
        let mut frame = Frame::new(&words(port), from).unwrap();
        let bytes = frame.patch(0);
        u16::from_be_bytes([bytes[60], bytes[61]])
    };
    // The checksum falls by one for each port further.
    let port = checksum(0);
    assert_eq!(checksum(port - 1), 1);
    assert_eq!(checksum(port), 0xffff);
}

#[test]
fn families_do_not_mix() {
    let words = Words {
        kind: HeartbeatKind::Icmp,
        index: 0,
        port: 0,
        token: 0,
        way: WAY,
        to: "fd00::2".parse().unwrap(),
    };
    assert!(Frame::new(&words, "10.0.0.1".parse().unwrap()).is_none());
}
