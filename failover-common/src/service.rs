use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16};

/// Most backends one service may list.
pub const MAX_BACKENDS_PER_SERVICE: usize = 16;

/// Key of the `SERVICES` map: what a packet is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ServiceKey {
    /// The VIP.
    pub address: Address,
    /// Destination port; 0: every port that has no service of its own.
    pub port: Be16,
    /// IP protocol number: 6 TCP, 17 UDP; 0 in [`ServiceKey::of_address`].
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<ServiceKey>() == 24);

impl ServiceKey {
    /// The key under which the map says that services have this address, beside the
    /// services. The value is all zero.
    #[inline(always)]
    #[must_use]
    pub const fn of_address(address: Address) -> Self {
        Self {
            address,
            port: Be16::ZERO,
            protocol: 0,
            reserved: [0; 5],
        }
    }
}

/// How packets reach a backend; the number is [`Service::forward`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Rewrite destination address and port; answers come back through us.
    Nat = 0,
    /// Rewrite the destination MAC only; the backend answers the client itself.
    Dsr = 1,
    /// Put an IP header in front (RFC 2003, RFC 2473); the backend takes it off and
    /// answers the client itself.
    Ipip = 2,
    /// Put an IP and a UDP header in front (GUE, variant 1); as `Ipip` otherwise.
    Gue = 3,
    /// Rewrite source and destination: the backend sees a connection of ours, and answers
    /// us.
    FullNat = 4,
}

impl Forward {
    /// Every way there is.
    pub const ALL: [Self; 5] = [Self::Nat, Self::Dsr, Self::Ipip, Self::Gue, Self::FullNat];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::FullNat => "fullnat",
        }
    }

    /// Whether packets reach the backend inside others.
    #[inline(always)]
    #[must_use]
    pub const fn is_tunnel(forward: u8) -> bool {
        forward == Self::Ipip as u8 || forward == Self::Gue as u8
    }
}

/// What becomes of clients' TCP while no backend of a service may serve: the number is
/// [`Service::during_switch`]. Connections that exist go to the backend that was held last
/// as long as it is in the order, whatever this says: it may be alive.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DuringSwitch {
    /// All goes to the backend that was held last; where there is none, it is dropped.
    #[default]
    Drop = 0,
    /// It is answered with RST: clients fail at once.
    Reset = 1,
    /// It is dropped, and so are refusals of a backend that has just died: clients' kernels
    /// try again.
    Hold = 2,
}

impl DuringSwitch {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Drop, Self::Reset, Self::Hold];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reset => "reset",
            Self::Hold => "hold",
        }
    }
}

/// UDP port that GUE goes to (IANA, Service Name and Port Number Registry).
pub const GUE_PORT: u16 = 6080;

/// Value of the `SERVICES` map: the backends in the order in which they are
/// tried. The first eligible one serves.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Service {
    /// A [`Forward`].
    pub forward: u8,
    /// How many of `backends` are used.
    pub len: u8,
    /// 1: the order is an operator's choice (`failover switch`); for the next
    /// agent, the data path does not look at it.
    pub switched: u8,
    /// 1: what clients' traffic shows of a backend's death counts (`nat`).
    pub passive: u8,
    /// 1: which backend has which flow is remembered, and flows stay where they are. Always
    /// with `FullNat`.
    pub flows: u8,
    /// An [`OnFailure`](crate::OnFailure); of TCP only, and only with `flows`.
    pub on_failure: u8,
    /// A [`DuringSwitch`].
    pub during_switch: u8,
    /// Zero.
    pub reserved: u8,
    /// How long packets may go to a backend and nothing come back, nanoseconds,
    /// before that is a death where nobody sends heartbeats (`nat`); 0: for ever.
    pub silence: u64,
    /// Row of the `SHARES` map of the tier with number 0, plus one; the other tiers have
    /// those that follow. 0: of a tier the first one serves.
    pub shares: u32,
    /// Zero.
    pub padding: [u8; 4],
    /// The backends, first choice first; unused ones are zero.
    pub backends: [ServiceBackend; MAX_BACKENDS_PER_SERVICE],
}

const _: () = assert!(size_of::<Service>() == 24 + 12 * MAX_BACKENDS_PER_SERVICE);

/// A backend in a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceBackend {
    /// Index into the `BACKENDS` map.
    pub index: u32,
    /// Port on the backend; 0: the port the client asked for.
    pub port: Be16,
    /// Number of its tier, from 0 on, the best first.
    pub tier: u8,
    /// Zero.
    pub reserved: u8,
    /// Index into the `PAIRS` map: this service and this backend.
    pub pair: u32,
}

/// Key of the `REVERSE` map: where an answer comes from (`nat`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ReverseKey {
    /// The backend's address.
    pub address: Address,
    /// The backend's port; 0: every port that has no entry of its own.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<ReverseKey>() == 24);

/// Value of the `REVERSE` map: what the client must see as the source.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Reverse {
    /// The VIP.
    pub address: Address,
    /// The service's port; 0: the port stays as it is.
    pub port: Be16,
    /// [`Service::passive`] of the service.
    pub passive: u8,
    /// [`Service::flows`] of the service.
    pub flows: u8,
    /// Index of the backend.
    pub index: u32,
    /// Index into the `PAIRS` map: this service and this backend.
    pub pair: u32,
    /// Zero.
    pub padding: [u8; 4],
}

const _: () = assert!(size_of::<Reverse>() == 32);

impl Reverse {
    /// The port that the client sees of a backend's `port`.
    #[inline(always)]
    #[must_use]
    pub fn port_for(&self, port: Be16) -> Be16 {
        if self.port == Be16::ZERO {
            port
        } else {
            self.port
        }
    }
}

// SAFETY: these types are `Pod` for bytemuck: any bytes are a value, and they have no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ServiceKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Service {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ReverseKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Reverse {}
