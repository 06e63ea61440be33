//! The interfaces, how they stand on each other, and which of them carry packets.
//!
//! The kernel tells of each interface by itself, and of an upper one late: a
//! macvlan a millisecond after the device below it, a bond at its next look at
//! its members (`miimon`, commonly 100 ms). So it is worked out here.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    /// None: not Ethernet.
    pub(super) mac: Option<[u8; 6]>,
    /// Longest packet, bytes from the IP header on.
    pub(super) mtu: u32,
    /// Whether it is enabled and has a carrier, by its own word.
    pub(super) up: bool,
    pub(super) kind: Kind,
    /// The device below it, of the same network namespace.
    pub(super) lower: Option<u32>,
    /// The bond or bridge that it is a member of.
    pub(super) master: Option<u32>,
}

/// Kinds of interfaces, as far as they matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Adds a tag, then sends by the device below it.
    Vlan,
    /// Sends by any of its members: a bond, a team, a bridge.
    Group,
    /// Any other.
    Other,
}

/// The table of interfaces.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: BTreeMap<u32, Link>,
    /// Those that are down, or stand on one that is, as of [`Self::settle`].
    down: BTreeSet<u32>,
    /// Whether `down` is older than `known`.
    stale: bool,
    /// Name and carrier, as told.
    told: BTreeMap<u32, (String, bool)>,
}

impl Links {
    /// The interface, whatever its state.
    pub(super) fn get(&self, ifindex: u32) -> Option<&Link> {
        self.known.get(&ifindex)
    }

    /// The interface, if it and everything below it are up.
    pub(super) fn usable(&self, ifindex: u32) -> Option<&Link> {
        self.get(ifindex)
            .filter(|link| link.up && !self.down.contains(&ifindex))
    }

    /// Every index.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> {
        self.known.keys().copied()
    }

    /// Takes in an interface, new or changed. [`Self::settle`] is due.
    pub(super) fn insert(&mut self, link: Link) {
        self.known.insert(link.ifindex, link);
        self.stale = true;
    }

    /// Forgets an interface; whether it was known. [`Self::settle`] is due.
    pub(super) fn remove(&mut self, ifindex: u32) -> bool {
        let known = self.known.remove(&ifindex).is_some();
        self.stale |= known;
        known
    }

    /// Works out who stands on an interface that is down. A device below that is
    /// not known says nothing: it may have moved to another namespace.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for link in self.known.values() {
            if let Some(master) = link.master {
                members.entry(master).or_default().push(link.ifindex);
            }
        }
        let links = self.known.values();
        self.down = links
            .filter(|link| !link.up)
            .map(|link| link.ifindex)
            .collect();
        // Upwards until nothing is added: a loop neither holds itself down nor
        // keeps this from ending.
        loop {
            let falls = |link: &&Link| {
                let members = members.get(&link.ifindex);
                let alone = link.kind == Kind::Group
                    && members.is_some_and(|all| all.iter().all(|one| self.down.contains(one)));
                let below = link.lower.is_some_and(|lower| self.down.contains(&lower));
                (alone || below) && !self.down.contains(&link.ifindex)
            };
            let links = self.known.values().filter(falls);
            let more: Vec<_> = links.map(|link| link.ifindex).collect();
            if more.is_empty() {
                return;
            }
            self.down.extend(more);
        }
    }

    /// What differs from what was told before: of each interface its own state.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let links = self
            .known
            .values()
            .map(|link| (link.ifindex, (link.name.clone(), link.up)));
        let now: BTreeMap<_, _> = links.collect();
        let change = |ifindex, (name, up): &(String, bool), present| Change::Link {
            name: name.clone(),
            ifindex,
            present,
            up: *up && present,
        };
        // Those that are gone first: their names may be in use again.
        let gone = self.told.iter().filter(|(index, (name, _))| {
            now.get(index).is_none_or(|(new_name, _)| new_name != name)
        });
        let mut changes: Vec<_> = gone
            .map(|(&index, told)| change(index, told, false))
            .collect();
        let came = now
            .iter()
            .filter(|&(index, link)| self.told.get(index) != Some(link));
        changes.extend(came.map(|(&index, link)| change(index, link, true)));
        self.told = now;
        changes
    }
}
