/// What the data path did with one packet, and why. The number is its index in
/// the `VERDICTS` map, which counts each of them per CPU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent to a backend, out of the interface it came in by.
    ForwardedTx = 0,
    /// Sent to a backend, out of another interface.
    ForwardedRedirect = 1,
    /// A backend's answer, sent to the client out of the interface it came in by.
    ReturnedTx = 2,
    /// A backend's answer, sent to the client out of another interface.
    ReturnedRedirect = 3,
    /// Passed: neither IPv4 nor IPv6 (ARP, two VLAN tags, ...).
    NotIp = 4,
    /// Passed: shorter than its headers say.
    Truncated = 5,
    /// Passed: a header field has a value the RFC forbids.
    Malformed = 6,
    /// Passed: a fragment; later ones carry no ports.
    Fragment = 7,
    /// Passed: neither TCP nor UDP right behind the IP header.
    OtherProtocol = 8,
    /// Passed: for no service and from no backend.
    NoService = 9,
    /// Passed: from a backend, and not for the kernel to forward: to this host
    /// itself (the answer to a health check), or no route matches at all.
    ForThisHost = 10,
    /// Dropped: the service's backends are not in the map.
    NoBackend = 11,
    /// Dropped: the next hop towards the backend has never been resolved.
    BackendUnresolved = 12,
    /// Dropped: no neighbour entry for the next hop towards the client; the
    /// agent is told.
    ClientUnresolved = 13,
    /// Dropped: the route to the client refuses it (`unreachable`, `blackhole`,
    /// `prohibit`).
    NoRoute = 14,
    /// Dropped: longer than the way to the client allows.
    TooBig = 15,
    /// Passed: from a backend, but this host does not forward on the interface
    /// it came in by: the kernel looks up no route then.
    ForwardingDisabled = 16,
}

/// What becomes of a packet with a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes on to the network stack, unchanged.
    Pass,
    /// Ends here.
    Drop,
    /// Leaves by the interface it came in by.
    Tx,
    /// Leaves by another interface.
    Redirect,
}

impl Verdict {
    /// Every verdict, at the index that is its number.
    pub const ALL: [Self; 17] = [
        Self::ForwardedTx,
        Self::ForwardedRedirect,
        Self::ReturnedTx,
        Self::ReturnedRedirect,
        Self::NotIp,
        Self::Truncated,
        Self::Malformed,
        Self::Fragment,
        Self::OtherProtocol,
        Self::NoService,
        Self::ForThisHost,
        Self::NoBackend,
        Self::BackendUnresolved,
        Self::ClientUnresolved,
        Self::NoRoute,
        Self::TooBig,
        Self::ForwardingDisabled,
    ];

    /// How many there are: the size of the `VERDICTS` map.
    pub const COUNT: usize = Self::ALL.len();

    /// What becomes of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::ForwardedTx | Self::ReturnedTx => Action::Tx,
            Self::ForwardedRedirect | Self::ReturnedRedirect => Action::Redirect,
            Self::NotIp
            | Self::Truncated
            | Self::Malformed
            | Self::Fragment
            | Self::OtherProtocol
            | Self::NoService
            | Self::ForThisHost
            | Self::ForwardingDisabled => Action::Pass,
            Self::NoBackend
            | Self::BackendUnresolved
            | Self::ClientUnresolved
            | Self::NoRoute
            | Self::TooBig => Action::Drop,
        }
    }

    /// The word for it in status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForwardedTx => "forwarded_tx",
            Self::ForwardedRedirect => "forwarded_redirect",
            Self::ReturnedTx => "returned_tx",
            Self::ReturnedRedirect => "returned_redirect",
            Self::NotIp => "not_ip",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Fragment => "fragment",
            Self::OtherProtocol => "other_protocol",
            Self::NoService => "no_service",
            Self::ForThisHost => "for_this_host",
            Self::NoBackend => "no_backend",
            Self::BackendUnresolved => "backend_unresolved",
            Self::ClientUnresolved => "client_unresolved",
            Self::NoRoute => "no_route",
            Self::TooBig => "too_big",
            Self::ForwardingDisabled => "forwarding_disabled",
        }
    }
}
