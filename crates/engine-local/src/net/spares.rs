//! Networks whose instances are no more, kept for others like them.
//!
//! Attempts at the tasks of an execution come by the thousand, one after the other, and of one that does little a quarter
//! of the cost is that the kernel makes a network namespace and a cable and takes them apart again. So the next attempt of
//! the same execution gets the network of the last one, if that is as good as new: an instance has no right to change its
//! network, and what it has opened there ends with its processes, all but connections that linger. With one of these, a
//! network is let go like any other.

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Attachment;

/// They. The lock is never held across an await.
#[derive(Debug, Default)]
pub(super) struct Spares {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By whose they were, those that came last at the end.
    kept: HashMap<Arc<str>, Vec<(Instant, Attachment)>>,
    count: usize,
}

/// So many are kept at most.
const MOST: usize = 64;
/// So long one waits for the next of its kind.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(1) };
/// Where the kernel counts the sockets of the calling thread's namespace.
const COUNTS: [&str; 2] = ["/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6"];

/// Is no socket left in the namespace that the calling thread is in? Not even one whose process is gone.
pub(super) fn is_quiet() -> io::Result<bool> {
    for path in COUNTS {
        match fs::read_to_string(path) {
            Ok(counts) if !are_zero(&counts) => return Ok(false),
            // A kernel without IPv6.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

/// Lines such as `TCP: inuse 0 orphan 0 tw 0 alloc 7 mem 1`. What is in use, and what waits for its end (`tw`), is of this
/// namespace alone; the other numbers are of the whole machine.
fn are_zero(counts: &str) -> bool {
    counts.lines().filter(|line| !line.starts_with("sockets:")).all(|line| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        words.chunks(2).all(|pair| !matches!(pair, ["inuse" | "tw", number] if *number != "0"))
    })
}

// === impl Spares ===

impl Spares {
    /// Keeps one; gives it back if there are enough.
    pub(super) fn put(&self, whose: Arc<str>, attachment: Attachment, now: Instant) -> Option<Attachment> {
        let mut state = self.lock();
        if state.count >= MOST {
            return Some(attachment);
        }
        state.count += 1;
        state.kept.entry(whose).or_default().push((now, attachment));
        None
    }

    /// One of these.
    pub(super) fn take(&self, whose: &str) -> Option<Attachment> {
        let mut state = self.lock();
        let kept = state.kept.get_mut(whose)?;
        let (_, attachment) = kept.pop()?;
        if kept.is_empty() {
            state.kept.remove(whose);
        }
        state.count -= 1;
        Some(attachment)
    }

    /// Those that have waited long enough.
    pub(super) fn expired(&self, now: Instant) -> Vec<Attachment> {
        self.remove(|since| now >= since + PATIENCE)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Attachment> {
        self.remove(|_| true)
    }

    fn remove(&self, is_due: impl Fn(Instant) -> bool) -> Vec<Attachment> {
        let mut state = self.lock();
        let mut gone = Vec::new();
        state.kept.retain(|_, kept| {
            gone.extend(kept.extract_if(.., |(since, _)| is_due(*since)).map(|(_, attachment)| attachment));
            !kept.is_empty()
        });
        state.count -= gone.len();
        gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_or_lingers_is_seen_and_what_others_have_is_not() {
        let quiet = "sockets: used 3\nTCP: inuse 0 orphan 5 tw 0 alloc 12 mem 3\nUDP: inuse 0 mem 2\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
        assert!(are_zero(quiet));
        for (one, other) in [("TCP: inuse 0", "TCP: inuse 1"), ("tw 0", "tw 2"), ("UDP: inuse 0", "UDP: inuse 1")] {
            assert!(!are_zero(&quiet.replace(one, other)), "{other}");
        }
        assert!(!are_zero("TCP6: inuse 1\nUDP6: inuse 0\n"));
    }
}
