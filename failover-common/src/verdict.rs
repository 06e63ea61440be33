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
    /// Passed: neither IPv4 nor IPv6 (ARP, three VLAN tags, ...).
    NotIp = 4,
    /// Dropped: shorter than its headers say.
    Truncated = 5,
    /// Dropped: a version or a length that no host may accept.
    Malformed = 6,
    /// Passed: a later fragment of a datagram whose first one has not been here,
    /// and for no service on every port.
    Fragment = 7,
    /// Passed: neither TCP nor UDP, and no ICMP that is about a service.
    OtherProtocol = 8,
    /// Passed: for no service and from no backend.
    NoService = 9,
    /// Passed: from a backend, and not for the kernel to forward: to this host
    /// itself (the answer to a health check), or no route matches at all.
    ForThisHost = 10,
    /// Dropped: no backend of the service is promoted, or none is in the map.
    NoBackend = 11,
    /// Dropped: the next hop towards the backend has never been resolved.
    BackendUnresolved = 12,
    /// Dropped: no neighbour entry for the next hop towards the client; the
    /// agent is told.
    ClientUnresolved = 13,
    /// Dropped: the route to the client refuses it (`unreachable`, `blackhole`,
    /// `prohibit`); with `fullnat` also: there is none, or this host does not forward.
    NoRoute = 14,
    /// Dropped: longer than the way to the client allows, and its sender allows
    /// routers to fragment it, which we cannot; or (`fullnat`) knows nothing of that way.
    TooBig = 15,
    /// Passed: from a backend, but this host does not forward on the interface
    /// it came in by: the kernel looks up no route then.
    ForwardingDisabled = 16,
    /// Kept: the answer to a heartbeat, it renewed the backend's lease.
    HeartbeatAnswered = 17,
    /// Kept: the answer to a heartbeat, but a newer one was here first.
    HeartbeatOld = 18,
    /// The answer to a heartbeat (`tcp-syn`), sent back as a reset.
    HeartbeatReset = 19,
    /// Kept: the answer to a heartbeat, the port is closed.
    HeartbeatClosed = 20,
    /// A refused SYN or datagram, sent to another backend out of the interface it came in by.
    RescuedTx = 21,
    /// A refused SYN or datagram, sent to another backend out of another interface.
    RescuedRedirect = 22,
    /// A backend's answer to a SYN that another backend has since: sent back as a
    /// reset.
    LateAnswer = 23,
    /// Sent back as an ICMP error: in its tunnel it would be longer than the way to
    /// the backend allows.
    TunnelTooBigAnswered = 24,
    /// Dropped: as above, but it must not be answered, or too many were.
    TunnelTooBig = 25,
    /// Dropped: the driver leaves no room in front of it for the tunnel's headers.
    NoRoom = 26,
    /// An echo request to a VIP, sent back as the reply.
    EchoAnswered = 27,
    /// For a service, but it may go no further: sent back as "time exceeded".
    HopLimitAnswered = 28,
    /// Dropped: it may go no further, and there is no answer to it or no time for one.
    HopLimitDropped = 29,
    /// Passed: from a backend, and may go no further: the stack says so to it.
    HopLimitPassed = 30,
    /// Passed: longer than the way to the client allows; the stack says so to the
    /// backend.
    TooBigPassed = 31,
    /// Passed: IPv6 extension headers of a kind or a number that we do not walk.
    ExtensionHeaders = 32,
    /// Passed: the program that should go on with it is not there. Nobody has seen one.
    NoStage = 33,
    /// Sent to a backend out of the interface it came in by: in the middle of a flow that
    /// is not known, so to the one that a new flow would get; or of one for which there is
    /// no room.
    StrayTx = 34,
    /// As above, out of another interface.
    StrayRedirect = 35,
    /// Sent back as a reset: the backend of its flow is dead (`on_failure`).
    FlowReset = 36,
    /// Dropped: the backend of its flow is dead (`on_failure`).
    FlowDropped = 37,
    /// Dropped: a new flow (`fullnat`) found no free port of ours.
    NoPort = 38,
    /// Dropped: a fragment for a service with `fullnat`. From our address, those of several
    /// clients could not be told apart.
    FragmentDropped = 39,
    /// Sent back as a reset: no backend may serve (`during_switch`).
    SwitchReset = 40,
    /// Dropped: no backend may serve, and the client's kernel tries again
    /// (`during_switch`); or a backend that has just died refuses a SYN of such a client.
    SwitchHeld = 41,
}

/// What becomes of a packet with a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes on to the network stack, unchanged.
    Pass,
    /// Ends here, because it cannot go on.
    Drop,
    /// Ends here, because it was for us.
    Keep,
    /// Leaves by the interface it came in by.
    Tx,
    /// Leaves by another interface.
    Redirect,
}

impl Verdict {
    /// Every verdict, at the index that is its number.
    pub const ALL: [Self; 42] = [
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
        Self::HeartbeatAnswered,
        Self::HeartbeatOld,
        Self::HeartbeatReset,
        Self::HeartbeatClosed,
        Self::RescuedTx,
        Self::RescuedRedirect,
        Self::LateAnswer,
        Self::TunnelTooBigAnswered,
        Self::TunnelTooBig,
        Self::NoRoom,
        Self::EchoAnswered,
        Self::HopLimitAnswered,
        Self::HopLimitDropped,
        Self::HopLimitPassed,
        Self::TooBigPassed,
        Self::ExtensionHeaders,
        Self::NoStage,
        Self::StrayTx,
        Self::StrayRedirect,
        Self::FlowReset,
        Self::FlowDropped,
        Self::NoPort,
        Self::FragmentDropped,
        Self::SwitchReset,
        Self::SwitchHeld,
    ];

    /// How many there are: the size of the `VERDICTS` map.
    pub const COUNT: usize = Self::ALL.len();

    /// What becomes of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::ForwardedTx
            | Self::ReturnedTx
            | Self::RescuedTx
            | Self::HeartbeatReset
            | Self::LateAnswer
            | Self::TunnelTooBigAnswered
            | Self::EchoAnswered
            | Self::HopLimitAnswered
            | Self::StrayTx
            | Self::FlowReset
            | Self::SwitchReset => Action::Tx,
            Self::ForwardedRedirect
            | Self::ReturnedRedirect
            | Self::RescuedRedirect
            | Self::StrayRedirect => Action::Redirect,
            Self::HeartbeatAnswered | Self::HeartbeatOld | Self::HeartbeatClosed => Action::Keep,
            Self::NotIp
            | Self::Fragment
            | Self::OtherProtocol
            | Self::NoService
            | Self::ForThisHost
            | Self::ForwardingDisabled
            | Self::HopLimitPassed
            | Self::TooBigPassed
            | Self::ExtensionHeaders
            | Self::NoStage => Action::Pass,
            Self::Truncated
            | Self::Malformed
            | Self::HopLimitDropped
            | Self::NoBackend
            | Self::BackendUnresolved
            | Self::ClientUnresolved
            | Self::NoRoute
            | Self::TooBig
            | Self::TunnelTooBig
            | Self::NoRoom
            | Self::FlowDropped
            | Self::NoPort
            | Self::FragmentDropped
            | Self::SwitchHeld => Action::Drop,
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
            Self::HeartbeatAnswered => "heartbeat_answered",
            Self::HeartbeatOld => "heartbeat_old",
            Self::HeartbeatReset => "heartbeat_reset",
            Self::HeartbeatClosed => "heartbeat_closed",
            Self::RescuedTx => "rescued_tx",
            Self::RescuedRedirect => "rescued_redirect",
            Self::LateAnswer => "late_answer",
            Self::TunnelTooBigAnswered => "tunnel_too_big_answered",
            Self::TunnelTooBig => "tunnel_too_big",
            Self::NoRoom => "no_room",
            Self::EchoAnswered => "echo_answered",
            Self::HopLimitAnswered => "hop_limit_answered",
            Self::HopLimitDropped => "hop_limit_dropped",
            Self::HopLimitPassed => "hop_limit_passed",
            Self::TooBigPassed => "too_big_passed",
            Self::ExtensionHeaders => "extension_headers",
            Self::NoStage => "no_stage",
            Self::StrayTx => "stray_tx",
            Self::StrayRedirect => "stray_redirect",
            Self::FlowReset => "flow_reset",
            Self::FlowDropped => "flow_dropped",
            Self::NoPort => "no_port",
            Self::FragmentDropped => "fragment_dropped",
            Self::SwitchReset => "switch_reset",
            Self::SwitchHeld => "switch_held",
        }
    }
}
