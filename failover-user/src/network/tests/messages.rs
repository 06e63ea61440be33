//! What messages of the kernel mean, without a kernel.

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::super::address::{Held, choose};
use super::*;

#[test]
fn the_interface_for_an_address() {
    let present = [
        (1, "10.0.0.1", 8),
        (2, "10.0.0.2", 24),
        (3, "10.0.0.3", 24),
        (4, "fd00::1", 64),
        (5, "0.0.0.0", 0),
    ];
    let present = present.map(|(ifindex, text, length)| Held {
        ifindex,
        address: address(text),
        prefix: address(text),
        length,
        ours: false,
    });
    let check = |text, candidates: &[u32], expected| {
        assert_eq!(
            choose(address(text), candidates, &present),
            expected,
            "{text} {candidates:?}"
        );
    };
    check("10.0.0.9", &[1, 2, 3], Some(2));
    check("10.0.0.9", &[3, 2], Some(3));
    check("10.0.0.9", &[4, 1], Some(1));
    check("10.1.0.9", &[4, 2, 1], Some(1));
    check("192.0.2.1", &[4, 2], Some(4));
    check("192.0.2.1", &[2, 5], Some(5));
    check("fd00::9", &[1, 4], Some(4));
    check("fd00:0:0:1::9", &[1, 4], Some(1));
    check("10.0.0.9", &[], None);
}

#[test]
fn links_are_decoded() {
    let ethernet = || LinkAttribute::Address(SRC.to_vec());
    let vlan = || LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]);
    let veth = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]);
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    // {description, flags, attributes, up, MAC, device below}
    let rows = [
        ("plain", up, vec![ethernet()], true, Some(SRC), None),
        (
            "disabled",
            LinkFlags::empty(),
            vec![ethernet()],
            false,
            Some(SRC),
            None,
        ),
        (
            "no carrier",
            LinkFlags::Up,
            vec![ethernet()],
            false,
            Some(SRC),
            None,
        ),
        (
            "tunnel",
            up,
            vec![LinkAttribute::Address(vec![10, 0, 0, 1])],
            true,
            None,
            None,
        ),
        (
            "loopback",
            up,
            vec![LinkAttribute::Address(vec![0; 6])],
            true,
            None,
            None,
        ),
        (
            "VLAN",
            up,
            vec![ethernet(), LinkAttribute::Link(7), vlan()],
            true,
            Some(SRC),
            Some(7),
        ),
        (
            "VLAN of another namespace",
            up,
            vec![
                vlan(),
                LinkAttribute::Link(7),
                LinkAttribute::LinkNetNsId(1),
            ],
            true,
            None,
            None,
        ),
        (
            "veth",
            up,
            vec![LinkAttribute::Link(7), veth],
            true,
            None,
            None,
        ),
    ];
    for (description, flags, attributes, up, mac, below) in rows {
        let mut message = LinkMessage::default();
        (message.header.index, message.header.flags) = (3, flags);
        message.attributes = attributes;
        assert_eq!(decode::link(&message), None, "{description}: no name");
        message
            .attributes
            .push(LinkAttribute::IfName("eth0".into()));
        let link = state::Link {
            ifindex: 3,
            name: "eth0".into(),
            mac,
            up,
            below,
        };
        let event = decode::event(&RouteNetlinkMessage::NewLink(message.clone()));
        assert_eq!(event, Some(state::Event::Link(link)), "{description}");

        message.header.interface_family = AddressFamily::Bridge;
        for message in [
            RouteNetlinkMessage::NewLink(message.clone()),
            RouteNetlinkMessage::DelLink(message.clone()),
        ] {
            assert_eq!(
                decode::event(&message),
                None,
                "{description}: port of a bridge"
            );
        }
    }
}

/// Any bytes from the socket are events or nothing, never a panic or a loop.
#[test]
fn rubbish_is_no_event() {
    use subscription::events;
    assert!(events(&[]).is_empty());
    assert!(events(&[1, 2, 3]).is_empty());
    assert!(events(&[0; 64]).is_empty());
    assert!(events(&[255; 64]).is_empty());
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        // A plausible header, so that the parser is reached.
        let length = u32::try_from(bytes.len()).unwrap().to_ne_bytes();
        for (byte, value) in bytes
            .iter_mut()
            .zip(length.into_iter().chain([random.u8(16..32), 0]))
        {
            *byte = value;
        }
        events(&bytes);
    }
}
