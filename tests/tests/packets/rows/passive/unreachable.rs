//! "Unreachable", from a backend or on its behalf: a sign of death, if it is about a
//! packet that is out. It goes on to the client, unless it is about a SYN that another
//! backend can have, now or soon. What of it can be delivered to another backend is in `redelivery`;
//! here the quote is cut, as routers do (RFC 792).

use failover_common::{HeartbeatKind, Signal, Verdict};
use lab::Family;

use crate::before::{Before, Earlier};
use crate::control::{Control, quote};
use crate::frame::{Frame, Protocol};
use crate::mortals::{ALONE, FIRST, LEASED, Offer, PASSIVE, SECOND, WAITING};
use crate::network::{BACK, FRONT, at, mac};
use crate::rows::scene::Scene;
use crate::rows::{Row, to_client};
use crate::state::{Change, Entry};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                datagrams(family),
                segments(family),
                vec![waiting(family)],
                messages(family),
            ]
            .concat()
        })
        .collect()
}

/// What went to `server`, as the backend got it.
pub(super) fn lost(scene: &Scene, protocol: Protocol, server: Server) -> Frame {
    let payload = match protocol {
        Protocol::Tcp => Vec::new(),
        Protocol::Udp => b"lost".to_vec(),
    };
    Frame {
        protocol,
        payload,
        ..scene.sent(server)
    }
}

/// From `server` or, with the address of another host, on its behalf.
pub(super) fn message(scene: &Scene, server: Server, by: u8, lost: &Frame) -> Control {
    let from = at(scene.family, server.net, by, 0);
    let frame = Frame::new(Protocol::Udp, from, scene.syn.source);
    let frame = frame.macs(mac(server.net, 1), mac(server.net, server.host));
    let mut message = Control::unreachable(frame, lost);
    message.body.truncate(message.body.len() - 1);
    if by != server.host {
        // A port is not a router's business.
        message.kind = match scene.family {
            Family::V4 => (3, 1),
            Family::V6 => (1, 3),
        };
    }
    message
}

/// What the client gets of it: from the VIP, about what it sent there. What was changed
/// of the quote stays so.
fn translated(scene: &Scene, input: &Control, lost: &Frame) -> Control {
    let quoted = quote(lost).into_iter().zip(&input.body);
    let mut body = quote(&lost.clone().to(scene.syn.destination));
    body.truncate(input.body.len());
    for (byte, (before, changed)) in body.iter_mut().zip(quoted) {
        if before != *changed {
            *byte = *changed;
        }
    }
    Control {
        frame: to_client(1, input.frame.clone().from(scene.syn.destination)),
        body,
        ..input.clone()
    }
}

/// It goes on to the client, and shows nothing.
fn told(what: &str, scene: &Scene, before: Before, input: &Control, lost: &Frame) -> Row {
    let server = scene
        .offer
        .backends
        .iter()
        .find(|server| scene.socket(**server) == lost.destination);
    Row {
        verdict: Verdict::ReturnedRedirect,
        output: translated(scene, input, lost).bytes(),
        backend: server.map(|server| scene.index(*server)),
        ..nothing(what, scene, before, input)
    }
}

/// It goes on to the client, and shows that [`FIRST`] is dead.
pub(super) fn told_death(
    what: &str,
    scene: &Scene,
    before: Before,
    input: &Control,
    lost: &Frame,
) -> Row {
    Row {
        changes: death(what, scene, Before::default(), input).changes,
        ..told(what, scene, before, input, lost)
    }
}

fn nothing(what: &str, scene: &Scene, before: Before, input: &Control) -> Row {
    let description = format!("unreachable: {what}: {:?}", scene.family);
    let verdict = Verdict::OtherProtocol;
    Row {
        before,
        ..Row::unchanged(description, BACK, input.bytes(), verdict)
    }
}

/// It shows that [`FIRST`] is dead.
fn death(what: &str, scene: &Scene, before: Before, input: &Control) -> Row {
    let (index, pair) = (scene.index(FIRST), scene.pair(FIRST));
    Row {
        changes: vec![Change::shown(index, Signal::Unreachable, pair)],
        ..nothing(what, scene, before, input)
    }
}

fn datagrams(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let plain = || scene.before(vec![]);
    let lost = lost(&scene, Protocol::Udp, FIRST);
    let honest = message(&scene, FIRST, FIRST.host, &lost);
    let mut tagged = honest.clone();
    tagged.frame.vlan = Some(5);
    // The client's port is one that heartbeats come from.
    let from_range = lost.clone().from(at(family, 1, 9, 61_009));
    let by_range = message(&scene, FIRST, FIRST.host, &from_range);
    let of_segments = Entry {
        kind: HeartbeatKind::TcpSyn,
        port: scene.socket(FIRST).port(),
        ..Entry::new(FIRST, family)
    };
    let mut neighbour = honest.clone();
    neighbour.frame.src_mac[5] ^= 1;
    let other_port = at(family, FIRST.net, FIRST.host, 1);
    let unknown = lost.clone().to(other_port);
    let swapped = Frame {
        source: lost.destination,
        destination: lost.source,
        ..lost.clone()
    };
    let others = message(&scene, SECOND, SECOND.host, &lost);
    let mut of_a_port = message(&scene, FIRST, 1, &lost);
    of_a_port.kind = honest.kind;
    let mut to_the_vip = honest.clone();
    to_the_vip.frame.destination = scene.syn.destination;
    let off = Scene::new(family, LEASED);
    let lost_off = self::lost(&off, Protocol::Udp, FIRST);
    let of_off = message(&off, FIRST, FIRST.host, &lost_off);
    let mut rows = vec![
        told_death("a datagram", &scene, plain(), &honest, &lost),
        told_death(
            "a datagram, says a router",
            &scene,
            plain(),
            &message(&scene, FIRST, 1, &lost),
            &lost,
        ),
        told_death(
            "a datagram from a port of heartbeats",
            &scene,
            Before::entries(&[of_segments]),
            &by_range,
            &from_range,
        ),
        told(
            "of a port, says a router",
            &scene,
            plain(),
            &of_a_port,
            &lost,
        ),
        nothing("for the VIP, not the client", &scene, plain(), &to_the_vip),
        told("from another neighbour", &scene, plain(), &neighbour, &lost),
        told("from the other backend's", &scene, plain(), &others, &lost),
        nothing(
            "about a port without a service",
            &scene,
            plain(),
            &message(&scene, FIRST, FIRST.host, &unknown),
        ),
        nothing(
            "the wrong way round",
            &scene,
            plain(),
            &message(&scene, FIRST, FIRST.host, &swapped),
        ),
        told("off", &off, off.before(vec![]), &of_off, &lost_off),
    ];
    rows.push(Row {
        ingress: FRONT,
        verdict: Verdict::ReturnedTx,
        ..told("by another interface", &scene, plain(), &honest, &lost)
    });
    // It goes back by the trunk that it came by.
    rows.push(Row {
        verdict: Verdict::ReturnedTx,
        ..told_death("a datagram, a tag", &scene, plain(), &tagged, &lost)
    });
    // Once for each time the hold is set.
    let again = vec![Earlier::Frame(
        BACK,
        honest.bytes(),
        Verdict::ReturnedRedirect,
    )];
    rows.push(told("again", &scene, scene.before(again), &honest, &lost));
    rows
}

/// Of TCP, a SYN that is out must be quoted.
fn segments(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let lost = lost(&scene, Protocol::Tcp, FIRST);
    let about = |lost: &Frame| message(&scene, FIRST, FIRST.host, lost);
    let honest = about(&lost);
    let syn = || scene.before(vec![scene.syn_to(FIRST)]);
    let accepted = Earlier::Frame(
        BACK,
        scene.acceptance(FIRST).bytes(),
        Verdict::ReturnedRedirect,
    );
    let moved = vec![
        scene.syn_to(FIRST),
        scene.rescued_from(FIRST, Verdict::RescuedTx),
        Earlier::Entry(Entry::new(FIRST, family)),
    ];
    let off = Scene::new(family, LEASED);
    let lost_off = self::lost(&off, Protocol::Tcp, FIRST);
    let of_off = message(&off, FIRST, FIRST.host, &lost_off);
    let other_number = lost.clone().numbers(0, 0);
    let alone = Scene::new(family, ALONE);
    let lost_alone = self::lost(&alone, Protocol::Tcp, FIRST);
    let other_client = lost.clone().from(at(family, 1, 9, 40_001));
    let twice = |name: &str, offer: Offer| {
        let scene = Scene::new(family, offer);
        let lost = self::lost(&scene, Protocol::Tcp, SECOND);
        let message = message(&scene, FIRST, FIRST.host, &lost);
        told(
            name,
            &scene,
            scene.before(vec![scene.syn_to(FIRST)]),
            &message,
            &lost,
        )
    };
    vec![
        death("a SYN", &scene, syn(), &honest),
        death(
            "a SYN, says a router",
            &scene,
            syn(),
            &message(&scene, FIRST, 1, &lost),
        ),
        told(
            "no SYN is out",
            &scene,
            scene.before(vec![]),
            &honest,
            &lost,
        ),
        told(
            "another number",
            &scene,
            syn(),
            &about(&other_number),
            &other_number,
        ),
        told(
            "another client's",
            &scene,
            syn(),
            &about(&other_client),
            &other_client,
        ),
        told(
            "a SYN that was accepted",
            &scene,
            scene.before(vec![scene.syn_to(FIRST), accepted]),
            &honest,
            &lost,
        ),
        told(
            "a SYN that another one has",
            &scene,
            scene.before(moved),
            &honest,
            &lost,
        ),
        told(
            "a SYN, off",
            &off,
            off.before(vec![off.syn_to(FIRST)]),
            &of_off,
            &lost_off,
        ),
        told_death(
            "a SYN that no other one can have",
            &alone,
            alone.before(vec![alone.syn_to(FIRST)]),
            &message(&alone, FIRST, FIRST.host, &lost_alone),
            &lost_alone,
        ),
        twice("a SYN to the other one", PASSIVE),
    ]
}

/// A SYN that the client is to send again.
fn waiting(family: Family) -> Row {
    let scene = Scene::new(family, WAITING);
    let lost = lost(&scene, Protocol::Tcp, FIRST);
    death(
        "a SYN of a client that waits",
        &scene,
        scene.before(vec![scene.syn_to(FIRST)]),
        &message(&scene, FIRST, FIRST.host, &lost),
    )
}

/// Types and codes.
type Kinds = &'static [(u8, u8)];

/// Which messages count, and which others are told (RFC 792, RFC 4443).
fn messages(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let lost = lost(&scene, Protocol::Udp, FIRST);
    let (kind, count): (u8, &[u8]) = match family {
        Family::V4 => (3, &[0, 1, 2, 3, 9, 10, 13]),
        Family::V6 => (1, &[0, 1, 3, 4]),
    };
    let (others, no_errors): (Kinds, Kinds) = match family {
        // The size, a source route, the time is over, a parameter; the source's quench,
        // a redirect, echoes, and an error of the other family.
        Family::V4 => (
            &[(3, 4), (3, 5), (11, 0), (11, 1), (12, 0)],
            &[(4, 0), (5, 1), (8, 0), (0, 0), (1, 4), (2, 0)],
        ),
        Family::V6 => (
            &[(1, 2), (1, 5), (2, 0), (3, 0), (4, 1)],
            &[(128, 0), (129, 0), (137, 0), (11, 0), (12, 0)],
        ),
    };
    let with = |kind| Control {
        kind,
        word: [0, 0, 5, 0x14],
        ..message(&scene, FIRST, FIRST.host, &lost)
    };
    let before = || scene.before(vec![]);
    let counted = count.iter().map(|&code| {
        let what = format!("code {code}");
        told_death(&what, &scene, before(), &with((kind, code)), &lost)
    });
    let others = others.iter().map(|&kind| {
        let what = format!("{kind:?} is another matter");
        told(&what, &scene, before(), &with(kind), &lost)
    });
    let no_errors = no_errors.iter().map(|&kind| {
        let what = format!("{kind:?} is no error");
        nothing(&what, &scene, before(), &with(kind))
    });
    counted.chain(others).chain(no_errors).collect()
}
