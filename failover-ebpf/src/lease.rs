//! Whether a backend is still alive, and the one place that says that it is not.

use aya_ebpf::{
    bindings::BPF_RB_AVAIL_DATA,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_ringbuf_query},
};
use failover_common::{Address, Backend, Hold, Live, News, NewsKind, Signal};

use crate::{
    atomic,
    maps::{BACKENDS, EVENTS, EVENTS_SIZE},
};

/// `CLOCK_MONOTONIC`, nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: only reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

/// The CPU that this runs on.
#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: only asks.
    unsafe { bpf_get_smp_processor_id() }
}

/// What both sides write, read word by word.
#[inline(always)]
pub(crate) fn live(backend: *const Backend) -> Live {
    // SAFETY: entries of an array map live as long as the map.
    unsafe { Live::new(backend) }
}

/// Latches the backend if its lease is over; returns whether it is.
///
/// The clock is read only when enough heartbeats are unanswered.
#[inline(always)]
pub(crate) fn is_over(index: u32, backend: *const Backend) -> bool {
    live(backend).is_overdue() && judge(index) != 0
}

/// A global function: the verifier looks at it once, and not once for every place
/// in a service from where it is called.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge(index: u32) -> u32 {
    let Some(backend) = BACKENDS.get_ptr(index) else {
        return 0;
    };
    let lease = live(backend);
    let witness = lease.witness();
    let witness = if witness == index {
        None
    } else {
        BACKENDS.get_ptr(witness).map(live)
    };
    let now = now();
    // Its answer may wait on the CPU that noted the others, which may not run: a virtual
    // one stalls for milliseconds. From another CPU that cannot be seen, so there it must
    // be silent for twice as long; the sender, who can go and look, does not wait.
    let here = cpu();
    let elsewhere = lease.answered_on().is_some_and(|cpu| cpu != here);
    let patience = if elsewhere { lease.timeout() } else { 0 };
    if !lease.is_over(witness, now.saturating_sub(patience)) {
        return 0;
    }
    latch(index, now, Signal::Packet, 0);
    1
}

/// Holds a backend because it is dead, and tells the agent; once, whoever comes
/// first. `pair` is the one whose traffic showed it.
#[inline(always)]
pub(crate) fn latch(index: u32, now: u64, signal: Signal, pair: u32) {
    let Some(entry) = BACKENDS.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: entries of an array map live as long as the map.
    let before = unsafe { atomic::fetch_or(&raw mut (*entry).holds, Hold::Expired as u64) };
    if before & Hold::Expired as u64 != 0 {
        return;
    }
    if before == 0 {
        // SAFETY: as above; one aligned word.
        unsafe { (&raw mut (*entry).held_at).write_volatile(now) };
    }
    let lease = live(entry);
    let pulse = lease.pulse();
    let unanswered_at = if pulse.outstanding() > 0 {
        lease.sent_at(pulse.oldest())
    } else {
        0
    };
    let answered_at = if pulse.remembers_answered() {
        lease.sent_at(pulse.answered)
    } else {
        0
    };
    tell(&News {
        kind: NewsKind::Expired as u32,
        index,
        at: now,
        answered_at,
        unanswered_at,
        address: Address::default(),
        signal: signal as u32,
        pair,
    });
}

/// When a backend was held last.
#[inline(always)]
pub(crate) fn held_at(backend: *const Backend) -> u64 {
    // SAFETY: entries of an array map live as long as the map; others change this word
    // behind our back, hence volatile.
    unsafe { (&raw const (*backend).held_at).read_volatile() }
}

/// Whether the backend at `index` has expired, and no packet has gone past it since it is
/// held.
#[inline(always)]
pub(crate) fn is_newly_dead(index: u32) -> bool {
    let Some(backend) = BACKENDS.get_ptr(index) else {
        return false;
    };
    // SAFETY: as in `held_at`.
    let passed_at = unsafe { (&raw const (*backend).passed_at).read_volatile() };
    live(backend).holds() & Hold::Expired as u64 != 0 && held_at(backend) > passed_at
}

/// Notes that a packet went past a dead backend, and tells the agent of the
/// first one since it is held.
#[inline(always)]
pub(crate) fn passed(index: u32) {
    note_passed(index);
}

/// As [`passed`], if the backend is dead and nothing has gone past it yet.
#[inline(always)]
pub(crate) fn passed_if_new(index: u32) {
    if is_newly_dead(index) {
        note_passed(index);
    }
}

/// A global function, as [`judge`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_passed(index: u32) -> u32 {
    let Some(entry) = BACKENDS.get_ptr_mut(index) else {
        return 0;
    };
    let now = now();
    // SAFETY: entries of an array map live as long as the map.
    let before = unsafe { atomic::swap(&raw mut (*entry).passed_at, now) };
    // SAFETY: as above.
    let held_at = unsafe { (&raw const (*entry).held_at).read_volatile() };
    if before < held_at {
        tell(&News {
            kind: NewsKind::Passed as u32,
            index,
            at: now,
            answered_at: 0,
            unanswered_at: 0,
            address: Address::default(),
            signal: 0,
            pair: 0,
        });
    }
    0
}

/// Whether half of the ring buffer is news that the agent has not read.
#[inline(always)]
pub(crate) fn is_half_full() -> bool {
    let ring = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: a ring buffer, and a question that it knows.
    unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) > EVENTS_SIZE as u64 / 2 }
}

/// Puts news on the ring buffer. Full: they are lost, but what they say of a backend
/// stands in the maps too, where the agent looks now and then.
#[inline(always)]
pub(crate) fn tell(news: &News) {
    if let Some(mut entry) = EVENTS.reserve(0) {
        entry.write(*news);
        entry.submit(0);
    }
}
