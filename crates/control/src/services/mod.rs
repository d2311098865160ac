//! Services: the use cases.

mod delete;
mod draft;
pub(crate) mod iam;
mod read;
mod write;

pub(crate) use draft::operation;
pub(crate) use read::is_deleting;
pub use write::Mode;
pub(crate) use write::Source;
