//! The root of an instance where layers cannot be stacked: a copy of the image that is the instance's alone.
//!
//! What the copy looks like is decided once for an image, when it is prepared ([`Blueprint`]); at
//! each start it is made anew ([`build()`]) below the run directory of the engine, and removed when the instance
//! has ended. A copy costs what the image weighs: see `docs/isolation.md`.

mod blueprint;
mod build;

pub(crate) use blueprint::Blueprint;
pub(crate) use build::{Furnishing, build};
