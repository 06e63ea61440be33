//! "Unreachable" that quotes all of a datagram becomes that datagram, to another backend.

use failover_common::{Hold, Signal, Verdict};
use lab::Family;

use super::unreachable::{lost, message, told_death};
use crate::before::{Before, Earlier};
use crate::control::Control;
use crate::frame::{Frame, Protocol, payload_for_zero};
use crate::mortals::{ACROSS, ALONE, EVERY_PORT, FIRST, Offer, PASSIVE, SECOND, THIRD, THREE};
use crate::rows::scene::{Scene, rescued_to};
use crate::rows::{Row, further, ingress, towards};
use crate::state::{Change, Entry};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| [redelivered(family), not(family)].concat())
        .collect()
}

/// The news of `lost`, which `from` did not take, all of it quoted.
fn news(scene: &Scene, from: Server, lost: &Frame) -> Control {
    let whole = Control::unreachable(lost.clone(), lost).body;
    Control {
        body: whole,
        ..message(scene, from, from.host, lost)
    }
}

/// It becomes `lost` again, but to `to`, and has come two hops further: to us, and from us.
fn again(
    what: &str,
    scene: &Scene,
    before: Before,
    (input, lost): (&Control, &Frame),
    (from, to): (Server, Server),
) -> Row {
    let (index, pair) = (scene.index(from), scene.pair(from));
    let output = Frame {
        vlan: input.frame.vlan,
        outer_vlan: input.frame.outer_vlan,
        padding: input.frame.padding.clone(),
        ..towards(to, further(lost.clone().to(scene.socket(to))))
    };
    Row {
        before,
        output: output.bytes(),
        backend: Some(scene.index(to)),
        changes: vec![
            Change::shown(index, Signal::Unreachable, pair),
            Change::Passed(index),
        ],
        ..Row::unchanged(
            format!("redelivery: {what}: {:?}", scene.family),
            ingress(from),
            input.bytes(),
            rescued_to(from, to),
        )
    }
}

/// The first backend of a service did not take a datagram, the second one gets it.
fn plain(what: &str, family: Family, offer: Offer, change: impl FnOnce(&mut Frame)) -> Row {
    let scene = Scene::new(family, offer);
    let [first, second, ..] = scene.offer.backends else {
        panic!("a service of one");
    };
    let mut lost = lost(&scene, Protocol::Udp, *first);
    change(&mut lost);
    let input = news(&scene, *first, &lost);
    let before = scene.before(vec![]);
    again(what, &scene, before, (&input, &lost), (*first, *second))
}

fn redelivered(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let lost = lost(&scene, Protocol::Udp, FIRST);
    let honest = news(&scene, FIRST, &lost);
    let with = |what: &str, input: &Control| {
        let before = scene.before(vec![]);
        again(what, &scene, before, (input, &lost), (FIRST, SECOND))
    };
    let mut tagged = honest.clone();
    tagged.frame.vlan = Some(5);
    let mut two_tags = tagged.clone();
    two_tags.frame.outer_vlan = Some(6);
    let mut padded = honest.clone();
    padded.frame.padding = vec![0xee; 7];
    let by_a_router = Control {
        body: honest.body.clone(),
        ..message(&scene, FIRST, 1, &lost)
    };
    let mut rows = vec![
        plain("a datagram", family, PASSIVE, |_| ()),
        plain("another network", family, ACROSS, |_| ()),
        plain("every port", family, EVERY_PORT, |_| ()),
        plain("no checksum", family, PASSIVE, |lost| lost.checksum = false),
        plain("an empty one", family, PASSIVE, |lost| lost.payload.clear()),
        plain("as much as is quoted", family, PASSIVE, |lost| {
            lost.payload = (0..520_u32).map(|n| n.to_le_bytes()[0]).collect();
        }),
        plain("the last hop that is enough", family, PASSIVE, |lost| {
            lost.hop_limit = 3;
        }),
        plain("a checksum of zero", family, PASSIVE, |lost| {
            lost.payload = payload_for_zero(lost);
        }),
        with("a tag", &tagged),
        with("two tags", &two_tags),
        with("bytes behind the packet", &padded),
        with("says a router", &by_a_router),
    ];
    // It was told before that the first one is dead.
    let earlier = Earlier::Frame(ingress(FIRST), honest.bytes(), Verdict::RescuedTx);
    rows.push(Row {
        before: scene.before(vec![earlier]),
        changes: Vec::new(),
        ..with("one more", &honest)
    });
    rows.push(in_turn(family));
    rows
}

/// The second one does not take it either.
fn in_turn(family: Family) -> Row {
    let three = Scene::new(family, THREE);
    let first = lost(&three, Protocol::Udp, FIRST);
    let second = lost(&three, Protocol::Udp, SECOND);
    let earlier = Earlier::Frame(
        ingress(FIRST),
        news(&three, FIRST, &first).bytes(),
        Verdict::RescuedTx,
    );
    let input = news(&three, SECOND, &second);
    let before = three.before(vec![earlier]);
    again(
        "to the third",
        &three,
        before,
        (&input, &second),
        (SECOND, THIRD),
    )
}

/// The first one is dead, but the message goes on to the client.
fn not(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let lost = lost(&scene, Protocol::Udp, FIRST);
    let row_about = |what: &str, scene: &Scene, before: Before, input: &Control, lost: &Frame| {
        let what = format!("no redelivery: {what}");
        told_death(&what, scene, before, input, lost)
    };
    let row = |what: &str, scene: &Scene, before: Before, input: &Control| {
        row_about(what, scene, before, input, &lost)
    };
    let honest = news(&scene, FIRST, &lost);
    let plain = || scene.before(vec![]);
    // RFC 4884: where the quote ends, and what follows is not the datagram's.
    let mut extended = honest.clone();
    extended.word = match family {
        Family::V4 => [0, 8, 0, 0],
        Family::V6 => [4, 0, 0, 0],
    };
    // It claims to be longer than what there is of it.
    let mut cut = honest.clone();
    cut.body.truncate(cut.body.len() - 1);
    let mut cut_but_padded = cut.clone();
    cut_but_padded.frame.padding = vec![0; 9];
    // It has no whole UDP header.
    let mut short = honest.clone();
    let (at, length) = match family {
        Family::V4 => (2, 27_u16),
        Family::V6 => (4, 7),
    };
    short.body[at..at + 2].copy_from_slice(&length.to_be_bytes());
    // It goes further than its hops allow.
    let mut far = honest.clone();
    far.body[match family {
        Family::V4 => 8,
        Family::V6 => 7,
    }] = 2;
    let mut wrong_length = honest.clone();
    let udp = wrong_length.body.len() - 12;
    wrong_length.body[udp + 4..udp + 6].copy_from_slice(&13_u16.to_be_bytes());
    let alone = Scene::new(family, ALONE);
    let of_alone = self::lost(&alone, Protocol::Udp, FIRST);
    let held = Entry {
        holds: Hold::CheckFailed as u64,
        ..Entry::new(SECOND, family)
    };
    vec![
        row("a quote with more behind it", &scene, plain(), &extended),
        row("a quote that is cut", &scene, plain(), &cut),
        row("padding is no quote", &scene, plain(), &cut_but_padded),
        row("half a UDP header", &scene, plain(), &short),
        row("too far", &scene, plain(), &far),
        row(
            "a UDP header that says more",
            &scene,
            plain(),
            &wrong_length,
        ),
        row_about(
            "nobody else",
            &alone,
            alone.before(vec![]),
            &news(&alone, FIRST, &of_alone),
            &of_alone,
        ),
        row(
            "nobody else is eligible",
            &scene,
            scene.before(vec![Earlier::Entry(held)]),
            &honest,
        ),
    ]
}
