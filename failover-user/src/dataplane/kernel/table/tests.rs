use std::collections::BTreeMap;

use failover_common::{Address, Be16, Reverse, ReverseKey};
use proptest::prelude::*;

use super::*;

/// So small that keys meet.
const SMALL: Size = Size { bits: 5, slots: 24 };

/// The memory of a table, which outlives its writers.
#[derive(Clone)]
struct Memory {
    places: Mapped,
    slots: Mapped,
}

impl Memory {
    fn new(size: Size) -> Self {
        Self {
            places: Mapped::in_memory(places(size.bits) * size_of::<u64>()),
            slots: Mapped::in_memory(size.slots * size_of::<Slot<ReverseKey, Reverse>>()),
        }
    }

    fn table(&self, size: Size) -> Table<ReverseKey, Reverse> {
        Table::new("REVERSE", size, self.places.clone(), self.slots.clone())
    }
}

fn key(number: u8) -> ReverseKey {
    ReverseKey {
        address: Address::from_v4([10, 0, 0, number]),
        port: Be16::new(80),
        protocol: 6,
        reserved: [0; 5],
    }
}

fn value(index: u32) -> Reverse {
    Reverse {
        index,
        ..bytemuck::Zeroable::zeroed()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u32),
    Remove(u8),
    /// Another writer takes over.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20_u8, any::<u32>()).prop_map(|(key, value)| Step::Set(key, value)),
        4 => (0..20_u8).prop_map(Step::Remove),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn as_a_map(steps in prop::collection::vec(step(), 1..200)) {
        let memory = Memory::new(SMALL);
        let mut table = memory.table(SMALL);
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(number, index) => {
                    // 20 of 32 places: some key may find its neighbours taken.
                    if table.set(&key(number), &value(index)).is_ok() {
                        model.insert(key(number), value(index));
                    } else {
                        prop_assert!(!model.contains_key(&key(number)));
                    }
                }
                Step::Remove(number) => {
                    table.remove(&key(number));
                    model.remove(&key(number));
                }
                Step::Restart => table = memory.table(SMALL),
            }
            let view = table.view();
            for number in 0..20 {
                prop_assert_eq!(view.get(&key(number)), model.get(&key(number)).copied());
            }
            prop_assert_eq!(&table.iter().collect::<BTreeMap<_, _>>(), &model);
        }
        for key in model.keys() {
            table.remove(key);
        }
        let left = (0..).map_while(|place| table.view.place(place));
        prop_assert!(left.map(|at| at.load(Ordering::Relaxed)).all(|place| place == 0));
    }
}

#[test]
fn one_slot_more_than_there_are() {
    let mut table = Memory::new(SMALL).table(SMALL);
    let mut taken = 0;
    for number in 0..=u8::MAX {
        taken += usize::from(table.set(&key(number), &value(0)).is_ok());
    }
    // The value under a key that is there cannot be replaced either.
    assert_eq!(taken, SMALL.slots);
    let error = table.set(&key(0), &value(1)).expect_err("full").to_string();
    assert_eq!(error, "cannot write map REVERSE: it is full");
    assert_eq!(table.view().get(&key(0)), Some(value(0)));
}

#[test]
fn all_services_that_may_be() {
    let size = Size {
        bits: failover_common::REVERSE_BITS,
        slots: failover_common::REVERSE_SLOTS,
    };
    let mut table = Memory::new(size).table(size);
    for number in 0..failover_common::MAX_SERVICES {
        let [.., a, b] = number.to_be_bytes();
        let key = ReverseKey {
            port: Be16([a, b]),
            ..key(1)
        };
        table.set(&key, &value(0)).expect("there is room");
    }
}
