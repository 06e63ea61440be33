//! Bringing the maps to where a row begins, and looking what it changed.

use std::cell::Cell;

use anyhow::{Result, ensure};
use bytemuck::Zeroable as _;
use failover_common::{Backend, News, Pair, Syn, Verdict};
use failover_user::dataplane::Maps as _;
use lab::{Family, clock::now_ns};

use crate::mortals::{MORTALS, pairs};
use crate::state::{Change, Counts, Entry, Traffic};
use crate::world::World;

/// What the maps hold before a frame; what is not here is fresh. Nothing at all: the
/// row has to do with other backends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    pub(crate) entries: Vec<Entry>,
    /// The pairs to look at afterwards.
    pub(crate) traffic: Vec<Traffic>,
    /// What happened after that, in this order.
    pub(crate) earlier: Vec<Earlier>,
}

/// Something that happened before.
#[derive(Clone, Debug)]
pub(crate) enum Earlier {
    /// A frame came in by an interface.
    Frame(u32, Vec<u8>, Verdict),
    /// An entry was written anew.
    Entry(Entry),
}

/// What the maps held before a frame.
#[derive(Debug)]
pub(crate) struct Snapshot {
    backends: Vec<(u32, Backend)>,
    pairs: Vec<(u32, Counts)>,
}

impl Before {
    /// Only these entries.
    pub(crate) fn entries(entries: &[Entry]) -> Self {
        Self {
            entries: entries.to_vec(),
            ..Self::default()
        }
    }
}

impl World {
    /// Brings the maps to where a row begins.
    pub(crate) fn prepare(&mut self, before: &Before) -> Result<Snapshot> {
        let Before {
            entries,
            traffic,
            earlier,
        } = before;
        if entries.is_empty() && traffic.is_empty() && earlier.is_empty() {
            return Ok(Snapshot {
                backends: Vec::new(),
                pairs: Vec::new(),
            });
        }
        for family in Family::ALL {
            for server in MORTALS {
                self.maps
                    .set_backend(server.index(family), &server.backend(family));
            }
        }
        for pair in pairs() {
            self.pairs.set(pair, Pair::zeroed(), 0)?;
        }
        // It takes longer than all the rest.
        if std::mem::take(&mut self.sent) {
            self.syns
                .visit(|syn| syn.sent_at != 0, |syn| *syn = Syn::zeroed());
            self.forget_flows()?;
        }
        let now = now_ns();
        for entry in entries {
            self.maps.set_backend(entry.index(), &entry.backend(now));
        }
        for Traffic { pair, .. } in traffic {
            ensure!(pairs().any(|known| known == *pair), "no pair {pair}");
        }
        for traffic in traffic {
            self.pairs.set(traffic.pair, traffic.pair(now), 0)?;
        }
        for (number, step) in earlier.iter().enumerate() {
            match step {
                Earlier::Frame(ingress, frame, verdict) => {
                    let outcome = self.run(frame, *ingress)?;
                    ensure!(
                        outcome.verdict == *verdict,
                        "{:?} instead of {verdict:?} in step {number}",
                        outcome.verdict
                    );
                }
                Earlier::Entry(entry) => {
                    self.maps.set_backend(entry.index(), &entry.backend(now));
                }
            }
        }
        self.events();
        let watched = traffic.iter().map(|traffic| traffic.pair);
        Ok(Snapshot {
            backends: self.mortals()?,
            pairs: watched
                .map(|pair| self.counts(pair))
                .collect::<Result<_>>()?,
        })
    }

    /// Whether nothing but this has changed since.
    pub(crate) fn ensure_changed(
        &mut self,
        before: &Snapshot,
        changes: &[Change],
        times: (u64, u64),
    ) -> Result<()> {
        for (index, entry) in &before.backends {
            let after = self.backends.get(index, 0)?;
            let mut expected = *entry;
            for change in changes.iter().filter(|change| change.index() == *index) {
                change.apply(&mut expected, &after, times);
            }
            ensure!(after == expected, "{after:?} instead of {expected:?}");
        }
        for (pair, counts) in &before.pairs {
            let counted = changes.iter().find_map(|change| match change {
                Change::Counted(index, counts) if index == pair => Some(counts),
                _ => None,
            });
            let (_, after) = self.counts(*pair)?;
            let expected = counted.unwrap_or(counts);
            ensure!(
                after == *expected,
                "pair {pair}: {after:?}, not {expected:?}"
            );
        }
        Ok(())
    }

    /// What is told of `changes`, without the time.
    pub(crate) fn news_of(before: &Snapshot, changes: &[Change]) -> Vec<News> {
        let entry = |change: &Change| {
            let mut backends = before.backends.iter();
            backends.find_map(|(index, entry)| (*index == change.index()).then_some(*entry))
        };
        let news = |change: &Change| change.news(&entry(change)?);
        changes.iter().filter_map(news).collect()
    }

    /// A slot that is never given back is lost for ever.
    pub(crate) fn ensure_no_syn_is_taken(&self) -> Result<()> {
        let taken = Cell::new(0);
        let count = |syn: &Syn| {
            taken.set(taken.get() + usize::from(syn.taken != 0));
            false
        };
        self.syns.visit(count, |_| {});
        ensure!(taken.get() == 0, "{} slots are still taken", taken.get());
        Ok(())
    }

    fn mortals(&self) -> Result<Vec<(u32, Backend)>> {
        let indices = Family::ALL
            .into_iter()
            .flat_map(|family| MORTALS.map(|server| server.index(family)));
        indices
            .map(|index| Ok((index, self.backends.get(&index, 0)?)))
            .collect()
    }

    fn counts(&self, pair: u32) -> Result<(u32, Counts)> {
        Ok((pair, self.pairs.get(&pair, 0)?.into()))
    }
}
