use std::collections::HashMap;

use bytemuck::Zeroable as _;
use failover_common::{Address, Be16};
use proptest::prelude::*;

use super::*;

const FLOWS: u16 = 20_000;

/// Names as people give them.
fn names(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("web-{n}")).collect()
}

fn members<'a>(names: &'a [String], weights: &[u8]) -> Vec<Member<'a>> {
    (0_u32..)
        .zip(names)
        .zip(weights.iter().cycle())
        .map(|((index, name), &weight)| Member {
            name,
            index,
            weight,
        })
        .collect()
}

fn key(port: u16) -> FlowKey {
    FlowKey {
        client: Address::from_v4([10, 0, 0, 2]),
        vip: Address::from_v4([10, 0, 0, 100]),
        client_port: Be16::new(port),
        vip_port: Be16::new(80),
        protocol: 6,
        ..FlowKey::zeroed()
    }
}

/// Share of the places that each member has, over what its weight says.
fn check_balance(description: &str, count: usize, weights: &[u8], tolerance: f64) {
    let names = names(count);
    let members = members(&names, weights);
    let table = table(&members);
    let sum: u32 = members.iter().map(|member| u32::from(member.weight)).sum();
    for member in &members {
        let places = table
            .iter()
            .filter(|index| u32::from(**index) == member.index);
        let places = u32::try_from(places.count()).unwrap();
        let all = u32::try_from(SHARE_PLACES).unwrap();
        let wanted = f64::from(all) * f64::from(member.weight) / f64::from(sum);
        let off = (f64::from(places) - wanted).abs() / wanted;
        assert!(
            off <= tolerance,
            "{description}: {} has {places} places, not {wanted:.1}",
            member.name
        );
    }
}

#[test]
fn each_has_its_share() {
    for (description, count, weights, tolerance) in [
        ("alone", 1, &[1][..], 0.0),
        ("two", 2, &[1], 0.001),
        ("three", 3, &[1], 0.001),
        ("sixteen", 16, &[1], 0.004),
        ("sixteen, by another number for the same", 16, &[7], 0.004),
        ("one to two", 2, &[1, 2], 0.002),
        ("one to three", 16, &[1, 3], 0.02),
        ("many weights", 16, &[10, 20, 30, 100], 0.04),
        ("as far apart as may be", 2, &[1, 100], 0.02),
    ] {
        check_balance(description, count, weights, tolerance);
    }
}

/// A backend dies: its flows spread over the others, and no other flow moves.
#[test]
fn the_flows_of_a_dead_backend_alone_move() {
    for count in [2, 3, 8, 16] {
        let names = names(count);
        let table = table(&members(&names, &[1]));
        let mut gained: HashMap<u16, u32> = HashMap::new();
        let mut lost = 0_u32;
        for port in 1024..1024 + FLOWS {
            let before = choose(&table, &key(port), |_| true).unwrap();
            // Rather than nobody, the first of the tier that may serve.
            let after = choose(&table, &key(port), |index| index != 0).unwrap_or(1);
            if before == 0 {
                lost += 1;
                *gained.entry(after).or_default() += 1;
            } else {
                assert_eq!(before, after, "a flow of {count} moved");
            }
        }
        let others = u32::try_from(count - 1).unwrap();
        let even = f64::from(lost) / f64::from(others);
        assert_eq!(gained.len(), count - 1, "all of {count} take some");
        for (index, gained) in gained {
            let share = f64::from(gained) / even;
            assert!(
                (0.7..1.3).contains(&share),
                "{index} of {count} took {share:.2}"
            );
        }
    }
}

/// A backend leaves the configuration: without a table of flows at most one flow in a
/// hundred of those that the others had moves; with it none.
#[test]
fn few_flows_move_when_a_backend_is_taken_out() {
    for count in [3, 8, 16] {
        let names = names(count);
        let all = members(&names, &[1]);
        let before = table(&all);
        for leaves in 0..count {
            let mut left = all.clone();
            left.remove(leaves);
            let after = table(&left);
            let (mut survived, mut moved) = (0_u32, 0_u32);
            for (was, is) in before.iter().zip(after.iter()) {
                if usize::from(*was) != leaves {
                    survived += 1;
                    moved += u32::from(was != is);
                }
            }
            let share = f64::from(moved) / f64::from(survived);
            println!(
                "{count} backends without {leaves}: {:.2} % move",
                share * 100.0
            );
            assert!(share <= LIMIT, "{count} without {leaves}: {share:.4}");
        }
    }
}

const LIMIT: f64 = 0.01;

#[test]
fn nobody_left() {
    let names = names(3);
    let table = table(&members(&names, &[1]));
    assert_eq!(choose(&table, &key(1), |_| false), None);
}

proptest! {
    /// Neither the order in the file nor the indexes mean anything.
    #[test]
    fn the_same_on_every_director(
        weights in prop::collection::vec(1..=100_u8, 1..=16),
        turn in 0..16_usize,
        offset in 0..4000_u32,
    ) {
        let names = names(weights.len());
        let here = members(&names, &weights);
        let mut there = here.clone();
        there.rotate_left(turn % weights.len());
        for member in &mut there {
            member.index += offset;
        }
        let (here, there) = (table(&here), table(&there));
        for (a, b) in here.iter().zip(there.iter()) {
            prop_assert_eq!(u32::from(*a) + offset, u32::from(*b));
        }
    }
}
