//! Two VLAN tags (802.1ad). One is in every row of `forwarded` and `returned`.

use failover_common::Verdict;
use lab::Family;

use super::{Row, kinds, request, to_client, towards};
use crate::frame::{Frame, Protocol};
use crate::network::{CLIENT, FRONT, at};
use crate::services::{Port, VIP};
use crate::world::{HAIRPIN, PRIMARY};

pub(super) fn rows() -> Vec<Row> {
    kinds()
        .flat_map(|(family, protocol)| {
            [0x88a8, 0x8100].map(|outer| both_ways(family, protocol, outer))
        })
        .flatten()
        .chain(too_many())
        .collect()
}

/// `outer` is the type of the outer tag: 802.1ad says 0x88a8, and many switches 0x8100.
fn both_ways(family: Family, protocol: Protocol, outer: u16) -> [Row; 2] {
    let request = Frame {
        vlan: Some(5),
        outer_vlan: Some(6),
        ..request(family, protocol, Port::Nat as u16)
    };
    let backend = at(family, PRIMARY.net, PRIMARY.host, 2000);
    let sent = towards(PRIMARY, request.clone().to(backend));
    let answer = Frame {
        vlan: Some(5),
        outer_vlan: Some(6),
        ..Frame::new(
            protocol,
            at(family, 1, HAIRPIN.host, 2002),
            at(family, 5, CLIENT, 40_000),
        )
    };
    let vip = at(family, 1, VIP, Port::Hairpin as u16);
    let returned = to_client(5, answer.clone().from(vip));
    let what = format!("two tags, {outer:04x}: {family:?} {protocol:?}");
    let mut rows = [
        Row::sent(
            format!("request, {what}"),
            FRONT,
            &request,
            Verdict::ForwardedRedirect,
            &sent,
            PRIMARY.index(family),
        ),
        Row::sent(
            format!("answer, {what}"),
            FRONT,
            &answer,
            Verdict::ReturnedTx,
            &returned,
            HAIRPIN.index(family),
        ),
    ];
    for row in &mut rows {
        for bytes in [&mut row.input, &mut row.output] {
            bytes[12..14].copy_from_slice(&outer.to_be_bytes());
        }
    }
    rows
}

fn too_many() -> Vec<Row> {
    kinds()
        .map(|(family, protocol)| {
            let frame = Frame {
                vlan: Some(5),
                outer_vlan: Some(6),
                ..request(family, protocol, Port::Nat as u16)
            };
            let mut bytes = frame.bytes();
            bytes.splice(12..12, [0x81, 0, 0, 7]);
            let description = format!("three tags: {family:?} {protocol:?}");
            Row::unchanged(description, FRONT, bytes, Verdict::NotIp)
        })
        .collect()
}
