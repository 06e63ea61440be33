use std::{
    net::{Ipv4Addr, Ipv6Addr},
    thread,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::*;
use crate::namespace;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Long enough for a busy machine to answer in, short enough to wait for.
const LIMIT: Duration = Duration::from_millis(300);

/// Who listens on the port that is probed.
#[derive(Clone, Copy, Debug)]
enum Server {
    /// Nobody.
    Closed,
    /// Accepts nothing, and its queue is full: SYNs are dropped.
    Full,
    /// Accepts and says nothing.
    Silent,
    /// Reads a request, says this, closes.
    Says(&'static str),
    /// Says this a byte at a time, 20 ms apart.
    Drips(&'static str),
    /// Says `HTTP/1.1 200 OK` if the request has these two lines, else 400.
    Wants(&'static str, &'static str),
}

impl Server {
    /// Starts it; the guard keeps it alive.
    async fn start(self, address: IpAddr) -> (u16, Vec<TcpStream>, Option<TcpListener>) {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.unwrap();
        socket.bind(SocketAddr::new(address, 0)).unwrap();
        let to = socket.local_addr().unwrap();
        match self {
            Self::Closed => (to.port(), vec![], None),
            Self::Full => {
                let listener = socket.listen(0).unwrap();
                let first = TcpStream::connect(to).await.unwrap();
                (to.port(), vec![first], Some(listener))
            }
            Self::Silent | Self::Says(_) | Self::Drips(_) | Self::Wants(..) => {
                let listener = socket.listen(16).unwrap();
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(self.serve(stream));
                    }
                });
                (to.port(), vec![], None)
            }
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap_or(0);
        let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
        match self {
            Self::Says(answer) => drop(stream.write_all(answer.as_bytes()).await),
            Self::Drips(answer) => {
                for byte in answer.bytes() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
            }
            Self::Wants(one, two) => {
                let lines: Vec<_> = request.lines().collect();
                let good = lines.contains(&one) && lines.contains(&two);
                let status = if good { "200 OK" } else { "400 Bad Request" };
                drop(
                    stream
                        .write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())
                        .await,
                );
            }
            Self::Silent | Self::Closed | Self::Full => std::future::pending().await,
        }
    }
}

/// `kind` with the port filled in.
fn on(kind: &CheckKind, port: u16) -> CheckKind {
    match kind.clone() {
        CheckKind::Icmp => CheckKind::Icmp,
        CheckKind::Tcp { .. } => CheckKind::Tcp { port },
        CheckKind::Http { path, .. } => CheckKind::Http { port, path },
    }
}

fn config(kind: CheckKind) -> Check {
    Check {
        kind,
        interval: LIMIT,
        timeout: LIMIT,
        fall: 1,
        rise: 1,
    }
}

/// Runs a prober until its first report.
async fn first(address: IpAddr, kind: CheckKind) -> Report {
    let (reports, mut received) = mpsc::channel(1);
    let icmp = icmp::Icmp::open().expect("this test needs root");
    let task = tokio::spawn(Prober::new(3, 5, address, config(kind), reports, icmp).run());
    let report = received.recv().await.unwrap();
    task.abort();
    report
}

/// What a probe of `kind` should find where `server` listens; a failure's reason
/// need only contain what is given.
async fn check(kind: &CheckKind, server: Server, address: IpAddr, expected: Outcome) {
    let (port, _streams, _listener) = server.start(address).await;
    let report = first(address, on(kind, port)).await;
    let row = format!("{kind:?} of {address}, {server:?}: {report:?}");
    assert_eq!((report.backend, report.check), (3, 5), "{row}");
    match (&report.outcome, &expected) {
        (Outcome::Fail(reason), Outcome::Fail(words)) => assert!(reason.contains(words), "{row}"),
        (outcome, expected) => assert_eq!(outcome, expected, "{row}"),
    }
    let waited = report.took >= LIMIT;
    assert_eq!(waited, expected == Outcome::Timeout, "{row}");
}

fn fail(reason: &str) -> Outcome {
    Outcome::Fail(reason.into())
}

#[tokio::test]
async fn tcp() {
    let kind = CheckKind::Tcp { port: 0 };
    for address in [V4, V6] {
        check(&kind, Server::Silent, address, Outcome::Pass).await;
        check(&kind, Server::Closed, address, fail("connection refused")).await;
        check(&kind, Server::Full, address, Outcome::Timeout).await;
    }
}

#[tokio::test]
async fn http() {
    let kind = CheckKind::Http {
        port: 0,
        path: "/healthz?deep=1".into(),
    };
    let long: &str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(1 << 20)).into());
    let rows = [
        (
            Server::Says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            Outcome::Pass,
        ),
        (
            Server::Says("HTTP/1.1 204 No Content\r\n\r\n"),
            Outcome::Pass,
        ),
        (Server::Says("HTTP/1.0 200 OK\r\n\r\nok"), Outcome::Pass),
        // The body never comes; the head is enough.
        (
            Server::Says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            Outcome::Pass,
        ),
        (
            Server::Says("HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n"),
            Outcome::Pass,
        ),
        (
            Server::Says("HTTP/1.1 404 Not Found\r\n\r\n"),
            fail("status 404"),
        ),
        (Server::Says("HTTP/1.1 500 Oh\r\n\r\n"), fail("status 500")),
        (
            Server::Says("HTTP/1.1 503 Busy\r\n\r\n"),
            fail("status 503"),
        ),
        (
            Server::Says("SSH-2.0-OpenSSH_9.2p1\r\n"),
            fail("invalid HTTP version"),
        ),
        (Server::Says("HTTP/1.1 abc\r\n\r\n"), fail("invalid")),
        (Server::Says("\0\u{1}\u{2}\u{ff}"), fail("invalid")),
        (Server::Says(""), fail("connection closed")),
        (
            Server::Says("HTTP/1.1 200 OK\r\nCont"),
            fail("connection closed"),
        ),
        (Server::Says(long), fail("too large")),
        (Server::Drips("HTTP/1.1 200 OK\r\n\r\n"), Outcome::Timeout),
        (Server::Silent, Outcome::Timeout),
        (Server::Full, Outcome::Timeout),
        (Server::Closed, fail("connection refused")),
        (
            Server::Wants("get /healthz?deep=1 http/1.1", "connection: close"),
            Outcome::Pass,
        ),
    ];
    for (server, expected) in rows {
        check(&kind, server, V4, expected).await;
    }
    check(
        &kind,
        Server::Says("HTTP/1.1 200 OK\r\n\r\n"),
        V6,
        Outcome::Pass,
    )
    .await;

    let agent = concat!("user-agent: failover/", env!("CARGO_PKG_VERSION"));
    let asked = Server::Wants("get /healthz?deep=1 http/1.1", agent);
    check(&kind, asked, V4, Outcome::Pass).await;

    let rubbish = CheckKind::Http {
        port: 0,
        path: "no path".into(),
    };
    check(&rubbish, Server::Says(""), V4, fail("invalid uri")).await;
}

#[test]
fn icmp() {
    namespace::run(|| async {
        // The loopback is down: no way to anything.
        check(
            &CheckKind::Icmp,
            Server::Closed,
            V4,
            fail("network is unreachable"),
        )
        .await;
        namespace::ip("link set lo up");
        check(&CheckKind::Icmp, Server::Closed, V4, Outcome::Pass).await;
        check(&CheckKind::Icmp, Server::Closed, V6, Outcome::Pass).await;

        let other = IpAddr::from([192, 0, 2, 1]);
        let report = first(other, CheckKind::Icmp).await;
        assert_eq!(report.outcome, fail("network is unreachable"));
        namespace::ip("route add unreachable 192.0.2.0/24");
        let report = first(other, CheckKind::Icmp).await;
        assert_eq!(report.outcome, fail("no route to host"));
        // A way to it, and nobody there.
        namespace::ip("link add pr0 type veth peer name pr1");
        namespace::ip("link set pr0 up");
        namespace::ip("link set pr1 up");
        namespace::ip("route add 198.51.100.0/24 dev pr0");
        namespace::ip("addr add 203.0.113.1/32 dev pr0");
        let report = first(IpAddr::from([198, 51, 100, 1]), CheckKind::Icmp).await;
        assert_eq!(report.outcome, Outcome::Timeout);
    });
}

/// 500 probers over two sockets: every echo finds its own answer.
#[test]
fn many_pingers() {
    namespace::run(|| async {
        namespace::ip("link set lo up");
        let icmp = icmp::Icmp::open().unwrap();
        let (reports, mut received) = mpsc::channel(REPORTS);
        let mut tasks = tokio::task::JoinSet::new();
        for backend in 0..500_u16 {
            let [high, low] = backend.to_be_bytes();
            let address = IpAddr::from([127, 1, high, low]);
            let interval = Duration::from_millis(250);
            let check = Check {
                interval,
                timeout: interval,
                ..config(CheckKind::Icmp)
            };
            let prober = Prober::new(
                backend.into(),
                0,
                address,
                check,
                reports.clone(),
                icmp.clone(),
            );
            tasks.spawn(prober.run());
        }
        let mut seen = [0; 500];
        for _ in 0..2500 {
            let report = received.recv().await.unwrap();
            assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
            seen[report.backend] += 1;
        }
        assert!(
            seen.iter().all(|&seen| (2..=10).contains(&seen)),
            "{seen:?}"
        );
    });
}

#[tokio::test]
async fn pace() {
    let (port, _streams, _listener) = Server::Silent.start(V4).await;
    let interval = Duration::from_millis(50);
    let check = Check {
        interval,
        timeout: interval,
        ..config(CheckKind::Tcp { port })
    };
    let (reports, mut received) = mpsc::channel(1);
    let icmp = icmp::Icmp::open().expect("this test needs root");
    let start = Instant::now();
    let task = tokio::spawn(Prober::new(0, 0, V4, check, reports, icmp).run());

    let first = received.recv().await.unwrap();
    assert!(
        start.elapsed() < FIRST + interval,
        "first after {:?}",
        start.elapsed()
    );
    let mut last = first.at;
    for _ in 0..20 {
        last = received.recv().await.unwrap().at;
    }
    // 20 intervals less 0 to 10 % each, and some slack for a busy machine.
    let took = last - first.at;
    let range = Duration::from_millis(880)..Duration::from_millis(1200);
    assert!(range.contains(&took), "20 intervals of 50 ms took {took:?}");

    drop(received);
    task.await.expect("ends when nobody listens");
}

#[test]
fn next_is_jittered_and_never_in_the_past() {
    let interval = Duration::from_millis(100);
    let due = Instant::now();
    // {how late the last probe ended, earliest, latest} in milliseconds after it was due
    for (late, earliest, latest) in [(0, 90, 100), (50, 90, 100), (99, 99, 100), (350, 350, 350)] {
        for _ in 0..1000 {
            let next = next(due, due + Duration::from_millis(late), interval) - due;
            let range = Duration::from_millis(earliest)..=Duration::from_millis(latest);
            assert!(range.contains(&next), "late {late} ms: next after {next:?}");
        }
    }
}

/// {description, our own stall from the start of the probe, when the answer
/// comes, outcome} with a limit of 50 ms. A stall blocks the only thread.
#[tokio::test]
async fn stall() {
    let rows = [
        ("answer in time", 0, Some(10), Ok(Outcome::Pass)),
        ("no answer", 0, None, Ok(Outcome::Timeout)),
        (
            "short stall, answer meanwhile",
            80,
            Some(10),
            Ok(Outcome::Pass),
        ),
        ("short stall, no answer", 80, None, Ok(Outcome::Timeout)),
        (
            "long stall, answer meanwhile",
            200,
            Some(10),
            Ok(Outcome::Pass),
        ),
        ("long stall, no answer: nobody's fault", 200, None, Err(())),
    ];
    for (description, stall, answer, expected) in rows {
        let at = answer.map(|after| Instant::now() + Duration::from_millis(after));
        // A second task, as the socket's reader is for ICMP.
        let answer = tokio::spawn(async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        let probe = async {
            let answer = answer
                .await
                .map_err(io::Error::other)
                .map_err(NoVerdict::Host);
            answer.map(|()| Outcome::Pass)
        };
        let blocker = tokio::spawn(async move { thread::sleep(Duration::from_millis(stall)) });
        let outcome = bounded(probe, Duration::from_millis(50)).await;
        assert_eq!(outcome.map_err(|_| ()), expected, "{description}");
        blocker.await.unwrap();
    }
}

#[test]
fn own_failures_are_not_the_backends() {
    let rows = [
        (libc::ECONNREFUSED, Ok(fail("connection refused"))),
        (libc::EHOSTUNREACH, Ok(fail("no route to host"))),
        (libc::ENETUNREACH, Ok(fail("network is unreachable"))),
        (libc::ECONNRESET, Ok(fail("connection reset by peer"))),
        (libc::ETIMEDOUT, Ok(Outcome::Timeout)),
        (libc::EMFILE, Err(())),
        (libc::ENOBUFS, Err(())),
        (libc::EADDRNOTAVAIL, Err(())),
    ];
    for (code, expected) in rows {
        let outcome = judge(io::Error::from_raw_os_error(code)).map_err(|_| ());
        assert_eq!(outcome, expected, "errno {code}");
    }
}
