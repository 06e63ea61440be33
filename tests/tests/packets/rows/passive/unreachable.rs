//! "Unreachable", from a backend or on its behalf: a sign of death, if it is about a
//! packet that is out. What of it can be delivered to another backend is in
//! `redelivery`; here the quote is cut, as routers do (RFC 792), and the message goes on
//! to the stack.

use failover_common::{HeartbeatKind, Signal, Verdict};
use lab::Family;

use crate::before::{Before, Earlier};
use crate::control::Control;
use crate::frame::{Frame, Protocol};
use crate::mortals::{FIRST, LEASED, Offer, PASSIVE, SECOND};
use crate::network::{BACK, FRONT, at, mac};
use crate::rows::Row;
use crate::rows::scene::Scene;
use crate::state::{Change, Entry};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| [datagrams(family), segments(family), messages(family)].concat())
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
    let by_range = lost.clone().from(at(family, 1, 9, 61_009));
    let by_range = message(&scene, FIRST, FIRST.host, &by_range);
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
    let of_off = message(
        &off,
        FIRST,
        FIRST.host,
        &self::lost(&off, Protocol::Udp, FIRST),
    );
    let mut rows = vec![
        death("a datagram", &scene, plain(), &honest),
        death(
            "a datagram, says a router",
            &scene,
            plain(),
            &message(&scene, FIRST, 1, &lost),
        ),
        death("a datagram, a tag", &scene, plain(), &tagged),
        death(
            "a datagram from a port of heartbeats",
            &scene,
            Before::entries(&[of_segments]),
            &by_range,
        ),
        nothing("of a port, says a router", &scene, plain(), &of_a_port),
        nothing("for the VIP, not the client", &scene, plain(), &to_the_vip),
        nothing("from another neighbour", &scene, plain(), &neighbour),
        nothing("from the other backend's", &scene, plain(), &others),
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
        nothing("off", &off, off.before(vec![]), &of_off),
    ];
    rows.push(Row {
        ingress: FRONT,
        ..nothing("by another interface", &scene, plain(), &honest)
    });
    // Once for each time the hold is set.
    let again = vec![Earlier::Frame(BACK, honest.bytes(), Verdict::OtherProtocol)];
    rows.push(nothing("again", &scene, scene.before(again), &honest));
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
    let of_off = message(
        &off,
        FIRST,
        FIRST.host,
        &self::lost(&off, Protocol::Tcp, FIRST),
    );
    let other_client = lost.clone().from(at(family, 1, 9, 40_001));
    let twice = |name: &str, offer: Offer| {
        let scene = Scene::new(family, offer);
        let lost = self::lost(&scene, Protocol::Tcp, SECOND);
        let message = message(&scene, FIRST, FIRST.host, &lost);
        nothing(
            name,
            &scene,
            scene.before(vec![scene.syn_to(FIRST)]),
            &message,
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
        nothing("no SYN is out", &scene, scene.before(vec![]), &honest),
        nothing(
            "another number",
            &scene,
            syn(),
            &about(&lost.clone().numbers(0, 0)),
        ),
        nothing("another client's", &scene, syn(), &about(&other_client)),
        nothing(
            "a SYN that was accepted",
            &scene,
            scene.before(vec![scene.syn_to(FIRST), accepted]),
            &honest,
        ),
        nothing(
            "a SYN that another one has",
            &scene,
            scene.before(moved),
            &honest,
        ),
        nothing(
            "a SYN, off",
            &off,
            off.before(vec![off.syn_to(FIRST)]),
            &of_off,
        ),
        twice("a SYN to the other one", PASSIVE),
    ]
}

/// Which messages count (RFC 792, RFC 4443).
fn messages(family: Family) -> Vec<Row> {
    let scene = Scene::new(family, PASSIVE);
    let lost = lost(&scene, Protocol::Udp, FIRST);
    let (kind, count, other): (u8, &[u8], &[(u8, u8)]) = match family {
        Family::V4 => (
            3,
            &[0, 1, 2, 3, 9, 10, 13],
            // The size, a source route, a redirect, the time is over, echoes.
            &[(3, 4), (3, 5), (5, 1), (11, 0), (8, 0), (0, 0), (1, 4)],
        ),
        Family::V6 => (
            1,
            &[0, 1, 3, 4],
            &[(1, 2), (1, 5), (2, 0), (3, 0), (128, 0), (129, 0), (3, 3)],
        ),
    };
    let with = |kind| Control {
        kind,
        ..message(&scene, FIRST, FIRST.host, &lost)
    };
    let before = || scene.before(vec![]);
    let counted = count.iter().map(|&code| {
        let what = format!("code {code}");
        death(&what, &scene, before(), &with((kind, code)))
    });
    let others = other.iter().map(|&kind| {
        let what = format!("{kind:?} is another matter");
        nothing(&what, &scene, before(), &with(kind))
    });
    counted.chain(others).collect()
}
