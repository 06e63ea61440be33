//! Programs for the lab's hosts and its clock, not part of the product.

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the program macros make public functions without documentation"
)]

use core::mem::size_of;

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

/// Answers every IPv4 echo request at once: every host that could be there, and none
/// that takes time.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the xdp macro passes it so")]
pub fn reflect(ctx: XdpContext) -> u32 {
    answer(&ctx).map_or(xdp_action::XDP_PASS, |()| xdp_action::XDP_TX)
}

/// An echo in IPv4 without options, up to the checksum. Bytes only, so that it lies
/// anywhere.
#[repr(C)]
struct Echo {
    dst_mac: [u8; 6],
    src_mac: [u8; 6],
    ethertype: [u8; 2],
    version_and_length: u8,
    between: [u8; 8],
    protocol: u8,
    ip_checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
    kind: u8,
    code: u8,
    checksum: [u8; 2],
}

/// Makes the reply of a request; none: it is something else.
#[inline(always)]
fn answer(ctx: &XdpContext) -> Option<()> {
    if ctx.data() + size_of::<Echo>() > ctx.data_end() {
        return None;
    }
    let echo = ctx.data() as *mut Echo;
    // SAFETY: the frame is at least as long, and bytes have no alignment; nobody else
    // uses the frame meanwhile.
    let echo = unsafe { &mut *echo };
    let is_icmp = echo.ethertype == [8, 0] && echo.version_and_length == 0x45 && echo.protocol == 1;
    if !is_icmp || echo.kind != 8 || echo.code != 0 {
        return None;
    }
    core::mem::swap(&mut echo.dst_mac, &mut echo.src_mac);
    core::mem::swap(&mut echo.source, &mut echo.destination);
    echo.kind = 0;
    // RFC 1624, section 3, equation 3: the word was 0x0800 and is 0.
    let sum = u32::from(!u16::from_be_bytes(echo.checksum)) + u32::from(!0x0800_u16);
    #[expect(clippy::cast_possible_truncation, reason = "the carry is added first")]
    let sum = (sum + (sum >> 16)) as u16;
    echo.checksum = (!sum).to_be_bytes();
    Some(())
}

/// Which socket is watched: its owner (a process id) and its priority; and when it was
/// closed, nanoseconds of `CLOCK_MONOTONIC`, or 0: it has not been yet.
#[map]
static CLOSING: Array<[u64; 3]> = Array::with_max_entries(1, 0);

/// The kernel closes a socket: because its owner says so, or has died. Until then
/// it takes what arrives, however dead its owner is.
#[cgroup_sock(sock_release)]
#[expect(clippy::needless_pass_by_value, reason = "the macro passes it so")]
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
