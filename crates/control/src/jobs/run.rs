//! Running a job: an execution is written down.

use std::time::SystemTime;

use prost::Message;
use updraft_api::{longrunning::Operation, pack, run, run_job::RunJobRequest, v1::Rest, view::job as job_view};
use updraft_model::{
    Error, ErrorKind, Parent,
    iam::Principal,
    job::{ExecutionName, FirstExecution, JobName, name::generated_execution_id},
};
use updraft_plan::hosts::UrlConfig;
use updraft_store::{Change, Envelope};

use super::{
    draft::Intent,
    keys, view,
    write::{busy, taken},
};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    failure::etag_mismatch,
    queue::Work,
    record::{self, ExecutionRecord, JobRecord, OperationRecord},
    services::{Mode, operation},
    view::{etag, operation_name, pending_operation, succeeded},
};

/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;
/// The most executions of a project and location that are under way. Source: Cloud Run's quotas.
const RUNNING_MAX: usize = 1000;

/// Who runs a job, when, and how URLs are written here.
pub(super) type By<'a> = ((&'a Principal, SystemTime), &'a UrlConfig);

/// An execution that is to be written down.
pub(super) struct Run {
    pub(super) name: ExecutionName,
    pub(super) execution: Envelope,
}

/// What came of running a job.
pub(crate) struct Begun {
    /// The operation that ends with the execution.
    pub(crate) operation: Operation,
    /// The execution.
    pub(crate) execution: Envelope,
}

// === impl Control ===

impl Control {
    /// Begins an execution of a job. The operation ends when that is over.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for overrides that break a rule, `Aborted` when the etag is not the
    /// current one, `ResourceExhausted` when as many executions are under way as may be.
    pub async fn jobs_run(&self, caller: &Principal, request: RunJobRequest) -> Result<Operation, Error> {
        let name = self.inner.places.job("name", &request.name)?;
        Ok(self.inner.run_job(caller, &name, &request).await?.operation)
    }
}

// === impl Inner ===

impl Inner {
    /// The same, with the execution.
    pub(crate) async fn run_job(
        &self,
        caller: &Principal,
        name: &JobName,
        request: &RunJobRequest,
    ) -> Result<Begun, Error> {
        let resource = Resource::Job(name.clone());
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, "run.jobs.run", &resource).await?;
            let job = permit.take_found();
            if request.overrides().is_some() {
                self.permit(caller, "run.jobs.runWithOverrides", &resource).await?;
            }
            let job = job.ok_or_else(|| Error::not_found(&name.job))?;
            if !request.etag.is_empty() && request.etag != etag(&job) {
                return Err(etag_mismatch(&name.job));
            }
            let stored = view::intent(&job)?;
            let template = overridden(name, &stored.message, request)?;
            let rest = shown_rest(&job)?;
            let by = (caller, self.clock.now());
            let run = begin((name, &stored.message), &template, rest, (by, &self.config.url));
            let begun = self.begin_execution(&permit, (job, run), Mode::of(request.validate_only)).await?;
            if let Some(begun) = begun {
                return Ok(begun);
            }
        }
        Err(busy(name))
    }

    /// May one more execution begin?
    pub(super) fn check_executions(&self, parent: &Parent) -> Result<(), Error> {
        if self.executions.count(parent) < RUNNING_MAX {
            return Ok(());
        }
        let message = format!("Quota exceeded: {RUNNING_MAX} executions of {parent} run, the most that may.");
        Err(Error::new(ErrorKind::ResourceExhausted, message))
    }

    /// The execution that a write of a job asks for, if it does and there is none yet: a client that writes the same token
    /// again, as Terraform does, means the one that there is.
    ///
    /// # Errors
    /// `AlreadyExists` when that is another job's.
    pub(super) async fn first_execution(
        &self,
        permit: &Permitted,
        (intent, before): (&Intent, &JobRecord),
        first: impl FnOnce(ExecutionName) -> Result<Run, Error>,
    ) -> Result<Option<Run>, Error> {
        let Some(token) = &intent.model.first_execution else { return Ok(None) };
        let name = &intent.model.name;
        let name = name.execution(format!("{}-{}", name.job, token.token()));
        // It may be gone meanwhile, and is not run again for that.
        if before.token == name.execution || before.latest == name.execution {
            return Ok(None);
        }
        match self.get(permit, &keys::execution(&name)).await? {
            Some(found) if found.owner == name.job.job && before.executions > 0 => Ok(None),
            Some(_) => Err(taken(&name.execution)),
            None => {
                self.check_executions(&name.job.parent)?;
                first(name).map(Some)
            }
        }
    }

    /// Writes an execution down, with its operation; `None` when somebody else wrote meanwhile.
    pub(super) async fn begin_execution(
        &self,
        permit: &Permitted,
        (mut job, mut run): (Envelope, Run),
        mode: Mode,
    ) -> Result<Option<Begun>, Error> {
        let (name, now) = (run.name.clone(), self.clock.now());
        let id = uuid::Uuid::new_v4().to_string();
        let answer = operation_name(&name.job.parent, &id);
        if mode.is_check() {
            let operation = succeeded(answer, pack(&view::execution(&run.execution, None)?));
            return Ok(Some(Begun { operation, execution: run.execution }));
        }
        self.check_executions(&name.job.parent)?;
        let mut record: ExecutionRecord = record::read(&run.execution)?;
        record.pending.push(id.clone());
        run.execution.internal = record::write(&record);
        let mut about_job: JobRecord = record::read(&job)?;
        about_job.executions += 1;
        about_job.latest.clone_from(&name.execution);
        job.internal = record::write(&about_job);
        let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
        let pending = operation(&id, &name.job.resource(), &about, now);
        let puts = [job, run.execution.clone(), pending];
        if self.committed(permit, puts.map(|put| Change::Put(Box::new(put))).into()).await?.is_none() {
            // Another execution has that name by chance, or another run was written.
            return Ok(None);
        }
        self.queue.wake(Work::Execution(name));
        let metadata = pack(&view::execution(&run.execution, None)?);
        Ok(Some(Begun { operation: pending_operation(answer, Some(metadata)), execution: run.execution }))
    }
}

/// The template of a job with what the request has otherwise.
fn overridden(name: &JobName, job: &run::Job, request: &RunJobRequest) -> Result<run::ExecutionTemplate, Error> {
    let mut template = job.template.clone().unwrap_or_default();
    let Some(overrides) = request.overrides() else { return Ok(template) };
    let overrides = job_view::overrides_to_model(overrides)?;
    let changed = overrides.apply(&job_view::to_model(name, job)?.template)?;
    job_view::write_overrides(&mut template, &changed);
    Ok(template)
}

/// What an execution keeps of what v1 said of its job.
fn shown_rest(job: &Envelope) -> Result<Rest, Error> {
    Ok(view::stored_job(job, None)?.execution_rest())
}

/// An execution of `job`, under a name that nobody gave.
pub(super) fn begin(
    (name, job): (&JobName, &run::Job),
    template: &run::ExecutionTemplate,
    rest: Rest,
    by: By<'_>,
) -> Run {
    let name = name.execution(generated_execution_id(&name.job, rand::random()));
    named((name, job), template, rest, by)
}

fn named(
    (name, job): (ExecutionName, &run::Job),
    template: &run::ExecutionTemplate,
    rest: Rest,
    ((caller, now), urls): By<'_>,
) -> Run {
    let record = ExecutionRecord { creator: caller.email(), ..ExecutionRecord::default() };
    let message = run::Execution { log_uri: urls.log_uri(&name), ..job_view::from_template(&name, job, template) };
    let execution = Envelope {
        spec: message.encode_to_vec(),
        v1_only: rest.to_bytes(),
        internal: record::write(&record),
        ..record::envelope(keys::execution(&name), &name.job.job, now)
    };
    Run { name, execution }
}

/// The execution of a job's write, which `operation` ends with.
pub(super) fn asked_for(
    intent: &Intent,
    (name, job): (ExecutionName, &Envelope),
    by: By<'_>,
    operation: &str,
) -> Result<Run, Error> {
    let template = intent.message.template.clone().unwrap_or_default();
    let mut run = named((name, &intent.message), &template, shown_rest(job)?, by);
    let mut record: ExecutionRecord = record::read(&run.execution)?;
    match intent.model.first_execution {
        Some(FirstExecution::Start(_)) => record.starting.push(operation.to_owned()),
        Some(FirstExecution::Run(_)) | None => record.pending.push(operation.to_owned()),
    }
    run.execution.internal = record::write(&record);
    Ok(run)
}
