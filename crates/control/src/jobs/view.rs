//! Envelopes of jobs, executions and tasks as the messages that clients see.

use std::time::SystemTime;

use updraft_api::{
    rpc, run,
    v1::{Stored, job_notice_condition},
    view::{condition, timestamp},
};
use updraft_model::{
    Condition, Error, State,
    condition::kind::READY,
    job::{Counts, TaskName, TaskPhase, lifecycle},
};
use updraft_plan::job::Task;
use updraft_store::Envelope;

use super::keys;
use crate::{
    record::{self, ExecutionRecord, JobRecord, TaskRecord},
    view::{etag, rest},
};

/// What a client wrote of a job, by whichever version of the API.
pub(crate) fn intent(envelope: &Envelope) -> Result<Stored<run::Job>, Error> {
    let message = record::message(envelope, &envelope.spec)?;
    Ok(Stored { message, rest: rest(envelope)?, operation: String::new() })
}

/// A job as clients see it; `latest` is the newest of its executions, if that is there.
pub(crate) fn job(envelope: &Envelope, latest: Option<&Envelope>) -> Result<run::Job, Error> {
    let record: JobRecord = record::read(envelope)?;
    let intent: run::Job = record::message(envelope, &envelope.spec)?;
    let name = keys::job_name(envelope);
    let ready = Condition::new(READY, State::Succeeded, envelope.updated);
    let notice = job_notice_condition(&intent, &rest(envelope)?);
    let since = Some(timestamp(envelope.updated));
    Ok(run::Job {
        name: name.to_string(),
        uid: envelope.uid.clone(),
        generation: envelope.generation,
        create_time: Some(timestamp(envelope.created)),
        update_time: Some(timestamp(envelope.updated)),
        creator: record.creator,
        last_modifier: record.last_modifier,
        observed_generation: envelope.generation,
        terminal_condition: Some(condition::from_model(&ready)),
        conditions: notice.map(|notice| run::Condition { last_transition_time: since, ..notice }).into_iter().collect(),
        execution_count: i32::try_from(record.executions).unwrap_or(i32::MAX),
        latest_created_execution: latest.map(reference).transpose()?,
        etag: etag(envelope),
        ..intent
    })
}

/// A job as v1's clients see it.
pub(crate) fn stored_job(envelope: &Envelope, latest: Option<&Envelope>) -> Result<Stored<run::Job>, Error> {
    let record: JobRecord = record::read(envelope)?;
    Ok(Stored { message: job(envelope, latest)?, rest: rest(envelope)?, operation: record.operation })
}

/// A deleted job carries the time of its deletion.
pub(crate) fn deleted_job(mut job: run::Job, now: SystemTime) -> run::Job {
    job.delete_time = Some(timestamp(now));
    job.expire_time = Some(timestamp(now));
    job
}

/// The same of an execution.
pub(crate) fn deleted_execution(mut execution: run::Execution, now: SystemTime) -> run::Execution {
    execution.delete_time = Some(timestamp(now));
    execution.expire_time = Some(timestamp(now));
    execution.reconciling = false;
    execution
}

/// What a job says of its newest execution.
fn reference(envelope: &Envelope) -> Result<run::ExecutionReference, Error> {
    use run::execution_reference::CompletionStatus as Status;
    let status: run::Execution = record::message(envelope, &envelope.status)?;
    let record: ExecutionRecord = record::read(envelope)?;
    let completed = status.conditions.iter().filter_map(condition::to_model).find(|one| one.kind == "Completed");
    let completion = match (&status.completion_time, completed) {
        (Some(_), Some(condition)) if condition.state == State::Succeeded => Status::ExecutionSucceeded,
        (Some(_), _) if record.cancelled.is_some() => Status::ExecutionCancelled,
        (Some(_), _) => Status::ExecutionFailed,
        (None, _) if status.start_time.is_some() => Status::ExecutionRunning,
        (None, _) => Status::ExecutionPending,
    };
    Ok(run::ExecutionReference {
        name: envelope.key.name.clone(),
        create_time: Some(timestamp(envelope.created)),
        completion_time: status.completion_time,
        completion_status: completion.into(),
        ..run::ExecutionReference::default()
    })
}

/// An execution as clients see it; `live` are the counts of one that is under way.
pub(crate) fn execution(envelope: &Envelope, live: Option<Counts>) -> Result<run::Execution, Error> {
    let record: ExecutionRecord = record::read(envelope)?;
    let intent: run::Execution = record::message(envelope, &envelope.spec)?;
    let status: run::Execution = record::message(envelope, &envelope.status)?;
    let mut execution = run::Execution {
        name: keys::execution_name(envelope).to_string(),
        uid: envelope.uid.clone(),
        creator: record.creator,
        generation: envelope.generation,
        create_time: Some(timestamp(envelope.created)),
        update_time: Some(timestamp(envelope.updated)),
        start_time: status.start_time,
        completion_time: status.completion_time,
        reconciling: !record.is_over,
        conditions: status.conditions,
        observed_generation: envelope.generation,
        running_count: status.running_count,
        succeeded_count: status.succeeded_count,
        failed_count: status.failed_count,
        cancelled_count: status.cancelled_count,
        retried_count: status.retried_count,
        etag: etag(envelope),
        ..intent
    };
    // What is written down at the end has its counts; in memory they may be of before it.
    if let Some(counts) = live.filter(|_| !record.is_over) {
        write_counts(&mut execution, counts);
    }
    if execution.conditions.is_empty() {
        // Nobody has looked at it yet.
        let times = lifecycle::Times { created: envelope.created, started: None, completed: None };
        let phase = lifecycle::ExecutionPhase::Preparing;
        let conditions = lifecycle::execution_conditions(&envelope.key.name, &phase, &times, envelope.created);
        execution.conditions = conditions.iter().map(condition::from_model).collect();
    }
    Ok(execution)
}

/// Has a task of it begun?
pub(crate) fn is_started(envelope: &Envelope) -> Result<bool, Error> {
    let status: run::Execution = record::message(envelope, &envelope.status)?;
    Ok(status.start_time.is_some())
}

/// Writes how many of its tasks are in which phase.
pub(crate) fn write_counts(execution: &mut run::Execution, counts: Counts) {
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    execution.running_count = number(counts.running);
    execution.succeeded_count = number(counts.succeeded);
    execution.failed_count = number(counts.failed);
    execution.cancelled_count = number(counts.cancelled);
    execution.retried_count = number(counts.retried);
}

/// An execution as v1's clients see it.
pub(crate) fn stored_execution(envelope: &Envelope, live: Option<Counts>) -> Result<Stored<run::Execution>, Error> {
    Ok(Stored { message: execution(envelope, live)?, rest: rest(envelope)?, operation: String::new() })
}

/// The tasks of an execution: what they have in common is read once for all of them.
pub(crate) struct Tasks<'a> {
    execution: &'a Envelope,
    intent: run::Execution,
    about: ExecutionRecord,
}

// === impl Tasks ===

impl<'a> Tasks<'a> {
    pub(crate) fn of(execution: &'a Envelope) -> Result<Self, Error> {
        let intent = record::message(execution, &execution.spec)?;
        Ok(Self { execution, intent, about: record::read(execution)? })
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.intent.task_count).unwrap_or_default()
    }

    pub(crate) fn name_at(&self, place: u32) -> TaskName {
        keys::execution_name(self.execution).task(self.about.index_at(place))
    }

    /// `None` if the execution has no such task.
    pub(crate) fn place_of(&self, name: &TaskName) -> Option<u32> {
        self.about.place_of(name.index, self.count())
    }

    /// A task as clients see it; `row` is what is written down of it, if anything is.
    pub(crate) fn task(&self, (name, place): (&TaskName, u32), row: Option<&Envelope>) -> Result<run::Task, Error> {
        let Self { execution, intent, about } = self;
        let template = intent.template.clone().unwrap_or_default();
        let record = row.map(record::read::<TaskRecord>).transpose()?.unwrap_or_default();
        let mut task = record.task();
        if row.is_none() && about.is_over {
            // The end of its execution found it so: what is never begun has no row.
            task.phase = TaskPhase::Abandoned;
        }
        let completed = record.completed.or_else(|| (row.is_none() && about.is_over).then_some(execution.updated));
        let times = lifecycle::Times { created: execution.created, started: record.started, completed };
        let updated = row.map_or(execution.created, |row| row.updated);
        let conditions = lifecycle::task_conditions(task.phase, task.last.as_ref(), &times, updated);
        Ok(run::Task {
            name: name.to_string(),
            uid: row.map_or_else(|| uid(execution, place), |row| row.uid.clone()),
            generation: 1,
            labels: intent.labels.clone(),
            annotations: intent.annotations.clone(),
            create_time: Some(timestamp(execution.created)),
            scheduled_time: record.started.map(timestamp),
            start_time: record.started.map(timestamp),
            completion_time: completed.map(timestamp),
            update_time: Some(timestamp(updated)),
            job: name.execution.job.job.clone(),
            execution: name.execution.execution.clone(),
            containers: template.containers,
            volumes: template.volumes,
            max_retries: template.retries.map_or(0, |run::task_template::Retries::MaxRetries(count)| count),
            timeout: template.timeout,
            service_account: template.service_account,
            execution_environment: template.execution_environment,
            reconciling: !task.phase.is_terminal(),
            conditions: conditions.iter().map(condition::from_model).collect(),
            observed_generation: 1,
            index: i32::try_from(name.index).unwrap_or(i32::MAX),
            retried: i32::try_from(task.attempts.saturating_sub(1)).unwrap_or(i32::MAX),
            last_attempt_result: result(&task),
            encryption_key: template.encryption_key,
            vpc_access: template.vpc_access,
            node_selector: template.node_selector,
            gpu_zonal_redundancy_disabled: template.gpu_zonal_redundancy_disabled,
            log_uri: format!("{}&task={}", intent.log_uri, name.index),
            etag: row.map(etag).unwrap_or_default(),
            ..run::Task::default()
        })
    }
}

fn result(task: &Task) -> Option<run::TaskAttemptResult> {
    let end = task.last.as_ref()?;
    let status = rpc::Status { code: end.status_code(), message: end.message(), details: Vec::new() };
    Some(run::TaskAttemptResult {
        status: Some(status),
        exit_code: end.exit_code().unwrap_or_default(),
        term_signal: end.term_signal().unwrap_or_default(),
    })
}

/// The id of a task for ever: that of its execution, with its place in its last digits.
pub(crate) fn uid(execution: &Envelope, place: u32) -> String {
    let head = execution.uid.get(..24).unwrap_or(&execution.uid);
    format!("{head}{place:012x}")
}
