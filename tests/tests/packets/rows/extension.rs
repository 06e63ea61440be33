//! IPv6 extension headers (RFC 8200, section 4).

use failover_common::Verdict;
use lab::Family;

use super::{Row, client, ingress, request, to_client, towards};
use crate::frame::{Frame, Protocol};
use crate::network::{FRONT, at};
use crate::pieces::{DESTINATION_OPTIONS, HOP_BY_HOP, ROUTING, fragment, options, with_headers};
use crate::services::{Port, VIP};
use crate::world::PRIMARY;

const FAMILY: Family = Family::V6;
type Header = (u8, Vec<u8>);

pub(super) fn rows() -> Vec<Row> {
    Protocol::ALL
        .into_iter()
        .flat_map(|protocol| [walked(protocol), passed(protocol)].concat())
        .collect()
}

fn walked(protocol: Protocol) -> Vec<Row> {
    let input = request(FAMILY, protocol, Port::Nat as u16);
    let backend = at(FAMILY, PRIMARY.net, PRIMARY.host, 2000);
    let output = towards(PRIMARY, input.clone().to(backend));
    let dsr = request(FAMILY, protocol, Port::Dsr as u16);
    let dsr_output = towards(PRIMARY, dsr.clone());
    let answer = Frame::new(protocol, backend, client(FAMILY));
    let vip = at(FAMILY, 1, VIP, Port::Nat as u16);
    let answer_output = to_client(1, answer.clone().from(vip));
    let six = vec![options(DESTINATION_OPTIONS, 0); 6];
    let chains: [(&str, Vec<Header>); 6] = [
        ("hop-by-hop options", vec![options(HOP_BY_HOP, 0)]),
        ("long options", vec![options(DESTINATION_OPTIONS, 30)]),
        ("a routing header that has done", vec![options(ROUTING, 2)]),
        (
            "three kinds",
            vec![
                options(HOP_BY_HOP, 1),
                options(DESTINATION_OPTIONS, 0),
                options(ROUTING, 0),
            ],
        ),
        (
            "an atomic fragment and options",
            vec![fragment(0, 950), options(DESTINATION_OPTIONS, 0)],
        ),
        ("six headers", six),
    ];
    let ways = [
        (FRONT, Verdict::ForwardedRedirect, &input, &output, "nat"),
        (FRONT, Verdict::ForwardedRedirect, &dsr, &dsr_output, "dsr"),
        (
            ingress(PRIMARY),
            Verdict::ReturnedRedirect,
            &answer,
            &answer_output,
            "answer",
        ),
    ];
    chains
        .iter()
        .flat_map(|(what, chain)| {
            ways.map(|(ingress, verdict, input, output, way)| Row {
                output: with_headers(output, chain),
                backend: Some(PRIMARY.index(FAMILY)),
                ..Row::unchanged(
                    format!("{what}: {way} {protocol:?}"),
                    ingress,
                    with_headers(input, chain),
                    verdict,
                )
            })
        })
        .collect()
}

fn passed(protocol: Protocol) -> Vec<Row> {
    let to_vip = request(FAMILY, protocol, Port::Nat as u16);
    let nobody = request(FAMILY, protocol, 1999);
    let (kind, mut routing) = options(ROUTING, 0);
    routing[3] = 1;
    let mut too_long = with_headers(&to_vip, &[options(DESTINATION_OPTIONS, 0)]);
    too_long[to_vip.l3() + 41] = 200;
    [
        (
            "seven headers",
            with_headers(&to_vip, &vec![options(DESTINATION_OPTIONS, 0); 7]),
            Verdict::ExtensionHeaders,
        ),
        (
            "a routing header that has not done",
            with_headers(&to_vip, &[(kind, routing)]),
            Verdict::ExtensionHeaders,
        ),
        (
            "two fragment headers",
            with_headers(&to_vip, &[fragment(1, 960), fragment(1, 961)]),
            Verdict::ExtensionHeaders,
        ),
        // Its checksum covers the addresses (RFC 4302).
        (
            "an authentication header",
            with_headers(&to_vip, &[options(51, 0)]),
            Verdict::OtherProtocol,
        ),
        (
            "a kind that nobody knows",
            with_headers(&to_vip, &[options(253, 0)]),
            Verdict::OtherProtocol,
        ),
        (
            "no next header",
            with_headers(&to_vip, &[options(59, 0)]),
            Verdict::OtherProtocol,
        ),
        (
            "options longer than the packet",
            too_long,
            Verdict::Malformed,
        ),
        (
            "options, for nobody",
            with_headers(&nobody, &[options(HOP_BY_HOP, 0)]),
            Verdict::NoService,
        ),
    ]
    .into_iter()
    .map(|(what, bytes, verdict)| {
        Row::unchanged(format!("{what}: {protocol:?}"), FRONT, bytes, verdict)
    })
    .collect()
}
