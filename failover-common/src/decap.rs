/// What the program of `failover decap` did with one packet. The number is its index in
/// the `DECAP_VERDICTS` map, which counts each of them per CPU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecapVerdict {
    /// Passed, without the headers of its tunnel.
    Decapsulated = 0,
    /// Passed: not of a tunnel.
    Other = 1,
    /// Passed: of a tunnel, but from none of the directors.
    Stranger = 2,
    /// Passed: of a tunnel from a director, but a fragment, with IPv4 options, or GUE of
    /// another kind.
    Unsupported = 3,
    /// Dropped: of a tunnel from a director, and what it carries is no IP packet.
    Malformed = 4,
    /// Dropped: there was congestion on the way, and the sender would not understand
    /// (RFC 6040, section 4.2).
    Congested = 5,
}

impl DecapVerdict {
    /// Every verdict, at the index that is its number.
    pub const ALL: [Self; 6] = [
        Self::Decapsulated,
        Self::Other,
        Self::Stranger,
        Self::Unsupported,
        Self::Malformed,
        Self::Congested,
    ];

    /// How many there are: the size of the `DECAP_VERDICTS` map.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the packet ends here.
    #[inline(always)]
    #[must_use]
    pub const fn is_drop(self) -> bool {
        match self {
            Self::Malformed | Self::Congested => true,
            Self::Decapsulated | Self::Other | Self::Stranger | Self::Unsupported => false,
        }
    }

    /// The word for it in what `failover decap` shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decapsulated => "decapsulated",
            Self::Other => "other",
            Self::Stranger => "stranger",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::Congested => "congested",
        }
    }
}

/// Most directors, or networks of directors, of one interface.
pub const MAX_DIRECTORS: usize = 1024;
