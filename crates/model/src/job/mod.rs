//! A job: a template for executions, each of which runs tasks to their end.

pub mod defaults;
pub mod lifecycle;
pub mod name;
pub mod overrides;
pub mod types;
pub mod validation;

pub use lifecycle::{AttemptEnd, Counts, ExecutionPhase, Outcome, TaskPhase, Times};
pub use name::{AttemptName, ExecutionName, JobName, TaskName};
pub use overrides::{ContainerOverride, Overrides};
pub use types::{ExecutionTemplate, FirstExecution, Job, TaskTemplate};
