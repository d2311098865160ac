//! Services: the use cases.

mod delete;
mod draft;
pub(crate) mod iam;
mod read;
mod write;

pub(crate) use draft::operation;
pub(crate) use read::is_deleting;
pub(crate) use write::{Mode, Source};
