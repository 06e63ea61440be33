//! The tables, without a kernel.
#![expect(
    clippy::unnecessary_wraps,
    reason = "the rows say what is told, or None"
)]

use super::super::{
    links::{Kind, Link},
    state::{
        Event, Hop,
        Neighbour::{self, Asking, Failed, Known, Stale},
        Route, State, Via,
    },
};
use super::*;

const BACKEND: &str = "10.9.0.2";
const ROUTER: &str = "10.9.0.254";

fn hop(text: &str) -> Hop {
    Hop {
        ifindex: 1,
        address: address(text),
    }
}

fn via(text: &str) -> Route {
    Route::Via(Via {
        hop: hop(text),
        source: Some(address(OWN)),
        mtu: None,
    })
}

fn link(up: bool) -> Link {
    Link {
        ifindex: 1,
        name: "eth0".into(),
        mac: Some(SRC),
        mtu: MTU,
        up,
        kind: Kind::Other,
        lower: None,
        master: None,
    }
}

fn said(text: &str, neighbour: Neighbour) -> Step {
    Step::Event(Event::Neighbour(hop(text), neighbour))
}

/// One thing that happens.
#[derive(Debug)]
enum Step {
    Event(Event),
    Route(Route),
    Tick,
    /// A full reading.
    Read(Vec<Link>, Vec<(Hop, Neighbour)>),
}

/// A state after `steps`; what the last one told of the backend, and whether
/// the kernel is to be asked for a neighbour then.
fn after(steps: Vec<Step>) -> (Option<Reach>, Vec<Hop>) {
    let mut state = State::new(vec![address(BACKEND)]);
    let mut told = None;
    let mut kicks = Vec::new();
    for step in steps {
        match step {
            Step::Event(event) => state.apply(event),
            Step::Route(route) => state.route(0, route),
            Step::Tick => state.tick(),
            Step::Read(links, neighbours) => state.replace(links, neighbours),
        }
        told = state.changes().into_iter().find_map(|change| match change {
            Change::Backend { reach, .. } => Some(reach),
            Change::Link { .. } | Change::Ways => None,
        });
        kicks = std::iter::from_fn(|| state.next_kick()).collect();
    }
    (told, kicks)
}

/// A link that is up and a route straight to the backend, then `steps`.
#[track_caller]
fn check(description: &str, steps: Vec<Step>, told: Option<Reach>, kicks: &[&str]) {
    let mut all = vec![
        Step::Event(Event::Link(link(true))),
        Step::Route(via(BACKEND)),
    ];
    all.extend(steps);
    let kicks = kicks.iter().map(|text| hop(text)).collect();
    assert_eq!(after(all), (told, kicks), "{description}");
}

fn next(dst_mac: [u8; 6]) -> NextHop {
    NextHop {
        ifindex: 1,
        egress: 1,
        src_mac: SRC,
        dst_mac,
        source: Some(address(OWN)),
        mtu: MTU,
    }
}

fn resolved(mac: [u8; 6]) -> Option<Reach> {
    Some(Reach::Resolved(next(mac)))
}

fn nobody(last: Option<[u8; 6]>) -> Option<Reach> {
    let last = last.map(next);
    Some(Reach::NoNeighbour { last })
}

fn down(last: Option<[u8; 6]>) -> Option<Reach> {
    let last = last.map(next);
    Some(Reach::LinkDown { last })
}

fn near(neighbour: Neighbour) -> Step {
    said(BACKEND, neighbour)
}

fn gone() -> Step {
    Step::Event(Event::NeighbourGone(hop(BACKEND)))
}

#[test]
fn neighbours() {
    check("never asked", vec![], nobody(None), &[BACKEND]);
    check("asking", vec![near(Asking)], None, &[]);
    check(
        "still asking after a second",
        vec![near(Asking), Step::Tick],
        None,
        &[BACKEND],
    );
    check("answered", vec![near(Known(DST))], resolved(DST), &[]);
    check(
        "known is left alone",
        vec![near(Known(DST)), Step::Tick],
        None,
        &[],
    );
    check("stale is good", vec![near(Stale(DST))], resolved(DST), &[]);
    check(
        "and asked for",
        vec![near(Stale(DST)), Step::Tick],
        None,
        &[BACKEND],
    );
    check(
        "told once",
        vec![near(Known(DST)), near(Stale(DST))],
        None,
        &[],
    );
    check(
        "another MAC",
        vec![near(Known(DST)), near(Known(OTHER))],
        resolved(OTHER),
        &[],
    );
    check(
        "asked again",
        vec![near(Known(DST)), near(Asking)],
        None,
        &[],
    );
    check(
        "failed",
        vec![near(Known(DST)), near(Failed)],
        nobody(Some(DST)),
        &[],
    );
    check(
        "asked after",
        vec![near(Known(DST)), near(Failed), near(Asking)],
        None,
        &[],
    );
    check(
        "back",
        vec![near(Known(DST)), near(Failed), near(Known(DST))],
        resolved(DST),
        &[],
    );
    check(
        "forgotten",
        vec![near(Known(DST)), gone()],
        None,
        &[BACKEND],
    );
    check(
        "forgotten, asking",
        vec![near(Known(DST)), gone(), near(Asking)],
        None,
        &[],
    );
    check(
        "forgotten, failed",
        vec![near(Known(DST)), gone(), near(Failed)],
        nobody(Some(DST)),
        &[],
    );
    check(
        "another's neighbour",
        vec![said("10.9.0.3", Known(DST))],
        None,
        &[],
    );
}

#[test]
fn links() {
    let carrier = |up| Step::Event(Event::Link(link(up)));
    check(
        "link down",
        vec![near(Known(DST)), carrier(false)],
        down(Some(DST)),
        &[],
    );
    check(
        "down, never resolved",
        vec![carrier(false)],
        down(None),
        &[],
    );
    check(
        "nobody asks on it",
        vec![carrier(false), Step::Tick],
        None,
        &[],
    );
    check(
        "its route went along",
        vec![near(Known(DST)), carrier(false), Step::Route(Route::None)],
        None,
        &[],
    );
    check(
        "link up",
        vec![near(Known(DST)), carrier(false), gone(), carrier(true)],
        resolved(DST),
        &[],
    );
    check(
        "link gone",
        vec![near(Known(DST)), Step::Event(Event::LinkGone(1))],
        down(Some(DST)),
        &[],
    );
    let moved = Link {
        mac: Some(OTHER),
        ..link(true)
    };
    check(
        "our own MAC",
        vec![near(Known(DST)), Step::Event(Event::Link(moved))],
        Some(Reach::Resolved(NextHop {
            src_mac: OTHER,
            ..next(DST)
        })),
        &[],
    );
    let tagged = Link {
        kind: Kind::Vlan,
        lower: Some(7),
        ..link(true)
    };
    check(
        "VLAN device",
        vec![near(Known(DST)), Step::Event(Event::Link(tagged))],
        Some(Reach::Resolved(NextHop {
            ifindex: 7,
            ..next(DST)
        })),
        &[],
    );
    let macvlan = Link {
        lower: Some(7),
        ..link(true)
    };
    check(
        "macvlan",
        vec![near(Known(DST)), Step::Event(Event::Link(macvlan))],
        None,
        &[],
    );
    let narrow = Link {
        mtu: 1400,
        ..link(true)
    };
    check(
        "MTU",
        vec![near(Known(DST)), Step::Event(Event::Link(narrow))],
        Some(Reach::Resolved(NextHop {
            mtu: 1400,
            ..next(DST)
        })),
        &[],
    );
    let tunnel = Link {
        mac: None,
        ..link(true)
    };
    check(
        "no Ethernet",
        vec![near(Known(DST)), Step::Event(Event::Link(tunnel))],
        nobody(Some(DST)),
        &[],
    );
}

#[test]
fn routes() {
    let none = || Step::Route(Route::None);
    let far = || Step::Route(via(ROUTER));
    check(
        "route gone",
        vec![near(Known(DST)), none()],
        nobody(Some(DST)),
        &[],
    );
    check(
        "route back",
        vec![near(Known(DST)), none(), Step::Route(via(BACKEND))],
        resolved(DST),
        &[],
    );
    check(
        "new router",
        vec![near(Known(DST)), far()],
        nobody(Some(DST)),
        &[ROUTER],
    );
    check(
        "new router, known",
        vec![near(Known(DST)), said(ROUTER, Known(OTHER)), far()],
        resolved(OTHER),
        &[],
    );
    // {description, source, MTU of the route, that of the way}
    for (description, source, mtu, expected) in [
        ("another source", Some("10.9.0.3"), None, MTU),
        ("no source", None, None, MTU),
        ("a route with an MTU", Some(OWN), Some(1400), 1400),
        (
            "an MTU that the interface has not",
            Some(OWN),
            Some(9000),
            MTU,
        ),
    ] {
        let source = source.map(address);
        let hop = hop(BACKEND);
        let told = NextHop {
            source,
            mtu: expected,
            ..next(DST)
        };
        let route = Route::Via(Via { hop, source, mtu });
        let steps = vec![Step::Route(route), near(Known(DST))];
        check(description, steps, Some(Reach::Resolved(told)), &[]);
    }
}

#[test]
fn readings() {
    let read = |neighbours| Step::Read(vec![link(true)], neighbours);
    check(
        "read the same",
        vec![near(Known(DST)), read(vec![(hop(BACKEND), Known(DST))])],
        None,
        &[],
    );
    check(
        "read without it",
        vec![near(Known(DST)), read(vec![])],
        None,
        &[BACKEND],
    );
    check(
        "read another MAC",
        vec![near(Known(DST)), read(vec![(hop(BACKEND), Known(OTHER))])],
        resolved(OTHER),
        &[],
    );
    check(
        "read a failure",
        vec![near(Known(DST)), read(vec![(hop(BACKEND), Failed)])],
        nobody(Some(DST)),
        &[],
    );
    check(
        "read no link",
        vec![near(Known(DST)), Step::Read(vec![], vec![])],
        down(Some(DST)),
        &[],
    );
}

#[test]
fn nothing_is_told_before_the_route_is_known() {
    let told = after(vec![Step::Read(
        vec![link(true)],
        vec![(hop(BACKEND), Known(DST))],
    )]);
    assert_eq!(told, (None, vec![]));
}

#[test]
fn lookups() {
    let addresses = ["10.0.0.1", "10.0.1.1", "fd00::1"].map(address).to_vec();
    let mut state = State::new(addresses);
    let mut take = |event: Option<Event>| {
        if let Some(event) = event {
            state.apply(event);
        }
        std::iter::from_fn(|| state.next_lookup())
            .map(|(index, _)| index)
            .collect::<Vec<_>>()
    };
    assert_eq!(take(None), [0, 1, 2], "all at first");
    assert_eq!(take(None), [0; 0], "once");
    let route = |text, length| {
        Some(Event::Route {
            prefix: address(text),
            length,
        })
    };
    assert_eq!(take(route("10.0.0.0", 24)), [0]);
    assert_eq!(take(route("10.0.0.0", 16)), [0, 1]);
    assert_eq!(take(route("0.0.0.0", 0)), [0, 1]);
    assert_eq!(take(route("10.0.0.1", 32)), [0]);
    assert_eq!(take(route("10.0.0.1", 255)), [0]);
    assert_eq!(take(route("::", 0)), [2]);
    assert_eq!(take(route("fd00::1", 128)), [2]);
    assert_eq!(take(Some(Event::Routes)), [0, 1, 2]);
    assert_eq!(take(Some(Event::Link(link(true)))), [0, 1, 2], "a new link");
    assert_eq!(
        take(Some(Event::Link(link(true)))),
        [0; 0],
        "the same again"
    );
    assert_eq!(take(Some(Event::Link(link(false)))), [0, 1, 2], "down");
}

#[test]
fn links_are_told() {
    let mut state = State::new(vec![]);
    let mut take = |event| {
        state.apply(event);
        let told = state
            .changes()
            .into_iter()
            .filter_map(|change| match change {
                Change::Link {
                    name,
                    ifindex,
                    present,
                    up,
                } => Some((name, ifindex, present, up)),
                Change::Ways => None,
                Change::Backend { .. } => panic!("no backends"),
            });
        told.collect::<Vec<_>>()
    };
    let told = |name: &str, present, up| (name.to_owned(), 1, present, up);
    assert_eq!(take(Event::Link(link(true))), [told("eth0", true, true)]);
    assert_eq!(take(Event::Link(link(true))), []);
    assert_eq!(take(Event::Link(link(false))), [told("eth0", true, false)]);
    let renamed = Link {
        name: "lan".into(),
        ..link(true)
    };
    let both = [told("eth0", false, false), told("lan", true, true)];
    assert_eq!(take(Event::Link(renamed)), both, "a new name");
    assert_eq!(take(Event::LinkGone(1)), [told("lan", false, false)]);
    assert_eq!(take(Event::LinkGone(1)), []);
}

/// What may be another way for a packet that somebody else sends.
#[test]
fn ways_are_told() {
    let mut state = State::new(vec![]);
    let mut is_told = |event| {
        state.apply(event);
        state.changes().contains(&Change::Ways)
    };
    let of = |neighbour| Event::Neighbour(hop("10.0.0.9"), neighbour);
    for (event, told) in [
        (Event::Link(link(true)), true),
        (Event::Link(link(true)), false),
        (Event::Link(link(false)), true),
        (of(Neighbour::Asking), false),
        // Nobody went by it.
        (of(Neighbour::Known(DST)), false),
        (of(Neighbour::Stale(DST)), false),
        (of(Neighbour::Asking), false),
        (of(Neighbour::Known(SRC)), true),
        (of(Neighbour::Failed), true),
        (Event::NeighbourGone(hop("10.0.0.9")), true),
        (Event::Routes, true),
        (
            Event::Route {
                prefix: address("192.0.2.0"),
                length: 24,
            },
            true,
        ),
        (Event::LinkGone(1), true),
        (Event::LinkGone(1), false),
    ] {
        assert_eq!(is_told(event.clone()), told, "{event:?}");
    }
}
