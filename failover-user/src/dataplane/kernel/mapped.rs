//! Array maps, mapped into memory.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::Arc,
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};

use super::{super::MapError, maps::failed};

/// The values of an array map, one behind the other; clones share the mapping. It begins at
/// a page, and values of whole words lie without gaps.
#[derive(Clone)]
pub(super) struct Mapped(Arc<Mapping>);

struct Mapping {
    memory: MmapRaw,
    /// Keeps the map open; tests have none.
    _map: Option<MapData>,
}

impl Mapped {
    /// The first `length` bytes of a map.
    pub(super) fn new(map: MapData, name: &'static str, length: usize) -> Result<Self, MapError> {
        let memory = MmapOptions::new()
            .len(length)
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|error| failed("open", name, &error))?;
        Ok(Self(Arc::new(Mapping {
            memory,
            _map: Some(map),
        })))
    }

    /// Zeros that no kernel knows of.
    #[cfg(test)]
    pub(super) fn in_memory(length: usize) -> Self {
        let memory = memmap2::MmapMut::map_anon(length).expect("memory").into();
        Self(Arc::new(Mapping { memory, _map: None }))
    }

    /// Where value number `index` is.
    ///
    /// # Panics
    ///
    /// It is not inside the mapping.
    pub(super) fn at<T>(&self, index: usize) -> *mut T {
        let length = self.0.memory.len() / size_of::<T>();
        assert!(index < length, "no value {index}");
        // SAFETY: inside the mapping, as was just asked.
        unsafe { self.0.memory.as_mut_ptr().cast::<T>().add(index) }
    }
}
