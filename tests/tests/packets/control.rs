//! ICMP messages, built by etherparse.

use crate::frame::Frame;

/// An ICMP or `ICMPv6` message.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    /// MACs, tag, addresses and padding; what else is in it is not used.
    pub(crate) frame: Frame,
    /// Type and code (RFC 792, RFC 4443).
    pub(crate) kind: (u8, u8),
    /// The second word of the header.
    pub(crate) word: [u8; 4],
    /// What is behind the eight bytes of the header.
    pub(crate) body: Vec<u8>,
}

impl Control {
    /// The answer to a heartbeat: index, sequence number and token, little endian.
    pub(crate) fn echo_reply(frame: Frame, index: u32, sequence: u32, token: u64) -> Self {
        let kind = if frame.source.is_ipv4() { 0 } else { 129 };
        let (index, sequence) = (index.to_le_bytes(), sequence.to_le_bytes());
        Self {
            frame,
            kind: (kind, 0),
            word: [0; 4],
            body: [&index[..], &sequence, &token.to_le_bytes()].concat(),
        }
    }

    /// "Port unreachable", about `lost`, of which it quotes all headers.
    pub(crate) fn unreachable(frame: Frame, lost: &Frame) -> Self {
        let kind = if frame.source.is_ipv4() {
            (3, 3)
        } else {
            (1, 4)
        };
        Self {
            frame,
            kind,
            word: [0; 4],
            body: quote(lost),
        }
    }

    /// The bytes on the wire, with every checksum computed in full.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (kind, code) = self.kind;
        let step = self.frame.until_ip();
        let mut bytes = Vec::new();
        let written = if self.frame.source.is_ipv4() {
            let step = step.icmpv4_raw(kind, code, self.word);
            step.write(&mut bytes, &self.body)
        } else {
            let step = step.icmpv6_raw(kind, code, self.word);
            step.write(&mut bytes, &self.body)
        };
        written.expect("a message that can be built");
        bytes.extend(&self.frame.padding);
        bytes
    }
}

/// `frame` from its IP header on.
pub(crate) fn quote(frame: &Frame) -> Vec<u8> {
    let frame = Frame {
        vlan: None,
        ..frame.clone()
    };
    frame.bytes().split_off(frame.l3())
}
