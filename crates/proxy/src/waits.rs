//! Where the time went until the first byte of an answer.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use updraft_fleet::Timing;
use updraft_model::channel::Waits;

/// When a request got how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Milestones {
    /// Its head was here.
    pub(crate) begun: Instant,
    /// It had a place.
    pub(crate) admitted: Instant,
    /// The head of the answer was here.
    pub(crate) answered: Instant,
}

/// Splits the time of a request. `timing` is that of the start of its instance, if this server started it: a request
/// that came while it was on its way up waited for that, and one that came later did not.
pub(crate) fn split(at: Milestones, timing: Option<Timing>) -> Waits {
    let shared = |from: Instant, to: Instant| to.min(at.admitted).saturating_duration_since(from.max(at.begun));
    let (sandbox, app) = match timing {
        Some(timing) => (shared(timing.asked, timing.started), shared(timing.started, timing.ready)),
        None => (Duration::ZERO, Duration::ZERO),
    };
    let waited = at.admitted.saturating_duration_since(at.begun);
    Waits {
        queued: waited.saturating_sub(sandbox + app),
        sandbox,
        app,
        first_byte: at.answered.saturating_duration_since(at.admitted),
    }
}

/// The value of `Server-Timing` (W3C Server Timing), in milliseconds.
pub(crate) fn server_timing(waits: Waits) -> String {
    let parts =
        [("queued", waits.queued), ("sandbox", waits.sandbox), ("app", waits.app), ("first_byte", waits.first_byte)];
    let mut text = String::with_capacity(80);
    for (name, time) in parts {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a text does not fail.
        let _ = write!(text, "{comma}{name};dur={:.3}", time.as_secs_f64() * 1e3);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for readings that only differences are made of")]
    fn origin() -> Instant {
        Instant::now()
    }

    /// Milliseconds of queued, sandbox, app and first byte, of a request that begins at 10 ms.
    fn parts(admitted: u64, answered: u64, start: Option<[u64; 3]>) -> [u128; 4] {
        let origin = origin();
        let at = |ms| origin + Duration::from_millis(ms);
        let timing =
            start.map(|[asked, started, ready]| Timing { asked: at(asked), started: at(started), ready: at(ready) });
        let waits = split(Milestones { begun: at(10), admitted: at(admitted), answered: at(answered) }, timing);
        let all = [waits.queued, waits.sandbox, waits.app, waits.first_byte];
        assert_eq!(all.iter().sum::<Duration>(), Duration::from_millis(answered - 10), "the parts are the whole");
        all.map(|part| part.as_millis())
    }

    #[test]
    fn the_parts_of_a_wait_are_told_apart() {
        assert_eq!(parts(31, 35, Some([11, 15, 30])), [2, 4, 15, 4], "from zero");
        assert_eq!(parts(30, 35, Some([2, 15, 30])), [0, 5, 15, 5], "an instance was on its way");
        assert_eq!(parts(30, 35, Some([2, 5, 9])), [20, 0, 0, 5], "a place became free");
        assert_eq!(parts(10, 12, Some([2, 5, 9])), [0, 0, 0, 2], "there was room");
        assert_eq!(parts(20, 21, None), [10, 0, 0, 1], "the instance is a predecessor's");
        assert_eq!(parts(20, 21, Some([12, 18, 25])), [2, 6, 2, 1], "it was ready a moment later than it said");
    }

    #[test]
    fn browsers_are_told_milliseconds() {
        let micros = Duration::from_micros;
        let waits = Waits { queued: micros(120), sandbox: micros(2040), app: micros(8000), first_byte: micros(931) };
        assert_eq!(server_timing(waits), "queued;dur=0.120, sandbox;dur=2.040, app;dur=8.000, first_byte;dur=0.931");
    }
}
