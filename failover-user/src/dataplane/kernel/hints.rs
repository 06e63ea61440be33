//! The `HINTS` map, mapped into memory.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU8, Ordering},
};

use aya::maps::MapData;
use failover_common::{Address, HINTS, Hint, ReverseKey, ServiceKey, hint_place};

use super::{super::MapError, mapped::Mapped};

/// Writes the hints: there before the first entry that they tell of, and gone after the
/// last one.
pub(super) struct Hints {
    map: Mapped,
    /// How many entries each bit is there for.
    counts: HashMap<(u32, Hint), u32>,
}

impl Hints {
    /// The hints of what the tables hold. Whatever the map says, it is right afterwards, and
    /// says too much rather than too little meanwhile.
    pub(super) fn open(
        map: MapData,
        services: impl Iterator<Item = ServiceKey>,
        reverse: impl Iterator<Item = ReverseKey>,
    ) -> Result<Self, MapError> {
        let map = Mapped::new(map, "HINTS", HINTS)?;
        Ok(Self::new(map, services, reverse))
    }

    fn new(
        map: Mapped,
        services: impl Iterator<Item = ServiceKey>,
        reverse: impl Iterator<Item = ReverseKey>,
    ) -> Self {
        let mut hints = Self {
            map,
            counts: HashMap::new(),
        };
        services.for_each(|key| hints.add_service(&key));
        reverse.for_each(|key| hints.add_reverse(&key));
        for place in (0..).take(HINTS) {
            hints.byte(place).store(hints.of(place), Ordering::Release);
        }
        hints
    }

    pub(super) fn add_service(&mut self, key: &ServiceKey) {
        if let Some(hint) = of_service(key) {
            self.add(&key.address, hint);
        }
    }

    pub(super) fn remove_service(&mut self, key: &ServiceKey) {
        if let Some(hint) = of_service(key) {
            self.remove(&key.address, hint);
        }
    }

    pub(super) fn add_reverse(&mut self, key: &ReverseKey) {
        self.add(&key.address, Hint::of_reverse(key.port));
    }

    pub(super) fn remove_reverse(&mut self, key: &ReverseKey) {
        self.remove(&key.address, Hint::of_reverse(key.port));
    }

    fn add(&mut self, address: &Address, hint: Hint) {
        let place = hint_place(address);
        *self.counts.entry((place, hint)).or_default() += 1;
        self.byte(place).fetch_or(hint as u8, Ordering::Release);
    }

    fn remove(&mut self, address: &Address, hint: Hint) {
        let place = hint_place(address);
        if let Some(count) = self.counts.get_mut(&(place, hint)) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&(place, hint));
                self.byte(place).store(self.of(place), Ordering::Release);
            }
        }
    }

    fn of(&self, place: u32) -> u8 {
        let all = [
            Hint::Service,
            Hint::EveryService,
            Hint::Reverse,
            Hint::EveryReverse,
        ];
        let there = all
            .into_iter()
            .filter(|hint| self.counts.contains_key(&(place, *hint)));
        there.fold(0, |hints, hint| hints | hint as u8)
    }

    fn byte(&self, place: u32) -> &AtomicU8 {
        // SAFETY: inside the mapping; nobody else writes it.
        unsafe { AtomicU8::from_ptr(self.map.at(place as usize)) }
    }
}

/// None: the entry of an address, which is not for packets.
fn of_service(key: &ServiceKey) -> Option<Hint> {
    (key.protocol != 0).then(|| Hint::of_service(key.port))
}

#[cfg(test)]
mod tests {
    use std::iter;

    use failover_common::Be16;

    use super::*;

    const VIP: Address = Address::from_v4([10, 0, 0, 100]);

    fn service(port: u16) -> ServiceKey {
        ServiceKey {
            address: VIP,
            port: Be16::new(port),
            protocol: 6,
            reserved: [0; 5],
        }
    }

    fn reverse(port: u16) -> ReverseKey {
        ReverseKey {
            address: VIP,
            port: Be16::new(port),
            protocol: 6,
            reserved: [0; 5],
        }
    }

    /// The byte of [`VIP`]; all others are 0.
    fn found(map: &Mapped) -> u8 {
        let bytes: Vec<u8> = (0..HINTS)
            // SAFETY: inside the mapping.
            .map(|place| unsafe { *map.at::<u8>(place) })
            .collect();
        let of_vip = bytes[hint_place(&VIP) as usize];
        assert_eq!(
            bytes.iter().filter(|byte| **byte != 0).count(),
            usize::from(of_vip != 0)
        );
        of_vip
    }

    #[test]
    fn they_are_there_as_long_as_an_entry() {
        let map = Mapped::in_memory(HINTS);
        let mut hints = Hints::new(map.clone(), iter::empty(), iter::empty());
        hints.add_service(&service(80));
        hints.add_service(&service(443));
        assert_eq!(found(&map), 1);
        hints.remove_service(&service(80));
        assert_eq!(found(&map), 1);
        hints.add_service(&service(0));
        hints.add_reverse(&reverse(80));
        hints.add_reverse(&reverse(0));
        assert_eq!(found(&map), 0b1111);
        hints.remove_service(&service(443));
        assert_eq!(found(&map), 0b1110);
        // The entry of the address itself is none for packets.
        hints.add_service(&ServiceKey::of_address(VIP));
        assert_eq!(found(&map), 0b1110);
        // Another agent, which finds less.
        let mut hints = Hints::new(map.clone(), iter::once(service(80)), iter::empty());
        assert_eq!(found(&map), 1);
        hints.remove_service(&service(80));
        assert_eq!(found(&map), 0);
    }
}
