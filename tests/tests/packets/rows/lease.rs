//! When a lease is over, and what a packet that finds it so does.

use std::time::Duration;

use failover_common::{Hold, Signal, Verdict};
use lab::Family;

use super::{Row, kinds, request, towards};
use crate::before::Before;
use crate::frame::Protocol;
use crate::mortals::{FIRST, LEASED, SECOND};
use crate::network::{FRONT, at};
use crate::state::{Change, Entry, Expired};
use crate::world::{Server, cpu};

pub(super) fn rows() -> Vec<Row> {
    kinds()
        .flat_map(|(family, protocol)| {
            let kind = Kind { family, protocol };
            [
                kind.rule(),
                kind.numbers(),
                kind.overrun(),
                kind.witness(),
                kind.processors(),
                kind.held(),
                kind.last_resort(),
            ]
            .concat()
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Kind {
    family: Family,
    protocol: Protocol,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Kind {
    fn index(self, server: Server) -> u32 {
        server.index(self.family)
    }

    fn alive(self) -> Entry {
        Entry::new(FIRST, self.family)
    }

    fn dead(self) -> Entry {
        Entry::dead(FIRST, self.family)
    }

    /// A request to the service goes to `server`.
    fn to(self, what: &str, before: &[Entry], server: Server, changes: Vec<Change>) -> Row {
        let Self { family, protocol } = self;
        let input = request(family, protocol, LEASED.port);
        let port = LEASED.port_on_backend(LEASED.port);
        let sent = input.clone().to(at(family, server.net, server.host, port));
        Row {
            before: Before::entries(before),
            changes,
            ..Row::sent(
                format!("lease: {what}: {family:?} {protocol:?}"),
                FRONT,
                &input,
                Verdict::ForwardedRedirect,
                &towards(server, sent),
                server.index(family),
            )
        }
    }

    /// The first backend keeps the service, and nothing is told.
    fn kept(self, what: &str, first: Entry) -> Row {
        let second = Entry::new(SECOND, self.family);
        self.to(what, &[first, second], FIRST, vec![])
    }

    /// The first backend is found dead by the packet that goes to the second.
    fn over(self, what: &str, entries: &[Entry], (answered, unanswered): (u32, u32)) -> Row {
        self.over_since(what, entries, Some(answered), unanswered)
    }

    fn over_since(
        self,
        what: &str,
        entries: &[Entry],
        answered: Option<u32>,
        unanswered: u32,
    ) -> Row {
        let expired = Change::Expired(Expired {
            index: self.index(FIRST),
            signal: Signal::Packet,
            pair: 0,
            answered,
            unanswered: Some(unanswered),
        });
        let changes = vec![expired, Change::Passed(self.index(FIRST))];
        self.to(what, entries, SECOND, changes)
    }

    fn rule(self) -> Vec<Row> {
        let (alive, dead) = (self.alive(), self.dead());
        // 1.4 s from one to the next: the three that are out are 0, 1.4 and 2.8 s old,
        // and the one that was answered is 4.2 s old.
        let slow = Entry {
            answered: 97,
            interval: ms(1400),
            ..alive
        };
        vec![
            self.over("three are out for long", &[dead], (97, 98)),
            self.over(
                "only the oldest is out for long",
                &[Entry {
                    timeout: ms(2000),
                    ..slow
                }],
                (97, 98),
            ),
            self.kept(
                "the oldest is not out for long",
                Entry {
                    timeout: ms(4000),
                    ..slow
                },
            ),
            self.kept(
                "three are out, just now",
                Entry {
                    answered: 97,
                    ..alive
                },
            ),
            self.kept(
                "two are out for long",
                Entry {
                    answered: 98,
                    ..dead
                },
            ),
            self.kept(
                "none is out",
                Entry {
                    answered: 100,
                    ..dead
                },
            ),
            self.kept(
                "answered and not noted",
                Entry {
                    answered: 101,
                    ..dead
                },
            ),
            self.kept("there is no lease", Entry { fall: 0, ..dead }),
            self.kept("fewer are out than must be", Entry { fall: 4, ..dead }),
            self.over(
                "one is enough",
                &[Entry {
                    fall: 1,
                    answered: 99,
                    ..dead
                }],
                (99, 100),
            ),
            self.over(
                "no timeout",
                &[Entry {
                    timeout: ms(0),
                    ..dead
                }],
                (97, 98),
            ),
        ]
    }

    fn numbers(self) -> Vec<Row> {
        let dead = |sent, answered| Entry {
            sent,
            answered,
            ..self.dead()
        };
        let (last, half) = (u32::MAX, 1 << 31);
        vec![
            self.over(
                "past the last number",
                &[dead(1, last - 1)],
                (last - 1, last),
            ),
            self.over("at the last number", &[dead(2, last)], (last, 0)),
            self.over(
                "up to the last",
                &[dead(last, last - 3)],
                (last - 3, last - 2),
            ),
            self.kept("past the last, two", dead(0, last - 1)),
            self.kept("past the last, not noted", dead(last, 0)),
            self.over("half way", &[dead(half, half - 3)], (half - 3, half - 2)),
        ]
    }

    /// More are out than the ring remembers.
    fn overrun(self) -> Vec<Row> {
        let behind = |outstanding: u32, timeout| Entry {
            sent: 10 + outstanding,
            answered: 10,
            interval: ms(250),
            timeout,
            ..self.alive()
        };
        // The oldest that is known is the newest but 14, so 3.5 s old.
        let (short, long) = (ms(2000), ms(4200));
        let mut rows = vec![
            self.over("14 are out", &[behind(14, short)], (10, 11)),
            self.over_since("15 are out", &[behind(15, short)], None, 11),
            self.over_since("16 are out", &[behind(16, short)], None, 12),
            self.over_since("17 are out", &[behind(17, short)], None, 13),
            self.over_since("1000 are out", &[behind(1000, short)], None, 996),
            self.kept("16 are out, the oldest is young", behind(16, long)),
            self.kept("1000 are out, the oldest is young", behind(1000, long)),
        ];
        let wrapped = Entry {
            sent: 3,
            answered: u32::MAX - 20,
            ..behind(0, short)
        };
        rows.push(self.over_since("past the last number", &[wrapped], None, u32::MAX - 10));
        rows
    }

    /// The other backend behind the interface shows that our side works.
    fn witness(self) -> Vec<Row> {
        let asks = |witness| Entry {
            witness: Some(witness),
            ..self.dead()
        };
        let dead = asks(self.index(SECOND));
        // Its newest answer is to what was sent `age` ago.
        let second = |age, outstanding: u32| Entry {
            age: Duration::from_secs(age),
            answered: 100 - outstanding,
            fall: 0,
            ..Entry::new(SECOND, self.family)
        };
        let over = |what: &str, entries: &[Entry]| self.over(what, entries, (97, 98));
        let kept = |what: &str, entries: &[Entry]| self.to(what, entries, FIRST, vec![]);
        vec![
            over("the witness is answered since", &[dead, second(5, 0)]),
            over("as late as the last of three", &[dead, second(10, 0)]),
            kept("the witness is as silent", &[dead, second(20, 0)]),
            // Its answer is to what was sent with the second of three: 1 ms older.
            kept("the witness is a moment behind", &[dead, second(10, 1)]),
            over("14 of the witness's are out", &[dead, second(5, 14)]),
            kept("15 of the witness's are out", &[dead, second(5, 15)]),
            kept("all of the witness's are out", &[dead, second(5, 60)]),
            over(
                "the witness is beyond the map",
                &[asks(u32::MAX), second(20, 0)],
            ),
            over("its own witness", &[asks(self.index(FIRST)), second(20, 0)]),
        ]
    }

    /// An answer may wait on the CPU that noted the others: from another one, a lease
    /// that is over is so only after twice the time.
    fn processors(self) -> Vec<Row> {
        let after = |milliseconds, on: u32| Entry {
            age: ms(milliseconds),
            interval: ms(0),
            answered_on: Some(on),
            ..self.dead()
        };
        let (here, elsewhere) = (cpu(), cpu() + 1);
        vec![
            self.over("answered here before", &[after(1500, here)], (97, 98)),
            self.kept("answered elsewhere before", after(1500, elsewhere)),
            self.over(
                "answered elsewhere, twice as long ago",
                &[after(2500, elsewhere)],
                (97, 98),
            ),
        ]
    }

    /// What was found before is not found again.
    fn held(self) -> Vec<Row> {
        let index = self.index(FIRST);
        let (long_ago, lately) = (ms(8000), ms(3000));
        let held = |holds, passed| Entry {
            holds,
            held: Some(lately),
            passed,
            ..self.dead()
        };
        let expired = Hold::Expired as u64;
        let others = Hold::CheckFailed as u64 | 1 << 40;
        let passed = || vec![Change::Passed(index)];
        let after = |what: &str, entry: Entry, changes: Vec<Change>| {
            self.to(what, &[entry], SECOND, changes)
        };
        vec![
            after("expired, none has passed", held(expired, None), passed()),
            after(
                "expired, one passed before that",
                held(expired, Some(long_ago)),
                passed(),
            ),
            after(
                "expired, one has passed",
                held(expired, Some(ms(2000))),
                vec![],
            ),
            after("expired and held", held(expired | others, None), passed()),
            after("held", held(others, None), vec![]),
            // The agent clears holds, nobody else, however well the backend looks.
            after(
                "expired, and answered since",
                Entry {
                    holds: expired,
                    held: Some(lately),
                    passed: Some(ms(2000)),
                    ..self.alive()
                },
                vec![],
            ),
        ]
    }

    /// None is eligible: the one that died last.
    fn last_resort(self) -> Vec<Row> {
        let [first, second] = [FIRST, SECOND].map(|server| Entry::dead(server, self.family));
        let both = [FIRST, SECOND].map(|server| Change::dead(self.index(server)));
        let held = |entry: Entry, ago| Entry {
            holds: Hold::Expired as u64,
            held: Some(ms(ago)),
            ..entry
        };
        vec![
            self.to("both at once", &[first, second], SECOND, both.into()),
            self.to(
                "the second was dead",
                &[first, held(second, 5000)],
                FIRST,
                vec![both[0]],
            ),
            self.to(
                "the first was dead",
                &[held(first, 5000), second],
                SECOND,
                vec![both[1]],
            ),
        ]
    }
}
