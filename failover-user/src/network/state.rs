//! What is known of links, neighbours and routes, and what follows for each
//! backend. No I/O and no clock: events in, changes out.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::{
    Change, NextHop, Reach, covers,
    links::{Kind, Link, Links},
};

/// One thing the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// An interface is there, and how.
    Link(Link),
    /// The interface of this index is gone.
    LinkGone(u32),
    /// An entry of the neighbour table.
    Neighbour(Hop, Neighbour),
    /// The kernel forgot a neighbour.
    NeighbourGone(Hop),
    /// The routes under this prefix changed.
    Route {
        /// Its address.
        prefix: IpAddr,
        /// Its length, bits.
        length: u8,
    },
    /// Any route may have changed (addresses, rules, next hop objects).
    Routes,
}

/// A next hop by its address: a backend on the same network, or a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

/// The states of the kernel's neighbour table, as far as they matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// REACHABLE, DELAY, PROBE, PERMANENT, NOARP: the kernel looks after it.
    Known([u8; 6]),
    /// STALE: a MAC that nobody has confirmed for a while.
    Stale([u8; 6]),
    /// INCOMPLETE or NONE: asked, or to be asked.
    Asking,
    /// FAILED: nobody answered.
    Failed,
}

/// A way that the kernel would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Via {
    pub(super) hop: Hop,
    /// The source address it would choose.
    pub(super) source: Option<IpAddr>,
    /// Longest packet, where the route or what was learnt of it says so.
    pub(super) mtu: Option<u32>,
}

/// The answer to a route lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Not looked up yet.
    Unknown,
    /// No route, or one that leads nowhere (local, unreachable, blackhole).
    None,
    /// Through a next hop.
    Via(Via),
}

/// A neighbour as last judged.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Survives INCOMPLETE and garbage collection: only FAILED or another MAC
    /// changes a MAC that was good.
    mac: Option<[u8; 6]>,
    /// The kernel looks after it: no kick needed.
    kept: bool,
}

#[derive(Debug)]
struct Backend {
    address: IpAddr,
    route: Route,
    /// The last next hop a route led to: tells a link that went down, and took
    /// the route along, from a route that was removed.
    via: Option<Hop>,
    last: Option<NextHop>,
    told: Option<Reach>,
}

/// The tables.
#[derive(Debug)]
pub(super) struct State {
    links: Links,
    neighbours: HashMap<Hop, Entry>,
    backends: Vec<Backend>,
    /// Whether an event changed something since the last [`Self::changes`].
    dirty: bool,
    /// Whether one may have changed the way to anybody.
    ways: bool,
    lookups: BTreeSet<usize>,
    kicks: BTreeSet<Hop>,
}

impl State {
    /// Nothing known yet about these backends; each is to be looked up.
    pub(super) fn new(addresses: Vec<IpAddr>) -> Self {
        let lookups = (0..addresses.len()).collect();
        let backend = |address| Backend {
            address,
            route: Route::Unknown,
            via: None,
            last: None,
            told: None,
        };
        Self {
            links: Links::default(),
            neighbours: HashMap::new(),
            backends: addresses.into_iter().map(backend).collect(),
            dirty: true,
            ways: false,
            lookups,
            kicks: BTreeSet::new(),
        }
    }

    /// Takes in one event.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Link(link) => {
                let known = self.links.get(link.ifindex);
                if known == Some(&link) {
                    return;
                }
                // The kernel drops and revives IPv4 routes with their link
                // without a word.
                if known.is_none_or(|known| known.up != link.up) {
                    self.look_up_all();
                }
                self.links.insert(link);
                (self.dirty, self.ways) = (true, true);
            }
            Event::LinkGone(ifindex) => {
                if self.links.remove(ifindex) {
                    self.look_up_all();
                    (self.dirty, self.ways) = (true, true);
                }
            }
            Event::Neighbour(hop, neighbour) => self.neighbour(hop, neighbour),
            Event::NeighbourGone(hop) => {
                self.ways = true;
                if !self.uses(hop) {
                    self.neighbours.remove(&hop);
                } else if let Some(entry) = self.neighbours.get_mut(&hop) {
                    entry.kept = false;
                    self.kicks.insert(hop);
                }
            }
            Event::Route { prefix, length } => {
                self.ways = true;
                for (index, backend) in self.backends.iter().enumerate() {
                    if covers(prefix, length, backend.address) {
                        self.lookups.insert(index);
                    }
                }
            }
            Event::Routes => {
                self.look_up_all();
                self.ways = true;
            }
        }
    }

    /// Takes in a full reading of links and neighbours: what is missing is gone.
    pub(super) fn replace(&mut self, links: Vec<Link>, neighbours: Vec<(Hop, Neighbour)>) {
        let present: BTreeSet<_> = links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<_> = self
            .links
            .indexes()
            .filter(|i| !present.contains(i))
            .collect();
        let known: BTreeSet<_> = neighbours.iter().map(|&(hop, _)| hop).collect();
        let forgotten: Vec<_> = self
            .neighbours
            .keys()
            .copied()
            .filter(|hop| !known.contains(hop))
            .collect();

        gone.into_iter()
            .map(Event::LinkGone)
            .for_each(|event| self.apply(event));
        links
            .into_iter()
            .map(Event::Link)
            .for_each(|event| self.apply(event));
        forgotten
            .into_iter()
            .map(Event::NeighbourGone)
            .for_each(|event| self.apply(event));
        for (hop, neighbour) in neighbours {
            self.neighbour(hop, neighbour);
        }
        self.look_up_all();
    }

    /// Takes in the answer to a route lookup.
    pub(super) fn route(&mut self, backend: usize, route: Route) {
        let Some(entry) = self.backends.get_mut(backend) else {
            return;
        };
        if entry.route == route {
            return;
        }
        entry.route = route;
        self.dirty = true;
        if let Route::Via(Via { hop, .. }) = route {
            entry.via = Some(hop);
            if self.needs_kick(hop) {
                self.kicks.insert(hop);
            }
        }
    }

    /// A second went by: what is not resolved is looked up and asked for again.
    /// A stale neighbour is asked for too. No packet of the stack may ever
    /// confirm it, since XDP carries the traffic, and its MAC could be anyone's.
    pub(super) fn tick(&mut self) {
        for (index, backend) in self.backends.iter().enumerate() {
            if !matches!(backend.told, Some(Reach::Resolved(_))) {
                self.lookups.insert(index);
            }
            if let Route::Via(Via { hop, .. }) = backend.route
                && self.needs_kick(hop)
            {
                self.kicks.insert(hop);
            }
        }
    }

    /// The next backend whose route is to be looked up.
    pub(super) fn next_lookup(&mut self) -> Option<(usize, IpAddr)> {
        let index = self.lookups.pop_first()?;
        self.backends
            .get(index)
            .map(|backend| (index, backend.address))
    }

    /// The next neighbour that the kernel should resolve, if it still should: a
    /// kick makes an ordinary entry of one that became permanent meanwhile.
    pub(super) fn next_kick(&mut self) -> Option<Hop> {
        while let Some(hop) = self.kicks.pop_first() {
            if self.needs_kick(hop) {
                return Some(hop);
            }
        }
        None
    }

    /// What differs from what was told before, each backend once.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.ways) {
            changes.push(Change::Ways);
        }
        if !std::mem::take(&mut self.dirty) {
            return changes;
        }
        self.links.settle();
        changes.extend(self.links.changes());
        for index in 0..self.backends.len() {
            let Some(reach) = self.reach(&self.backends[index]) else {
                continue;
            };
            let backend = &mut self.backends[index];
            if let Reach::Resolved(hop) = reach {
                backend.last = Some(hop);
            }
            if backend.told != Some(reach) {
                backend.told = Some(reach);
                changes.push(Change::Backend {
                    backend: index,
                    reach,
                });
            }
        }
        changes
    }

    /// How to reach a backend now; none: its route was not looked up yet.
    fn reach(&self, backend: &Backend) -> Option<Reach> {
        let last = backend.last;
        let Via { hop, source, mtu } = match backend.route {
            Route::Unknown => return None,
            Route::Via(via) => via,
            Route::None => {
                let down = backend
                    .via
                    .is_some_and(|via| self.links.usable(via.ifindex).is_none());
                return Some(if down {
                    Reach::LinkDown { last }
                } else {
                    Reach::NoNeighbour { last }
                });
            }
        };
        let Some(link) = self.links.usable(hop.ifindex) else {
            return Some(Reach::LinkDown { last });
        };
        let dst_mac = self.neighbours.get(&hop).and_then(|entry| entry.mac);
        Some(match (link.mac, dst_mac) {
            (Some(src_mac), Some(dst_mac)) => Reach::Resolved(NextHop {
                ifindex: match link.kind {
                    Kind::Vlan => link.lower.unwrap_or(link.ifindex),
                    Kind::Group | Kind::Other => link.ifindex,
                },
                egress: link.ifindex,
                src_mac,
                dst_mac,
                source,
                mtu: mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            }),
            (None, _) | (_, None) => Reach::NoNeighbour { last },
        })
    }

    fn neighbour(&mut self, hop: Hop, neighbour: Neighbour) {
        let known = self.neighbours.get(&hop).and_then(|entry| entry.mac);
        let (mac, kept) = match neighbour {
            Neighbour::Known(mac) => (Some(mac), true),
            Neighbour::Stale(mac) => (Some(mac), false),
            Neighbour::Asking => (known, false),
            Neighbour::Failed => (None, false),
        };
        self.neighbours.insert(hop, Entry { mac, kept });
        self.dirty |= mac != known;
        // Nobody goes by one that was not known.
        self.ways |= known.is_some() && mac != known;
    }

    fn needs_kick(&self, hop: Hop) -> bool {
        let kept = self.neighbours.get(&hop).is_some_and(|entry| entry.kept);
        !kept && self.links.usable(hop.ifindex).is_some()
    }

    fn uses(&self, hop: Hop) -> bool {
        self.backends.iter().any(|backend| backend.via == Some(hop))
    }

    fn look_up_all(&mut self) {
        self.lookups.extend(0..self.backends.len());
    }
}
