//! From bytes to lines.

use crate::protocol::MAX_LINE;

/// Cuts a stream into lines; one that is too long comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

// === impl Lines ===

impl Lines {
    /// Takes what was read and returns the lines that it completes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.extend(&bytes[..end], &mut lines);
            if self.rest.last() == Some(&b'\r') {
                self.rest.pop();
            }
            lines.push(text(&std::mem::take(&mut self.rest)));
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, &mut lines);
        lines
    }

    /// What is left when the stream has ended.
    pub(crate) fn finish(&mut self) -> Option<String> {
        (!self.rest.is_empty()).then(|| text(&std::mem::take(&mut self.rest)))
    }

    fn extend(&mut self, mut bytes: &[u8], lines: &mut Vec<String>) {
        while self.rest.len() + bytes.len() > MAX_LINE {
            let (piece, after) = bytes.split_at(MAX_LINE - self.rest.len());
            self.rest.extend_from_slice(piece);
            let kept = self.rest.split_off(whole_characters(&self.rest));
            lines.push(text(&std::mem::replace(&mut self.rest, kept)));
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
    }
}

/// How many bytes can be cut off without cutting through a character.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    match bytes.iter().skip(tail).rposition(|&byte| byte >= 0xc0) {
        // A lead byte near the end: cut before it if its character is not complete.
        Some(at) if std::str::from_utf8(&bytes[tail + at..]).is_err() => tail + at,
        _ => bytes.len(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_were_read() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\r\n\nthree"), ["two", ""]);
        assert_eq!(lines.finish().as_deref(), Some("three"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_no_character_is_cut() {
        let line = "ä".repeat(MAX_LINE);
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for chunk in format!("x{line}\n").as_bytes().chunks(1000) {
            got.extend(lines.push(chunk));
        }
        assert!(got.iter().all(|piece| piece.len() <= MAX_LINE && !piece.contains('\u{fffd}')));
        assert_eq!(got.concat(), format!("x{line}"));
        assert_eq!(got.len(), 3);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(Lines::default().push(b"a\xffb\n"), ["a\u{fffd}b"]);
    }
}
