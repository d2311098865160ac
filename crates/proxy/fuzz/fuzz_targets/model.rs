//! How many requests a client's bytes can be at most, by whoever reads them most generously.

use crate::frames::PREFACE;

/// No reader finds more requests than this in `bytes`: more at the container are smuggled ones.
pub(crate) fn most_requests(bytes: &[u8]) -> usize {
    match bytes.strip_prefix(PREFACE) {
        Some(frames) => heads(frames),
        None => blank_lines(bytes),
    }
}

/// Frames that open a stream or end one with trailers.
fn heads(mut frames: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = frames.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        count += usize::from(head[3] == 1);
        frames = rest.get(length..).unwrap_or_default();
    }
    count
}

/// Each head of HTTP/1.1 ends with a line that is empty.
fn blank_lines(bytes: &[u8]) -> usize {
    let is_end = |at: &usize| {
        let rest = &bytes[*at..];
        rest.starts_with(b"\n\n") || rest.starts_with(b"\n\r\n")
    };
    (0..bytes.len()).filter(is_end).count()
}
