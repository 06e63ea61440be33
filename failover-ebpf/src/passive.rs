//! What clients' traffic shows of a backend, without any heartbeat (`nat`: both
//! directions pass through us). Every sign counts for one pair of a service and a
//! backend; the one that fills the count latches.

use failover_common::{
    Backend, Pair, REFUSED, Reverse, SYNS, SYNS_TIME, Service, ServiceBackend, Signal, Strikes,
    UNANSWERED, UNREACHABLE, Verdict,
};
use failover_ebpf::{
    icmp::Unreachable,
    parse::{ACK, Packet, SYN, TCP},
};

use crate::{
    Step,
    context::Context,
    heartbeat::is_next_hop,
    lease::{latch, live, now},
    maps::{BACKENDS, PAIRS},
    rescue, service,
};

/// A packet is about to go to a backend. Returns whether it must not: too much
/// that went before is unanswered. `counted`: it is a SYN, and those count.
#[inline(always)]
pub(crate) fn is_condemned(service: &Service, entry: &ServiceBackend, counted: bool) -> bool {
    let looks = service.silence != 0 && is_noticed(entry.pair);
    if !counted && !looks {
        return false;
    }
    let silence = if looks { service.silence } else { 0 };
    convict(entry.index, entry.pair, silence, u32::from(counted)) != 0
}

/// Counts a packet that goes to a backend. Returns whether it is time to read the clock: at
/// packet 2, at every eighth and at all from [`UNANSWERED`] on; not at the first, so that it
/// is never read where every packet has its answer.
#[inline(always)]
fn is_noticed(index: u32) -> bool {
    let Some(pair) = pair(index) else {
        return false;
    };
    // SAFETY: entries of an array map live as long as the map.
    let count = unsafe { (*pair).unanswered.count } + 1;
    // SAFETY: as above.
    unsafe { (*pair).unanswered.count = count };
    count == 2 || count >= UNANSWERED || count.is_multiple_of(8)
}

/// A global function, as `lease::judge`. `syn`: not 0 for a SYN that counts; `silence`: not 0
/// if [`is_noticed`] says so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn convict(index: u32, pair: u32, silence: u64, syn: u32) -> u32 {
    let (Some(backend), Some(counts)) = (BACKENDS.get_ptr(index), self::pair(pair)) else {
        return 0;
    };
    let signal = if silence != 0 && is_silent(backend, counts, silence) {
        Signal::Silence
    } else if syn != 0 && syns_pile_up(counts) {
        Signal::Syns
    } else {
        return 0;
    };
    begin_anew(counts);
    latch(index, now(), signal, pair);
    1
}

/// The traffic lease: many packets went to the backend, for a while, and not one
/// came back; and nobody sends heartbeats, which would know better.
///
/// Between two readings of the clock counts no more than a quarter of `silence`: in a longer one nobody looked,
/// because clients were silent too or this host did not run.
#[inline(always)]
fn is_silent(backend: *const Backend, pair: *mut Pair, silence: u64) -> bool {
    // SAFETY: entries of an array map live as long as the map.
    let count = unsafe { (*pair).unanswered.count };
    let now = now();
    // SAFETY: as above.
    let (before, waited) = unsafe { ((*pair).unanswered.since, (*pair).waited) };
    let waited = if count == 2 {
        0
    } else {
        waited + now.saturating_sub(before).min(silence / 4)
    };
    // SAFETY: as above.
    unsafe {
        (*pair).unanswered.since = now;
        (*pair).waited = waited;
    }
    // SAFETY: as above.
    if count < UNANSWERED || waited <= silence || unsafe { (*pair).answers } == 0 {
        return false;
    }
    let lease = live(backend);
    let heartbeat = lease.sent_at(lease.pulse().sent);
    now.saturating_sub(heartbeat) > silence
}

/// Many SYNs in a row, for a while, and not one was answered: the process hangs,
/// whatever its host says.
#[inline(always)]
fn syns_pile_up(pair: *mut Pair) -> bool {
    let now = now();
    // SAFETY: entries of an array map live as long as the map.
    let Strikes { since, count } = unsafe { (*pair).syns };
    let since = if count == 0 { now } else { since };
    let count = count + 1;
    // SAFETY: as above.
    unsafe { (*pair).syns = Strikes { since, count } };
    // SAFETY: as above.
    let answers = unsafe { (*pair).answers };
    count >= SYNS && now.saturating_sub(since) >= SYNS_TIME && answers != 0
}

/// A packet came back from a backend.
#[inline(always)]
pub(crate) fn returned(reverse: &Reverse, packet: &Packet) {
    let Some(pair) = pair(reverse.pair) else {
        return;
    };
    // Stores only where something changes: the line stays shared between CPUs.
    // SAFETY: entries of an array map live as long as the map.
    if unsafe { (*pair).unanswered.count } != 0 {
        // SAFETY: as above.
        unsafe { (*pair).unanswered.count = 0 };
    }
    // SAFETY: as above.
    if unsafe { (*pair).answers } == 0 {
        // SAFETY: as above.
        unsafe { (*pair).answers = 1 };
    }
    if packet.is_tcp(SYN | ACK) {
        // SAFETY: as above.
        unsafe { (*pair).syns.count = 0 };
    }
}

/// A client's SYN was refused, and the refusal belongs to it.
#[inline(always)]
pub(crate) fn refused(reverse: &Reverse) {
    let Some(pair) = pair(reverse.pair) else {
        return;
    };
    let now = now();
    // SAFETY: entries of an array map live as long as the map.
    let strikes = unsafe { (*pair).refused }.struck(now);
    // SAFETY: as above.
    unsafe { (*pair).refused = strikes };
    if strikes.count >= REFUSED {
        begin_anew(pair);
        latch(reverse.index, now, Signal::Refused, reverse.pair);
    }
}

/// A packet could not be delivered. Returns what follows, where it is more than that the
/// message goes on to the client: a datagram may go to another backend instead, and
/// what is about a SYN that another backend can have, now or soon, is kept from the client,
/// which would give up what is about to succeed.
///
/// It must come by the way that leads to the backend, and be for the client: who is
/// not on a network of ours cannot have such a packet come here, since only the VIP
/// leads to us. What it quotes of TCP must be a SYN that is out.
#[inline(always)]
pub(crate) fn unreachable(context: &Context, message: &Unreachable) -> Option<Step> {
    let reverse = addressee(message)?;
    let backend = BACKENDS.get_ptr(reverse.index)?;
    if reverse.passive == 0
        || message.receiver != message.source
        || !is_next_hop(context, backend)
        || (message.protocol == TCP && !rescue::is_out(reverse, message))
    {
        return None;
    }
    let pair = pair(reverse.pair)?;
    let now = now();
    // SAFETY: entries of an array map live as long as the map.
    let strikes = unsafe { (*pair).unreachable }.struck(now);
    // SAFETY: as above.
    unsafe { (*pair).unreachable = strikes };
    if strikes.count >= UNREACHABLE {
        begin_anew(pair);
        latch(reverse.index, now, Signal::Unreachable, reverse.pair);
    }
    if message.protocol != TCP {
        return Some(Step::Undelivered);
    }
    rescue::may_succeed(reverse, message).then_some(Step::Done(Verdict::OtherProtocol))
}

/// The backend that a packet was for which could not be delivered, and its service.
#[inline(always)]
pub(crate) fn addressee(message: &Unreachable) -> Option<&'static Reverse> {
    let (address, port) = (message.destination, message.destination_port);
    service::addressee(address, port, message.protocol)
}

#[inline(always)]
fn pair(index: u32) -> Option<*mut Pair> {
    PAIRS.get_ptr_mut(index)
}

/// After a death nothing counts that was before.
#[inline(always)]
fn begin_anew(pair: *mut Pair) {
    // SAFETY: entries of an array map live as long as the map.
    unsafe {
        (*pair).answers = 0;
        (*pair).unanswered.count = 0;
        (*pair).syns.count = 0;
        (*pair).refused.count = 0;
        (*pair).unreachable.count = 0;
    }
}
