//! Tiers whose backends serve together: each tier of such a service has a row of `SHARES`.

use super::Controller;
use crate::{
    config::Config,
    maglev::{self, Member},
};

/// Row of the first tier of each service that shares, by number of the service.
pub(super) fn rows(config: &Config) -> Vec<Option<u32>> {
    let mut next = 0;
    let services = config.services.iter();
    let rows = services.map(|service| {
        service.shares().then(|| {
            let first = next;
            // 16 a service at most.
            next += u32::try_from(service.tiers().count()).unwrap_or(0);
            first
        })
    });
    rows.collect()
}

impl Controller {
    /// Puts the shares of a service into the desired state.
    pub(super) fn tabulate(&mut self, number: usize) {
        let Some(first) = self.shares[number] else {
            return;
        };
        let tiers = self.config.services[number].tiers();
        for (row, tier) in (first..).zip(tiers) {
            let members: Vec<Member<'_>> = tier
                .iter()
                .map(|listed| Member {
                    name: &self.config.backends[listed.backend].name,
                    index: self.backends[listed.backend].index,
                    weight: listed.weight,
                })
                .collect();
            self.desired.shares.insert(row, maglev::table(&members));
        }
    }

    /// Names of those that serve: in a tier that shares all that may, else one.
    pub(super) fn serving(&self, number: usize) -> String {
        let service = &self.config.services[number];
        let serving = self.policies[number].serving();
        let eligibility = self.eligibility(number);
        let together = |position: &usize| {
            eligibility[*position].eligible && service.tier(*position) == service.tier(serving)
        };
        let all = (0..service.backends.len()).filter(together);
        let names: Vec<&str> = all.map(|position| self.name(number, position)).collect();
        if service.shares() && !names.is_empty() {
            names.join(", ")
        } else {
            self.name(number, serving).to_owned()
        }
    }
}
