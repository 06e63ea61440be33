//! Who testifies for whom behind an interface, and when all of them are in doubt.

use super::{Leases, Notice};

/// The backends behind one interface.
#[derive(Debug, Default)]
pub(super) struct Link {
    members: Vec<usize>,
    doubt: bool,
}

impl Leases {
    /// Arms a lease that is new behind its interface, and lets it testify.
    pub(super) fn join(&mut self, member: usize, ifindex: u32) {
        if ifindex != 0 {
            let link = self.links.entry(ifindex).or_default();
            link.members.push(member);
            self.choose_witnesses(ifindex);
        }
        self.set_fall(member);
    }

    /// Takes a lease from the interface it was behind.
    pub(super) fn leave(&mut self, member: usize, ifindex: u32, now: u64, told: &mut Vec<Notice>) {
        self.set_witness(member, None);
        if let Some(link) = self.links.get_mut(&ifindex) {
            link.members.retain(|other| *other != member);
            self.choose_witnesses(ifindex);
            self.doubt_over_few(ifindex, now, told);
        }
    }

    /// Gives every lease behind an interface a witness that can testify, if there is
    /// one.
    pub(super) fn choose_witnesses(&mut self, ifindex: u32) {
        let members = self.behind(ifindex).to_vec();
        for (place, &member) in members.iter().enumerate() {
            let witness = self.members[member].witness;
            if witness.is_some_and(|witness| self.is_eligible(witness, member)) {
                continue;
            }
            // The next in the row, so that each has another one.
            let (before, after) = members.split_at(place);
            let mut others = after.iter().chain(before).copied();
            let chosen = others.find(|other| self.is_eligible(*other, member));
            if chosen != witness {
                self.set_witness(member, chosen);
            }
        }
    }

    /// Whether a lease that has run out is over by what its witness says, or any
    /// other live one behind the interface, which then becomes the witness.
    pub(super) fn is_proven(&mut self, member: usize, now: u64) -> bool {
        let lease = &self.members[member];
        let proves = |witness: usize| {
            let by = &self.members[witness];
            witness != member
                && by.is_live()
                && self.entries.is_over(lease.index, Some(by.index), now)
        };
        if lease.witness.is_some_and(proves) {
            return true;
        }
        let mut others = self.behind(lease.ifindex).iter().copied();
        let other = others.find(|other| proves(*other));
        if other.is_some() {
            self.set_witness(member, other);
        }
        other.is_some()
    }

    /// A lease has run out and nobody shows that our side works: if that is so for
    /// all behind the interface, they are in doubt from now on.
    pub(super) fn doubt(&mut self, member: usize, now: u64, told: &mut Vec<Notice>) {
        let ifindex = self.members[member].ifindex;
        let all_over = self.behind(ifindex).iter().all(|&other| {
            let lease = &self.members[other];
            !lease.is_live() || self.entries.is_over(lease.index, None, now)
        });
        if all_over && !self.is_doubted(ifindex) {
            self.set_doubt(ifindex, true, now, told);
        }
    }

    /// `member` was answered: our side works.
    pub(super) fn doubt_ends(&mut self, member: usize, now: u64, told: &mut Vec<Notice>) {
        let lease = &self.members[member];
        let (renews, ifindex) = (lease.renews(), lease.ifindex);
        if renews && self.is_doubted(ifindex) {
            self.set_doubt(ifindex, false, now, told);
        }
    }

    /// One that is left alone is judged alone.
    pub(super) fn doubt_over_few(&mut self, ifindex: u32, now: u64, told: &mut Vec<Notice>) {
        let members = self.behind(ifindex);
        let live = members.iter().filter(|m| self.members[**m].is_live());
        let (none, few) = (members.is_empty(), live.count() < 2);
        if few && self.is_doubted(ifindex) {
            self.set_doubt(ifindex, false, now, told);
        }
        if none {
            self.links.remove(&ifindex);
        }
    }

    /// Whether `witness` can testify for `member`: it must be heard often enough to do
    /// so before the other's timeout.
    fn is_eligible(&self, witness: usize, member: usize) -> bool {
        let (of, by) = (&self.members[member], &self.members[witness]);
        witness != member
            && by.ifindex == of.ifindex
            && by.is_live()
            && by.interval <= of.interval.max(of.timeout / 2)
    }

    fn set_witness(&mut self, member: usize, witness: Option<usize>) {
        self.members[member].witness = witness;
        let index = self.members[member].index;
        let witness = witness.map_or(index, |witness| self.members[witness].index);
        self.entries.set_witness(index, witness);
    }

    fn set_doubt(&mut self, ifindex: u32, begins: bool, now: u64, told: &mut Vec<Notice>) {
        let Some(link) = self.links.get_mut(&ifindex) else {
            return;
        };
        link.doubt = begins;
        for member in link.members.clone() {
            // Disarmed before, armed after. What was lost until now was lost on our
            // side, and only an answer to what is sent from now on ends the doubt.
            if begins {
                self.set_fall(member);
            }
            if self.members[member].renews() {
                self.members[member].restart(&self.entries, now);
            }
            if !begins {
                self.set_fall(member);
            }
        }
        told.push(Notice::Doubt { ifindex, begins });
    }

    /// Arms a lease if it can run out and is not in doubt.
    fn set_fall(&self, member: usize) {
        let lease = &self.members[member];
        let armed = lease.renews() && !self.is_doubted(lease.ifindex);
        let fall = if armed { lease.fall } else { 0 };
        self.entries.set_fall(lease.index, fall);
    }

    fn is_doubted(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_some_and(|link| link.doubt)
    }

    fn behind(&self, ifindex: u32) -> &[usize] {
        self.links
            .get(&ifindex)
            .map_or(&[][..], |link| &link.members)
    }
}
