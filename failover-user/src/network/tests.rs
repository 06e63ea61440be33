mod messages;
mod stacks;
mod tables;

use std::{
    collections::VecDeque,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::*;
use crate::namespace::{ip, run};

const PATIENCE: Duration = Duration::from_secs(8);

/// Backends of the namespace tests, by their index: two on the network of `nw0`,
/// one behind a router there, one without a route.
const NEAR: usize = 0;
const NEAR_V6: usize = 1;
const FAR: usize = 2;
const NOWHERE: usize = 3;
const BACKENDS: [&str; 4] = ["10.9.0.2", "fd09::2", "10.10.0.7", "192.0.2.1"];

/// Our own addresses.
const OWN: &str = "10.9.0.1";
const OWN_V6: &str = "fd09::1";
/// What an interface has if nobody says otherwise.
const MTU: u32 = 1500;

const SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pair of interfaces, `nw0` with the addresses, and nobody at the other end.
fn set_up() {
    ip("link set lo up");
    ip("link add nw0 address 02:00:00:00:00:01 type veth peer name nw1");
    ip("link set nw0 up");
    ip("link set nw1 up");
    ip("addr add 10.9.0.1/24 dev nw0");
    ip("addr add fd09::1/64 dev nw0 nodad");
    ip("route add 10.10.0.0/24 via 10.9.0.254");
}

/// The way to a neighbour over IPv4.
fn near(ifindex: u32, dst_mac: [u8; 6]) -> NextHop {
    NextHop {
        ifindex,
        egress: ifindex,
        src_mac: SRC,
        dst_mac,
        source: Some(address(OWN)),
        mtu: MTU,
    }
}

/// A watcher at work, and what it told last of each backend.
struct Watched {
    changes: mpsc::Receiver<Vec<Change>>,
    /// The rest of a batch.
    rest: VecDeque<Change>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Watched {
    fn start() -> Self {
        Self::of(BACKENDS.map(address).to_vec())
    }

    fn of(addresses: Vec<IpAddr>) -> Self {
        let (sender, changes) = mpsc::channel(CHANGES);
        let task = tokio::spawn(Watcher::new(addresses).unwrap().run(sender));
        let rest = VecDeque::new();
        Self {
            changes,
            rest,
            task,
        }
    }

    async fn batch(&mut self) -> Vec<Change> {
        match self.changes.recv().await {
            Some(batch) => batch,
            None => panic!("the watcher ended: {:?}", (&mut self.task).await),
        }
    }

    /// The next thing told of this backend.
    async fn next(&mut self, wanted: usize) -> Reach {
        let reach = async {
            loop {
                let Some(change) = self.rest.pop_front() else {
                    self.rest = self.batch().await.into();
                    continue;
                };
                if let Change::Backend { backend, reach } = change
                    && backend == wanted
                {
                    return reach;
                }
            }
        };
        timeout(PATIENCE, reach)
            .await
            .unwrap_or_else(|_| panic!("nothing of {wanted}"))
    }

    /// Reads until this backend is as expected.
    async fn until(&mut self, backend: usize, expected: Reach) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while seen.last() != Some(&expected) {
            let next = timeout_at(deadline, self.next(backend)).await;
            seen.push(next.unwrap_or_else(|_| panic!("{backend}: {seen:?}, not {expected:?}")));
        }
    }
}

async fn index(name: &str) -> u32 {
    let links = Netlink::open().unwrap().links().await.unwrap();
    links.iter().find(|link| link.0 == name).unwrap().1
}

#[test]
fn watcher_follows_the_kernel() {
    run(|| async {
        set_up();
        let ifindex = index("nw0").await;
        let hop = |dst_mac| near(ifindex, dst_mac);
        let mut watched = Watched::start();
        let nobody = Reach::NoNeighbour { last: None };
        for backend in 0..BACKENDS.len() {
            assert_eq!(watched.next(backend).await, nobody, "{backend}");
        }

        // A new neighbour, another MAC, and each is one change.
        let neighbour = |mac: &str| ip(&format!("neigh replace 10.9.0.2 lladdr {mac} dev nw0"));
        neighbour("02:00:00:00:00:02");
        assert_eq!(watched.next(NEAR).await, Reach::Resolved(hop(DST)));
        neighbour("02:00:00:00:00:03");
        let start = Instant::now();
        assert_eq!(watched.next(NEAR).await, Reach::Resolved(hop(OTHER)));
        assert!(
            start.elapsed() < Duration::from_millis(50),
            "{:?}",
            start.elapsed()
        );

        // IPv6, a router.
        ip("neigh replace fd09::2 lladdr 02:00:00:00:00:02 dev nw0");
        let v6 = NextHop {
            source: Some(address(OWN_V6)),
            ..hop(DST)
        };
        assert_eq!(watched.next(NEAR_V6).await, Reach::Resolved(v6));
        ip("neigh replace 10.9.0.254 lladdr 02:00:00:00:00:02 dev nw0");
        assert_eq!(watched.next(FAR).await, Reach::Resolved(hop(DST)));

        // A carrier that goes and comes back.
        let start = Instant::now();
        ip("link set nw1 down");
        let down = |mac| Reach::LinkDown {
            last: Some(hop(mac)),
        };
        assert_eq!(watched.next(NEAR).await, down(OTHER));
        println!(
            "carrier loss told {:?} after `ip` was started",
            start.elapsed()
        );
        ip("link set nw1 up");
        watched.until(NEAR, Reach::Resolved(hop(OTHER))).await;

        // An interface that is disabled, which takes its routes along.
        ip("link set nw0 down");
        assert_eq!(watched.next(NEAR).await, down(OTHER));
        assert!(
            timeout(Duration::from_millis(200), watched.next(NEAR))
                .await
                .is_err()
        );
        ip("link set nw0 up");
        watched.until(NEAR, Reach::Resolved(hop(OTHER))).await;

        // The entry went with the interface, so the kernel asks again, and after
        // three seconds without an answer it gives up.
        watched
            .until(
                NEAR,
                Reach::NoNeighbour {
                    last: Some(hop(OTHER)),
                },
            )
            .await;
        neighbour("02:00:00:00:00:02");
        watched.until(NEAR, Reach::Resolved(hop(DST))).await;

        // A route that comes and goes.
        ip("route add 192.0.2.0/24 via 10.9.0.2");
        assert_eq!(watched.next(NOWHERE).await, Reach::Resolved(hop(DST)));
        ip("route del 192.0.2.0/24");
        assert_eq!(
            watched.next(NOWHERE).await,
            Reach::NoNeighbour {
                last: Some(hop(DST))
            }
        );

        // The same by a next hop object, of which the crate has no type.
        ip("nexthop add id 1 via 10.9.0.99 dev nw0");
        ip("route add 192.0.2.0/24 nhid 1");
        ip("nexthop replace id 1 via 10.9.0.2 dev nw0");
        watched.until(NOWHERE, Reach::Resolved(hop(DST))).await;

        // Our own MAC.
        ip("link set nw0 address 02:00:00:00:00:09");
        let moved = NextHop {
            src_mac: [2, 0, 0, 0, 0, 9],
            ..hop(DST)
        };
        watched.until(NEAR, Reach::Resolved(moved)).await;

        // The interface itself.
        ip("link del nw0");
        watched
            .until(NEAR, Reach::LinkDown { last: Some(moved) })
            .await;
        drop(watched.changes);
        timeout(PATIENCE, watched.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    });
}

/// What else than a next hop a tunnel takes.
#[test]
fn watcher_follows_sources_and_mtus() {
    run(|| async {
        set_up();
        let ifindex = index("nw0").await;
        let hop = |dst_mac| near(ifindex, dst_mac);
        ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev nw0");
        ip("route add 192.0.2.0/24 via 10.9.0.2");
        let mut watched = Watched::start();
        watched.until(NOWHERE, Reach::Resolved(hop(DST))).await;
        // Less fits into what goes there: the route says so, then the interface.
        let fits = |mtu| Reach::Resolved(NextHop { mtu, ..hop(DST) });
        ip("route change 192.0.2.0/24 via 10.9.0.2 mtu 1300");
        watched.until(NOWHERE, fits(1300)).await;
        ip("link set nw0 mtu 1290");
        watched.until(NEAR, fits(1290)).await;
        watched.until(NOWHERE, fits(1290)).await;
        ip("link set nw0 mtu 1500");
        watched.until(NEAR, fits(MTU)).await;
        // Another address of ours, by a route that prefers it.
        ip("addr add 10.9.0.9/24 dev nw0");
        ip("route change 192.0.2.0/24 via 10.9.0.2 src 10.9.0.9");
        let from = NextHop {
            source: Some(address("10.9.0.9")),
            ..hop(DST)
        };
        watched.until(NOWHERE, Reach::Resolved(from)).await;
        watched.task.abort();
    });
}

/// A real neighbour answers the kick: no packet was ever sent to it.
#[test]
fn kick_resolves() {
    run(|| async {
        set_up();
        // Whoever answers needs a stack of its own.
        let mut other = Command::new("unshare")
            .args(["-n", "sleep", "60"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let pid = other.id();
        ip(&format!("link set nw1 netns {pid}"));
        for command in [
            "link set nw1 address 02:00:00:00:00:02",
            "addr add 10.9.0.2/24 dev nw1",
            "addr add fd09::2/64 dev nw1 nodad",
            "link set nw1 up",
        ] {
            let enter = format!("-t {pid} -n ip {command}");
            let status = Command::new("nsenter")
                .args(enter.split(' '))
                .status()
                .unwrap();
            assert!(status.success(), "{command}");
        }
        let ifindex = index("nw0").await;
        let hop = near(ifindex, DST);
        let resolved = Reach::Resolved(hop);
        let mut watched = Watched::start();
        watched.until(NEAR, resolved).await;
        let v6 = NextHop {
            source: Some(address(OWN_V6)),
            ..hop
        };
        watched.until(NEAR_V6, Reach::Resolved(v6)).await;

        // Deleted by hand, which the kernel shows as FAILED: asked for at once.
        ip("neigh flush dev nw0");
        watched.until(NEAR, resolved).await;
        // The host dies, and its end of the pair with it.
        other.kill().unwrap();
        other.wait().unwrap();
        let last = Some(hop);
        watched.until(NEAR, Reach::LinkDown { last }).await;
        watched.task.abort();
    });
}

/// More events than the queue holds: the end is right all the same.
#[test]
fn overrun() {
    run(|| async {
        set_up();
        let ifindex = index("nw0").await;
        let hop = |dst_mac| near(ifindex, dst_mac);
        let mut watched = Watched::start();
        assert_eq!(watched.next(NEAR).await, Reach::NoNeighbour { last: None });
        ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev nw0");
        assert_eq!(watched.next(NEAR).await, Reach::Resolved(hop(DST)));

        // This blocks the only thread: nobody reads meanwhile.
        let routes = "route add 203.0.113.0/24 dev nw0\nroute del 203.0.113.0/24 dev nw0\n";
        let mut batch = routes.repeat(10_000);
        batch += "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:03 dev nw0\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        ip(&format!("-batch {}", file.path().display()));
        watched.until(NEAR, Reach::Resolved(hop(OTHER))).await;
        watched.task.abort();
    });
}

#[test]
fn addresses_come_and_go() {
    run(|| async {
        set_up();
        let netlink = Netlink::open().unwrap();
        let (nw0, nw1, gone) = (index("nw0").await, index("nw1").await, 9999);
        for vip in ["10.9.0.100", "fd09::100"].map(address) {
            assert!(netlink.add_address(nw1, vip).await.unwrap(), "{vip}");
            assert!(!netlink.add_address(nw1, vip).await.unwrap(), "{vip}");
            // Usable at once: no duplicate address detection.
            std::net::UdpSocket::bind((vip, 0)).unwrap();
            assert!(netlink.remove_address(nw1, vip).await.unwrap(), "{vip}");
            assert!(!netlink.remove_address(nw1, vip).await.unwrap(), "{vip}");
            assert!(!netlink.remove_address(gone, vip).await.unwrap(), "{vip}");
            let error = netlink.add_address(gone, vip).await.unwrap_err();
            assert_eq!(error.to_string(), "cannot add an address");
            let best = netlink.interface_for(vip, &[nw1, nw0]).await.unwrap();
            assert_eq!(best, Some(nw0), "{vip}");
        }
        // What an administrator put there is not ours to add or remove.
        assert!(!netlink.add_address(nw0, address("10.9.0.1")).await.unwrap());
        assert!(
            !netlink
                .remove_address(nw0, address("10.9.0.1"))
                .await
                .unwrap()
        );
        netlink.kick(nw0, address("10.9.0.77")).await.unwrap();
        netlink.kick(gone, address("10.9.0.77")).await.unwrap_err();
    });
}
