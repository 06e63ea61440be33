//! What messages of the kernel mean, without a kernel.

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::super::{
    address::{Held, choose},
    links::{Kind, Link},
};
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
    let plain = bare(true);
    let down = bare(false);
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    let ethernet = || LinkAttribute::Address(SRC.to_vec());
    // {description, flags, attributes, link}
    let rows = [
        (
            "plain",
            up,
            vec![ethernet()],
            Link {
                mac: Some(SRC),
                ..plain.clone()
            },
        ),
        ("disabled", LinkFlags::empty(), vec![], down.clone()),
        ("no carrier", LinkFlags::Up, vec![], down),
        (
            "tunnel",
            up,
            vec![LinkAttribute::Address(vec![10, 0, 0, 1])],
            plain.clone(),
        ),
        (
            "loopback",
            up,
            vec![LinkAttribute::Address(vec![0; 6])],
            plain.clone(),
        ),
        (
            "member of a bond",
            up,
            vec![ethernet(), LinkAttribute::Controller(9)],
            Link {
                mac: Some(SRC),
                master: Some(9),
                ..plain.clone()
            },
        ),
        (
            "member no more",
            up,
            vec![LinkAttribute::Controller(0)],
            plain,
        ),
    ];
    for (description, flags, attributes, link) in rows {
        check_link(description, flags, attributes, &link);
    }
}

#[test]
fn kinds_of_links_are_decoded() {
    use InfoKind::{
        Bond, Bridge, IpVlan, MacVlan, Netdevsim, Netkit, SitTun, Team, Veth, Vlan, Vrf, Vxcan,
        Vxlan,
    };
    // {kind, device of IFLA_LINK, in another namespace, kind, device below}
    let rows = [
        (Some(Vlan), Some(7), false, Kind::Vlan, Some(7)),
        (Some(Vlan), Some(7), true, Kind::Vlan, None),
        (Some(MacVlan), Some(7), false, Kind::Other, Some(7)),
        (Some(MacVlan), Some(7), true, Kind::Other, None),
        (Some(IpVlan), Some(7), false, Kind::Other, Some(7)),
        (Some(Vxlan), Some(7), false, Kind::Other, Some(7)),
        (Some(Vxlan), None, false, Kind::Other, None),
        (Some(SitTun), Some(0), false, Kind::Other, None),
        (None, Some(7), false, Kind::Other, Some(7)),
        (Some(Veth), Some(7), false, Kind::Other, None),
        (Some(Netkit), Some(7), false, Kind::Other, None),
        (Some(Vxcan), Some(7), false, Kind::Other, None),
        (Some(Netdevsim), Some(7), false, Kind::Other, None),
        (Some(Bond), None, false, Kind::Group, None),
        (Some(Team), None, false, Kind::Group, None),
        (Some(Bridge), None, false, Kind::Group, None),
        // Its members' packets do not leave by it.
        (Some(Vrf), None, false, Kind::Other, None),
    ];
    for (info, device, elsewhere, kind, lower) in rows {
        let description = format!("{info:?} {device:?} {elsewhere}");
        let mut attributes: Vec<_> = device.into_iter().map(LinkAttribute::Link).collect();
        // What it is as a member comes along, and is not its kind.
        let port = LinkInfo::PortKind(InfoPortKind::Bond);
        let info = info.map(|info| LinkAttribute::LinkInfo(vec![port, LinkInfo::Kind(info)]));
        attributes.extend(info);
        attributes.extend(elsewhere.then_some(LinkAttribute::LinkNetNsId(1)));
        let link = Link {
            kind,
            lower,
            ..bare(true)
        };
        let up = LinkFlags::Up | LinkFlags::LowerUp;
        check_link(&description, up, attributes.clone(), &link);
        attributes.reverse();
        check_link(&description, up, attributes, &link);
    }
}

/// A link with nothing special.
fn bare(up: bool) -> Link {
    Link {
        ifindex: 3,
        name: "eth0".into(),
        mac: None,
        mtu: MTU,
        up,
        kind: Kind::Other,
        lower: None,
        master: None,
    }
}

#[track_caller]
fn check_link(description: &str, flags: LinkFlags, attributes: Vec<LinkAttribute>, link: &Link) {
    let mut message = LinkMessage::default();
    (message.header.index, message.header.flags) = (3, flags);
    message.attributes = attributes;
    assert_eq!(decode::link(&message), None, "{description}: no name");
    message.attributes.extend([
        LinkAttribute::Mtu(MTU),
        LinkAttribute::IfName("eth0".into()),
    ]);
    let event = decode::event(&RouteNetlinkMessage::NewLink(message.clone()));
    assert_eq!(
        event,
        Some(state::Event::Link(link.clone())),
        "{description}"
    );

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
