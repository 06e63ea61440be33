//! Frames of the table with bits flipped.

use std::cell::{Cell, RefCell};

use anyhow::{Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use failover_common::Verdict;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRng, TestRunner};

use crate::rows::{self, Row};
use crate::tunnel;
use crate::world::{Outcome, World};

/// Frames, unless [`CASES_VARIABLE`] says how many.
const CASES: u32 = 5_000;

/// Environment variable: a million takes some minutes.
const CASES_VARIABLE: &str = "FAILOVER_MUTATIONS";

/// Where the headers are: most flips should hit them.
const HEADERS: usize = 64;

pub(crate) fn check(world: &mut World) -> Result<()> {
    let cases = std::env::var(CASES_VARIABLE)
        .ok()
        .map_or(Ok(CASES), |text| text.parse())?;
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mutation = (
        select(rows::all()),
        proptest::collection::vec((any::<Index>(), 0..8_u8), 1..5),
        any::<bool>(),
        // Whether the checksums are made right again afterwards.
        any::<bool>(),
    );
    let world = RefCell::new(world);
    let valid = Cell::new(0);
    let checked =
        TestRunner::new_with_rng(config, rng).run(&mutation, |(row, flips, in_headers, sealed)| {
            let frame = mutated(&row, &flips, in_headers, sealed);
            let checksums = check_one(&mut world.borrow_mut(), &row, &frame)
                .map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
            valid.set(valid.get() + checksums);
            Ok(())
        });
    checked.map_err(|error| anyhow::anyhow!("{error}"))?;
    println!(
        "{} checksums of frames sent on were valid before",
        valid.get()
    );
    ensure!(
        valid.get() > cases as usize / 10,
        "the flips leave nothing to test"
    );
    Ok(())
}

fn mutated(row: &Row, flips: &[(Index, u8)], in_headers: bool, sealed: bool) -> Vec<u8> {
    let mut frame = row.input.clone();
    let range = if in_headers { HEADERS } else { frame.len() };
    for (at, bit) in flips {
        let at = at.index(range.min(frame.len()));
        frame[at] ^= 1 << bit;
    }
    if sealed {
        for checksum in checksums(&frame).unwrap_or_default() {
            frame[checksum.at..][..2].copy_from_slice(&checksum.full);
        }
    }
    frame
}

/// Returns how many checksums had to be valid afterwards.
fn check_one(world: &mut World, row: &Row, frame: &[u8]) -> Result<usize> {
    world.prepare(&row.before)?;
    let outcome = world.run(frame, row.ingress)?;
    if !outcome.sent() {
        // A refusal that has become the client's SYN, which nobody may have.
        let repeated = outcome.verdict == row.verdict && row.output != row.input;
        ensure!(
            repeated || outcome.frame == frame,
            "{:?}: a byte changed",
            outcome.verdict
        );
        return Ok(0);
    }
    let after = checksums(&outcome.frame).unwrap_or_default();
    let forwarded = matches!(
        outcome.verdict,
        Verdict::ForwardedTx | Verdict::ForwardedRedirect
    );
    if forwarded && tunnel::is_inside(frame, &outcome.frame)? {
        return Ok(0);
    }
    let quoted = quoted(&outcome, frame);
    let frame = quoted.as_deref().unwrap_or(frame);
    if quoted.is_none() && is_of_our_own(outcome.verdict) {
        ensure!(
            !after.is_empty() && after.iter().all(Checksum::valid),
            "{:?}: {after:02x?}",
            outcome.verdict
        );
        return Ok(after.len());
    }
    ensure!(outcome.frame.len() == frame.len(), "its length changed");
    let before = checksums(frame).unwrap_or_default();
    ensure!(
        after.len() == before.len(),
        "etherparse cannot read it any more"
    );
    let valid = before
        .iter()
        .zip(&after)
        .filter(|(before, _)| before.valid());
    for (before, after) in valid.clone() {
        ensure!(
            after.valid(),
            "{:?}: {before:02x?} became {after:02x?}",
            outcome.verdict
        );
    }
    Ok(valid.count())
}

/// The frame of the packet that an ICMP error quotes, if the error has become that packet:
/// nothing else makes a frame shorter.
fn quoted(outcome: &Outcome, frame: &[u8]) -> Option<Vec<u8>> {
    let taken = frame.len().checked_sub(outcome.frame.len())?;
    let ethernet = tunnel::l3(frame);
    // An answer of ours is shorter too.
    let is_answer = matches!(
        outcome.verdict,
        Verdict::TunnelTooBigAnswered | Verdict::HopLimitAnswered
    );
    (taken > 0 && !is_answer).then(|| [&frame[..ethernet], &frame[ethernet + taken..]].concat())
}

/// Whether a frame that was sent has nothing left of what came in.
fn is_of_our_own(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::HeartbeatReset
            | Verdict::RescuedTx
            | Verdict::RescuedRedirect
            | Verdict::LateAnswer
            | Verdict::FlowReset
            | Verdict::SwitchReset
            | Verdict::TunnelTooBigAnswered
            | Verdict::HopLimitAnswered
    )
}

/// Whether the whole IP packet is there.
pub(crate) fn is_whole(frame: &[u8]) -> bool {
    SlicedPacket::from_ethernet(frame).is_ok_and(|packet| packet.transport.is_some())
}

/// A checksum field.
#[derive(Clone, Copy, Debug)]
struct Checksum {
    at: usize,
    found: [u8; 2],
    /// Computed in full.
    full: [u8; 2],
    may_be_left_out: bool,
}

impl Checksum {
    fn valid(&self) -> bool {
        self.found == self.full || self.may_be_left_out && self.found == [0, 0]
    }
}

/// Every checksum of a frame, if etherparse can read it.
fn checksums(frame: &[u8]) -> Option<Vec<Checksum>> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let field = |header: &[u8], offset, full: u16, may_be_left_out| {
        let at = header.as_ptr().addr() - frame.as_ptr().addr() + offset;
        Checksum {
            at,
            found: [frame[at], frame[at + 1]],
            full: full.to_be_bytes(),
            may_be_left_out,
        }
    };
    let mut found = Vec::new();
    let net = packet.net?;
    if let NetSlice::Ipv4(ip) = &net {
        let header = ip.header();
        let full = header.to_header().calc_header_checksum();
        found.push(field(header.slice(), 10, full, false));
    }
    match (&net, packet.transport?) {
        (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            let full = header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload());
            found.push(field(udp.slice(), 6, full.ok()?, true));
        }
        (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            let full = header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload());
            found.push(field(udp.slice(), 6, full.ok()?, true));
        }
        (_, TransportSlice::Icmpv4(icmp)) => {
            let full = icmp.icmp_type().calc_checksum(icmp.payload());
            found.push(field(icmp.slice(), 2, full, false));
        }
        (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let full = icmp
                .icmp_type()
                .calc_checksum(source, destination, icmp.payload());
            found.push(field(icmp.slice(), 2, full.ok()?, false));
        }
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            let full = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
            found.push(field(tcp.slice(), 16, full.ok()?, false));
        }
        (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
            let full = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination());
            found.push(field(tcp.slice(), 16, full.ok()?, false));
        }
        _ => {}
    }
    Some(found)
}
