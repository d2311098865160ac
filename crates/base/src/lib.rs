//! The ground floor: time, tasks, shutdown, backoff.
//!
//! Nothing here may name a noun of the product; what knows a service or an instance lives upstairs.
//!
//! * [`Clock`]: the only source of time and of timers. Real in the product, driven by hand in tests.
//! * [`Tasks`]: every spawned task has a name, an owner and a policy for its failure.
//! * [`Shutdown`]: a token to ask for an end and a gate to wait for it.
//! * [`Backoff`]: capped exponential delays with jitter.
//! * [`Seats`]: places that run out, of which nobody can take all.
//! * [`boxed()`]: futures that take no room of who chooses among them.

mod backoff;
mod boxed;
mod clock;
mod precise;
mod seats;
mod tasks;

pub use backoff::Backoff;
pub use boxed::boxed;
pub use clock::{Clock, Elapsed, PreciseSleeper, Sleep, VirtualClock};
pub use seats::{Seat, Seats};
pub use tasks::{OnFailure, Shutdown, Tasks};
