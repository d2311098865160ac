//! What a container wrote and the server has not dealt with yet.

use std::collections::VecDeque;

use crate::protocol::{Report, Stream, WINDOW};

/// Output in the order in which it was read, until it is acknowledged. Bounded by whoever stops reading when it is
/// full.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pieces: VecDeque<Piece>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Piece {
    number: u64,
    bytes: usize,
    report: Report,
}

// === impl Backlog ===

impl Backlog {
    /// Adds lines. Returns what is to be reported.
    pub(super) fn push(&mut self, id: &str, stream: Stream, lines: Vec<String>) -> &Report {
        // An empty line is not free either.
        let bytes = lines.iter().map(|line| line.len() + 1).sum();
        let number = self.next;
        self.next += 1;
        self.bytes += bytes;
        let report = Report::Output { id: id.to_owned(), stream, lines, number };
        self.pieces.push_back(Piece { number, bytes, report });
        &self.pieces[self.pieces.len() - 1].report
    }

    /// The piece of this number has been dealt with. One that is not here has been before.
    pub(super) fn taken(&mut self, number: u64) {
        if let Some(at) = self.pieces.iter().position(|piece| piece.number == number)
            && let Some(piece) = self.pieces.remove(at)
        {
            self.bytes -= piece.bytes;
        }
    }

    /// Is there so much that no more may be read?
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WINDOW
    }

    /// Everything that has not been dealt with, to be reported again.
    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.pieces.iter().map(|piece| &piece.report)
    }

    /// Nobody is to hear of it.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(backlog: &Backlog) -> Vec<u64> {
        let number = |report: &Report| match report {
            Report::Output { number, .. } => *number,
            other => panic!("{other:?}"),
        };
        backlog.reports().map(number).collect()
    }

    #[test]
    fn what_was_not_dealt_with_is_told_again_in_order_and_nothing_else() {
        let mut backlog = Backlog::default();
        for text in ["a", "b", "c", "d"] {
            backlog.push("i", Stream::Stdout, vec![text.to_owned()]);
        }
        // Whoever gave up on the third said so before the first was written down.
        backlog.taken(2);
        backlog.taken(0);
        backlog.taken(0);
        assert_eq!(numbers(&backlog), [1, 3]);
    }

    #[test]
    fn it_is_full_at_the_window_and_has_room_again_when_something_was_dealt_with() {
        let mut backlog = Backlog::default();
        let line = "x".repeat(WINDOW / 2 - 1);
        backlog.push("i", Stream::Stdout, vec![line.clone()]);
        assert!(!backlog.is_full());
        backlog.push("i", Stream::Stderr, vec![line]);
        assert!(backlog.is_full());
        backlog.taken(0);
        assert!(!backlog.is_full());
    }
}
