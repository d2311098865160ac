//! Real time.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a bench lives in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
