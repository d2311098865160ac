//! What an input means.
//!
//! The first byte selects, the rest is the client's part and, behind [`SEPARATOR`], the container's answers, one for each
//! request, behind separators of their own. The last answer is that to all requests that follow; without any it is a
//! plain 200.

use crate::frames;

/// Between the client's part and an answer, and between answers.
pub(crate) const SEPARATOR: &[u8] = b"\xff|\xff";

const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Bits of the first byte.
mod bit {
    /// The client's part is a list of frames ([`crate::frames`]), else bytes as they are.
    pub(super) const FRAMES: u8 = 1;
    /// The container answers as soon as it has seen a head, else after the whole request.
    pub(super) const EAGER: u8 = 2;
    /// The container closes its connection after each answer.
    pub(super) const CLOSES: u8 = 4;
    /// The client writes its part in two pieces, with a pause between them.
    pub(super) const PAUSES: u8 = 8;
    /// The client is gone for good at its end, else it closes only its side.
    pub(super) const LEAVES: u8 = 16;
    /// The container ends first.
    pub(super) const ABANDONS: u8 = 32;
}

pub(crate) struct Input {
    pub client: Vec<u8>,
    pub answers: Vec<Vec<u8>>,
    pub is_eager: bool,
    pub closes: bool,
    pub pauses: bool,
    pub leaves: bool,
    pub abandons: bool,
}

impl Input {
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let (&select, rest) = data.split_first()?;
        let mut parts = split(rest).into_iter();
        let client = parts.next().unwrap_or_default();
        let client = if select & bit::FRAMES != 0 { frames::assemble(client) } else { client.to_vec() };
        let mut answers: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        if answers.is_empty() {
            answers.push(PLAIN.to_vec());
        }
        Some(Self {
            client,
            answers,
            is_eager: select & bit::EAGER != 0,
            closes: select & bit::CLOSES != 0,
            pauses: select & bit::PAUSES != 0,
            leaves: select & bit::LEAVES != 0,
            abandons: select & bit::ABANDONS != 0,
        })
    }
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + SEPARATOR.len()..];
    }
    parts.push(bytes);
    parts
}
