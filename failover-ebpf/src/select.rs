//! Stage 3: which backend serves. The first one in the service's order that is
//! eligible; where none is, the one that was held last keeps the service, since
//! a backend that is probably dead is better than none.

use failover_common::{Backend, Be16, DuringSwitch, Hold, Service, ServiceBackend, Verdict};

use failover_ebpf::parse::{Packet, RST, SYN, TCP};

use crate::{
    lease::{self, live},
    maps::BACKENDS,
    passive,
};

/// A backend of a service, in one word.
pub(crate) struct Packed;

impl Packed {
    /// Nobody.
    pub(crate) const NONE: u64 = u64::MAX;

    /// Indexes of backends and pairs have 16 bits at most.
    #[inline(always)]
    pub(crate) fn of(entry: &ServiceBackend) -> u64 {
        let port = u64::from(u16::from_ne_bytes(entry.port.0));
        u64::from(entry.tier) << 48
            | port << 32
            | u64::from(entry.pair & 0xffff) << 16
            | u64::from(entry.index & 0xffff)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the parts of the word")]
    pub(crate) fn open(word: u64) -> Option<ServiceBackend> {
        (word != Self::NONE).then_some(ServiceBackend {
            index: u32::from(word as u16),
            port: Be16(((word >> 32) as u16).to_ne_bytes()),
            tier: (word >> 48) as u8,
            reserved: 0,
            pair: u32::from((word >> 16) as u16),
        })
    }
}

/// The backend at `index`, if the service has it.
#[inline(always)]
pub(crate) fn member(service: &Service, index: u32) -> Option<ServiceBackend> {
    Packed::open(find(service, index))
}

/// The first backend in the order that is eligible. Nothing counts here: the packet may go
/// elsewhere.
#[inline(always)]
pub(crate) fn leader(service: &Service) -> Option<ServiceBackend> {
    Packed::open(find(service, ELIGIBLE))
}

/// The first eligible backend for a packet, else the one held last; or what else becomes of
/// it, as [`select`].
#[inline(always)]
pub(crate) fn first(
    service: &Service,
    packet: &Packet,
    counted: bool,
) -> Result<ServiceBackend, Verdict> {
    let (index, _) = unpack(served(service, packet, counted)?);
    member(service, index).ok_or(Verdict::NoBackend)
}

/// Instead of the index of a backend: the first that is eligible.
const ELIGIBLE: u32 = u32::MAX - 1;

/// A global function, as [`next`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find(service: *const Service, index: u32) -> u64 {
    if service.is_null() {
        return Packed::NONE;
    }
    // SAFETY: the verifier has made sure that a whole `Service` can be read there.
    let service = unsafe { &*service };
    for (position, entry) in service.backends.iter().enumerate() {
        if position >= usize::from(service.len) {
            break;
        }
        let is_it = if index == ELIGIBLE {
            BACKENDS.get_ptr(entry.index).is_some_and(|backend| {
                live(backend).holds() == 0 && !lease::is_over(entry.index, backend)
            })
        } else {
            entry.index == index
        };
        if is_it {
            return Packed::of(entry);
        }
    }
    Packed::NONE
}

/// Whether a backend may keep a flow that it has.
#[inline(always)]
pub(crate) fn may_keep(service: &Service, entry: &ServiceBackend, counted: bool) -> bool {
    is_alive(service, entry, counted, Hold::DRAINING)
}

/// A backend that was chosen.
pub(crate) struct Choice {
    /// Its index in `BACKENDS`.
    pub(crate) index: u32,
    /// Port on it; 0: as the client wrote it.
    pub(crate) port: Be16,
    pub(crate) backend: *const Backend,
}

impl Choice {
    /// Port on it of a packet that asks for `asked`.
    #[inline(always)]
    pub(crate) fn port_for(&self, asked: Be16) -> Be16 {
        if self.port == Be16::ZERO {
            asked
        } else {
            self.port
        }
    }

    #[inline(always)]
    pub(crate) fn backend(&self) -> &Backend {
        // SAFETY: entries of an array map live as long as the map.
        unsafe { &*self.backend }
    }
}

/// The backend that serves, by the latch alone: for what is no traffic, and must
/// neither count as any nor judge a lease.
#[inline(always)]
pub(crate) fn serving(service: &Service) -> Result<Choice, Verdict> {
    chosen(unpack(current(service)))
}

/// A global function, as [`next`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn current(service: *const Service) -> u64 {
    if service.is_null() {
        return NONE;
    }
    // SAFETY: the verifier has made sure that a whole `Service` can be read there.
    let service = unsafe { &*service };
    for (position, entry) in service.backends.iter().enumerate() {
        if position >= usize::from(service.len) {
            break;
        }
        if BACKENDS
            .get_ptr(entry.index)
            .is_some_and(|backend| live(backend).holds() == 0)
        {
            return pack(entry);
        }
    }
    held_last(service)
}

/// A backend of a service.
#[inline(always)]
pub(crate) fn choice(entry: &ServiceBackend) -> Result<Choice, Verdict> {
    chosen((entry.index, entry.port))
}

/// The backend at `index`, for a packet that needs no port.
#[inline(always)]
pub(crate) fn known(index: u32) -> Result<Choice, Verdict> {
    chosen((index, Be16::ZERO))
}

#[inline(always)]
fn chosen((index, port): (u32, Be16)) -> Result<Choice, Verdict> {
    Ok(Choice {
        index,
        port,
        backend: BACKENDS.get_ptr(index).ok_or(Verdict::NoBackend)?,
    })
}

/// Whether a backend other than the one at `index` looks eligible.
#[inline(always)]
pub(crate) fn has_other(service: &Service, index: u32) -> bool {
    let used = service
        .backends
        .iter()
        .take(usize::from(service.len).min(service.backends.len()));
    for entry in used {
        if entry.index != index
            && let Some(backend) = BACKENDS.get_ptr(entry.index)
            && live(backend).holds() == 0
        {
            return true;
        }
    }
    false
}

/// Chooses a backend for a client's packet.
///
/// # Errors
///
/// What becomes of it instead. [`Verdict::SwitchReset`] is a wish: nothing is written yet.
#[inline(always)]
pub(crate) fn select(service: &Service, packet: &Packet) -> Result<Choice, Verdict> {
    let counted = service.passive != 0 && packet.is_tcp(SYN);
    let [first, ..] = &service.backends;
    chosen(
        if service.len != 0 && is_eligible(service, first, counted) {
            (first.index, first.port)
        } else {
            unpack(served(service, packet, counted)?)
        },
    )
}

/// [`next`] for a packet, if that may have it.
#[inline(always)]
fn served(service: &Service, packet: &Packet, counted: bool) -> Result<u64, Verdict> {
    let word = next(service, u32::from(counted));
    if word & HELD == 0 || service.during_switch == DuringSwitch::Drop as u8 {
        return Ok(word);
    }
    // Whoever is held may be alive, and then connections that it has live too.
    let may_be_alive = word != NONE && !packet.is_tcp(SYN);
    if packet.protocol != TCP || packet.headless || may_be_alive {
        return Ok(word);
    }
    if service.during_switch == DuringSwitch::Hold as u8 {
        return Err(Verdict::SwitchHeld);
    }
    // RFC 9293, section 3.5.2: no reset answers a reset.
    if packet.flags & RST == 0 {
        return Err(Verdict::SwitchReset);
    }
    Ok(word)
}

/// The first eligible backend, else the one held last and [`HELD`], [packed](pack).
///
/// A global function: the verifier looks at it once, and does not follow the rest
/// of the path from each of sixteen positions.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn next(service: *const Service, counted: u32) -> u64 {
    if service.is_null() {
        return NONE;
    }
    // SAFETY: the verifier has made sure that a whole `Service` can be read there.
    let service = unsafe { &*service };
    let counted = counted != 0;
    // A backend that no packet has gone past since it is held.
    let mut newly_dead = u32::MAX;
    for (position, entry) in service.backends.iter().enumerate() {
        if position >= usize::from(service.len) {
            break;
        }
        if is_eligible(service, entry, counted) {
            if newly_dead != u32::MAX {
                lease::passed(newly_dead);
            }
            return pack(entry);
        }
        if lease::is_newly_dead(entry.index) {
            newly_dead = entry.index;
        }
    }
    held_last(service)
}

/// The backend that was held last: where none may serve, it keeps the service. A global
/// function, as [`next`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn held_last(service: *const Service) -> u64 {
    if service.is_null() {
        return NONE;
    }
    // SAFETY: the verifier has made sure that a whole `Service` can be read there.
    let service = unsafe { &*service };
    let (mut last, mut last_at) = (NONE, 0);
    for (position, entry) in service.backends.iter().enumerate() {
        if position >= usize::from(service.len) {
            break;
        }
        let Some(backend) = BACKENDS.get_ptr(entry.index) else {
            continue;
        };
        let held_at = lease::held_at(backend);
        if last == NONE || held_at > last_at {
            (last, last_at) = (pack(entry), held_at);
        }
    }
    last | HELD
}

/// No backend.
const NONE: u64 = u64::MAX;

/// Beside a backend: it may not serve, nor may any other. [`NONE`] has it.
const HELD: u64 = 1 << 63;

/// Index and port of a backend in one word.
#[inline(always)]
fn pack(entry: &ServiceBackend) -> u64 {
    u64::from(u16::from_ne_bytes(entry.port.0)) << 32 | u64::from(entry.index)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the parts of the word")]
fn unpack(word: u64) -> (u32, Be16) {
    (word as u32, Be16(((word >> 32) as u16).to_ne_bytes()))
}

/// Whether a backend may have this packet: nothing holds it, its lease is not
/// over, and it has not left too much unanswered.
#[inline(always)]
pub(crate) fn is_eligible(service: &Service, entry: &ServiceBackend, counted: bool) -> bool {
    is_alive(service, entry, counted, 0)
}

/// The same for a backend that may have the holds `allowed`.
#[inline(always)]
fn is_alive(service: &Service, entry: &ServiceBackend, counted: bool, allowed: u64) -> bool {
    let Some(backend) = BACKENDS.get_ptr(entry.index) else {
        return false;
    };
    live(backend).holds() & !allowed == 0
        && !lease::is_over(entry.index, backend)
        && !passive::is_condemned(service, entry, counted)
}
