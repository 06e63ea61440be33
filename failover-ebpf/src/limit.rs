//! How many ICMP errors a CPU makes: what anybody can ask for must not keep us busy (RFC
//! 1812, section 4.3.2.8; RFC 4443, section 2.4).

/// One a millisecond, in the long run: as many as Linux allows itself by default
/// (`icmp_msgs_per_sec`).
const INTERVAL: u64 = 1_000_000;
/// As many at once after a pause.
const BURST: u64 = 50;

/// Whether one more may be made at `now`, nanoseconds; `due` is when the next one would
/// be without a burst.
#[inline(always)]
pub fn is_due(due: &mut u64, now: u64) -> bool {
    let next = if *due > now { *due } else { now };
    if next - now >= BURST * INTERVAL {
        return false;
    }
    *due = next + INTERVAL;
    true
}

#[cfg(test)]
mod tests;
