//! Answers to a SYN that has gone to another backend since.

use failover_common::{HEARTBEAT_PORT, Hold, Verdict};
use lab::Family;

use super::scene::Scene;
use super::{Row, ingress, reset_of};
use crate::before::{Before, Earlier};
use crate::frame::Frame;
use crate::mortals::{ACROSS, FIRST, IN_RANGE, PASSIVE, SECOND, THIRD};
use crate::network::{BACK, FRONT};
use crate::state::{Change, Entry};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| [late(family), in_time(family), forged(family)].concat())
        .collect()
}

/// The SYN went to the first backend, which refused it, and to the second.
fn moved(scene: &Scene) -> Before {
    let [first, second, ..] = scene.offer.backends else {
        panic!("a service of one");
    };
    let verdict = if first.net == second.net {
        Verdict::RescuedTx
    } else {
        Verdict::RescuedRedirect
    };
    scene.before(vec![
        scene.syn_to(*first),
        scene.rescued_from(*first, verdict),
    ])
}

/// [`FIRST`] is held: from now on it gets nothing.
fn held(family: Family) -> Earlier {
    Earlier::Entry(Entry {
        holds: Hold::CheckFailed as u64,
        ..Entry::new(FIRST, family)
    })
}

fn reset(what: &str, scene: &Scene, before: Before, server: Server, input: &Frame) -> Row {
    Row {
        before,
        output: reset_of(input),
        ..Row::unchanged(
            format!("late: {what}: {:?}", scene.family),
            ingress(server),
            input.bytes(),
            Verdict::LateAnswer,
        )
    }
}

fn late(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let across = Scene::new(family, ACROSS);
    let in_range = HEARTBEAT_PORT + 9;
    let from_range = Scene::new(family, PASSIVE).by(in_range);
    let to_range = Scene::new(family, IN_RANGE);
    let again = vec![scene.syn_to(FIRST), held(family), scene.syn_to(SECOND)];
    let tagged = Frame {
        vlan: Some(5),
        ..across.acceptance(THIRD)
    };
    let padded = Frame {
        padding: vec![0xee; 2],
        ..scene.acceptance(FIRST)
    };
    let mut rows: Vec<Row> = [
        ("after a rescue", &scene, FIRST),
        ("from a port of heartbeats", &to_range, FIRST),
        ("to a port of heartbeats", &from_range, FIRST),
        ("another network", &across, THIRD),
    ]
    .into_iter()
    .map(|(what, scene, server)| {
        let input = scene.acceptance(server);
        reset(what, scene, moved(scene), server, &input)
    })
    .collect();
    rows.extend([
        reset("a tag", &across, moved(&across), THIRD, &tagged),
        reset("padding", &scene, moved(&scene), FIRST, &padded),
        reset(
            "the client sent it again",
            &scene,
            scene.before(again),
            FIRST,
            &scene.acceptance(FIRST),
        ),
    ]);
    if family == Family::V4 {
        let input = Frame {
            ip_options: vec![1; 12],
            ..scene.acceptance(FIRST)
        };
        rows.push(reset("IP options", &scene, moved(&scene), FIRST, &input));
    }
    rows
}

fn in_time(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    // The port is used again, by a SYN that is not remembered.
    let mut other = scene.clone();
    other.syn.tcp.sequence = 0x7000_0000;
    other.syn.payload = vec![1];
    let accepted = |scene: &Scene, server: Server| {
        let frame = scene.acceptance(server).bytes();
        Earlier::Frame(BACK, frame, Verdict::ReturnedRedirect)
    };
    let used_again = vec![
        scene.syn_to(FIRST),
        accepted(&scene, FIRST),
        held(family),
        other.syn_to(SECOND),
    ];
    // The client's SYN again, in a moment in which it could not go anywhere.
    let nowhere = Entry::new(FIRST.unresolved(), family);
    let dropped = vec![
        scene.syn_to(FIRST),
        Earlier::Entry(nowhere),
        Earlier::Frame(FRONT, scene.syn.bytes(), Verdict::BackendUnresolved),
        Earlier::Entry(Entry::new(FIRST, family)),
    ];
    let twice = vec![scene.syn_to(FIRST), accepted(&scene, FIRST)];
    [
        ("from who has it", &scene, moved(&scene), SECOND),
        (
            "from who always had it",
            &scene,
            scene.before(vec![scene.syn_to(FIRST)]),
            FIRST,
        ),
        ("once more", &scene, scene.before(twice), FIRST),
        ("to nothing we know", &scene, scene.before(vec![]), SECOND),
        ("to another SYN", &other, scene.before(used_again), SECOND),
        ("to one before", &scene, scene.before(dropped), FIRST),
    ]
    .into_iter()
    .map(|(what, scene, before, server)| {
        let input = scene.acceptance(server);
        scene.returned(&format!("not late: {what}"), before, server, &input)
    })
    .collect()
}

/// An answer to no SYN of the client's: not known as late, and no reason to forget
/// the SYN.
fn forged(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let honest = scene.acceptance(FIRST);
    let acknowledged = honest.tcp.acknowledgment;
    let wrong = honest.numbers(0, acknowledged ^ 0x100);
    let after = vec![
        scene.syn_to(FIRST),
        Earlier::Frame(BACK, wrong.bytes(), Verdict::ReturnedRedirect),
    ];
    let refusal = scene.refusal(FIRST);
    vec![
        scene.returned("late: another number", moved(&scene), FIRST, &wrong),
        Row {
            before: scene.before(after),
            changes: vec![scene.refused(FIRST), Change::Passed(scene.index(FIRST))],
            ..Row::sent(
                format!("late: a SYN is not answered by another number: {family:?}"),
                BACK,
                &refusal,
                Verdict::RescuedTx,
                &scene.repeated(SECOND, &refusal),
                scene.index(SECOND),
            )
        },
    ]
}
