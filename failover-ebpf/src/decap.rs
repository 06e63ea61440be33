//! The program of `failover decap`, on a backend: takes packets out of the tunnels of
//! its directors, for kernels that have no device for it. What is not of such a tunnel
//! goes on to the stack as it is.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the xdp macro makes public functions without documentation"
)]

#[expect(dead_code, reason = "the director's program needs more of it")]
mod context;
mod unaligned;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{LpmTrie, PerCpuArray, lpm_trie::Key},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use failover_common::{Address, Counter, DecapVerdict, MAX_DIRECTORS};
use failover_ebpf::{
    carried::{Carried, find},
    frame::Frame as _,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family},
};

use crate::context::Context;

/// Whose tunnels end here: addresses, and networks of them. Only its keys count.
#[btf_map]
static DIRECTORS: LpmTrie<[u8; 16], u32, MAX_DIRECTORS> = LpmTrie::new();

#[btf_map]
static DECAP_VERDICTS: PerCpuArray<Counter, { DecapVerdict::COUNT }> = PerCpuArray::new();

#[xdp]
pub fn decap(ctx: XdpContext) -> u32 {
    let context = &mut Context::new(ctx);
    let length = context.length();
    let verdict = match handle(context) {
        Ok(()) => DecapVerdict::Decapsulated,
        Err(verdict) => verdict,
    };
    if let Some(counter) = DECAP_VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own entry; XDP programs do not interrupt each other.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += length as u64;
    }
    if verdict.is_drop() {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

#[inline(always)]
fn handle(context: &mut Context) -> Result<(), DecapVerdict> {
    let found = find(context).ok_or(DecapVerdict::Other)?;
    if !is_director(found.director) {
        return Err(DecapVerdict::Stranger);
    }
    let carried = found.carried?;
    carried.receive(context)?;
    unwrap(context, &carried).ok_or(DecapVerdict::Malformed)
}

#[inline(always)]
fn is_director(address: Address) -> bool {
    DIRECTORS.get(&Key::new(128, address.bytes())).is_some()
}

/// Takes off the headers in front of the packet; MACs and tag stay.
#[inline(always)]
fn unwrap(context: &mut Context, carried: &Carried) -> Option<()> {
    let ethertype = match carried.family {
        Family::V4 => ETHERTYPE_IPV4,
        Family::V6 => ETHERTYPE_IPV6,
    };
    let macs: [[u8; 6]; 2] = context.load(0)?;
    let tag: [u8; 4] = context.load(12)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "at most 52"
    )]
    let headers = carried.headers as i32;
    // SAFETY: the context is the kernel's; no pointer into the frame is kept.
    if unsafe { bpf_xdp_adjust_head(context.xdp.ctx, headers) } != 0 {
        return None;
    }
    context.store(0, macs)?;
    if carried.tagged {
        context.store(12, tag)?;
    }
    context.store(carried.l3 - 2, ethertype.to_be_bytes())
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
