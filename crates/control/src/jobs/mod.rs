//! Jobs, executions and tasks: the use cases.
//!
//! A run writes an execution down, together with the operation that ends when it is over. What happens to it then is the
//! reconciler's (`reconcile/execution`). A task has no row before its first attempt is begun: until then it is what its
//! execution says, at its number.

mod delete;
mod draft;
mod executions;
mod iam;
pub(crate) mod keys;
mod read;
mod rerun;
mod run;
mod tasks;
pub(crate) mod view;
mod write;

pub use delete::Running;
pub(crate) use executions::is_deleting as is_execution_deleting;
pub(crate) use read::is_deleting;
pub(crate) use run::Begun as Start;
pub(crate) use tasks::Position;
pub(crate) use write::Source;
