//! Services that keep flows.

use failover_common::{Hold, Verdict};
use failover_user::maglev;
use lab::Family;

use super::scene::Scene;
use super::{Row, client, ingress, reset_of, towards};
use crate::before::Earlier;
use crate::control::{Control, quote};
use crate::flows::key;
use crate::frame::{ACK, FIN, Frame, PSH, Protocol, RST};
use crate::mortals::{
    DROP, FIRST, FORWARD, RESCUED, RESET, RESET_DSR, RESET_EVERY_PORT, RESET_IPIP, SECOND, SHARED,
    table,
};
use crate::network::{BACK, FRONT, at};
use crate::pieces::fragments;
use crate::state::{Change, Entry};
use crate::tunnel::Tunnel;
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                stays(family),
                after_the_failback(family),
                unknown(family),
                of_the_dead(family),
                seen_and_told(family),
                by_policy(family),
                other_ways(family),
                shared(family),
                rescued(family),
                pieces(family),
                vec![error(family)],
            ]
            .concat()
        })
        .collect()
}

/// What the client has acknowledged.
const ACKNOWLEDGED: u32 = 0x9000_0001;

/// A later segment of the client, with some data.
pub(super) fn data(scene: &Scene) -> Frame {
    Frame {
        payload: b"select 1;".to_vec(),
        ..segment(scene, PSH | ACK)
    }
}

pub(super) fn segment(scene: &Scene, flags: u8) -> Frame {
    let syn = &scene.syn;
    let next = syn.tcp.sequence.wrapping_add(1);
    Frame {
        tos: syn.tos,
        ..Frame::segment(flags, syn.source, syn.destination).numbers(next, ACKNOWLEDGED)
    }
}

/// It came in before, and went on.
pub(super) fn went(input: &Frame) -> Earlier {
    Earlier::Frame(FRONT, input.bytes(), Verdict::ForwardedRedirect)
}

/// The client is connected, by whoever serves.
pub(super) fn connected(scene: &Scene) -> Vec<Earlier> {
    vec![went(&scene.syn), went(&segment(scene, ACK))]
}

/// Then `server` is held.
pub(super) fn held(scene: &Scene, server: Server, hold: Hold) -> Earlier {
    Earlier::Entry(Entry {
        holds: hold as u64,
        ..Entry::new(server, scene.family)
    })
}

fn well(scene: &Scene, server: Server) -> Earlier {
    Earlier::Entry(Entry::new(server, scene.family))
}

/// `input` goes to `server`.
fn goes_to(what: &str, scene: &Scene, earlier: Vec<Earlier>, input: &Frame, server: Server) -> Row {
    let verdict = if ingress(server) == FRONT {
        Verdict::ForwardedTx
    } else {
        Verdict::ForwardedRedirect
    };
    let output = towards(server, input.clone().to(scene.socket(server)));
    Row {
        before: scene.before(earlier),
        ..Row::sent(
            format!("flows: {what}: {:?}", scene.family),
            FRONT,
            input,
            verdict,
            &output,
            scene.index(server),
        )
    }
}

/// `input` goes nowhere.
fn ends(what: &str, scene: &Scene, earlier: Vec<Earlier>, input: &Frame, verdict: Verdict) -> Row {
    let unchanged = Row::unchanged(
        format!("flows: {what}: {:?}", scene.family),
        FRONT,
        input.bytes(),
        verdict,
    );
    let output = match verdict {
        Verdict::FlowReset => reset_of(input),
        _ => input.bytes(),
    };
    Row {
        before: scene.before(earlier),
        output,
        ..unchanged
    }
}

/// A flow stays with its backend, whoever serves.
fn stays(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESET);
    let then = |mut earlier: Vec<Earlier>, more: Vec<Earlier>| {
        earlier.extend(more);
        earlier
    };
    let drained = || held(scene, FIRST, Hold::Drained);
    let damped = || held(scene, FIRST, Hold::Damped);
    let away = || held(scene, FIRST, Hold::LinkDown);
    let done = |flags| then(connected(scene), vec![went(&segment(scene, flags))]);
    let syn = &scene.syn;
    let data = &data(scene);
    let (finished, gone) = (done(FIN | ACK), done(RST));
    vec![
        goes_to("a SYN", scene, vec![], syn, FIRST),
        goes_to("data", scene, connected(scene), data, FIRST),
        goes_to(
            "drained",
            scene,
            then(connected(scene), vec![drained()]),
            data,
            FIRST,
        ),
        goes_to(
            "damped",
            scene,
            then(connected(scene), vec![damped()]),
            data,
            FIRST,
        ),
        goes_to(
            "a new one while drained",
            scene,
            vec![drained()],
            syn,
            SECOND,
        ),
        goes_to(
            "a SYN again while drained",
            scene,
            vec![went(syn), drained()],
            syn,
            SECOND,
        ),
        goes_to(
            "a SYN again",
            scene,
            vec![away(), went(syn), well(scene, FIRST)],
            syn,
            SECOND,
        ),
        goes_to(
            "a forged SYN moves nothing",
            scene,
            then(connected(scene), vec![drained()]),
            syn,
            FIRST,
        ),
        goes_to(
            "the port is used again",
            scene,
            then(finished.clone(), vec![drained()]),
            syn,
            SECOND,
        ),
        goes_to(
            "the last acknowledgment",
            scene,
            then(finished, vec![drained()]),
            &segment(scene, ACK),
            FIRST,
        ),
        goes_to(
            "after its end",
            scene,
            then(gone.clone(), vec![drained()]),
            syn,
            SECOND,
        ),
        goes_to(
            "a forged end",
            scene,
            then(gone, vec![drained()]),
            data,
            FIRST,
        ),
        goes_to(
            "nobody else is eligible",
            scene,
            then(
                connected(scene),
                vec![away(), held(scene, SECOND, Hold::CheckFailed)],
            ),
            data,
            FIRST,
        ),
    ]
}

/// The primary is back, and serves.
fn after_the_failback(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESET);
    // Connected with the standby, while the primary is away; then it is back.
    let on_standby = || {
        let away = held(scene, FIRST, Hold::LinkDown);
        [vec![away], connected(scene), vec![well(scene, FIRST)]].concat()
    };
    let data = &data(scene);
    vec![
        goes_to("after the failback", scene, on_standby(), data, SECOND),
        goes_to(
            "a new one after the failback",
            &scene.clone().by(40_001),
            on_standby(),
            &scene.clone().by(40_001).syn,
            FIRST,
        ),
    ]
}

/// A segment in the middle of a flow that nobody remembers.
fn unknown(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESET);
    let stray = |what, input: &Frame| Row {
        verdict: Verdict::StrayRedirect,
        ..goes_to(what, scene, vec![], input, FIRST)
    };
    let once = Earlier::Frame(FRONT, data(scene).bytes(), Verdict::StrayRedirect);
    let drained = held(scene, FIRST, Hold::Drained);
    vec![
        stray("an unknown one", &data(scene)),
        stray("an unknown FIN", &segment(scene, FIN | ACK)),
        stray("an unknown RST", &segment(scene, RST)),
        goes_to(
            "it is known then",
            scene,
            vec![once, drained],
            &data(scene),
            FIRST,
        ),
    ]
}

/// The backend of a flow dies, and the client is told.
fn of_the_dead(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESET);
    let after = |hold| {
        let mut earlier = connected(scene);
        earlier.push(held(scene, FIRST, hold));
        earlier
    };
    let reset = |what, input: &Frame| {
        ends(
            what,
            scene,
            after(Hold::CheckFailed),
            input,
            Verdict::FlowReset,
        )
    };
    let plain = data(scene);
    let changed = |change: fn(&mut Frame)| {
        let mut frame = plain.clone();
        change(&mut frame);
        frame
    };
    let mut rows = vec![
        reset("dead: data", &plain),
        reset("dead: an acknowledgment", &segment(scene, ACK)),
        reset("dead: a FIN", &segment(scene, FIN | ACK)),
        reset("dead: a tag", &changed(|frame| frame.vlan = Some(5))),
        reset(
            "dead: padding",
            &changed(|frame| frame.padding = vec![7; 9]),
        ),
        reset(
            "dead: a full segment",
            &changed(|frame| frame.payload = vec![3; 1400]),
        ),
        ends(
            "dead: a RST",
            scene,
            after(Hold::CheckFailed),
            &segment(scene, RST),
            Verdict::FlowDropped,
        ),
        ends(
            "dead: from a group's MAC",
            scene,
            after(Hold::CheckFailed),
            &changed(|frame| frame.src_mac[0] |= 1),
            Verdict::FlowDropped,
        ),
        goes_to(
            "dead: a SYN",
            scene,
            after(Hold::CheckFailed),
            &scene.syn,
            SECOND,
        ),
        goes_to(
            "dead: an unanswered SYN",
            scene,
            vec![went(&scene.syn), held(scene, FIRST, Hold::LinkDown)],
            &scene.syn,
            SECOND,
        ),
    ];
    rows.extend(
        [
            Hold::LinkDown,
            Hold::NoNeighbour,
            Hold::Disabled,
            Hold::NotPromoted,
        ]
        .map(|hold| {
            let what = format!("dead: {}", hold.name());
            ends(&what, scene, after(hold), &plain, Verdict::FlowReset)
        }),
    );
    rows
}

/// The packet that sees the death, and those that come after one was told.
fn seen_and_told(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESET);
    let plain = data(scene);
    let mut rows = Vec::new();
    // The lease is over, and this packet is the first to see it.
    let mut earlier = connected(scene);
    earlier.push(Earlier::Entry(Entry::dead(FIRST, family)));
    let index = scene.index(FIRST);
    let seen = vec![Change::dead(index), Change::Passed(index)];
    rows.push(Row {
        changes: seen.clone(),
        ..ends(
            "dead: seen now",
            scene,
            earlier.clone(),
            &plain,
            Verdict::FlowReset,
        )
    });
    rows.push(Row {
        changes: seen,
        ..goes_to("dead: a SYN sees it", scene, earlier, &scene.syn, SECOND)
    });
    // Told once, it is told again, until the client begins anew.
    let mut told = connected(scene);
    told.push(held(scene, FIRST, Hold::CheckFailed));
    told.push(Earlier::Frame(FRONT, plain.bytes(), Verdict::FlowReset));
    rows.push(ends(
        "dead: more data",
        scene,
        told.clone(),
        &plain,
        Verdict::FlowReset,
    ));
    told.push(went(&scene.syn));
    rows.push(goes_to(
        "dead: connected again",
        scene,
        told,
        &plain,
        SECOND,
    ));
    rows
}

/// `forward`, `drop`, and UDP.
fn by_policy(family: Family) -> Vec<Row> {
    let lost = |scene: &Scene| {
        let mut earlier = connected(scene);
        earlier.push(held(scene, FIRST, Hold::CheckFailed));
        earlier
    };
    let forward = &Scene::new(family, FORWARD);
    let drop = &Scene::new(family, DROP);
    let mut moved = lost(forward);
    moved.push(went(&data(forward)));
    moved.push(well(forward, FIRST));
    let mut rows = vec![
        goes_to("forward", forward, lost(forward), &data(forward), SECOND),
        goes_to(
            "forward, and it stays there",
            forward,
            moved,
            &data(forward),
            SECOND,
        ),
        ends("drop", drop, lost(drop), &data(drop), Verdict::FlowDropped),
        goes_to("drop: a SYN", drop, lost(drop), &drop.syn, SECOND),
    ];
    for offer in [RESET, FORWARD, DROP] {
        let scene = &Scene::new(family, offer);
        let to = scene.syn.destination;
        let datagram = &Frame::new(Protocol::Udp, client(family), to);
        let flow = || vec![went(datagram), went(datagram)];
        let mut lost = flow();
        lost.push(held(scene, FIRST, Hold::CheckFailed));
        // Once with the first, which dies: it moves, and stays there.
        let mut moved = vec![went(datagram), held(scene, FIRST, Hold::CheckFailed)];
        moved.extend([went(datagram), well(scene, FIRST)]);
        let mut drained = flow();
        drained.push(held(scene, FIRST, Hold::Drained));
        let mut back = vec![held(scene, FIRST, Hold::CheckFailed)];
        back.extend(flow());
        back.push(well(scene, FIRST));
        rows.extend([
            goes_to("UDP", scene, flow(), datagram, FIRST),
            goes_to("UDP leaves the dead", scene, lost, datagram, SECOND),
            goes_to("UDP stays where it moved", scene, moved, datagram, SECOND),
            goes_to("UDP, drained", scene, drained, datagram, FIRST),
            goes_to("UDP after the failback", scene, back, datagram, SECOND),
        ]);
    }
    rows
}

/// `dsr`, on every port too, and `ipip`.
fn other_ways(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    for offer in [RESET_DSR, RESET_IPIP, RESET_EVERY_PORT] {
        let scene = &Scene::new(family, offer);
        let on_standby = || {
            let mut earlier = vec![held(scene, FIRST, Hold::LinkDown)];
            earlier.extend(connected(scene));
            earlier.push(well(scene, FIRST));
            earlier
        };
        let mut lost = on_standby();
        lost.push(held(scene, SECOND, Hold::LinkDown));
        let data = data(scene);
        let stays = goes_to("another way", scene, on_standby(), &data, SECOND);
        let output = match offer.port {
            port if port == RESET_IPIP.port => {
                let (gue, server) = (false, SECOND);
                Tunnel {
                    family,
                    gue,
                    server,
                }
                .carry(&data)
            }
            _ => towards(SECOND, data.clone()).bytes(),
        };
        rows.push(Row { output, ..stays });
        rows.push(ends("another way", scene, lost, &data, Verdict::FlowReset));
    }
    rows
}

/// A tier that serves together.
fn shared(family: Family) -> Vec<Row> {
    let table = table(family);
    let mut rows = Vec::new();
    for port in 40_100..40_112 {
        let scene = &Scene::new(family, SHARED).by(port);
        let by = |index: u16| {
            let mut servers = SHARED.backends.iter();
            let found = servers.find(|server| server.index(family) == u32::from(index));
            *found.expect("a backend of the service")
        };
        let key = key(&scene.syn);
        let chosen = by(maglev::choose(&table, &key, |_| true).expect("somebody"));
        let dead = u16::try_from(chosen.index(family)).expect("few backends");
        let next = by(maglev::choose(&table, &key, |index| index != dead).expect("somebody"));
        let verdict = |server| match ingress(server) {
            FRONT => Verdict::ForwardedTx,
            _ => Verdict::ForwardedRedirect,
        };
        let went = |frame: &Frame| Earlier::Frame(FRONT, frame.bytes(), verdict(chosen));
        let drained = held(scene, chosen, Hold::Drained);
        let gone = held(scene, chosen, Hold::LinkDown);
        let dead = Earlier::Entry(Entry::dead(chosen, family));
        let connected = vec![went(&scene.syn), went(&segment(scene, ACK))];
        let with = |one: &Earlier| [connected.clone(), vec![one.clone()]].concat();
        let index = scene.index(chosen);
        let stray = match ingress(chosen) {
            FRONT => Verdict::StrayTx,
            _ => Verdict::StrayRedirect,
        };
        rows.extend([
            Row {
                verdict: stray,
                ..goes_to("shared, unknown", scene, vec![], &data(scene), chosen)
            },
            goes_to("shared", scene, vec![], &scene.syn, chosen),
            goes_to(
                "shared, and one is gone",
                scene,
                vec![gone.clone()],
                &scene.syn,
                next,
            ),
            goes_to(
                "shared, and one is drained",
                scene,
                vec![drained.clone()],
                &scene.syn,
                next,
            ),
            goes_to(
                "shared, drained",
                scene,
                with(&drained),
                &data(scene),
                chosen,
            ),
            ends(
                "shared, dead",
                scene,
                with(&gone),
                &data(scene),
                Verdict::FlowReset,
            ),
            Row {
                changes: vec![Change::dead(index), Change::Passed(index)],
                ..goes_to("shared, seen now", scene, vec![dead], &scene.syn, next)
            },
        ]);
    }
    rows
}

/// A refused SYN goes to another backend, and so does the connection.
fn rescued(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESCUED);
    let before = |more: Vec<Earlier>| {
        let rescued = scene.rescued_from(FIRST, Verdict::RescuedTx);
        [vec![went(&scene.syn), rescued], more].concat()
    };
    let accepted = Earlier::Frame(
        BACK,
        scene.acceptance(SECOND).bytes(),
        Verdict::ReturnedRedirect,
    );
    let refusal = scene.refusal(FIRST);
    vec![
        Row {
            before: scene.before(vec![went(&scene.syn)]),
            changes: vec![scene.refused(FIRST), Change::Passed(scene.index(FIRST))],
            ..Row::sent(
                format!("flows: a refused SYN: {family:?}"),
                BACK,
                &refusal,
                Verdict::RescuedTx,
                &scene.repeated(SECOND, &refusal),
                scene.index(SECOND),
            )
        },
        goes_to(
            "after a rescue",
            scene,
            before(vec![accepted, well(scene, FIRST)]),
            &segment(scene, ACK),
            SECOND,
        ),
    ]
}

/// An ICMP error about a flow goes to the backend that has it, whoever serves.
fn error(family: Family) -> Row {
    let scene = &Scene::new(family, RESET);
    let mut earlier = vec![held(scene, FIRST, Hold::LinkDown)];
    earlier.extend(connected(scene));
    earlier.push(well(scene, FIRST));
    // Too big, says a router on the way to the client.
    let kind = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    let seen = Frame::segment(ACK, scene.syn.destination, scene.syn.source);
    let sent = seen.clone().from(scene.socket(SECOND));
    let vip = at(family, 1, RESET.vip, 0);
    let input = Control {
        frame: Frame::new(Protocol::Udp, client(family), vip),
        kind,
        word: [0, 0, 5, 0x14],
        body: quote(&seen),
    };
    let to = at(family, SECOND.net, SECOND.host, 0);
    let output = Control {
        frame: towards(SECOND, input.frame.clone().to(to)),
        body: quote(&sent),
        ..input.clone()
    };
    Row {
        before: scene.before(earlier),
        output: output.bytes(),
        backend: Some(scene.index(SECOND)),
        ..Row::unchanged(
            format!("flows: an error about one: {family:?}"),
            FRONT,
            input.bytes(),
            Verdict::ForwardedRedirect,
        )
    }
}

/// Fragments of a datagram go where its flow is.
fn pieces(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, RESET);
    let datagram = Frame {
        payload: vec![5; 64],
        dont_fragment: false,
        ..Frame::new(Protocol::Udp, client(family), scene.syn.destination)
    };
    let parts = fragments(&datagram, 77, &[32]);
    let sent = datagram.clone().to(scene.socket(SECOND));
    let sent = fragments(&towards(SECOND, sent), 77, &[32]);
    let mut earlier = vec![
        held(scene, FIRST, Hold::LinkDown),
        went(&datagram),
        well(scene, FIRST),
    ];
    let mut rows = Vec::new();
    for (number, (part, sent)) in parts.iter().zip(sent).enumerate() {
        rows.push(Row {
            before: scene.before(earlier.clone()),
            output: sent,
            backend: Some(scene.index(SECOND)),
            ..Row::unchanged(
                format!("flows: fragment {number}: {family:?}"),
                FRONT,
                part.clone(),
                Verdict::ForwardedRedirect,
            )
        });
        earlier.push(Earlier::Frame(
            FRONT,
            part.clone(),
            Verdict::ForwardedRedirect,
        ));
    }
    rows
}
