//! Which backend of a tier a new flow goes to: Maglev's table (Eisenbud et al., NSDI '16,
//! section 3.4), with weights. Each backend has an order of its own in which it wants the
//! places, from its name; they take turns, each the next free place it wants, as often as
//! its weight says.
//!
//! Who is dead stays in the table, and the data path passes over it: no flow of another
//! backend moves then. The table changes only with the configuration, and little.

use failover_common::{FlowKey, SHARE_PLACES, Shares, TRIES, next_place};

/// A backend of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name: the same on every director, whatever its index.
    pub name: &'a str,
    /// Index into the `BACKENDS` map.
    pub index: u32,
    /// At least 1: its share is this of the sum.
    pub weight: u8,
}

/// The table of a tier.
///
/// # Panics
///
/// If there are no members.
#[must_use]
pub fn table(members: &[Member<'_>]) -> Box<Shares> {
    let heaviest = members.iter().map(|member| member.weight).max();
    let heaviest = u32::from(heaviest.expect("a tier has a backend").max(1));
    let mut turns: Vec<Turn> = members.iter().map(Turn::new).collect();
    // By name, so that the order in the file means nothing.
    turns.sort_by(|a, b| a.name.cmp(b.name));
    let mut shares = vec![None; SHARE_PLACES];
    let mut free = SHARE_PLACES;
    loop {
        for turn in &mut turns {
            turn.credit += turn.weight;
            if turn.credit < heaviest {
                continue;
            }
            turn.credit -= heaviest;
            let place = turn.next(&shares);
            shares[place] = Some(turn.index);
            free -= 1;
            if free == 0 {
                let shares: Box<[u16]> = shares.into_iter().flatten().collect();
                return shares.try_into().expect("every place has somebody");
            }
        }
    }
}

/// Whose turn a new flow has of those that `serves` says yes to: what the data path does,
/// for tests and for whoever wants to know. None: it found nobody within its tries.
#[must_use]
pub fn choose(table: &Shares, key: &FlowKey, serves: impl Fn(u16) -> bool) -> Option<u16> {
    let (mut place, step) = key.places();
    for _ in 0..TRIES {
        let index = table[place as usize];
        if serves(index) {
            return Some(index);
        }
        place = next_place(place, step);
    }
    None
}

/// A member, and how far it is in the order in which it wants the places.
struct Turn<'a> {
    name: &'a str,
    index: u16,
    weight: u32,
    /// What its weight has earned it; a place costs the heaviest one's.
    credit: u32,
    wants: usize,
    skip: usize,
}

impl<'a> Turn<'a> {
    fn new(member: &Member<'a>) -> Self {
        let (a, b) = (hash(member.name, 1), hash(member.name, 2));
        let below = |hash: u64, limit: usize| usize::try_from(hash % limit as u64).unwrap_or(0);
        Self {
            name: member.name,
            index: u16::try_from(member.index).unwrap_or(u16::MAX),
            weight: member.weight.max(1).into(),
            credit: 0,
            wants: below(a, SHARE_PLACES),
            skip: below(b, SHARE_PLACES - 1) + 1,
        }
    }

    /// The first free place from where it is. There is one.
    fn next(&mut self, shares: &[Option<u16>]) -> usize {
        loop {
            let place = self.wants;
            self.wants = (place + self.skip) % SHARE_PLACES;
            if shares[place].is_none() {
                return place;
            }
        }
    }
}

/// FNV-1a, and a last mix, since names differ in their last letter only: the same in every
/// version, which the library's own is not.
fn hash(name: &str, seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests;
