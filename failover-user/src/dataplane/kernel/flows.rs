//! The maps `FLOWS` and `NEW_FLOWS`, read in large pieces: one by one, a full table would
//! take hundreds of thousands of system calls.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
};

use aya::maps::MapData;
use bytemuck::Zeroable as _;
use failover_common::{Flow, FlowKey, FlowState};
use nix::libc;

use super::super::MapError;
use super::maps::failed;

/// Flows in one piece. A piece has whole buckets of the kernel's hash table, so it must
/// have room for the fullest, which has some tens at worst.
const PIECE: u32 = 4096;

/// Which backend has which flow.
pub struct Flows([(&'static str, MapData); 2]);

impl Flows {
    /// Of the maps `FLOWS` and `NEW_FLOWS`.
    pub(super) fn new(flows: MapData, new: MapData) -> Self {
        Self([("FLOWS", flows), ("NEW_FLOWS", new)])
    }

    /// Shows every flow to `visit`; it returns what is to be there instead, if anything.
    /// One that comes or goes meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// A map cannot be read. What could not be written is left: the flow was gone.
    pub fn visit(
        &self,
        mut visit: impl FnMut(&FlowKey, &Flow) -> Option<Flow>,
    ) -> Result<(), MapError> {
        for (name, map) in &self.0 {
            let map = map.fd().as_fd().as_raw_fd();
            let mut pieces = Pieces::of(map);
            while let Some(piece) = pieces
                .next()
                .map_err(|error| failed("read", name, &error))?
            {
                for (key, flow) in piece {
                    if let Some(new) = visit(key, flow) {
                        replace(map, key, &new);
                    }
                }
            }
        }
        Ok(())
    }

    /// How many each backend has, by its index: those in use at `now`, of which there was
    /// more than one packet and which the client has not ended.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn count(&self, now: u64) -> Result<HashMap<u32, u64>, MapError> {
        let mut counts = HashMap::new();
        self.visit(|key, flow| {
            if flow.state == FlowState::Established as u8 && !flow.is_over(key.protocol, now) {
                *counts.entry(flow.backend).or_default() += 1;
            }
            None
        })?;
        Ok(counts)
    }
}

/// `BPF_MAP_LOOKUP_BATCH` over a map.
struct Pieces {
    map: RawFd,
    /// Where the next piece begins: a number that only the kernel understands.
    next: Option<u32>,
    is_over: bool,
    keys: Vec<FlowKey>,
    flows: Vec<Flow>,
}

/// What `bpf(2)` takes for it (linux/bpf.h, `union bpf_attr`, `batch`).
#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The same, for one element.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
/// Only what is there.
const BPF_EXIST: u64 = 2;

impl Pieces {
    fn of(map: RawFd) -> Self {
        Self {
            map,
            next: None,
            is_over: false,
            keys: vec![FlowKey::zeroed(); PIECE as usize],
            flows: vec![Flow::zeroed(); PIECE as usize],
        }
    }

    fn next(&mut self) -> io::Result<Option<impl Iterator<Item = (&FlowKey, &Flow)>>> {
        if self.is_over {
            return Ok(None);
        }
        let begin = self.next;
        let mut next = 0_u32;
        let mut batch = Batch {
            from: begin.as_ref().map_or(0, |begin| address(begin)),
            next: address(&raw mut next),
            keys: address(self.keys.as_mut_ptr()),
            values: address(self.flows.as_mut_ptr()),
            count: PIECE,
            map_fd: descriptor(self.map),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the pointers are to `begin`, `next` and the two vectors, which have room
        // for `count` each and outlive the call.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) };
        match result {
            Ok(()) => self.next = Some(next),
            // The last piece.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.is_over = true,
            Err(error) => return Err(error),
        }
        let count = batch.count.min(PIECE) as usize;
        Ok(Some(self.keys.iter().zip(&self.flows).take(count)))
    }
}

/// Puts a flow in the place of another one, if that is still there.
fn replace(map: RawFd, key: &FlowKey, flow: &Flow) {
    let mut element = Element {
        map_fd: descriptor(map),
        padding: 0,
        key: address(key),
        value: address(flow),
        flags: BPF_EXIST,
    };
    // SAFETY: the pointers are to a key and a value of the map, which the kernel reads.
    // It is gone: fine.
    let _ = unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut element) };
}

/// # Safety
///
/// `attributes` is what the command takes, and its pointers are valid for it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<()> {
    let attributes: *mut T = attributes;
    // SAFETY: as promised.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

fn descriptor(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}
