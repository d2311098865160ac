//! What ends with an execution: the operations that wait for it.

use updraft_api::{pack, rpc, run};
use updraft_model::{
    Error,
    job::{JobName, lifecycle::ExecutionPhase},
};
use updraft_store::{Change, Envelope};

use super::{PLATFORM, Subject};
use crate::{
    Inner,
    executions::Live,
    jobs::{keys, view},
    reconcile::operation::{End, ended},
    record::{self, OperationRecord},
};

/// Ends the operations that wait for what has come about, in the same commit as that; what the execution says of itself is
/// there already.
pub(super) async fn settle(
    inner: &Inner,
    (subject, live): (&mut Subject, &Live),
    phase: &ExecutionPhase,
    changes: &mut Vec<Change>,
) -> Result<(), Error> {
    if live.started.is_some() || phase.is_over() {
        for id in std::mem::take(&mut subject.record.starting) {
            end(inner, subject, (&id, Verdict::of_start(live)), changes).await?;
        }
    }
    if !phase.is_over() {
        return Ok(());
    }
    for id in std::mem::take(&mut subject.record.pending) {
        end(inner, subject, (&id, Verdict::of_end(phase)), changes).await?;
    }
    for id in std::mem::take(&mut subject.record.cancelling) {
        end(inner, subject, (&id, Verdict::Well), changes).await?;
    }
    Ok(())
}

/// How an operation ends.
enum Verdict {
    Well,
    Badly(rpc::Code),
}

// === impl Verdict ===

impl Verdict {
    fn of_start(live: &Live) -> Self {
        if live.started.is_some() { Self::Well } else { Self::Badly(rpc::Code::FailedPrecondition) }
    }

    /// Google documents no codes for these; a container that does not start makes a deploy fail with this one.
    fn of_end(phase: &ExecutionPhase) -> Self {
        use updraft_model::job::Outcome;
        match phase {
            ExecutionPhase::Ended(Outcome::Succeeded) => Self::Well,
            ExecutionPhase::Ended(Outcome::Cancelled) => Self::Badly(rpc::Code::Cancelled),
            _ => Self::Badly(rpc::Code::FailedPrecondition),
        }
    }
}

async fn end(
    inner: &Inner,
    subject: &Subject,
    (id, verdict): (&str, Verdict),
    changes: &mut Vec<Change>,
) -> Result<(), Error> {
    let Some((envelope, about)) = inner.open_operation(&subject.name.job.parent, id).await? else { return Ok(()) };
    let execution = shown(subject)?;
    let resource = match about_job(&about) {
        None => pack(&execution),
        Some(job) => match inner.get(&PLATFORM, &keys::job(&job)).await? {
            Some(job) => pack(&view::job(&job, Some(&subject.envelope))?),
            None => pack(&execution),
        },
    };
    let end = match verdict {
        Verdict::Well => End::Done(resource),
        Verdict::Badly(code) => {
            let completed = execution.conditions.iter().find(|condition| condition.r#type == "Completed");
            let message = completed.map(|condition| condition.message.clone()).unwrap_or_default();
            End::Failed(Some(resource), code, message)
        }
    };
    changes.push(ended(envelope, end));
    Ok(())
}

/// The job of an operation that is about one, and not about its execution.
fn about_job(about: &OperationRecord) -> Option<JobName> {
    about.resource.parse().ok()
}

/// The execution as it is going to be written down.
fn shown(subject: &Subject) -> Result<run::Execution, Error> {
    let envelope = Envelope { internal: record::write(&subject.record), ..subject.envelope.clone() };
    view::execution(&envelope, None)
}
