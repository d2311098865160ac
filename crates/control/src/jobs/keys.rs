//! Where jobs, executions and tasks are in the store.

use updraft_model::job::{ExecutionName, JobName, TaskName};
use updraft_store::{Envelope, Key, Kind};

/// Of a job.
pub(crate) fn job(name: &JobName) -> Key {
    Key::new(Kind::Job, name.parent.clone(), &name.job)
}

/// Of an execution. Its owner is the id of its job.
pub(crate) fn execution(name: &ExecutionName) -> Key {
    Key::new(Kind::Execution, name.job.parent.clone(), &name.execution)
}

/// Of a task. Its owner is the id of its execution.
pub(crate) fn task(name: &TaskName) -> Key {
    Key::new(Kind::Task, name.execution.job.parent.clone(), name.id())
}

/// The job in an envelope.
pub(crate) fn job_name(envelope: &Envelope) -> JobName {
    envelope.key.parent.job(&envelope.key.name)
}

/// The execution in an envelope.
pub(crate) fn execution_name(envelope: &Envelope) -> ExecutionName {
    envelope.key.parent.job(&envelope.owner).execution(&envelope.key.name)
}
