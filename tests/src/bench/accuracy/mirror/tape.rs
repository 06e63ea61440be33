//! The heartbeats that passed a port, and what follows from them.

use std::collections::VecDeque;

/// How long a packet is remembered, nanoseconds: much longer than the news of a death
/// takes.
const REMEMBERED: u64 = 20_000_000_000;

/// A heartbeat that passed the port on its way to the backend, or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Nanoseconds of [`lab::clock`].
    pub(super) at_ns: u64,
    pub(super) is_answer: bool,
    /// What the answer has from the heartbeat.
    pub(super) heartbeat: u64,
}

/// The newest packets, in the order in which they passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Tape(VecDeque<Packet>);

impl Tape {
    /// Adds packets, and forgets those that are too old.
    pub(super) fn extend(&mut self, packets: Vec<Packet>) {
        self.0.extend(packets);
        let Some(newest) = self.0.back().map(|packet| packet.at_ns) else {
            return;
        };
        while let Some(oldest) = self.0.front()
            && oldest.at_ns + REMEMBERED < newest
        {
            self.0.pop_front();
        }
    }

    /// How long the first heartbeat that passed from `from_ns` on had been with the
    /// backend at `at_ns`, nanoseconds: until its answer, if that passed before. None:
    /// there was no heartbeat.
    pub(super) fn held(&self, from_ns: u64, at_ns: u64) -> Option<u64> {
        let between = |packet: &&Packet| (from_ns..=at_ns).contains(&packet.at_ns);
        let mut packets = self.0.iter().filter(between);
        let first = packets.find(|packet| !packet.is_answer)?;
        let mut answers = packets.filter(|packet| packet.is_answer);
        let answer = answers.find(|answer| answer.heartbeat == first.heartbeat);
        Some(answer.map_or(at_ns, |answer| answer.at_ns) - first.at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(packets: &[(u64, bool, u64)]) -> Tape {
        let packet = |&(at_ns, is_answer, heartbeat)| Packet {
            at_ns,
            is_answer,
            heartbeat,
        };
        let mut tape = Tape::default();
        tape.extend(packets.iter().map(packet).collect());
        tape
    }

    #[test]
    fn how_long_a_backend_took() {
        let (sent, answered) = (false, true);
        let packets = [
            (100, sent, 1),
            (110, answered, 1),
            (300, sent, 2),
            (500, sent, 3),
            (950, answered, 2),
            (960, answered, 3),
        ];
        for (from_ns, at_ns, expected) in [
            (90, 200, Some(10)),
            (90, 105, Some(5)),
            (105, 650, Some(350)),
            (105, 2_000, Some(650)),
            (301, 2_000, Some(460)),
            (120, 250, None),
            (900, 2_000, None),
        ] {
            let held = tape(&packets).held(from_ns, at_ns);
            assert_eq!(held, expected, "from {from_ns} to {at_ns}");
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut tape = tape(&[(5, false, 1), (REMEMBERED, false, 2)]);
        assert_eq!(tape.0.len(), 2);
        tape.extend(vec![Packet {
            at_ns: REMEMBERED + 6,
            is_answer: false,
            heartbeat: 3,
        }]);
        assert_eq!(tape.0.len(), 2);
    }
}
