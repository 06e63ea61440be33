//! What goes to a backend and what comes back is counted.

use std::time::Duration;

use failover_common::{SYNS, Signal, UNANSWERED, Verdict};
use lab::Family;

use crate::before::Before;
use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN};
use crate::mortals::{FIRST, LEASED, Offer, PASSIVE, SECOND, SILENT};
use crate::network::FRONT;
use crate::rows::scene::Scene;
use crate::rows::{Row, towards};
use crate::state::{Change, Counts, Entry, Traffic};
use crate::world::Server;

pub(super) fn rows() -> Vec<Row> {
    Family::ALL
        .into_iter()
        .flat_map(|family| [syns(family), silence(family), come_back(family)].concat())
        .collect()
}

/// No SYN is out and nothing is unanswered; it was heard of before.
const HEARD: Counts = Counts {
    answers: 1,
    unanswered: 0,
    syns: 0,
    refused: 0,
    unreachable: 0,
};

/// Two pairs of a service, and a frame.
struct Case {
    scene: Scene,
    first: Entry,
    counts: Counts,
    /// Seconds.
    since: i64,
    waited: u64,
}

impl Case {
    /// Heartbeats were sent, and answered, long ago.
    fn new(family: Family, offer: Offer, counts: Counts) -> Self {
        Self {
            scene: Scene::new(family, offer),
            first: Entry {
                age: Duration::from_secs(10),
                ..Entry::new(FIRST, family)
            },
            counts,
            since: 5,
            waited: 5,
        }
    }

    fn since(self, since: i64) -> Self {
        Self { since, ..self }
    }

    fn before(&self) -> Before {
        let second = Entry::new(SECOND, self.scene.family);
        let traffic = |server, counts| Traffic {
            pair: self.scene.pair(server),
            counts,
            since: self.since,
            waited: self.waited,
        };
        Before {
            entries: vec![self.first, second],
            traffic: vec![traffic(FIRST, self.counts), traffic(SECOND, HEARD)],
            earlier: vec![],
        }
    }

    /// `input` from the client goes to `server`; the counts of both pairs afterwards.
    fn goes(&self, what: &str, input: &Frame, server: Server, after: [Counts; 2]) -> Row {
        let output = towards(server, input.clone().to(self.scene.socket(server)));
        let pairs = [FIRST, SECOND].map(|server| self.scene.pair(server));
        let [first, second] = [0, 1].map(|n| Change::Counted(pairs[n], after[n]));
        Row {
            before: self.before(),
            changes: vec![first, second],
            ..Row::sent(
                format!("traffic: {what}: {:?}", self.scene.family),
                FRONT,
                input,
                Verdict::ForwardedRedirect,
                &output,
                self.scene.index(server),
            )
        }
    }

    /// It shows that the first backend is dead, and goes to the second one.
    fn shows(&self, what: &str, input: &Frame, signal: Signal, second: Counts) -> Row {
        let mut row = self.goes(what, input, SECOND, [Counts::default(), second]);
        let (index, pair) = (self.scene.index(FIRST), self.scene.pair(FIRST));
        let death = [Change::shown(index, signal, pair), Change::Passed(index)];
        row.changes.splice(..0, death);
        row
    }

    /// From the client, in a connection.
    fn data(&self) -> Frame {
        let mut frame = self.scene.syn.clone();
        frame.tcp.flags = ACK | PSH;
        frame.payload = vec![1; 9];
        frame.tcp_options.clear();
        frame
    }
}

fn syns(family: Family) -> Vec<Row> {
    let unanswered = |syns| Counts { syns, ..HEARD };
    let case = |syns| Case::new(family, PASSIVE, unanswered(syns));
    let goes = |what: &str, case: &Case, count| {
        let counts = Counts {
            syns: count,
            ..case.counts
        };
        case.goes(what, &case.scene.syn, FIRST, [counts, HEARD])
    };
    let enough = case(SYNS - 1);
    let young = case(SYNS - 1).since(-100);
    let mut with_data = enough.scene.syn.clone();
    with_data.payload = vec![1; 20];
    let shows = |what: &str, case: &Case, input: &Frame| {
        case.shows(what, input, Signal::Syns, unanswered(1))
    };
    let unheard = Case::new(
        family,
        PASSIVE,
        Counts {
            answers: 0,
            ..unanswered(1000)
        },
    );
    let off = Case::new(family, LEASED, unanswered(1000));
    let mut rows = vec![
        goes("the first SYN", &case(0), 1),
        goes("not enough SYNs", &case(SYNS - 2), SYNS - 1),
        shows("enough SYNs", &enough, &enough.scene.syn),
        shows("more than enough SYNs", &case(1000), &enough.scene.syn),
        shows("a SYN with data", &enough, &with_data),
        goes("enough SYNs, too quickly", &young, SYNS),
        goes("SYNs to who was never heard of", &unheard, 1001),
        goes("SYNs do not count", &off, 1000),
    ];
    for (what, flags) in [("an ACK", ACK), ("a FIN", FIN | ACK), ("a RST", RST)] {
        let mut input = enough.data();
        input.tcp.flags = flags;
        let what = format!("{what} is no SYN");
        let after = [enough.counts, HEARD];
        rows.push(enough.goes(&what, &input, FIRST, after));
    }
    // Too many are out to the second one too.
    let held = Entry {
        holds: 1 << 1,
        ..enough.first
    };
    rows.push(
        Case {
            first: held,
            ..Case::new(family, PASSIVE, unanswered(3))
        }
        .goes(
            "SYNs past one that is held",
            &enough.scene.syn,
            SECOND,
            [unanswered(3), unanswered(1)],
        ),
    );
    rows
}

fn silence(family: Family) -> Vec<Row> {
    let unanswered = |unanswered| Counts {
        unanswered,
        ..HEARD
    };
    let case = |count| Case::new(family, SILENT, unanswered(count));
    let goes = |what: &str, case: &Case, count| {
        let counts = Counts {
            unanswered: count,
            ..case.counts
        };
        case.goes(what, &case.data(), FIRST, [counts, HEARD])
    };
    let enough = case(UNANSWERED - 1);
    let shows = |what: &str, case: &Case, input: &Frame| {
        case.shows(what, input, Signal::Silence, unanswered(1))
    };
    let heartbeats = |age: u64, sent| Case {
        first: Entry {
            age: Duration::from_secs(age),
            sent,
            ..enough.first
        },
        ..case(UNANSWERED - 1)
    };
    let unheard = Case::new(
        family,
        SILENT,
        Counts {
            answers: 0,
            ..unanswered(1000)
        },
    );
    let off = Case::new(family, PASSIVE, unanswered(1000));
    vec![
        goes("the first packet", &case(0), 1),
        goes("the second packet", &case(1), 2),
        goes("too few packets", &case(UNANSWERED - 2), UNANSWERED - 1),
        shows("silence", &enough, &enough.data()),
        shows("silence, a SYN", &enough, &enough.scene.syn),
        shows("silence after many", &case(100_000), &enough.data()),
        goes(
            "silence, not for long",
            &Case {
                waited: 0,
                ..case(UNANSWERED - 1).since(-100)
            },
            UNANSWERED,
        ),
        // Five seconds in which nobody looked: this host may not have run.
        goes(
            "silence, a pause",
            &Case {
                waited: 0,
                ..case(UNANSWERED - 1)
            },
            UNANSWERED,
        ),
        goes("silence of who was never heard of", &unheard, 1001),
        // Nobody answers them: that is for the lease to say.
        goes(
            "silence, heartbeats are sent",
            &heartbeats(0, 100),
            UNANSWERED,
        ),
        goes("silence, they wrap around", &heartbeats(0, 3), UNANSWERED),
        goes("silence does not count", &off, 1000),
    ]
}

/// From the backend to the client.
fn come_back(family: Family) -> Vec<Row> {
    let many = Counts {
        answers: 0,
        unanswered: 500,
        syns: 12,
        refused: 0,
        unreachable: 0,
    };
    let heard = Counts {
        answers: 1,
        unanswered: 0,
        ..many
    };
    let mut rows = Vec::new();
    for offer in [PASSIVE, SILENT, LEASED] {
        let case = Case::new(family, offer, many);
        let scene = &case.scene;
        for (what, flags, syns) in [
            ("data", ACK | PSH, 12),
            ("an acceptance", SYN | ACK, 0),
            ("a reset", RST, 12),
            ("the end", FIN | ACK, 12),
        ] {
            let mut input = scene.acceptance(FIRST);
            input.tcp.flags = flags;
            let after = Counts { syns, ..heard };
            let what = format!("traffic: {what} comes back, {}", offer.port);
            rows.push(Row {
                changes: vec![Change::Counted(scene.pair(FIRST), after)],
                ..scene.returned(&what, case.before(), FIRST, &input)
            });
        }
    }
    rows
}
