/// A program of the data path behind the entry; the number is its index in the `STAGES`
/// map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// For what is not like most packets.
    Detour = 0,
    /// For what its backend gets inside another packet.
    Tunnel = 1,
    /// For services that keep flows.
    Flows = 2,
    /// For what goes to a backend as from us, and for its answers.
    FullNat = 3,
}

impl Stage {
    /// Every stage, at the index that is its number.
    pub const ALL: [Self; 4] = [Self::Detour, Self::Tunnel, Self::Flows, Self::FullNat];

    /// How many there are: the size of the `STAGES` map.
    pub const COUNT: usize = Self::ALL.len();

    /// Name of the program in the BPF object.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Detour => "detour",
            Self::Tunnel => "tunnel",
            Self::Flows => "flows",
            Self::FullNat => "fullnat",
        }
    }
}
