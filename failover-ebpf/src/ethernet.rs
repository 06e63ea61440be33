//! What is in front of the IP header: kept while the frame becomes longer or shorter there.

use crate::{
    frame::Frame,
    parse::{ETHERNET, VLAN},
};

/// Offset of the tags, and of the type where there are none.
const TAGS: usize = 12;

/// Most bytes of it: with two tags.
pub const MOST: usize = ETHERNET + 2 * VLAN;

/// The MACs, the tags and the type, and where there are fewer tags what follows.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    macs: [[u8; 6]; 2],
    tags: [[u8; 2]; (MOST - TAGS) / 2],
}

impl Ethernet {
    /// Reads the one at `offset`.
    #[inline(always)]
    pub fn load<F: Frame + ?Sized>(frame: &F, offset: usize) -> Option<Self> {
        Some(Self {
            macs: frame.load(offset)?,
            tags: frame.load(offset + TAGS)?,
        })
    }

    /// Writes it in front of the IP header at `l3`, and nothing else.
    #[inline(always)]
    pub fn store<F: Frame + ?Sized>(&self, frame: &mut F, l3: usize) -> Option<()> {
        frame.store(0, self.macs)?;
        // Offsets that the verifier knows: it would not follow a copy of `l3` bytes.
        for (n, tag) in self.tags.into_iter().enumerate() {
            if TAGS + n * 2 < l3 {
                frame.store(TAGS + n * 2, tag)?;
            }
        }
        Some(())
    }

    /// Back to the sender.
    #[inline(always)]
    #[must_use]
    pub const fn turned(self) -> Self {
        let [destination, source] = self.macs;
        Self {
            macs: [source, destination],
            ..self
        }
    }

    /// Likewise, with another type.
    #[inline(always)]
    pub fn store_as<F: Frame + ?Sized>(
        mut self,
        frame: &mut F,
        l3: usize,
        ethertype: u16,
    ) -> Option<()> {
        for (n, tag) in self.tags.iter_mut().enumerate() {
            if TAGS + n * 2 + 2 == l3 {
                *tag = ethertype.to_be_bytes();
            }
        }
        self.store(frame, l3)
    }
}
