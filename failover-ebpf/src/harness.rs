//! In which a program is timed (`cargo xtask bench datapath`), not part of the product.
//!
//! The kernel runs a program many times on one frame, and a run leaves the frame as it
//! sent it. So what is run is `restore`: it writes what is to come in over the frame, and
//! then becomes the program that is timed.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the program macros make public functions without documentation"
)]

#[expect(dead_code, reason = "one of its operations is enough here")]
mod atomic;

use core::mem::size_of;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_xdp_adjust_head, generated::bpf_xdp_get_buff_len},
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};

/// The beginning of a frame, more than any headers that are timed.
type Head = [u64; 12];

/// Which frame is next, of how many, and their length, bytes.
#[map]
static TURN: Array<[u32; 3]> = Array::with_max_entries(1, 0);

/// What comes in, one after the other and over again. Userspace says how many there can be.
#[map]
static FRAMES: Array<Head> = Array::with_max_entries(1, 0);

/// The program that is timed.
#[map]
static TIMED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Makes the next frame and runs the timed program on it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the xdp macro passes it so")]
pub fn restore(ctx: XdpContext) -> u32 {
    if next(&ctx).is_some() {
        // SAFETY: whatever it does, it does it in our place.
        unsafe { TIMED.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "frames are short"
)]
fn next(ctx: &XdpContext) -> Option<()> {
    let turn = TURN.get_ptr_mut(0)?;
    // SAFETY: one thread runs this.
    let [next, count, length] = unsafe { &mut *turn };
    // SAFETY: the context is the kernel's.
    let found = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    // The headers of a tunnel. The length is asked for, because the compiler would add to a
    // pointer where this subtracts from one, which the verifier refuses.
    let room = found as i32 - *length as i32;
    if room != 0 {
        // SAFETY: as above; no pointer into the frame is kept.
        let result = unsafe { bpf_xdp_adjust_head(ctx.ctx, room) };
        if result != 0 {
            return None;
        }
    }
    let head = FRAMES.get(*next)?;
    *next += 1;
    if *next >= *count {
        *next = 0;
    }
    if ctx.data() + size_of::<Head>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame is at least as long, and begins at a multiple of eight in a test run.
    unsafe { *(ctx.data() as *mut Head) = *head };
    settle(turn);
    Some(())
}

/// Waits until what was written is in the cache, as what comes from a network card is. Out
/// of the CPU's store buffer a program could not read words that lie in two of those that
/// were written, and would pay for it.
#[inline(always)]
fn settle(turn: *mut [u32; 3]) {
    // An atomic operation waits for everything that was stored before, also one that changes
    // nothing.
    // SAFETY: the value of a map is aligned to eight bytes, and this one has more.
    unsafe { atomic::fetch_or(turn.cast(), 0) };
}

/// The floor: passes everything.
#[xdp(frags)]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The floor of whatever sends: swaps the MACs and sends the frame back.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the xdp macro passes it so")]
pub fn swap(ctx: XdpContext) -> u32 {
    if ctx.data() + size_of::<[[u16; 3]; 2]>() > ctx.data_end() {
        return xdp_action::XDP_DROP;
    }
    let macs = ctx.data() as *mut [[u16; 3]; 2];
    // SAFETY: the frame is at least as long, and begins at a multiple of two; nobody else
    // uses it meanwhile.
    let [to, from] = unsafe { &mut *macs };
    core::mem::swap(to, from);
    xdp_action::XDP_TX
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
