//! Programs for the lab's hosts and its clock, not part of the product.

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the program macros make public functions without documentation"
)]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{cgroup_sock, map, xdp},
    maps::Array,
    programs::{SockContext, XdpContext},
};

/// Passes everything. The far end of a veth must run some XDP program before
/// frames can be transmitted into it by XDP.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Drops everything: a host that hangs without a sound.
#[xdp]
pub fn freeze(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Which socket is watched: its owner (a process id) and its priority; and when it was
/// closed, nanoseconds of `CLOCK_MONOTONIC`, or 0: it has not been yet.
#[map]
static CLOSING: Array<[u64; 3]> = Array::with_max_entries(1, 0);

/// The kernel closes a socket: because its owner says so, or has died. Until then
/// it takes what arrives, however dead its owner is.
#[cgroup_sock(sock_release)]
pub fn closing(ctx: SockContext) -> i32 {
    if let Some(entry) = CLOSING.get_ptr_mut(0) {
        // SAFETY: entries of an array map live as long as the map.
        let [process, priority, closed_at] = unsafe { &mut *entry };
        // SAFETY: the kernel hands a valid socket to the program.
        let found = u64::from(unsafe { (*ctx.sock).priority });
        if *closed_at == 0 && found == *priority && bpf_get_current_pid_tgid() >> 32 == *process {
            // SAFETY: only reads a clock.
            *closed_at = unsafe { bpf_ktime_get_ns() };
        }
    }
    1
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
