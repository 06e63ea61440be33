//! The frame as the kernel hands it to us.

use core::mem::size_of;

use aya_ebpf::{
    helpers::{bpf_csum_diff, bpf_xdp_adjust_tail, generated::bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use failover_ebpf::{checksum::Difference, frame::Frame, too_big::QUOTE};

use crate::unaligned;

/// One frame in the kernel. Every access is checked against `data_end`, which
/// is what the verifier asks for.
pub(crate) struct Context {
    pub(crate) xdp: XdpContext,
}

impl Context {
    #[inline(always)]
    pub(crate) fn new(xdp: XdpContext) -> Self {
        Self { xdp }
    }

    /// The same frame, looked at as for the first time; see [`unaligned::anew`].
    #[inline(always)]
    pub(crate) fn anew(&self) -> Self {
        Self::new(XdpContext::new(unaligned::anew(self.xdp.ctx)))
    }

    /// Index of the interface the frame came in by.
    #[inline(always)]
    pub(crate) fn ingress_ifindex(&self) -> u32 {
        // SAFETY: the kernel hands a valid `xdp_md` to the program.
        unsafe { unaligned::ingress_ifindex(self.xdp.ctx) }
    }

    /// Cuts the frame to `length` bytes; `None`: it is not that long.
    #[inline(always)]
    pub(crate) fn cut(&self, length: usize) -> Option<()> {
        let surplus = self.whole_length().checked_sub(length)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "no frame is that long"
        )]
        let surplus = surplus as i32;
        // SAFETY: the context is the kernel's; no pointer into the frame is kept.
        (unsafe { bpf_xdp_adjust_tail(self.xdp.ctx, -surplus) } == 0).then_some(())
    }

    /// The sum of the [`QUOTE`] bytes at `offset`.
    #[inline(always)]
    pub(crate) fn sum(&self, offset: usize) -> Option<Difference> {
        let at = self.at::<[u8; QUOTE]>(offset)?;
        #[expect(clippy::cast_possible_truncation, reason = "512")]
        let size = QUOTE as u32;
        // SAFETY: `at` checked the bounds, and nothing is written.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, at.cast(), size, 0) };
        let sum = u32::try_from(sum).ok()?;
        Some(Difference::none().plus(sum.to_ne_bytes()))
    }

    /// Where a `T` at `offset` lies, if it is inside the frame.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.xdp.data() + offset;
        if start + size_of::<T>() > self.xdp.data_end() {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Frame for Context {
    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        let at = self.at::<T>(offset)?;
        // SAFETY: `at` checked the bounds.
        Some(unsafe { unaligned::load(at) })
    }

    #[inline(always)]
    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()> {
        let at = self.at::<T>(offset)?;
        // SAFETY: `at` checked the bounds.
        unsafe { unaligned::store(at, value) };
        Some(())
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.xdp.data_end() - self.xdp.data()
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "64 KiB at most")]
    fn whole_length(&self) -> usize {
        // SAFETY: the context is the kernel's.
        unsafe { bpf_xdp_get_buff_len(self.xdp.ctx) as usize }
    }
}
