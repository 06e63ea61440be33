//! The frame as the kernel hands it to us.

use core::mem::size_of;

use aya_ebpf::programs::XdpContext;
use failover_ebpf::frame::Frame;

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

    /// Index of the interface the frame came in by.
    #[inline(always)]
    pub(crate) fn ingress_ifindex(&self) -> u32 {
        // SAFETY: the kernel hands a valid `xdp_md` to the program.
        unsafe { unaligned::ingress_ifindex(self.xdp.ctx) }
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
}
