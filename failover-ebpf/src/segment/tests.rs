use etherparse::{PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use failover_common::{Address, Be16, Syn};

use super::{MAX_OPTIONS, repeat, reset};
use crate::{
    frame::Frame as _,
    parse::{Packet, parse},
};

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 2], 40_000);
const BACKEND: ([u8; 4], u16) = ([10, 0, 1, 11], 2000);

/// A frame from the backend to the client: IPv4 or IPv6, of these flags.
fn frame(v6: bool, flags: &str) -> (Vec<u8>, Packet) {
    let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let ip = if v6 {
        ethernet.ipv6(v6_of(BACKEND.0), v6_of(CLIENT.0), 9)
    } else {
        ethernet.ipv4(BACKEND.0, CLIENT.0, 9)
    };
    let mut tcp = ip.tcp(BACKEND.1, CLIENT.1, 7000, 512);
    if flags.contains('S') {
        tcp = tcp.syn();
    }
    if flags.contains('R') {
        tcp = tcp.rst();
    }
    if flags.contains('A') {
        tcp = tcp.ack(9001);
    }
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &[]).unwrap();
    let packet = parse(bytes.as_slice()).unwrap();
    (bytes, packet)
}

fn v6_of(address: [u8; 4]) -> [u8; 16] {
    Address::from_v4(address).bytes()
}

/// Headers and checksums of a frame, by a parser that is not ours.
fn summary(frame: &[u8]) -> String {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        panic!("not TCP");
    };
    let checksum = match sliced.net.as_ref().unwrap() {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum()
            );
            tcp.calc_checksum_ipv4(header.source(), header.destination())
        }
        etherparse::NetSlice::Ipv6(ip) => {
            let header = ip.header();
            tcp.calc_checksum_ipv6(header.source(), header.destination())
        }
        etherparse::NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(tcp.checksum(), checksum.unwrap());
    assert!(
        tcp.payload().is_empty(),
        "padding belongs to the frame only"
    );
    let flags = [(tcp.syn(), 'S'), (tcp.rst(), 'R'), (tcp.ack(), 'A')];
    let flags: String = flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, c)| c)
        .collect();
    format!(
        "{}>{} {flags} {} {}",
        tcp.source_port(),
        tcp.destination_port(),
        tcp.sequence_number(),
        tcp.acknowledgment_number()
    )
}

#[test]
fn a_reset_answers_what_it_is_made_of() {
    for v6 in [false, true] {
        for (flags, expected) in [
            ("SA", "40000>2000 R 9001 0"),
            ("A", "40000>2000 R 9001 0"),
            ("S", "40000>2000 RA 0 7001"),
        ] {
            let (mut bytes, packet) = frame(v6, flags);
            reset(bytes.as_mut_slice(), &packet).unwrap();
            assert_eq!(summary(&bytes), expected, "{flags}, IPv6: {v6}");
            assert_eq!(
                bytes[..12],
                [[1; 6], [2; 6]].concat(),
                "the MACs change places"
            );
        }
    }
}

#[test]
fn a_syn_is_repeated_with_its_options() {
    let mut options = [0; MAX_OPTIONS];
    options[..8].copy_from_slice(&[2, 4, 5, 0xb4, 4, 2, 1, 1]);
    for v6 in [false, true] {
        let syn = Syn {
            client: Address::from_v4(CLIENT.0),
            client_port: Be16::new(CLIENT.1),
            vip: Address::from_v4([10, 0, 1, 12]),
            vip_port: Be16::new(2001),
            sequence: 77_u32.to_be_bytes(),
            window: 4242_u16.to_be_bytes(),
            flags: 2,
            tos: 0x10,
            hop_limit: 33,
            options_len: 8,
            options,
            ..bytemuck::Zeroable::zeroed()
        };
        let (mut bytes, packet) = frame(v6, "RA");
        assert!(repeat(bytes.as_mut_slice(), &packet, &syn).is_none());
        bytes.resize(packet.l4 + 60, 0xee);
        repeat(bytes.as_mut_slice(), &packet, &syn).unwrap();
        assert_eq!(summary(&bytes), "40000>2001 S 77 0", "IPv6: {v6}");
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
            panic!("not TCP");
        };
        assert_eq!(tcp.window_size(), 4242);
        let found: Vec<_> = tcp.options_iterator().map(Result::unwrap).collect();
        assert_eq!(
            found[..2],
            [
                TcpOptionElement::MaximumSegmentSize(1460),
                TcpOptionElement::SelectiveAcknowledgementPermitted
            ]
        );
    }
}

#[test]
fn ip_options_are_written_over() {
    let (bytes, packet) = frame(false, "SA");
    // A word of options between the headers.
    let mut longer = [&bytes[..packet.l4], &[1; 4], &bytes[packet.l4..]].concat();
    longer[packet.l3] = 0x46;
    longer[packet.l3 + 3] += 4;
    let packet = parse(longer.as_slice()).unwrap();
    reset(longer.as_mut_slice(), &packet).unwrap();
    assert_eq!(summary(&longer), "40000>2000 R 9001 0");
    assert_eq!(longer.as_slice().length(), bytes.len() + 4);
}
