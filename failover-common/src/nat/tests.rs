use super::*;
use crate::HEARTBEAT_PORT;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SECOND: u64 = 1_000_000_000;
const PORT: Be16 = Be16::new(NAT_PORT + 5);

fn key(protocol: u8) -> FlowKey {
    FlowKey {
        client: Address::from_v4([10, 0, 0, 1]),
        vip: Address::from_v4([10, 0, 0, 100]),
        client_port: Be16::new(40_000),
        vip_port: Be16::new(80),
        protocol,
        ..FlowKey::zeroed()
    }
}

/// What is known of a flow, how far it and its backend are, and after how many seconds of
/// silence another one may have its port: where there are others, and where there are none.
#[test]
fn ports_are_free_again() {
    use FlowState::{Closed, Closing, Established, New};
    for (description, protocol, state, ended, [others, none]) in [
        ("a SYN", TCP, New, 0, [240, 240]),
        ("a connection", TCP, Established, 0, [7440, 7440]),
        ("the client is done", TCP, Closing, 0, [240, 240]),
        ("the backend is done", TCP, Established, FIN, [7440, 7440]),
        ("both are", TCP, Closing, FIN, [60, 1]),
        ("the client gave up", TCP, Closed, 0, [60, 1]),
        ("the backend gave up", TCP, Established, RST, [60, 1]),
        ("refused", TCP, New, RST, [60, 1]),
        ("a datagram", UDP, New, 0, [30, 30]),
        ("datagrams", UDP, Established, 0, [300, 300]),
    ] {
        let nat = NatFlow {
            flow: key(protocol),
            backend: 3,
            ended,
            ..NatFlow::zeroed()
        };
        let flow = Flow {
            backend: 3,
            state: state as u8,
            nat_port: PORT,
            ..Flow::zeroed()
        };
        for (seconds, quiet) in [(others, NAT_QUIET[0]), (none, NAT_QUIET[1])] {
            let is_free = |now| nat.is_free(Some(&flow), PORT, now, quiet);
            assert!(!is_free(seconds * SECOND), "{description}");
            assert!(is_free(seconds * SECOND + 1), "{description}");
        }
    }
}

#[test]
fn a_port_without_its_flow_is_free_soon() {
    let nat = NatFlow {
        flow: key(TCP),
        claimed_at: 7 * SECOND,
        backend: 3,
        ..NatFlow::zeroed()
    };
    let with = |backend, nat_port| Flow {
        backend,
        nat_port,
        state: FlowState::Established as u8,
        seen_at: 7 * SECOND,
        ..Flow::zeroed()
    };
    for (description, flow) in [
        ("nobody knows it", None),
        ("another port", Some(with(3, Be16::new(NAT_PORT)))),
        ("no port", Some(with(3, Be16::ZERO))),
        ("another backend", Some(with(4, PORT))),
    ] {
        for quiet in NAT_QUIET {
            let is_free = |now| nat.is_free(flow.as_ref(), PORT, now, quiet);
            // Another CPU's clock may be behind.
            assert!(!is_free(6 * SECOND), "{description}");
            assert!(!is_free(8 * SECOND), "{description}");
            assert!(is_free(8 * SECOND + 1), "{description}");
        }
    }
    let its_own = with(3, PORT);
    assert!(!nat.is_free(Some(&its_own), PORT, 60 * SECOND, NAT_QUIET[1]));
}

#[test]
fn ports_are_nobody_elses() {
    let last = NAT_PORT + u16::try_from(SHARE_PLACES).expect("a port") - 1;
    for (port, is_one) in [
        (0, false),
        (NAT_PORT - 1, false),
        (NAT_PORT, true),
        (last, true),
        (last + 1, false),
        // Where Linux begins by default.
        (32_768, false),
        (HEARTBEAT_PORT, false),
        (u16::MAX, false),
    ] {
        assert_eq!(is_nat_port(Be16::new(port)), is_one, "{port}");
    }
}

#[test]
fn a_flow_tries_ports_of_its_own() {
    for had in [Be16::ZERO, PORT, Be16::new(80)] {
        let mut ports = NatPorts::of(&key(TCP), had);
        let tried: Vec<_> = (0..SHARE_PLACES).map(|_| ports.turn()).collect();
        assert_eq!(tried[0] == PORT, had == PORT, "{had:?}");
        assert!(tried.iter().all(|port| is_nat_port(*port)), "{had:?}");
        let distinct: std::collections::HashSet<_> = tried.iter().collect();
        assert_eq!(distinct.len(), SHARE_PLACES, "{had:?}");
    }
}
