//! What is measured: a table.

use failover_common::{Forward, Verdict};
use lab::Family;

use super::frame;
use super::harness::Floor;
use super::world::{BACK, FRONT};

/// A kind of packet and what becomes of it. Each is measured in both families, for TCP and
/// UDP, at every [`Scale`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) timed: Timed,
    /// How the services of its world are forwarded.
    pub(super) forward: Forward,
    pub(super) packet: Packet,
    /// Every service's first backend is dead.
    pub(super) first_dead: bool,
}

/// What runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timed {
    Floor(Floor),
    /// Our program, which says this to every packet.
    Program(Verdict),
}

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// From a client to a service.
    Request,
    /// From a service's first backend to a client.
    Answer,
    /// None of ours.
    Other,
}

/// A new case is a row here.
const KINDS: [Kind; 10] = [
    Kind {
        name: "pass",
        timed: Timed::Floor(Floor::Pass),
        ..REQUEST
    },
    Kind {
        name: "swap",
        timed: Timed::Floor(Floor::Swap),
        ..REQUEST
    },
    Kind {
        name: "miss",
        timed: Timed::Program(Verdict::NoService),
        packet: Packet::Other,
        ..REQUEST
    },
    REQUEST,
    Kind {
        name: "dead",
        first_dead: true,
        ..REQUEST
    },
    Kind {
        name: "answer",
        timed: Timed::Program(Verdict::ReturnedRedirect),
        packet: Packet::Answer,
        ..REQUEST
    },
    Kind {
        name: "dsr",
        forward: Forward::Dsr,
        ..REQUEST
    },
    Kind {
        name: "ipip",
        forward: Forward::Ipip,
        ..REQUEST
    },
    Kind {
        name: "gue",
        forward: Forward::Gue,
        ..REQUEST
    },
    Kind {
        name: "fullnat",
        forward: Forward::FullNat,
        ..REQUEST
    },
];

/// A request that `nat` sends to the first backend.
const REQUEST: Kind = Kind {
    name: "nat",
    timed: Timed::Program(Verdict::ForwardedRedirect),
    forward: Forward::Nat,
    packet: Packet::Request,
    first_dead: false,
};

/// How much there is in the maps. Every service has two backends, each packet is for the
/// next service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) services: u32,
    pub(super) backends: u32,
}

pub(super) const SCALES: [Scale; 4] = [
    Scale::new(1, 2),
    Scale::new(8, 2),
    Scale::new(10_000, 2),
    Scale::new(10_000, 4_096),
];

impl Scale {
    const fn new(services: u32, backends: u32) -> Self {
        Self { services, backends }
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The IP protocol number.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    pub(super) scale: Scale,
}

/// Every case, those that differ in the scale alone side by side.
pub(super) fn all() -> impl Iterator<Item = Case> {
    KINDS.into_iter().flat_map(|kind| {
        Family::ALL.into_iter().flat_map(move |family| {
            Protocol::ALL.into_iter().flat_map(move |protocol| {
                SCALES.into_iter().map(move |scale| Case {
                    kind,
                    family,
                    protocol,
                    scale,
                })
            })
        })
    })
}

/// The most frames that a case has.
pub(super) fn most_frames() -> u32 {
    SCALES
        .map(|scale| scale.services)
        .into_iter()
        .max()
        .unwrap_or(1)
}

impl Case {
    /// What it is without its scale.
    pub(super) fn shape(&self) -> String {
        let family = match self.family {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        format!("{}-{family}-{}", self.kind.name, self.protocol.name())
    }

    /// What it is, in one word: `--case` looks into it.
    pub(super) fn name(&self) -> String {
        let Scale { services, backends } = self.scale;
        format!("{}-{services}-{backends}", self.shape())
    }

    pub(super) fn timed(&self) -> Timed {
        self.kind.timed
    }

    /// Index of the interface it comes in by.
    pub(super) fn ingress(&self) -> u32 {
        match self.kind.packet {
            Packet::Request | Packet::Other => FRONT,
            Packet::Answer => BACK,
        }
    }

    /// Whether it is about flows that are known.
    pub(super) fn keeps_flows(&self) -> bool {
        self.kind.forward == Forward::FullNat
    }

    /// The packets, one a service.
    pub(super) fn frames(&self) -> Vec<Vec<u8>> {
        (0..self.scale.services)
            .map(|service| frame::frame(self, service))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_of_one_case_each() {
        let names: BTreeSet<_> = all().map(|case| case.name()).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.contains("nat-v4-tcp-10000-4096"), "{names:?}");
    }
}
