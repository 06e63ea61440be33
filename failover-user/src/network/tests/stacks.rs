//! Interfaces that stand on others.

use super::super::{
    links::{Kind, Link},
    state::{Event, Hop, Neighbour, Route, State, Via},
    subscription::{Read, Subscription},
};
use super::*;

const BOND: u32 = 10;
const MEMBER: u32 = 1;
const MEMBER_2: u32 = 2;
const VLAN: u32 = 20;
const VLAN_2: u32 = 21;
const MACVLAN: u32 = 30;
const ALONE: u32 = 40;
/// Not in the table.
const UNKNOWN: u32 = 99;

/// Where the backends of the tables are, by their index.
const BEHIND: [u32; 6] = [BOND, VLAN, VLAN, VLAN_2, MACVLAN, ALONE];
const ON_BOND: [usize; 5] = [0, 1, 2, 3, 4];
const NONE: [usize; 0] = [];

fn link(ifindex: u32, kind: Kind, lower: Option<u32>, master: Option<u32>) -> Link {
    Link {
        ifindex,
        name: format!("if{ifindex}"),
        mac: Some(SRC),
        mtu: MTU,
        up: true,
        kind,
        lower,
        master,
    }
}

/// Two members, a bond of them, two VLANs on the bond, a macvlan on one of these;
/// and an interface apart.
fn topology() -> Vec<Link> {
    vec![
        link(MEMBER, Kind::Other, None, Some(BOND)),
        link(MEMBER_2, Kind::Other, None, Some(BOND)),
        link(BOND, Kind::Group, None, None),
        link(VLAN, Kind::Vlan, Some(BOND), None),
        link(VLAN_2, Kind::Vlan, Some(BOND), None),
        link(MACVLAN, Kind::Other, Some(VLAN), None),
        link(ALONE, Kind::Other, None, None),
    ]
}

/// All of these up, every backend resolved and told.
fn settled(links: Vec<Link>) -> State {
    let hops: Vec<Hop> = BEHIND
        .iter()
        .zip(1..)
        .map(|(&ifindex, host)| Hop {
            ifindex,
            address: IpAddr::from([10, 0, 0, host]),
        })
        .collect();
    let mut state = State::new(hops.iter().map(|hop| hop.address).collect());
    let known = hops.iter().map(|&hop| (hop, Neighbour::Known(DST)));
    state.replace(links, known.collect());
    for (backend, &hop) in hops.iter().enumerate() {
        let (source, mtu) = (None, None);
        state.route(backend, Route::Via(Via { hop, source, mtu }));
    }
    assert_eq!(told(&state.changes()).1.len(), BEHIND.len());
    state
}

/// The backends that a batch says are behind a link that is down, and those that
/// it says can be reached; there must be no others.
fn told(batch: &[Change]) -> (Vec<usize>, Vec<usize>) {
    let (mut down, mut resolved) = (Vec::new(), Vec::new());
    for change in batch {
        match change {
            Change::Backend { backend, reach } => match reach {
                Reach::LinkDown { .. } => down.push(*backend),
                Reach::Resolved(_) => resolved.push(*backend),
                Reach::NoNeighbour { .. } => panic!("{backend}: {reach:?}"),
            },
            Change::Link { .. } | Change::Ways => {}
        }
    }
    (down, resolved)
}

/// One change of one interface of [`topology`] after another; after each, the
/// backends told of in that one batch: link down, resolved.
#[track_caller]
fn check(description: &str, rows: &[(Event, &[usize], &[usize])]) {
    let mut state = settled(topology());
    for (row, (event, down, resolved)) in rows.iter().enumerate() {
        state.apply(event.clone());
        let (was_down, was_resolved) = told(&state.changes());
        assert_eq!(
            (&*was_down, &*was_resolved),
            (*down, *resolved),
            "{description}, {row}"
        );
    }
}

fn like(ifindex: u32, change: impl Fn(&mut Link)) -> Event {
    let mut links = topology().into_iter();
    let mut link = links.find(|link| link.ifindex == ifindex).unwrap();
    change(&mut link);
    Event::Link(link)
}

fn down(ifindex: u32) -> Event {
    like(ifindex, |link| link.up = false)
}

fn up(ifindex: u32) -> Event {
    like(ifindex, |_| {})
}

#[test]
fn one_message_holds_all_behind_it() {
    check(
        "the bond, then those on it, and back",
        &[
            (down(BOND), &ON_BOND, &NONE),
            (down(VLAN), &NONE, &NONE),
            (down(MACVLAN), &NONE, &NONE),
            (up(BOND), &NONE, &[0, 3]),
            (up(MACVLAN), &NONE, &NONE),
            (up(VLAN), &NONE, &[1, 2, 4]),
        ],
    );
    check(
        "the bond, and nothing else says a word",
        &[(down(BOND), &ON_BOND, &NONE), (up(BOND), &NONE, &ON_BOND)],
    );
    check(
        "one VLAN",
        &[
            (down(VLAN), &[1, 2, 4], &NONE),
            (up(VLAN), &NONE, &[1, 2, 4]),
        ],
    );
    check(
        "the top",
        &[(down(MACVLAN), &[4], &NONE), (up(MACVLAN), &NONE, &[4])],
    );
    check(
        "the members, the last of which is the bond",
        &[
            (down(MEMBER), &NONE, &NONE),
            (down(MEMBER_2), &ON_BOND, &NONE),
            (down(BOND), &NONE, &NONE),
            (up(MEMBER), &NONE, &NONE),
            (up(BOND), &NONE, &ON_BOND),
            (up(MEMBER_2), &NONE, &NONE),
        ],
    );
    check(
        "a member leaves",
        &[
            (down(MEMBER), &NONE, &NONE),
            (like(MEMBER_2, |link| link.master = None), &ON_BOND, &NONE),
            (like(MEMBER_2, |_| {}), &NONE, &ON_BOND),
            (Event::LinkGone(MEMBER_2), &ON_BOND, &NONE),
            (Event::LinkGone(MEMBER), &NONE, &ON_BOND),
        ],
    );
    check(
        "members of what is no bond",
        &[
            (like(BOND, |link| link.kind = Kind::Other), &NONE, &NONE),
            (down(MEMBER), &NONE, &NONE),
            (down(MEMBER_2), &NONE, &NONE),
        ],
    );
    check(
        "another device below",
        &[
            (down(BOND), &ON_BOND, &NONE),
            (like(VLAN, |link| link.lower = None), &NONE, &[1, 2, 4]),
            (like(VLAN, |link| link.lower = Some(ALONE)), &NONE, &[1, 2]),
            (down(ALONE), &[1, 2, 4, 5], &NONE),
        ],
    );
}

#[test]
fn what_is_below_and_not_known_says_nothing() {
    let on_nothing = |up| {
        like(ALONE, move |link| {
            (link.lower, link.up) = (Some(UNKNOWN), up);
        })
    };
    check(
        "unknown",
        &[
            (on_nothing(true), &NONE, &NONE),
            (on_nothing(false), &[5], &NONE),
            (on_nothing(true), &NONE, &[5]),
        ],
    );
    check(
        "gone while the upper one stays: moved to another namespace",
        &[
            (down(BOND), &ON_BOND, &NONE),
            (Event::LinkGone(BOND), &NONE, &[1, 2, 3, 4]),
        ],
    );
}

#[test]
fn a_loop_ends() {
    let on = |ifindex, lower| like(ifindex, move |link| link.lower = Some(lower));
    let both = |event| [on(ALONE, ALONE), on(BOND, MACVLAN), event];
    for (event, expected) in [
        (up(MEMBER), vec![]),
        (down(VLAN_2), vec![3]),
        (down(VLAN), ON_BOND.to_vec()),
        (down(ALONE), vec![5]),
    ] {
        let mut state = settled(topology());
        for event in both(event.clone()) {
            state.apply(event);
        }
        assert_eq!(told(&state.changes()).0, expected, "{event:?}");
        for event in [up(VLAN), up(VLAN_2), on(ALONE, ALONE)] {
            state.apply(event);
        }
        assert_eq!(told(&state.changes()).1, expected, "{event:?}, back");
    }
    // A bond that is its own member.
    let mut state = settled(topology());
    for event in [
        Event::LinkGone(MEMBER),
        Event::LinkGone(MEMBER_2),
        like(BOND, |link| link.master = Some(BOND)),
    ] {
        state.apply(event);
    }
    assert!(told(&state.changes()).0.is_empty());
}

/// Whatever happens in whatever order, the end is that of a fresh reading.
#[test]
fn the_order_of_messages_does_not_matter() {
    for seed in 0..2_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state = settled(topology());
        let mut links = topology();
        let mut now = std::collections::BTreeSet::new();
        for _ in 0..random.usize(..30) {
            let index = random.usize(..links.len());
            let link = &mut links[index];
            link.up = random.bool();
            if random.u8(..4) == 0 {
                let any = [None, Some(BOND), Some(VLAN), Some(MEMBER), Some(UNKNOWN)];
                link.lower = any[random.usize(..any.len())];
                link.master = any[random.usize(..any.len())];
            }
            state.apply(Event::Link(link.clone()));
            let (down, resolved) = told(&state.changes());
            now.extend(down);
            now.retain(|backend| !resolved.contains(backend));
        }
        let mut fresh = settled(topology());
        fresh.replace(links.clone(), vec![]);
        let read = told(&fresh.changes()).0;
        assert_eq!(
            now.into_iter().collect::<Vec<_>>(),
            read,
            "{seed}: {links:?}"
        );
    }
}

/// How many backends are behind `up0` in the namespace tests.
const MANY: usize = 40;

/// `up0` on `nw0`, as `commands` make it, with [`MANY`] backends behind it; one
/// more on an interface of its own.
fn set_up_stack(commands: &[&str]) -> Vec<IpAddr> {
    set_up();
    ip("addr flush dev nw0");
    for command in commands {
        ip(command);
    }
    ip("link set up0 up");
    ip("addr add 10.8.0.1/24 dev up0");
    ip("link add other0 type veth peer name other1");
    ip("link set other0 up");
    ip("link set other1 up");
    ip("addr add 10.7.0.1/24 dev other0");
    let behind = |host| (format!("10.8.0.{}", host + 10), "up0");
    let apart = ("10.7.0.2".to_owned(), "other0");
    let all: Vec<_> = (0..MANY).map(behind).chain([apart]).collect();
    for (text, device) in &all {
        ip(&format!(
            "neigh replace {text} lladdr 02:00:00:00:00:02 dev {device}"
        ));
    }
    all.iter().map(|(text, _)| address(text)).collect()
}

const STACKS: [&[&str]; 3] = [
    &["link add link nw0 name up0 type macvlan"],
    &["link add up0 type bridge", "link set nw0 master up0"],
    // A macvlan on a bridge: from the member to the top in one go.
    &[
        "link add br0 type bridge",
        "link set nw0 master br0",
        "link set br0 up",
        "link add link br0 name up0 type macvlan",
    ],
];

/// The kernel's own messages, one at a time: the one of the device below is
/// enough, and it comes before the one of the device above.
#[test]
fn the_message_of_the_lower_device_is_enough() {
    for commands in STACKS {
        run(move || async move {
            let addresses = set_up_stack(commands);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (lower, upper) = (index("nw0").await, index("up0").await);
            let mut subscription = Subscription::open().unwrap();
            let netlink = Netlink::open().unwrap();
            let mut state = State::new(addresses);
            let links = netlink.read_links().await.unwrap();
            state.replace(links, netlink.read_neighbours().await.unwrap());
            while let Some((backend, address)) = state.next_lookup() {
                state.route(backend, netlink.look_up(address).await.unwrap());
            }
            assert_eq!(told(&state.changes()).1.len(), MANY + 1, "{commands:?}");

            ip("link set nw0 down");
            let start = Instant::now();
            // Who said it, and how many backends were told of then; until the
            // kernel tells of the upper one too.
            let mut said = Vec::new();
            while said.last() != Some(&(upper, 0)) {
                let next = timeout(PATIENCE, subscription.next()).await;
                let next = next.unwrap_or_else(|_| panic!("{commands:?}: {said:?}"));
                let Read::Events(events) = next.unwrap() else {
                    panic!("events were lost");
                };
                for event in events {
                    let who = match &event {
                        Event::Link(link) if !link.up => link.ifindex,
                        _ => 0,
                    };
                    state.apply(event);
                    said.push((who, told(&state.changes()).0.len()));
                }
            }
            println!("{commands:?}: {:?} until up0 is told", start.elapsed());
            said.retain(|&(_, count)| count > 0);
            assert_eq!(said, [(lower, MANY)], "{commands:?}");
        });
    }
}

/// The same through the watcher: one batch down, one batch up, with the cable
/// pulled or the device below disabled.
#[test]
fn backends_behind_one_link_are_told_together() {
    for commands in STACKS {
        for device in ["nw0", "nw1"] {
            run(move || async move {
                let mut watched = Watched::of(set_up_stack(commands));
                let mut seen = std::collections::BTreeSet::new();
                while seen.len() <= MANY {
                    let batch = timeout(PATIENCE, watched.batch()).await.unwrap();
                    for change in batch {
                        if let Change::Backend {
                            backend,
                            reach: Reach::Resolved(_),
                        } = change
                        {
                            seen.insert(backend);
                        }
                    }
                }
                let all: Vec<usize> = (0..MANY).collect();
                for (state, expected) in [("down", (&all, &vec![])), ("up", (&vec![], &all))] {
                    ip(&format!("link set {device} {state}"));
                    let (down, resolved) = loop {
                        let batch = timeout(PATIENCE, watched.batch()).await.unwrap();
                        let told = told(&batch);
                        if told != (vec![], vec![]) {
                            break told;
                        }
                    };
                    assert_eq!(
                        (&down, &resolved),
                        expected,
                        "{commands:?}: {device} {state}"
                    );
                }
                watched.task.abort();
            });
        }
    }
}
