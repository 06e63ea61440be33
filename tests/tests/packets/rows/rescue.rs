//! SYN rescue: a client's SYN that a backend refuses goes to the next one.

use std::convert::identity;

use etherparse::TcpOptionElement;
use failover_common::{HEARTBEAT_PORT, Hold, Verdict};
use lab::Family;

use super::scene::{Scene, rescued_to};
use super::{Row, ingress};
use crate::before::{Before, Earlier};
use crate::frame::{Frame, RST};
use crate::mortals::{
    ACROSS, ALONE, EVERY_PORT, FIRST, IN_RANGE, LEASED, PASSIVE, SECOND, THIRD, THREE,
};
use crate::network::{BACK, CLIENT, FRONT, at};
use crate::state::{Change, Entry};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                every_service(family),
                shapes(family),
                in_turn(family),
                nobody_else(family),
                forged(family),
                not_remembered(family),
            ]
            .concat()
        })
        .collect()
}

/// `refusal`, of `from`, becomes the SYN to `to`.
fn rescued(
    what: &str,
    scene: &Scene,
    before: Before,
    refusal: &Frame,
    (from, to): (Server, Server),
) -> Row {
    let output = scene.repeated(to, refusal);
    Row {
        before,
        changes: vec![scene.refused(from), Change::Passed(scene.index(from))],
        ..Row::sent(
            format!("rescue: {what}: {:?}", scene.family),
            ingress(from),
            refusal,
            rescued_to(from, to),
            &output,
            scene.index(to),
        )
    }
}

/// The first backend of the service refuses the SYN, the second one gets it.
fn to_the_second(what: &str, scene: &Scene, change: impl FnOnce(Frame) -> Frame) -> Row {
    let [first, second, ..] = scene.offer.backends else {
        panic!("a service of one");
    };
    let before = scene.before(vec![scene.syn_to(*first)]);
    let refusal = change(scene.refusal(*first));
    rescued(what, scene, before, &refusal, (*first, *second))
}

fn every_service(family: Family) -> Vec<Row> {
    let in_range = HEARTBEAT_PORT + 9;
    [
        ("same network", Scene::new(family, PASSIVE)),
        ("another network", Scene::new(family, ACROSS)),
        ("every port", Scene::new(family, EVERY_PORT)),
        ("a port of heartbeats", Scene::new(family, IN_RANGE)),
        (
            "from a port of heartbeats",
            Scene::new(family, PASSIVE).by(in_range),
        ),
        (
            "from one and to one",
            Scene::new(family, IN_RANGE).by(in_range),
        ),
    ]
    .map(|(what, scene)| to_the_second(what, &scene, identity))
    .into()
}

fn shapes(family: Family) -> Vec<Row> {
    let scene = |change: fn(&mut Frame)| {
        let mut scene = Scene::new(family, PASSIVE);
        change(&mut scene.syn);
        scene
    };
    let plain = scene(|_| ());
    let across = Scene::new(family, ACROSS);
    let mut rows = vec![
        to_the_second(
            "no options",
            &scene(|syn| syn.tcp_options.clear()),
            identity,
        ),
        to_the_second(
            "options to the full",
            &scene(|syn| syn.tcp_options = vec![TcpOptionElement::Noop; 40]),
            identity,
        ),
        to_the_second(
            "numbers of zeros",
            &scene(|syn| {
                (syn.tos, syn.hop_limit, syn.tcp.sequence, syn.tcp.window) = (0, 2, 0, 0);
            }),
            identity,
        ),
        to_the_second(
            "the SYN had a tag",
            &scene(|syn| syn.vlan = Some(5)),
            identity,
        ),
        to_the_second(
            "the SYN was padded",
            &scene(|syn| syn.padding = vec![9; 6]),
            identity,
        ),
        to_the_second("the refusal has a tag", &across, |refusal| Frame {
            vlan: Some(5),
            ..refusal
        }),
        to_the_second("the refusal is padded", &plain, |refusal| Frame {
            padding: vec![0xee; 6],
            ..refusal
        }),
        to_the_second("the refusal is long", &plain, |refusal| Frame {
            payload: vec![0xee; 300],
            ..refusal
        }),
    ];
    if family == Family::V4 {
        let full = scene(|syn| syn.tcp_options = vec![TcpOptionElement::Noop; 40]);
        rows.extend([
            to_the_second(
                "the SYN had IP options",
                &scene(|syn| syn.ip_options = vec![1; 8]),
                identity,
            ),
            to_the_second("the refusal has IP options", &full, |refusal| Frame {
                ip_options: vec![1; 4],
                ..refusal
            }),
            to_the_second("the refusal has many", &full, |refusal| Frame {
                ip_options: vec![1; 40],
                payload: vec![0xee; 30],
                ..refusal
            }),
        ]);
    }
    rows
}

/// From one to the next, as long as there is one.
fn in_turn(family: Family) -> Vec<Row> {
    let three = Scene::new(family, THREE);
    let twice = vec![
        three.syn_to(FIRST),
        three.rescued_from(FIRST, Verdict::RescuedTx),
    ];
    let mut thrice = twice.clone();
    thrice.push(three.rescued_from(SECOND, Verdict::RescuedRedirect));
    let refusal = three.refusal(SECOND);
    let held = Entry {
        holds: Hold::CheckFailed as u64,
        ..Entry::new(SECOND, family)
    };
    let past_one = vec![three.syn_to(FIRST), Earlier::Entry(held)];
    let retransmission = Row {
        before: three.before(twice.clone()),
        ..Row::sent(
            format!("rescue: the client sends it again: {family:?}"),
            FRONT,
            &three.syn,
            Verdict::ForwardedRedirect,
            &three.sent(SECOND),
            three.index(SECOND),
        )
    };
    vec![
        rescued(
            "the second refuses too",
            &three,
            three.before(twice),
            &refusal,
            (SECOND, THIRD),
        ),
        rescued(
            "the second is held",
            &three,
            three.before(past_one),
            &three.refusal(FIRST),
            (FIRST, THIRD),
        ),
        Row {
            changes: vec![three.refused(THIRD)],
            ..three.returned(
                "rescue: all refuse",
                three.before(thrice),
                THIRD,
                &three.refusal(THIRD),
            )
        },
        retransmission,
    ]
}

/// It is a death, and the client hears of it.
fn nobody_else(family: Family) -> Vec<Row> {
    let alone = Scene::new(family, ALONE);
    let pair = Scene::new(family, PASSIVE);
    let dead = Entry {
        holds: Hold::LinkDown as u64,
        ..Entry::new(SECOND, family)
    };
    [
        ("no other backend", &alone, vec![alone.syn_to(FIRST)]),
        (
            "no other that is eligible",
            &pair,
            vec![pair.syn_to(FIRST), Earlier::Entry(dead)],
        ),
    ]
    .into_iter()
    .map(|(what, scene, earlier)| Row {
        changes: vec![scene.refused(FIRST)],
        ..scene.returned(
            &format!("rescue: {what}"),
            scene.before(earlier),
            FIRST,
            &scene.refusal(FIRST),
        )
    })
    .collect()
}

/// What is not exactly the refusal of this SYN is a segment like any other.
fn forged(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let syn = || vec![scene.syn_to(FIRST)];
    let honest = || scene.refusal(FIRST);
    let acknowledged = honest().tcp.acknowledgment;
    let mut rst = honest();
    rst.tcp.flags = RST;
    let neighbour = honest().src_mac.map(|byte| byte ^ 1);
    let to = honest().dst_mac;
    let other_port = at(family, 1, CLIENT, 40_001);
    let mut rows: Vec<Row> = [
        (
            "too small a number",
            honest().numbers(0, acknowledged.wrapping_sub(1)),
        ),
        ("too large a number", honest().numbers(0, acknowledged + 1)),
        ("no number", rst),
        ("from another neighbour", honest().macs(to, neighbour)),
        ("to another port", honest().to(other_port)),
    ]
    .into_iter()
    .map(|(what, input)| {
        let what = format!("rescue: forged, {what}");
        scene.returned(&what, scene.before(syn()), FIRST, &input)
    })
    .collect();
    let what = "rescue: forged, by another interface";
    rows.push(Row {
        ingress: FRONT,
        verdict: Verdict::ReturnedTx,
        ..scene.returned(what, scene.before(syn()), FIRST, &honest())
    });
    let what = "rescue: forged, from another backend";
    let other = scene.refusal(SECOND);
    rows.push(scene.returned(what, scene.before(syn()), SECOND, &other));
    rows
}

fn not_remembered(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let off = Scene::new(family, LEASED);
    let mut with_data = scene.clone();
    with_data.syn.payload = vec![1];
    let mut other = scene.clone();
    other.syn.tcp.sequence = 7;
    let accepted = Earlier::Frame(
        BACK,
        scene.acceptance(FIRST).bytes(),
        Verdict::ReturnedRedirect,
    );
    [
        ("nothing was sent", &scene, vec![]),
        ("off", &off, vec![off.syn_to(FIRST)]),
        ("a SYN with data", &with_data, vec![with_data.syn_to(FIRST)]),
        (
            "it was accepted before",
            &scene,
            vec![scene.syn_to(FIRST), accepted],
        ),
        (
            "the port is used again",
            &scene,
            vec![scene.syn_to(FIRST), other.syn_to(FIRST)],
        ),
    ]
    .into_iter()
    .map(|(what, scene, earlier)| {
        let what = format!("rescue: {what}");
        let refusal = scene.refusal(FIRST);
        scene.returned(&what, scene.before(earlier), FIRST, &refusal)
    })
    .collect()
}
