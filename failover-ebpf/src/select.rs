//! Stage 3: which backend serves. The first one in the service's order that is
//! eligible; where none is, the one that was held last keeps the service, since
//! a backend that is probably dead is better than none.

use failover_common::{Backend, Be16, Service, ServiceBackend, Verdict};

use crate::maps::BACKENDS;

/// A backend that was chosen.
pub(crate) struct Choice {
    /// Its index in `BACKENDS`.
    pub(crate) index: u32,
    /// Port on it; 0: as the client wrote it.
    pub(crate) port: Be16,
    pub(crate) backend: *const Backend,
}

impl Choice {
    #[inline(always)]
    pub(crate) fn backend(&self) -> &Backend {
        // SAFETY: entries of an array map live as long as the map.
        unsafe { &*self.backend }
    }
}

#[inline(always)]
pub(crate) fn select(service: &Service) -> Result<Choice, Verdict> {
    // Not an `Option`: the compiler leaves the inside of `None` unwritten, and
    // the verifier refuses a register that may be.
    let mut last = ServiceBackend {
        index: u32::MAX,
        port: Be16::ZERO,
        reserved: [0; 2],
        pair: 0,
    };
    let mut last_held_at = 0;
    for (position, entry) in service.backends.iter().enumerate() {
        if position >= usize::from(service.len) {
            break;
        }
        let Some(backend) = BACKENDS.get_ptr(entry.index) else {
            continue;
        };
        // SAFETY: entries of an array map live as long as the map; the agent
        // changes this word behind our back, hence volatile.
        let holds = unsafe { (&raw const (*backend).holds).read_volatile() };
        if holds == 0 {
            return Ok(Choice {
                index: entry.index,
                port: entry.port,
                backend,
            });
        }
        // SAFETY: as above.
        let held_at = unsafe { (&raw const (*backend).held_at).read_volatile() };
        if last.index == u32::MAX || held_at > last_held_at {
            last_held_at = held_at;
            last = *entry;
        }
    }
    Ok(Choice {
        index: last.index,
        port: last.port,
        backend: BACKENDS.get_ptr(last.index).ok_or(Verdict::NoBackend)?,
    })
}
