//! A packet inside another (RFC 2003, RFC 2473, RFC 6040, GUE variant 1).

use failover_common::{Address, Backend, GUE_PORT, Verdict};

use super::read::{Packet, TCP, UDP};
use super::rewrite::{octets, one_hop};
use super::sum;
use crate::tunnel::flow_hash;

/// Bytes in front.
pub(super) fn overhead(backend: &Backend, gue: bool) -> u32 {
    let ip = if backend.address.is_v4() { 20 } else { 40 };
    if gue { ip + 8 } else { ip }
}

/// The frame, still with its own MACs.
pub(super) fn send(
    frame: &[u8],
    packet: &Packet,
    backend: &Backend,
    gue: bool,
) -> Result<Vec<u8>, Verdict> {
    if backend.source.is_unspecified() {
        return Err(Verdict::BackendUnresolved);
    }
    let room = backend.mtu.saturating_sub(overhead(backend, gue));
    if packet.total() > room as usize {
        return Err(Verdict::TunnelTooBig);
    }
    let l3 = packet.ip.l3;
    let mut inner = frame[l3..].to_vec();
    one_hop(&mut inner, 0);
    let hash = flow_hash(
        (packet.ip.source, packet.ip.destination),
        packet.ports.unwrap_or_default(),
        packet.protocol,
    );
    let length = packet.total();
    let udp = if gue {
        udp(packet, backend, &inner[..length], hash)
    } else {
        Vec::new()
    };
    let protocol = match (gue, packet.ip.v6) {
        (true, _) => UDP,
        (false, false) => 4,
        (false, true) => 41,
    };
    let behind = u16::try_from(udp.len() + length).expect("it fits");
    let ip = if backend.address.is_v4() {
        v4(packet.ip.tos, protocol, behind, backend)
    } else {
        v6(packet.ip.tos, protocol, behind, backend, hash)
    };
    let mut out = frame[..l3].to_vec();
    let kind: [u8; 2] = if backend.address.is_v4() {
        [0x08, 0]
    } else {
        [0x86, 0xdd]
    };
    out[l3 - 2..].copy_from_slice(&kind);
    Ok([out, ip, udp, inner].concat())
}

fn ends(backend: &Backend) -> Vec<u8> {
    let octets = |address: Address| octets(address.into());
    [octets(backend.source), octets(backend.address)].concat()
}

fn v4(tos: u8, protocol: u8, behind: u16, backend: &Backend) -> Vec<u8> {
    let [t0, t1] = (behind + 20).to_be_bytes();
    let mut header = vec![0x45, tos, t0, t1, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(ends(backend));
    let checksum = sum::checksum(&[&header]);
    header[10..12].copy_from_slice(&checksum);
    header
}

fn v6(tos: u8, protocol: u8, behind: u16, backend: &Backend, hash: u32) -> Vec<u8> {
    let first = 6 << 28 | u32::from(tos) << 20 | (hash & 0xf_ffff);
    let [l0, l1] = behind.to_be_bytes();
    [
        &first.to_be_bytes()[..],
        &[l0, l1, protocol, 64],
        &ends(backend),
    ]
    .concat()
}

/// Over IPv4 without a checksum, over IPv6 with one where the packet's own says what its
/// payload adds up to (RFC 6935).
fn udp(packet: &Packet, backend: &Backend, inner: &[u8], hash: u32) -> Vec<u8> {
    let port = 0xc000 | u16::try_from(hash >> 16).expect("sixteen bits");
    let length = u16::try_from(inner.len() + 8).expect("it fits");
    let words = [port, GUE_PORT, length, 0].map(u16::to_be_bytes);
    let mut header = words.as_flattened().to_vec();
    if !backend.address.is_v4()
        && let Some(inner) = with_right_checksums(packet, inner)
    {
        let pseudo = [0, UDP, header[4], header[5]];
        let checksum = match sum::checksum(&[&ends(backend), &pseudo, &header, &inner]) {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        };
        header[6..8].copy_from_slice(&checksum);
    }
    header
}

/// The packet as it would be if its checksums were right: whoever gets one whose are wrong
/// drops it for either. None: nothing says what it adds up to.
fn with_right_checksums(packet: &Packet, inner: &[u8]) -> Option<Vec<u8>> {
    if !packet.is_plain || packet.is_headless() {
        return None;
    }
    let mut inner = inner.to_vec();
    let l4 = packet.l4 - packet.ip.l3;
    let length = u16::try_from(inner.len() - l4)
        .expect("short")
        .to_be_bytes();
    let at = l4 + if packet.protocol == TCP { 16 } else { 6 };
    if packet.protocol == UDP && (inner[at..at + 2] == [0, 0] || inner[l4 + 4..l4 + 6] != length) {
        return None;
    }
    inner[at..at + 2].fill(0);
    let pseudo = [
        octets(packet.ip.source),
        octets(packet.ip.destination),
        vec![0, packet.protocol, length[0], length[1]],
    ]
    .concat();
    let checksum = sum::checksum(&[&pseudo, &inner[l4..]]);
    inner[at..at + 2].copy_from_slice(&checksum);
    if !packet.ip.v6 {
        inner[10..12].fill(0);
        let checksum = sum::checksum(&[&inner[..l4]]);
        inner[10..12].copy_from_slice(&checksum);
    }
    Some(inner)
}
