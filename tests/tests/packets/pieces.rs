//! A packet in several pieces, and with extension headers: what etherparse's builder does
//! not make. Lengths are made right again, and the checksum of IPv4 by etherparse.

use etherparse::Ipv4Header;

use crate::frame::Frame;

/// Protocol numbers of extension headers (RFC 8200, section 4).
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// Where IPv6 has its payload length and its next header.
const LENGTH_V6: usize = 4;
const NEXT_HEADER: usize = 6;
const IPV6: usize = 40;

/// The frame as fragments (RFC 791, section 3.2; RFC 8200, section 4.5) that are cut at
/// these offsets into what is behind the IP header.
pub(crate) fn fragments(frame: &Frame, identification: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let bytes = frame.bytes();
    let (headers, payload) = bytes.split_at(frame.l4());
    let ends = cuts.iter().copied().chain([payload.len()]);
    let mut start = 0;
    ends.map(|end| {
        let mut piece = headers.to_vec();
        let (is_last, offset) = (end == payload.len(), u16::try_from(start).expect("short"));
        let part = &payload[start..end];
        start = end;
        if frame.source.is_ipv4() {
            let l3 = frame.l3();
            let length = u16::try_from(headers.len() - l3 + part.len()).expect("short");
            let word = (offset / 8) | if is_last { 0 } else { 0x2000 };
            let [.., i0, i1] = identification.to_be_bytes();
            piece[l3 + 2..l3 + 4].copy_from_slice(&length.to_be_bytes());
            piece[l3 + 4..l3 + 6].copy_from_slice(&[i0, i1]);
            piece[l3 + 6..l3 + 8].copy_from_slice(&word.to_be_bytes());
            seal(&mut piece, l3);
            piece.extend(part);
            piece
        } else {
            piece.extend(part);
            let word = offset | u16::from(!is_last);
            insert(&mut piece, frame.l3(), &fragment(word, identification));
            piece
        }
    })
    .collect()
}

/// A fragment header; `word` is the offset and the flag.
pub(crate) fn fragment(word: u16, identification: u32) -> (u8, Vec<u8>) {
    let (word, identification) = (word.to_be_bytes(), identification.to_be_bytes());
    (FRAGMENT, [&[0, 0], &word[..], &identification].concat())
}

/// A header of options, all of them padding (RFC 8200, section 4.2), eight bytes and as
/// many more as `more` says.
pub(crate) fn options(kind: u8, more: u8) -> (u8, Vec<u8>) {
    let mut header = vec![0; 8 + usize::from(more) * 8];
    header[1] = more;
    (kind, header)
}

/// The bytes of an IPv6 frame with these headers in front of what is behind its own.
pub(crate) fn with_headers(frame: &Frame, headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = frame.bytes();
    for header in headers.iter().rev() {
        insert(&mut bytes, frame.l3(), header);
    }
    bytes
}

fn insert(bytes: &mut Vec<u8>, l3: usize, (kind, header): &(u8, Vec<u8>)) {
    let mut header = header.clone();
    header[0] = bytes[l3 + NEXT_HEADER];
    bytes[l3 + NEXT_HEADER] = *kind;
    bytes.splice(l3 + IPV6..l3 + IPV6, header);
    let length = u16::try_from(bytes.len() - l3 - IPV6).expect("short");
    bytes[l3 + LENGTH_V6..l3 + LENGTH_V6 + 2].copy_from_slice(&length.to_be_bytes());
}

/// Makes the checksum of an IPv4 header right.
pub(crate) fn seal(bytes: &mut [u8], l3: usize) {
    let (header, _) = Ipv4Header::from_slice(&bytes[l3..]).expect("a header that can be read");
    let checksum = header.calc_header_checksum().to_be_bytes();
    bytes[l3 + 10..l3 + 12].copy_from_slice(&checksum);
}
