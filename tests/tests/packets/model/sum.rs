//! The Internet checksum (RFC 1071), and what becomes of one when words under it change
//! (RFC 1624).

/// The ones'-complement sum of sixteen-bit words; the last byte of an odd number counts
/// as the first of a word.
fn add(mut sum: u64, bytes: &[u8]) -> u64 {
    for word in bytes.chunks(2) {
        let low = word.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([word[0], low]));
    }
    sum
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).expect("folded")
}

/// The checksum of all these one after the other; each but the last is even.
pub(super) fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let sum = parts.iter().fold(0, |sum, part| add(sum, part));
    (!folded(sum)).to_be_bytes()
}

/// The checksum at `at` after `old` has become `new` elsewhere: HC' = ~(~HC + ~m + m').
pub(super) fn update(frame: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let found = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let inverted: Vec<u8> = old.iter().map(|byte| !byte).collect();
    let sum = add(add(u64::from(!found), &inverted), new);
    frame[at..at + 2].copy_from_slice(&(!folded(sum)).to_be_bytes());
}
