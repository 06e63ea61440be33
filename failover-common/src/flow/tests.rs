use super::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn states_follow_the_client() {
    use FlowState::{Closed, Closing, Established, New};
    use Segment::{Fin, Plain, Rst, Syn};
    for (description, segments, state) in [
        ("a SYN", &[Syn][..], New),
        ("SYNs alone never make a flow", &[Syn, Syn, Syn], New),
        ("a connection", &[Syn, Plain], Established),
        ("datagrams", &[Plain, Plain], Established),
        ("a forged SYN", &[Syn, Plain, Syn], Established),
        ("the client is done", &[Syn, Plain, Fin], Closing),
        ("and still acknowledges", &[Syn, Plain, Fin, Plain], Closing),
        ("data with the FIN, at once", &[Syn, Fin], Closing),
        (
            "a SYN does not open it again",
            &[Syn, Plain, Fin, Syn],
            Closing,
        ),
        ("the client gives up", &[Syn, Plain, Rst], Closed),
        ("before it began", &[Syn, Rst], Closed),
        ("after its end", &[Syn, Plain, Fin, Rst], Closed),
        (
            "the RST was not the client's",
            &[Syn, Plain, Rst, Plain],
            Established,
        ),
        ("nor here", &[Syn, Plain, Rst, Fin], Closing),
    ] {
        let mut reached = New as u8;
        // The first packet makes the flow.
        for segment in &segments[1..] {
            reached = FlowState::next(reached, *segment);
        }
        assert_eq!(reached, state as u8, "{description}");
    }
}

#[test]
fn flags_are_read_in_order_of_weight() {
    for (flags, segment) in [
        (0x02, Segment::Syn),
        (0xc2, Segment::Syn),
        (0x10, Segment::Plain),
        (0x18, Segment::Plain),
        (0x11, Segment::Fin),
        (0x14, Segment::Rst),
        (0x04, Segment::Rst),
        (0x06, Segment::Rst),
        (0x00, Segment::Plain),
    ] {
        assert_eq!(Segment::of(flags), segment, "{flags:#x}");
    }
}

#[test]
fn every_state_ends() {
    for protocol in [TCP, UDP] {
        for state in FlowState::ALL {
            let timeout = FlowState::timeout(state as u8, protocol);
            let flow = Flow {
                seen_at: 5,
                state: state as u8,
                ..Flow::zeroed()
            };
            assert!(!flow.is_over(protocol, 5 + timeout), "{state:?}");
            assert!(flow.is_over(protocol, 6 + timeout), "{state:?}");
            // The coarse clock may be behind the one that it was noted by.
            assert!(!flow.is_over(protocol, 0), "{state:?}");
        }
    }
    let [new, established, closing, closed] =
        FlowState::ALL.map(|state| FlowState::timeout(state as u8, TCP));
    assert!(established > closing && closing == closed && closed == new);
}

#[test]
fn states_have_the_numbers_of_their_places() {
    for (number, state) in FlowState::ALL.into_iter().enumerate() {
        assert_eq!(state as usize, number);
    }
    for (number, policy) in OnFailure::ALL.into_iter().enumerate() {
        assert_eq!(policy as usize, number);
    }
}

/// Clients that differ in one port spread over the table, by first place and by step.
#[test]
fn flows_spread() {
    const PORTS: usize = 4 * SHARE_PLACES - 1024;
    let mut key = FlowKey {
        client: Address::from_v4([10, 0, 0, 1]),
        vip: Address::from_v4([10, 0, 0, 100]),
        vip_port: Be16::new(80),
        protocol: TCP,
        ..FlowKey::zeroed()
    };
    let mut first = vec![0_u32; SHARE_PLACES];
    let mut steps = vec![0_u32; SHARE_PLACES];
    for port in (1024..=u16::MAX).take(PORTS) {
        key.client_port = Be16::new(port);
        let (place, step) = key.places();
        first[place as usize] += 1;
        steps[step as usize] += 1;
    }
    assert_eq!(steps[0], 0, "a step of nothing stays where it is");
    for (what, counts) in [("first", &first[..]), ("step", &steps[1..])] {
        let most = counts.iter().max().copied().unwrap_or(0);
        let empty = counts.iter().filter(|count| **count == 0).count();
        // Four on average: of 16,381 places 300 should have none, and one 20 or more has a
        // chance of one in ten million.
        assert!(
            most < 20 && (200..400).contains(&empty),
            "{what}: most {most}, empty {empty}"
        );
    }
}
