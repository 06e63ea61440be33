//! Where a new flow goes. Of a tier whose backends serve together, the table says; who is
//! dead there is passed over, and only its share of the flows moves.

use failover_common::{FlowKey, Service, ServiceBackend, TRIES, Verdict, next_place};
use failover_ebpf::parse::Packet;

use crate::{
    lease,
    maps::SHARES,
    select::{self, Packed},
};

/// Chooses a backend for a packet, or says what else becomes of it, as [`select::select`];
/// `counted`: it is a SYN that counts.
#[inline(always)]
pub(crate) fn choose(
    service: &Service,
    packet: &Packet,
    key: &FlowKey,
    counted: bool,
) -> Result<ServiceBackend, Verdict> {
    if service.shares != 0
        && let Some(leader) = select::leader(service)
    {
        let (place, step) = key.places();
        let row = service.shares - 1 + u32::from(leader.tier);
        let place = u64::from(step) << 32 | u64::from(place);
        let what = u32::from(leader.tier) << 1 | u32::from(counted);
        if let Some(chosen) = Packed::open(look(service, row, place, what)) {
            return Ok(chosen);
        }
    }
    select::first(service, packet, counted)
}

/// A global function: the verifier looks at it once. `places` is the step in the upper
/// half, and where to begin; `what` the tier, and whether the packet counts in the lowest
/// bit. Returns a [packed](Packed) backend.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look(service: *const Service, row: u32, places: u64, what: u32) -> u64 {
    let Some(table) = SHARES.get_ptr(row) else {
        return Packed::NONE;
    };
    if service.is_null() {
        return Packed::NONE;
    }
    // SAFETY: the verifier has made sure that a whole `Service` can be read there.
    let service = unsafe { &*service };
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    let (mut place, step) = (places as u32, (places >> 32) as u32);
    let mut newly_dead = u32::MAX;
    for _ in 0..TRIES {
        // SAFETY: entries of an array map live as long as the map.
        let Some(index) = unsafe { &*table }.get(place as usize) else {
            break;
        };
        let index = u32::from(*index);
        if let Some(backend) = select::member(service, index)
            && u32::from(backend.tier) == what >> 1
        {
            if select::is_eligible(service, &backend, what & 1 != 0) {
                if newly_dead != u32::MAX {
                    lease::passed(newly_dead);
                }
                return Packed::of(&backend);
            }
            if lease::is_newly_dead(index) {
                newly_dead = index;
            }
        }
        place = next_place(place, step);
    }
    Packed::NONE
}
