//! `fullnat`: to the backend as from us, and the answer to the client.

use std::net::{IpAddr, SocketAddr};

use bytemuck::Zeroable as _;
use failover_common::{Hold, NatPorts, News, NewsKind, Verdict};
use lab::Family;

use super::flows::{connected, data, held, segment, went};
use super::scene::Scene;
use super::{Row, client, ingress, kinds, reset_of, to_client, towards};
use crate::before::{Before, Earlier};
use crate::control::{Control, quote};
use crate::flows::key;
use crate::frame::{ACK, FIN, Frame, Protocol, RST, SYN, payload_for_zero};
use crate::mortals::{
    FIRST, FULLNAT, FULLNAT_ACROSS, FULLNAT_EVERY_PORT, FULLNAT_SOURCELESS, FULLNAT_UNRESOLVED,
    Offer, SECOND,
};
use crate::network::{CLIENT, CLOSED, FRONT, Far, THIN_MTU, UNKNOWN, at, far, ip};
use crate::pieces::{DESTINATION_OPTIONS, fragments, options, with_headers};
use crate::state::{Change, Entry};
use crate::world::{HAIRPIN, PRIMARY, Server};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, protocol) in kinds() {
        rows.extend(there_and_back(family, protocol));
        rows.extend(looks(family, protocol));
        rows.extend(no_way(family, protocol));
        rows.extend(sizes(family, protocol));
        rows.extend(nobodys(family, protocol));
        rows.extend(unready(family, protocol));
        rows.extend(pieces(family, protocol));
    }
    for family in Family::ALL {
        rows.extend(of_the_dead(family));
        rows.extend(ends(family));
        rows.extend(checksums(family));
        rows.extend(errors(family));
    }
    rows
}

/// A client's flow with a server, by the port of ours that it gets first.
#[derive(Clone, Copy, Debug)]
struct Talk {
    family: Family,
    protocol: Protocol,
    offer: Offer,
    server: Server,
    client: SocketAddr,
}

impl Talk {
    fn new(family: Family, protocol: Protocol) -> Self {
        Self {
            family,
            protocol,
            offer: FULLNAT,
            server: FIRST,
            client: client(family),
        }
    }

    /// The same from elsewhere.
    fn by(self, client: SocketAddr) -> Self {
        Self { client, ..self }
    }

    /// The same with a backend of another service.
    fn of(self, offer: Offer, server: Server) -> Self {
        Self {
            offer,
            server,
            ..self
        }
    }

    fn vip(&self) -> SocketAddr {
        let port = if self.offer.port == 0 {
            77
        } else {
            self.offer.port
        };
        at(self.family, 1, self.offer.vip, port)
    }

    fn backend(&self) -> SocketAddr {
        let port = self.offer.port_on_backend(self.vip().port());
        at(self.family, self.server.net, self.server.host, port)
    }

    fn request(&self) -> Frame {
        Frame::new(self.protocol, self.client, self.vip())
    }

    /// We, as the backend sees us.
    fn own(&self) -> SocketAddr {
        let flow = key(&self.request());
        let port = NatPorts::of(&flow, failover_common::Be16::ZERO).turn();
        at(self.family, self.server.net, 1, port.get())
    }

    /// A request as it must arrive.
    fn sent(&self, request: &Frame) -> Frame {
        towards(
            self.server,
            request.clone().from(self.own()).to(self.backend()),
        )
    }

    fn answer(&self) -> Frame {
        let mut answer = Frame::new(self.protocol, self.backend(), self.own());
        answer.tcp.flags = SYN | ACK;
        answer
    }

    /// An answer as the client must get it, who is in net `net`.
    fn returned(&self, answer: &Frame, net: u8) -> Frame {
        to_client(net, answer.clone().from(self.vip()).to(self.client))
    }

    /// Both servers are well, and the first request has come.
    fn begun(&self) -> Before {
        let entry = |server| Entry::new(server, self.family);
        Before {
            entries: vec![entry(FIRST), entry(SECOND)],
            traffic: Vec::new(),
            earlier: vec![Earlier::Frame(
                FRONT,
                self.request().bytes(),
                self.verdicts().0,
            )],
        }
    }

    /// There and back.
    fn verdicts(&self) -> (Verdict, Verdict) {
        if ingress(self.server) == FRONT {
            (Verdict::ForwardedTx, Verdict::ReturnedTx)
        } else {
            (Verdict::ForwardedRedirect, Verdict::ReturnedRedirect)
        }
    }

    fn row_there(&self, what: &str, request: &Frame) -> Row {
        let mut before = self.begun();
        before.earlier.clear();
        Row {
            before,
            ..Row::sent(
                self.description(what),
                FRONT,
                request,
                self.verdicts().0,
                &self.sent(request),
                self.server.index(self.family),
            )
        }
    }

    fn row_back(&self, what: &str, answer: &Frame, net: u8) -> Row {
        Row {
            before: self.begun(),
            ..Row::sent(
                self.description(what),
                ingress(self.server),
                answer,
                self.verdicts().1,
                &self.returned(answer, net),
                self.server.index(self.family),
            )
        }
    }

    /// An answer goes no further.
    fn row_stopped(&self, what: &str, answer: &Frame, verdict: Verdict) -> Row {
        Row {
            before: self.begun(),
            ..Row::unchanged(
                self.description(what),
                ingress(self.server),
                answer.bytes(),
                verdict,
            )
        }
    }

    fn description(&self, what: &str) -> String {
        format!("fullnat: {what}: {:?} {:?}", self.family, self.protocol)
    }
}

fn there_and_back(family: Family, protocol: Protocol) -> Vec<Row> {
    let plain = Talk::new(family, protocol);
    [
        ("a port", plain),
        ("hairpin", plain.of(FULLNAT_ACROSS, HAIRPIN)),
        ("every port", plain.of(FULLNAT_EVERY_PORT, FIRST)),
        ("routed", plain.by(far(family, Far::Routed, 40_000))),
    ]
    .into_iter()
    .flat_map(|(what, talk)| {
        [
            talk.row_there(what, &talk.request()),
            Row {
                before: talk.begun(),
                ..talk.row_there(&format!("{what}, again"), &talk.request())
            },
            talk.row_back(&format!("{what}, the answer"), &talk.answer(), 1),
        ]
    })
    .collect()
}

/// What another frame has that a plain one has not.
type Look = (&'static str, fn(&mut Frame));

/// What else may be in a frame.
fn looks(family: Family, protocol: Protocol) -> Vec<Row> {
    let talk = Talk::new(family, protocol);
    let across = talk.of(FULLNAT_ACROSS, HAIRPIN);
    let mut rows = Vec::new();
    let mut changes: Vec<Look> = vec![
        ("padding", |frame| frame.padding = vec![3; 9]),
        ("one hop left", |frame| frame.hop_limit = 2),
        ("no payload", |frame| frame.payload.clear()),
        ("a class", |frame| frame.tos = 0xb8),
    ];
    if family == Family::V4 {
        changes.push(("IP options", |frame| frame.ip_options = vec![1; 8]));
    }
    for (what, change) in changes {
        let [mut request, mut answer] = [talk.request(), talk.answer()];
        change(&mut request);
        change(&mut answer);
        rows.push(talk.row_there(what, &request));
        rows.push(talk.row_back(&format!("{what}, the answer"), &answer, 1));
    }
    // Back by the trunk.
    let tagged = across.by(at(family, 5, CLIENT, 40_000));
    let tag = |frame| Frame {
        vlan: Some(5),
        ..frame
    };
    rows.push(tagged.row_there("a tag", &tag(tagged.request())));
    rows.push(tagged.row_back("a tag, the answer", &tag(tagged.answer()), 5));
    rows
}

/// The stack gets none of it: it would reset what it does not know.
fn no_way(family: Family, protocol: Protocol) -> Vec<Row> {
    let talk = Talk::new(family, protocol);
    let unknown = at(family, 1, UNKNOWN, 40_000);
    let by = |network| far(family, network, 40_000);
    let missing = |next_hop: IpAddr| News {
        kind: NewsKind::NextHopMissing as u32,
        index: FRONT,
        address: next_hop.into(),
        ..News::zeroed()
    };
    let mut rows = vec![
        Row {
            event: Some(missing(ip(family, 1, UNKNOWN))),
            ..talk.by(unknown).row_stopped(
                "neighbour unknown",
                &talk.by(unknown).answer(),
                Verdict::ClientUnresolved,
            )
        },
        Row {
            ingress: CLOSED,
            ..talk.row_stopped("forwarding is off", &talk.answer(), Verdict::NoRoute)
        },
    ];
    for network in [
        Far::Unreachable,
        Far::Prohibited,
        Far::Blackhole,
        Far::Nowhere,
    ] {
        let talk = talk.by(by(network));
        let what = format!("{network:?}");
        rows.push(talk.row_stopped(&what, &talk.answer(), Verdict::NoRoute));
    }
    let expired = Frame {
        hop_limit: 1,
        ..talk.answer()
    };
    rows.push(talk.row_stopped("no hop left", &expired, Verdict::HopLimitDropped));
    rows
}

/// To the client behind the small MTU.
fn sizes(family: Family, protocol: Protocol) -> Vec<Row> {
    let talk = Talk::new(family, protocol).by(at(family, 3, CLIENT, 40_000));
    let [most, more] = [THIN_MTU, THIN_MTU + 1].map(|length| talk.answer().sized(length));
    let may_be_cut = Frame {
        dont_fragment: false,
        ..more.clone()
    };
    vec![
        talk.row_back("as long as the MTU", &most, 3),
        talk.row_stopped("longer than the MTU", &more, Verdict::TooBig),
        talk.row_stopped("likewise, may be cut", &may_be_cut, Verdict::TooBig),
    ]
}

/// To a port that nobody has, or not from who has it.
fn nobodys(family: Family, protocol: Protocol) -> Vec<Row> {
    let talk = Talk::new(family, protocol);
    let answer = talk.answer();
    let moved = |change: fn(&mut SocketAddr)| {
        let mut socket = answer.source;
        change(&mut socket);
        answer.clone().from(socket)
    };
    let [below, above] = [16_383, 32_765].map(|port| {
        let mut socket = talk.own();
        socket.set_port(port);
        answer.clone().to(socket)
    });
    let others = at(family, PRIMARY.net, PRIMARY.host, answer.source.port());
    let not_to_us = at(family, 1, 1, talk.own().port());
    [
        ("from another port", moved(|it| it.set_port(it.port() + 1))),
        ("from another server", answer.clone().from(others)),
        ("to another address of ours", answer.clone().to(not_to_us)),
        ("below the ports", below),
        ("above the ports", above),
    ]
    .into_iter()
    .map(|(what, frame)| talk.row_stopped(what, &frame, Verdict::NoService))
    .collect()
}

/// Nobody knows the way, or our address on it.
fn unready(family: Family, protocol: Protocol) -> Vec<Row> {
    [FULLNAT_SOURCELESS, FULLNAT_UNRESOLVED]
        .into_iter()
        .map(|offer| {
            let talk = Talk::new(family, protocol).of(offer, FIRST);
            let what = format!("unready, {}", offer.port);
            Row {
                ingress: FRONT,
                before: Before::default(),
                ..talk.row_stopped(&what, &talk.request(), Verdict::BackendUnresolved)
            }
        })
        .collect()
}

/// Fragments, and extension headers.
fn pieces(family: Family, protocol: Protocol) -> Vec<Row> {
    let talk = Talk::new(family, protocol);
    let long = Frame {
        payload: vec![5; 64],
        dont_fragment: false,
        ..talk.request()
    };
    let parts = fragments(&long, 1200, &[32]);
    // The second is dropped with the first, since nothing is remembered of that.
    let verdicts = [Verdict::FragmentDropped, Verdict::Fragment];
    let mut rows: Vec<Row> = parts
        .into_iter()
        .zip(verdicts)
        .enumerate()
        .map(|(number, (part, verdict))| {
            let what = talk.description(&format!("fragment {number}"));
            Row::unchanged(what, FRONT, part, verdict)
        })
        .collect();
    if family == Family::V6 {
        let chain = [options(DESTINATION_OPTIONS, 0)];
        let row = talk.row_there("options", &talk.request());
        rows.push(Row {
            input: with_headers(&talk.request(), &chain),
            output: with_headers(&talk.sent(&talk.request()), &chain),
            ..row
        });
    }
    rows
}

/// A backend dies: what is over is said so, the rest goes on by a port towards another one.
fn of_the_dead(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, FULLNAT);
    let talk = Talk::new(family, Protocol::Tcp);
    let standby = talk.of(FULLNAT, SECOND);
    let lost = |earlier: Vec<Earlier>| {
        let held = held(scene, FIRST, Hold::CheckFailed);
        scene.before([earlier, vec![held]].concat())
    };
    let plain = data(scene);
    let datagram = Talk::new(family, Protocol::Udp).of(FULLNAT, SECOND);
    let stray = Row {
        verdict: Verdict::StrayRedirect,
        ..talk.row_there("a stray", &plain)
    };
    vec![
        Row {
            before: scene.before(connected(scene)),
            ..talk.row_there("data", &plain)
        },
        stray,
        Row {
            before: lost(connected(scene)),
            output: reset_of(&plain),
            ..Row::unchanged(
                talk.description("data to the dead"),
                FRONT,
                plain.bytes(),
                Verdict::FlowReset,
            )
        },
        Row {
            before: lost(connected(scene)),
            ..standby.row_there("a SYN to the dead", &scene.syn)
        },
        Row {
            before: scene.before(
                [
                    connected(scene),
                    vec![Earlier::Entry(Entry::dead(FIRST, family))],
                ]
                .concat(),
            ),
            changes: vec![
                Change::dead(scene.index(FIRST)),
                Change::Passed(scene.index(FIRST)),
            ],
            ..standby.row_there("a SYN sees the death", &scene.syn)
        },
        Row {
            before: lost(vec![went(&datagram.request()), went(&datagram.request())]),
            ..datagram.row_there("UDP leaves the dead", &datagram.request())
        },
    ]
}

/// The ends of a connection still pass.
fn ends(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, FULLNAT);
    let talk = Talk::new(family, Protocol::Tcp);
    let mut rows = Vec::new();
    for flags in [FIN | ACK, RST | ACK] {
        let mut earlier = connected(scene);
        let request = segment(scene, flags);
        rows.push(Row {
            before: scene.before(earlier.clone()),
            ..talk.row_there("an end", &request)
        });
        earlier.push(went(&request));
        let answer = Frame::segment(flags, talk.backend(), talk.own());
        rows.push(Row {
            before: scene.before(earlier.clone()),
            ..talk.row_back("an end of the backend's", &answer, 1)
        });
        let verdict = talk.verdicts().1;
        earlier.push(Earlier::Frame(ingress(FIRST), answer.bytes(), verdict));
        rows.push(Row {
            before: scene.before(earlier.clone()),
            ..talk.row_there("the last acknowledgment", &segment(scene, ACK))
        });
        rows.push(Row {
            before: scene.before(earlier),
            ..talk.row_there("it begins again", &scene.syn)
        });
    }
    rows
}

/// UDP without a checksum, and with one that computes to zero.
fn checksums(family: Family) -> Vec<Row> {
    let talk = Talk::new(family, Protocol::Udp);
    let [mut request, mut answer] = [talk.request(), talk.answer()];
    request.payload = payload_for_zero(&talk.sent(&request));
    answer.payload = payload_for_zero(&talk.returned(&answer, 1));
    let mut rows = vec![
        talk.row_there("a sum of zero", &request),
        talk.row_back("a sum of zero, the answer", &answer, 1),
    ];
    for row in &rows {
        let at = request.l4_checksum();
        assert_eq!(row.output[at..at + 2], [0xff, 0xff], "{}", row.description);
    }
    if family == Family::V4 {
        let without = |frame| Frame {
            checksum: false,
            ..frame
        };
        rows.push(talk.row_there("no sum", &without(talk.request())));
        rows.push(talk.row_back("no sum, the answer", &without(talk.answer()), 1));
    }
    rows
}

/// ICMP errors are not translated: the stack has them.
fn errors(family: Family) -> Vec<Row> {
    let scene = &Scene::new(family, FULLNAT);
    let talk = Talk::new(family, Protocol::Tcp);
    let too_big = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    let [to_vip, to_us] = [
        (
            client(family),
            talk.vip(),
            Frame::segment(ACK, talk.vip(), talk.client),
        ),
        (talk.backend(), talk.own(), talk.sent(&scene.syn)),
    ]
    .map(|(from, to, lost)| Control {
        frame: Frame::new(Protocol::Udp, from, to),
        kind: too_big,
        word: [0, 0, 5, 0x14],
        body: quote(&lost),
    });
    [
        ("an error of the client's", FRONT, to_vip),
        ("an error of the backend's", ingress(FIRST), to_us),
    ]
    .into_iter()
    .map(|(what, ingress, message)| Row {
        before: scene.before(connected(scene)),
        ..Row::unchanged(
            talk.description(what),
            ingress,
            message.bytes(),
            Verdict::OtherProtocol,
        )
    })
    .collect()
}
