//! Words of a frame, wherever they lie. The kernel's verifier and every CPU that
//! it knows allow it; the compiler does not know, and would move single bytes.

use aya_ebpf::bindings::xdp_md;

/// Copies `size_of::<T>()` bytes from `at`, in as large words as it takes.
///
/// # Safety
///
/// So many bytes can be read there, and any bytes are a `T`.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(at: *const T) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast::<u8>();
    let from = at.cast::<u8>();
    let size = size_of::<T>();
    let mut done = 0;
    // SAFETY: every word is inside both, as promised.
    unsafe {
        while size - done >= 8 {
            to.add(done)
                .cast::<u64>()
                .write_unaligned(word::load_u64(from.add(done)));
            done += 8;
        }
        if size - done >= 4 {
            to.add(done)
                .cast::<u32>()
                .write_unaligned(word::load_u32(from.add(done)));
            done += 4;
        }
        if size - done >= 2 {
            to.add(done)
                .cast::<u16>()
                .write_unaligned(word::load_u16(from.add(done)));
            done += 2;
        }
        if size - done >= 1 {
            to.add(done).write(from.add(done).read());
        }
        value.assume_init()
    }
}

/// Copies `value` to `at`, in as large words as it takes.
///
/// # Safety
///
/// So many bytes can be written there.
#[inline(always)]
pub(crate) unsafe fn store<T: Copy>(at: *mut T, value: T) {
    let from = (&raw const value).cast::<u8>();
    let to = at.cast::<u8>();
    let size = size_of::<T>();
    let mut done = 0;
    // SAFETY: every word is inside both, as promised.
    unsafe {
        while size - done >= 8 {
            word::store_u64(to.add(done), from.add(done).cast::<u64>().read_unaligned());
            done += 8;
        }
        if size - done >= 4 {
            word::store_u32(to.add(done), from.add(done).cast::<u32>().read_unaligned());
            done += 4;
        }
        if size - done >= 2 {
            word::store_u16(to.add(done), from.add(done).cast::<u16>().read_unaligned());
            done += 2;
        }
        if size - done >= 1 {
            to.add(done).write(from.add(done).read());
        }
    }
}

/// Index of the interface a frame came in by. The verifier wants the offset in the
/// instruction; the compiler would sometimes add it to the pointer before.
///
/// # Safety
///
/// `md` is what the kernel handed to the program.
#[inline(always)]
pub(crate) unsafe fn ingress_ifindex(md: *const xdp_md) -> u32 {
    // SAFETY: as promised.
    unsafe { word::ingress_ifindex(md) }
}

/// The same context, of which the compiler knows nothing: it asks anew where the frame
/// begins and ends. What it concludes from earlier checks the verifier does not follow.
#[inline(always)]
pub(crate) fn anew(md: *mut xdp_md) -> *mut xdp_md {
    word::anew(md)
}

#[cfg(target_arch = "bpf")]
mod word {
    use core::arch::asm;

    use aya_ebpf::bindings::xdp_md;

    #[inline(always)]
    pub(super) fn anew(mut md: *mut xdp_md) -> *mut xdp_md {
        // SAFETY: a register becomes what it is.
        unsafe { asm!("{md} = {md}", md = inout(reg) md, options(nostack, preserves_flags)) };
        md
    }

    #[inline(always)]
    pub(super) unsafe fn ingress_ifindex(md: *const xdp_md) -> u32 {
        let value: u64;
        // SAFETY: the caller promised that it can be read.
        unsafe {
            asm!(
                "{value} = *(u32 *)({md} + {offset})",
                md = in(reg) md,
                value = out(reg) value,
                offset = const core::mem::offset_of!(xdp_md, ingress_ifindex),
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        value as u32
    }

    macro_rules! word {
        ($load:ident, $store:ident, $word:ty, $name:literal) => {
            #[inline(always)]
            pub(super) unsafe fn $load(at: *const u8) -> $word {
                let value: u64;
                // SAFETY: the caller promised that the word can be read.
                unsafe {
                    asm!(
                        concat!("{value} = *(", $name, " *)({at} + 0)"),
                        at = in(reg) at,
                        value = out(reg) value,
                        options(pure, readonly, nostack, preserves_flags),
                    );
                }
                value as $word
            }

            #[inline(always)]
            pub(super) unsafe fn $store(at: *mut u8, value: $word) {
                // SAFETY: the caller promised that the word can be written.
                unsafe {
                    asm!(
                        concat!("*(", $name, " *)({at} + 0) = {value}"),
                        at = in(reg) at,
                        value = in(reg) value as u64,
                        options(nostack, preserves_flags),
                    );
                }
            }
        };
    }

    word!(load_u64, store_u64, u64, "u64");
    word!(load_u32, store_u32, u32, "u32");
    word!(load_u16, store_u16, u16, "u16");
}

/// For the linter, which looks at this crate as if it were for the host.
#[cfg(not(target_arch = "bpf"))]
mod word {
    use aya_ebpf::bindings::xdp_md;

    pub(super) fn anew(md: *mut xdp_md) -> *mut xdp_md {
        md
    }

    pub(super) unsafe fn ingress_ifindex(md: *const xdp_md) -> u32 {
        // SAFETY: as promised.
        unsafe { (*md).ingress_ifindex }
    }

    macro_rules! word {
        ($load:ident, $store:ident, $word:ty) => {
            pub(super) unsafe fn $load(at: *const u8) -> $word {
                // SAFETY: as promised.
                unsafe { at.cast::<$word>().read_unaligned() }
            }

            pub(super) unsafe fn $store(at: *mut u8, value: $word) {
                // SAFETY: as promised.
                unsafe { at.cast::<$word>().write_unaligned(value) }
            }
        };
    }

    word!(load_u64, store_u64, u64);
    word!(load_u32, store_u32, u32);
    word!(load_u16, store_u16, u16);
}
