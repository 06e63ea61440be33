//! What becomes of TCP while nobody may serve: `during_switch` of docs/configuration.md.

use failover_common::{Service, Verdict};

use super::read::{Ip, Packet, TCP};
use super::rewrite::octets;
use super::{Done, Model, icmp, sum};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The words of the configuration, as the maps have them.
const RESET: u8 = 1;
const HOLD: u8 = 2;

impl Model {
    /// None: the packet goes to the backend that serves or was held last, if there is one.
    pub(super) fn during_switch(
        &self,
        frame: &[u8],
        packet: &Packet,
        service: &Service,
    ) -> Option<Done> {
        let entries = &service.backends[..usize::from(service.len)];
        let mut backends = entries.iter().filter_map(|entry| self.backend(entry.index));
        let is_held = backends.clone().next().is_some();
        if backends.any(|backend| backend.holds == 0) || packet.protocol != TCP || packet.is_later {
            return None;
        }
        let flags = frame[packet.l4 + 13];
        let begins = flags & 0x17 == SYN;
        if is_held && !begins {
            return None;
        }
        match service.during_switch {
            HOLD => Some(Err(Verdict::SwitchHeld)),
            RESET if flags & RST == 0 => {
                let is_answerable = icmp::is_answerable(frame, packet);
                Some(if is_answerable {
                    Ok((Verdict::SwitchReset, reset(frame, packet)))
                } else {
                    Err(Verdict::NoBackend)
                })
            }
            _ => None,
        }
    }
}

/// The reset that answers a segment (RFC 9293, section 3.5.2), over the beginning of its
/// frame: from its destination, without options of IP or TCP.
fn reset(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let Ip { v6, l3, tos, .. } = packet.ip;
    let at = packet.l4;
    let segment = &frame[at..at + 20];
    let ports = [&segment[2..4], &segment[..2]].concat();
    let flags = segment[13];
    let (flags, numbers) = if flags & ACK != 0 {
        (RST, [&segment[8..12], &[0; 4]].concat())
    } else {
        let sequence = [segment[4], segment[5], segment[6], segment[7]];
        let next = u32::from_be_bytes(sequence).wrapping_add(u32::from(flags & SYN != 0));
        (RST | ACK, [&[0; 4][..], &next.to_be_bytes()].concat())
    };
    let ends = [octets(packet.ip.destination), octets(packet.ip.source)].concat();
    let mut tcp = [&ports[..], &numbers, &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat();
    let pseudo = [&ends[..], &[0, TCP, 0, 20]].concat();
    let checksum = sum::checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&checksum);
    let ip = if v6 {
        let first = (6 << 28 | u32::from(tos) << 20).to_be_bytes();
        [&first[..], &[0, 20, TCP, 64], &ends].concat()
    } else {
        let mut ip = [&[0x45, tos, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0], &ends[..]].concat();
        let checksum = sum::checksum(&[&ip]);
        ip[10..12].copy_from_slice(&checksum);
        ip
    };
    let reset = [&frame[6..12], &frame[..6], &frame[12..l3], &ip, &tcp].concat();
    [&reset, &frame[reset.len()..]].concat()
}
