//! Nobody may serve: `during_switch`.

use etherparse::TcpOptionElement;
use failover_common::{Hold, Verdict};
use lab::Family;

use super::scene::Scene;
use super::{Row, client, ingress, request, reset_in, reset_of, towards};
use crate::before::Earlier;
use crate::frame::{ACK, CWR, ECE, FIN, Frame, PSH, Protocol, RST, SYN};
use crate::mortals::{
    FIRST, SECOND, SWITCHED, SWITCHED_EMPTY, SWITCHED_KEPT, SWITCHED_RESCUED, WAITING,
    WAITING_EMPTY, WAITING_KEPT,
};
use crate::network::{BACK, FRONT, at};
use crate::pieces::{HOP_BY_HOP, fragments, options, with_headers};
use crate::services::{Port, VIP};
use crate::state::{Change, Entry};
use crate::world::{HELD_LAST, Server};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, family) in (0..).zip(Family::ALL) {
        rows.extend(segments(family));
        rows.extend(shapes(family));
        rows.extend(pieces(family, 7000 + 10 * number));
        rows.extend(judged(family));
        rows.extend(refused(family));
        rows.extend(with_flows(family));
    }
    rows
}

/// A client's segment.
fn segment(family: Family, port: Port, flags: u8) -> Frame {
    let to = at(family, 1, VIP, port as u16);
    Frame::segment(flags, client(family), to).numbers(0x0102_0304, 0x9000_0001)
}

/// `input` goes no further, but as its reset if the verdict says so.
fn ends(what: &str, input: &Frame, verdict: Verdict) -> Row {
    let row = Row::unchanged(format!("switch: {what}"), FRONT, input.bytes(), verdict);
    Row {
        output: match verdict {
            Verdict::SwitchReset => reset_of(input),
            _ => input.bytes(),
        },
        ..row
    }
}

/// `input` goes to a backend that is held.
fn kept(what: &str, input: &Frame, server: Server, family: Family, port: u16) -> Row {
    let output = input.clone().to(at(family, server.net, server.host, port));
    Row::sent(
        format!("switch: {what}"),
        FRONT,
        input,
        Verdict::ForwardedRedirect,
        &towards(server, output),
        server.index(family),
    )
}

/// Each kind of segment for a service that nobody is promoted for, and for one whose
/// backends are held.
fn segments(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, flags) in [
        ("a SYN", SYN),
        ("a SYN with ECN", SYN | ECE | CWR),
        ("data", PSH | ACK),
        ("an acknowledgment", ACK),
        ("a FIN", FIN | ACK),
        ("a FIN alone", FIN),
        ("a SYN-ACK", SYN | ACK),
        ("no flags", 0),
        ("a RST", RST),
        ("a RST-ACK", RST | ACK),
    ] {
        let begins = flags & (SYN | ACK) == SYN;
        let is_reset = flags & RST != 0;
        for (port, verdict) in [
            (Port::ResetEmpty, Verdict::SwitchReset),
            (Port::ResetHeld, Verdict::SwitchReset),
            (Port::HoldEmpty, Verdict::SwitchHeld),
            (Port::HoldHeld, Verdict::SwitchHeld),
            (Port::Empty, Verdict::NoBackend),
        ] {
            let mut input = segment(family, port, flags);
            if flags & PSH != 0 {
                input.payload = b"select 1;".to_vec();
            }
            let what = format!("{what}, {port:?}: {family:?}");
            let is_held = matches!(port, Port::ResetHeld | Port::HoldHeld);
            rows.push(if is_held && !begins {
                kept(&what, &input, HELD_LAST, family, port as u16)
            } else if is_reset && verdict == Verdict::SwitchReset {
                ends(&what, &input, Verdict::NoBackend)
            } else {
                ends(&what, &input, verdict)
            });
        }
    }
    for port in [Port::ResetEmpty, Port::HoldEmpty] {
        let input = request(family, Protocol::Udp, port as u16);
        let what = format!("a datagram, {port:?}: {family:?}");
        rows.push(ends(&what, &input, Verdict::NoBackend));
    }
    for port in [Port::ResetHeld, Port::HoldHeld] {
        let input = request(family, Protocol::Udp, port as u16);
        let what = format!("a datagram, {port:?}: {family:?}");
        rows.push(kept(&what, &input, HELD_LAST, family, port as u16));
    }
    rows
}

/// Frames of every form, and senders that must not be answered.
fn shapes(family: Family) -> Vec<Row> {
    let plain = segment(family, Port::ResetEmpty, SYN);
    let changed = |change: fn(&mut Frame)| {
        let mut frame = plain.clone();
        change(&mut frame);
        frame
    };
    let options = vec![
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::WindowScale(7),
    ];
    let with_options = Frame {
        tcp_options: options,
        ..plain.clone()
    };
    let nobody = match family {
        Family::V4 => "224.0.0.9:40000",
        Family::V6 => "[ff02::9]:40000",
    };
    let group = plain.clone().from(nobody.parse().expect("a constant"));
    let mut rows = vec![
        ("options", with_options, Verdict::SwitchReset),
        (
            "data in a SYN",
            changed(|frame| frame.payload = b"early".to_vec()),
            Verdict::SwitchReset,
        ),
        (
            "the last number",
            changed(|frame| frame.tcp.sequence = u32::MAX),
            Verdict::SwitchReset,
        ),
        (
            "a tag",
            changed(|frame| frame.vlan = Some(5)),
            Verdict::SwitchReset,
        ),
        (
            "padding",
            changed(|frame| frame.padding = vec![7; 9]),
            Verdict::SwitchReset,
        ),
        (
            "from a group's MAC",
            changed(|frame| frame.src_mac[0] |= 1),
            Verdict::NoBackend,
        ),
        (
            "to a group's MAC",
            changed(|frame| frame.dst_mac[0] |= 1),
            Verdict::NoBackend,
        ),
        ("from a group", group, Verdict::NoBackend),
    ];
    if family == Family::V4 {
        let input = changed(|frame| frame.ip_options = vec![1; 12]);
        rows.push(("IP options", input, Verdict::SwitchReset));
    }
    rows.into_iter()
        .map(|(what, input, verdict)| ends(&format!("{what}: {family:?}"), &input, verdict))
        .collect()
}

/// Fragments and extension headers.
fn pieces(family: Family, id: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for (port, verdict) in [
        (Port::ResetEmpty, Verdict::SwitchReset),
        (Port::HoldEmpty, Verdict::SwitchHeld),
    ] {
        let mut add = |what: &str, frame: &Frame, bytes: Vec<u8>| {
            let row = Row::unchanged(
                format!("switch: {what}, {port:?}: {family:?}"),
                FRONT,
                bytes.clone(),
                verdict,
            );
            let output = match verdict {
                Verdict::SwitchReset => reset_in(frame, &bytes),
                _ => bytes,
            };
            rows.push(Row { output, ..row });
        };
        let frame = Frame {
            payload: vec![5; 64],
            ..segment(family, port, PSH | ACK)
        };
        let first = fragments(&frame, id, &[40]).swap_remove(0);
        add("a first fragment", &frame, first);
        if family == Family::V6 {
            let chain = [options(HOP_BY_HOP, 1)];
            add("a header", &frame, with_headers(&frame, &chain));
        }
    }
    rows
}

fn held(scene: &Scene, server: Server) -> Earlier {
    Earlier::Entry(Entry {
        holds: Hold::CheckFailed as u64,
        ..Entry::new(server, scene.family)
    })
}

/// The client's next segment, with data.
fn data(scene: &Scene) -> Frame {
    let syn = &scene.syn;
    let next = syn.tcp.sequence.wrapping_add(1);
    Frame {
        tos: syn.tos,
        payload: b"select 1;".to_vec(),
        ..Frame::segment(PSH | ACK, syn.source, syn.destination).numbers(next, 0x9000_0001)
    }
}

/// As [`ends`], after this.
fn ends_after(
    what: &str,
    scene: &Scene,
    earlier: Vec<Earlier>,
    input: &Frame,
    verdict: Verdict,
) -> Row {
    Row {
        before: scene.before(earlier),
        ..ends(&format!("{what}: {:?}", scene.family), input, verdict)
    }
}

/// As [`kept`], after this.
fn kept_after(what: &str, scene: &Scene, earlier: Vec<Earlier>, input: &Frame) -> Row {
    let what = format!("{what}: {:?}", scene.family);
    let port = scene.socket(FIRST).port();
    Row {
        before: scene.before(earlier),
        ..kept(&what, input, FIRST, scene.family, port)
    }
}

/// The packet itself finds that the lease is over; SYNs are remembered here.
fn judged(family: Family) -> Vec<Row> {
    let dead = || Earlier::Entry(Entry::dead(FIRST, family));
    let mut rows = Vec::new();
    for (offer, verdict) in [
        (WAITING, Verdict::SwitchHeld),
        (SWITCHED, Verdict::SwitchReset),
    ] {
        let scene = &Scene::new(family, offer);
        let changes = || vec![Change::dead(scene.index(FIRST))];
        let earlier = || {
            let second = Entry {
                holds: Hold::CheckFailed as u64,
                ..Entry::new(SECOND, family)
            };
            vec![Earlier::Entry(second), dead()]
        };
        rows.push(Row {
            changes: changes(),
            ..ends_after("a SYN sees it", scene, earlier(), &scene.syn, verdict)
        });
        rows.push(Row {
            changes: changes(),
            ..kept_after("data sees it", scene, earlier(), &data(scene))
        });
    }
    rows
}

/// A backend that has just died refuses a SYN.
fn refused(family: Family) -> Vec<Row> {
    let waiting = &Scene::new(family, WAITING);
    let switched = &Scene::new(family, SWITCHED);
    let refusal = waiting.refusal(FIRST);
    let again = vec![
        waiting.syn_to(FIRST),
        Earlier::Frame(ingress(FIRST), refusal.bytes(), Verdict::SwitchHeld),
    ];
    let heard = switched.refusal(FIRST);
    vec![
        Row {
            before: waiting.before(vec![waiting.syn_to(FIRST)]),
            changes: vec![waiting.refused(FIRST)],
            ..Row::unchanged(
                format!("switch: a refusal: {family:?}"),
                BACK,
                refusal.bytes(),
                Verdict::SwitchHeld,
            )
        },
        ends_after(
            "the SYN once more",
            waiting,
            again,
            &waiting.syn,
            Verdict::SwitchHeld,
        ),
        Row {
            changes: vec![switched.refused(FIRST)],
            ..switched.returned(
                "switch: a refusal that is heard",
                switched.before(vec![switched.syn_to(FIRST), held(switched, SECOND)]),
                FIRST,
                &heard,
            )
        },
        repeated(switched),
        repeated(&Scene::new(family, SWITCHED_RESCUED)),
    ]
}

/// A refusal has become the client's SYN again, and the other backend, which looked well
/// until the SYN was there, is dead too.
fn repeated(scene: &Scene) -> Row {
    let refusal = scene.refusal(FIRST);
    let dead = Earlier::Entry(Entry::dead(SECOND, scene.family));
    let syn = Frame {
        dst_mac: refusal.dst_mac,
        src_mac: refusal.src_mac,
        destination: scene.syn.destination,
        hop_limit: scene.syn.hop_limit,
        ..scene.repeated(SECOND, &refusal)
    };
    Row {
        before: scene.before(vec![scene.syn_to(FIRST), dead]),
        changes: vec![scene.refused(FIRST), Change::dead(scene.index(SECOND))],
        output: syn.bytes(),
        ..Row::unchanged(
            format!(
                "switch: a refused SYN that nobody has, port {}: {:?}",
                scene.offer.port, scene.family
            ),
            BACK,
            refusal.bytes(),
            Verdict::NoBackend,
        )
    }
}

/// Services that keep flows besides.
fn with_flows(family: Family) -> Vec<Row> {
    let went = |frame: &Frame| Earlier::Frame(FRONT, frame.bytes(), Verdict::ForwardedRedirect);
    let mut rows = Vec::new();
    for (offer, empty, verdict) in [
        (SWITCHED_KEPT, SWITCHED_EMPTY, Verdict::SwitchReset),
        (WAITING_KEPT, WAITING_EMPTY, Verdict::SwitchHeld),
    ] {
        let scene = &Scene::new(family, offer);
        let data = &data(scene);
        let connected = vec![went(&scene.syn), went(data), held(scene, FIRST)];
        let other = &scene.clone().by(40_001);
        let unanswered = vec![went(&scene.syn), held(scene, FIRST)];
        let nobody = &Scene::new(family, empty);
        let of_nobody = self::data(nobody);
        let rst = Frame::segment(RST, of_nobody.source, of_nobody.destination);
        // What must not be answered.
        let silent = match verdict {
            Verdict::SwitchHeld => Verdict::SwitchHeld,
            _ => Verdict::NoBackend,
        };
        let mut of_group = of_nobody.clone();
        of_group.src_mac[0] |= 1;
        let datagram = request(family, Protocol::Udp, empty.port);
        let what = |what: &str| format!("flows, {what}, {verdict:?}");
        rows.extend([
            kept_after(&what("a known one"), scene, connected.clone(), data),
            ends_after(&what("a new one"), scene, connected, &other.syn, verdict),
            ends_after(&what("a SYN again"), scene, unanswered, &scene.syn, verdict),
            ends(
                &format!("{}: {family:?}", what("of nobody")),
                &of_nobody,
                verdict,
            ),
            ends(
                &format!("{}: {family:?}", what("a SYN to nobody")),
                &nobody.syn,
                verdict,
            ),
            ends(
                &format!("{}: {family:?}", what("from a group's MAC")),
                &of_group,
                silent,
            ),
            ends(
                &format!("{}: {family:?}", what("a RST to nobody")),
                &rst,
                silent,
            ),
            ends(
                &format!("{}: {family:?}", what("a datagram")),
                &datagram,
                Verdict::NoBackend,
            ),
        ]);
    }
    rows
}
