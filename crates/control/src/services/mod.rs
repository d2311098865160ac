//! Services: the use cases; and what worker pools have in common with them.

mod delete;
mod draft;
pub(crate) mod iam;
mod read;
mod write;

pub(crate) use draft::{Renewal, operation};
pub(crate) use read::is_deleting;
pub use write::Mode;
pub(crate) use write::{Missing, Source, Update};
