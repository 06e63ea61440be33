//! Bounds-checked access to the bytes of one frame.

use core::mem::size_of;

/// A frame: `load` and `store` fail, and change nothing, where the value would
/// not fit. Offsets are bytes from the Ethernet header on.
pub trait Frame {
    /// Copies a value out of the frame. `T` must be valid for every bit pattern.
    fn load<T: Copy>(&self, offset: usize) -> Option<T>;
    /// Copies a value into the frame.
    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()>;
    /// Length of the frame, bytes; of one in several buffers that of the first, and
    /// `load` and `store` reach no further.
    fn length(&self) -> usize;
    /// Length of the frame in all its buffers, bytes.
    fn whole_length(&self) -> usize;
}

/// A frame in memory that is not the kernel's: for tests on the host.
impl Frame for [u8] {
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        let bytes = self.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` is as long as a `T`; `read_unaligned` asks for no alignment.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()> {
        let bytes = self.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` is as long as a `T`; `write_unaligned` asks for no alignment.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(value) };
        Some(())
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn whole_length(&self) -> usize {
        self.len()
    }
}
