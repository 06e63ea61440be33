//! Every map, and the counters. The agent is the only writer of the first two, and
//! each side has its own words in the third.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, bpf_fib_lookup},
    btf_maps::{Array, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
};
use failover_common::{
    Backend, BackendCounters, Counter, Flow, FlowKey, Fragment, FragmentKey, MAX_BACKENDS,
    MAX_FRAGMENTS, MAX_PAIRS, MAX_SYNS, MAX_WAYS, NatFlow, NatKey, News, Pair, REVERSE_BITS,
    REVERSE_SLOTS, Reverse, ReverseKey, SERVICE_BITS, SERVICE_SLOTS, Service, ServiceKey, Shares,
    Slot, Stage, Syn, Verdict, places,
};
use failover_ebpf::{extended::Extended, limit, quote::Report};

use crate::{flows::Visit, fullnat::Transit, lease::now, tunnel::Handed, way_back::WayBack};

const MAPPED: usize = BPF_F_MMAPABLE as usize;

/// The services, a [`Slot`]'s table; `service` looks them up.
#[btf_map]
pub(crate) static SERVICES: Array<Slot<ServiceKey, Service>, SERVICE_SLOTS, MAPPED> = Array::new();

#[btf_map]
pub(crate) static SERVICE_PLACES: Array<u64, { places(SERVICE_BITS) }, MAPPED> = Array::new();

/// Whose answers go back to clients (`nat`), likewise.
#[btf_map]
pub(crate) static REVERSE: Array<Slot<ReverseKey, Reverse>, REVERSE_SLOTS, MAPPED> = Array::new();

#[btf_map]
pub(crate) static REVERSE_PLACES: Array<u64, { places(REVERSE_BITS) }, MAPPED> = Array::new();

/// What the tables may hold of an address; see [`HINTS`](failover_common::HINTS).
#[btf_map]
pub(crate) static HINTS: Array<[u8; failover_common::HINTS], 1, MAPPED> = Array::new();

#[btf_map]
pub(crate) static BACKENDS: Array<Backend, MAX_BACKENDS, MAPPED> = Array::new();

#[btf_map]
static VERDICTS: PerCpuArray<Counter, { Verdict::COUNT }> = PerCpuArray::new();

#[btf_map]
static BACKEND_COUNTERS: PerCpuArray<BackendCounters, MAX_BACKENDS> = PerCpuArray::new();

#[btf_map]
pub(crate) static PAIRS: Array<Pair, MAX_PAIRS> = Array::new();

#[btf_map]
pub(crate) static SYNS: Array<Syn, MAX_SYNS, MAPPED> = Array::new();

#[btf_map]
static SYN_BACKENDS: Array<[u16; MAX_SYNS], 1, MAPPED> = Array::new();

/// Flows of which there was more than one packet. The agent says how many, also of the
/// next two.
#[btf_map]
pub(crate) static FLOWS: LruHashMap<FlowKey, Flow, 1> = LruHashMap::new();

/// Flows of which there was one packet, or nothing but SYNs.
#[btf_map]
pub(crate) static NEW_FLOWS: LruHashMap<FlowKey, Flow, 1> = LruHashMap::new();

/// Whose flow has which port of ours towards a backend (`fullnat`). As large as the agent
/// says.
#[btf_map]
pub(crate) static NAT_FLOWS: LruHashMap<NatKey, NatFlow, 1> = LruHashMap::new();

/// Not 0: somebody claims one of the ports that share the slot.
#[btf_map]
pub(crate) static NAT_LOCKS: Array<u64, { failover_common::NAT_LOCKS as usize }> = Array::new();

/// Who serves together, by tier.
#[btf_map]
pub(crate) static SHARES: Array<Shares, 1> = Array::new();

/// First fragments of datagrams that were for a service or from a backend.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, Fragment, MAX_FRAGMENTS> = LruHashMap::new();

/// When the next "time exceeded" may be made; see `limit`.
#[btf_map]
pub(crate) static EXCEEDED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Room for one packet that was read: the stack has none.
#[btf_map]
pub(crate) static EXTENDED: PerCpuArray<Extended, 1> = PerCpuArray::new();

/// Room for one ICMP error that was read, likewise.
#[btf_map]
pub(crate) static REPORT: PerCpuArray<Report, 1> = PerCpuArray::new();

/// Room for one look-up of a route: the stack has none.
#[btf_map]
pub(crate) static FIB: PerCpuArray<bpf_fib_lookup, 1> = PerCpuArray::new();

/// When the next client may be told that its packet is too big; see `limit`.
#[btf_map]
pub(crate) static TOLD: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Ways to clients; see `way_back`.
#[btf_map]
pub(crate) static WAYS: PerCpuArray<WayBack, { MAX_WAYS as usize }> = PerCpuArray::new();

/// Counted up by the agent when a way to a client may be another one.
#[btf_map]
pub(crate) static EPOCH: Array<u64, 1, MAPPED> = Array::new();

/// The packet that goes on to a tunnel.
#[btf_map]
pub(crate) static HANDED: PerCpuArray<Handed, 1> = PerCpuArray::new();

/// The packet of a flow that is looked for.
#[btf_map]
pub(crate) static VISIT: PerCpuArray<Visit, 1> = PerCpuArray::new();

/// The packet that goes to a backend as from us, or the answer.
#[btf_map]
pub(crate) static TRANSIT: PerCpuArray<Transit, 1> = PerCpuArray::new();

/// The programs behind the entry; the agent puts them in before the entry is attached.
#[btf_map]
pub(crate) static STAGES: ProgramArray<{ Stage::COUNT }> = ProgramArray::new();

/// Makes the places in `SYNS` unpredictable; the agent puts a random number here.
#[unsafe(no_mangle)]
pub(crate) static SYN_SEED: Global<u64> = Global::new(0);

/// Bytes of [`EVENTS`].
pub(crate) const EVENTS_SIZE: usize = 65_536;

/// What the agent should know at once. Full: the news is dropped. The next packet
/// tells of a next hop again; a death stands in the entry, where the sender of
/// heartbeats finds it.
#[btf_map]
pub(crate) static EVENTS: RingBuf<News, EVENTS_SIZE> = RingBuf::new();

#[inline(always)]
pub(crate) fn count_verdict(verdict: Verdict, length: usize) {
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own entry; XDP programs do not interrupt each other.
        add(unsafe { &mut *counter }, length);
    }
}

/// Whether this CPU may make one more ICMP error of a kind; then it counts as made.
#[inline(always)]
pub(crate) fn is_due(due: &PerCpuArray<u64, 1>) -> Option<bool> {
    let due = due.get_ptr_mut(0)?;
    // SAFETY: this CPU's own entry, and XDP programs do not interrupt each other.
    Some(limit::is_due(unsafe { &mut *due }, now()))
}

#[inline(always)]
pub(crate) fn count_forwarded(index: u32, length: usize) {
    if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(index) {
        // SAFETY: as in `count_verdict`.
        add(unsafe { &mut (*counters).forwarded }, length);
    }
}

#[inline(always)]
pub(crate) fn count_returned(index: u32, length: usize) {
    if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(index) {
        // SAFETY: as in `count_verdict`.
        add(unsafe { &mut (*counters).returned }, length);
    }
}

/// The SYN in a slot waits for the backend at this index; none: for nobody.
#[inline(always)]
pub(crate) fn note_waiting(slot: u32, backend: Option<u32>) {
    if let Some(words) = SYN_BACKENDS.get_ptr_mut(0) {
        #[expect(clippy::cast_possible_truncation, reason = "below MAX_BACKENDS")]
        let waiting = backend.map_or(0, |index| index as u16 + 1);
        let word = words.cast::<u16>();
        // SAFETY: entries of an array map live as long as the map, which is this long; one
        // aligned word.
        unsafe { word.add(slot as usize % MAX_SYNS).write_volatile(waiting) };
    }
}

#[inline(always)]
fn add(counter: &mut Counter, length: usize) {
    counter.packets += 1;
    counter.bytes += length as u64;
}
