//! Atomic operations that give back the old value. The compiler offers none for
//! this target; the kernel has them since Linux 5.12.

/// Sets `bits` in `*word` and returns what it was before.
///
/// # Safety
///
/// `word` is valid and aligned.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn fetch_or(word: *mut u64, bits: u64) -> u64 {
    let mut value = bits;
    // SAFETY: one aligned word, as promised.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_or((u64 *)({word} + 0), {value})",
            word = in(reg) word,
            value = inout(reg) value,
        );
    }
    value
}

/// Puts `new` into `*word` and returns what it was before.
///
/// # Safety
///
/// `word` is valid and aligned.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn swap(word: *mut u64, new: u64) -> u64 {
    let mut value = new;
    // SAFETY: one aligned word, as promised.
    unsafe {
        core::arch::asm!(
            "{value} = xchg_64({word} + 0, {value})",
            word = in(reg) word,
            value = inout(reg) value,
        );
    }
    value
}

/// For the linter, which looks at this crate as if it were for the host.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn fetch_or(word: *mut u64, bits: u64) -> u64 {
    // SAFETY: as promised.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }
        .fetch_or(bits, core::sync::atomic::Ordering::SeqCst)
}

/// For the linter, as above.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn swap(word: *mut u64, new: u64) -> u64 {
    // SAFETY: as promised.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(word) }
        .swap(new, core::sync::atomic::Ordering::SeqCst)
}
