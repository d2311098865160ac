//! Creating and updating a job.

use prost::Message;
use updraft_api::{
    longrunning::Operation,
    pack, run,
    v1::{self, Stored},
};
use updraft_model::{
    Error, ErrorKind, Parent,
    iam::Principal,
    job::{JobName, name::check_job_id},
};
use updraft_store::{Change, Envelope, Kind};

use super::{
    draft::Intent,
    keys,
    run::{Run, asked_for},
    view,
};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    audit,
    failure::etag_mismatch,
    queue::Work,
    record::{self, JobRecord, OperationRecord},
    services::Mode,
    view::{etag, operation_name, pending_operation, succeeded},
};

/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

/// What a client wrote.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// By v2: all of the job.
    V2(&'a run::Job),
    /// By v1: all of it.
    V1(&'a v1::WrittenJob),
}

/// What came of a write.
pub(crate) struct Done {
    /// The operation that it began.
    pub(crate) operation: Operation,
    /// The job as it is now, or would be.
    pub(crate) job: Stored<run::Job>,
}

// === impl Control ===

impl Control {
    /// Creates a job. The operation is done when it returns, unless an execution was asked for with it.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `PermissionDenied`, `ResourceExhausted` when the project
    /// has as many jobs as it may.
    pub async fn jobs_create(&self, caller: &Principal, request: run::CreateJobRequest) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let parent: Parent = request.parent.parse()?;
        let parent = inner.places.parent("parent", &parent)?;
        audit::makes(parent.job(&request.job_id));
        let permit = inner.permit(caller, "run.jobs.create", &Resource::Place(parent.clone())).await?;
        check_job_id("job_id", &request.job_id).map_err(|violation| Error::invalid(vec![violation]))?;
        let Some(sent) = request.job else {
            return Err(Error::invalid_field("job", "must be set, got nothing"));
        };
        let name = parent.job(&request.job_id);
        let mode = Mode::of(request.validate_only);
        Ok(inner.create_job(&permit, &name, Source::V2(&sent), mode).await?.operation)
    }

    /// Replaces a job, or creates it with `allow_missing`. Executions that run go on as they are.
    ///
    /// # Errors
    /// As [`Control::jobs_create`]; `NotFound`; `Aborted` when the etag is not the current one.
    pub async fn jobs_update(&self, caller: &Principal, request: run::UpdateJobRequest) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let Some(sent) = request.job else {
            return Err(Error::invalid_field("job", "must be set, got nothing"));
        };
        let name = inner.places.job("job.name", &sent.name)?;
        let (source, mode) = (Source::V2(&sent), Mode::of(request.validate_only));
        if request.allow_missing {
            // For jobs Google asks for both permissions, whether or not it is there.
            let place = Resource::Place(name.parent.clone());
            let create = inner.permit(caller, "run.jobs.create", &place).await?;
            let permit = inner.permit(caller, "run.jobs.update", &Resource::Job(name.clone())).await?;
            if permit.found().is_none() {
                check_job_id("job.name", &name.job).map_err(|found| Error::invalid(vec![found]))?;
                return Ok(inner.create_job(&create, &name, source, mode).await?.operation);
            }
        }
        Ok(inner.replace_job(caller, &name, source, mode).await?.operation)
    }
}

// === impl Inner ===

impl Inner {
    /// Creates the job `name`, which must not be there.
    pub(crate) async fn create_job(
        &self,
        permit: &Permitted,
        name: &JobName,
        source: Source<'_>,
        mode: Mode,
    ) -> Result<Done, Error> {
        audit::makes(name);
        let intent = source.intent(name, None)?;
        self.permit_job(permit, &intent, None).await?;
        for _ in 0..ATTEMPTS {
            if let Some(there) = self.get(permit, &keys::job(name)).await? {
                let record: JobRecord = record::read(&there)?;
                let (kind, state) = match record.deleting {
                    None => (ErrorKind::AlreadyExists, "already exists."),
                    Some(_) => (ErrorKind::Aborted, "is still being deleted; try again."),
                };
                return Err(Error::new(kind, format!("Resource '{}' {state}", name.job)));
            }
            self.check_room(permit, &name.parent, Kind::Job).await?;
            let fresh = record::envelope(keys::job(name), "", self.clock.now());
            let record = JobRecord { creator: permit.caller().email(), ..JobRecord::default() };
            let envelope = Envelope { generation: 0, ..fresh };
            if let Some(done) = self.write_job(permit, &intent, (envelope, record), mode).await? {
                return Ok(done);
            }
        }
        Err(busy(name))
    }

    /// Replaces the job `name`, which must be there.
    pub(crate) async fn replace_job(
        &self,
        caller: &Principal,
        name: &JobName,
        source: Source<'_>,
        mode: Mode,
    ) -> Result<Done, Error> {
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, "run.jobs.update", &Resource::Job(name.clone())).await?;
            let current = permit.take_found().ok_or_else(|| Error::not_found(&name.job))?;
            if !source.is_about(&etag(&current)) {
                return Err(etag_mismatch(&name.job));
            }
            let before = view::intent(&current)?;
            let intent = source.intent(name, Some(&before))?;
            self.permit_job(&permit, &intent, Some(&before.message)).await?;
            let record: JobRecord = record::read(&current)?;
            if let Some(done) = self.write_job(&permit, &intent, (current, record), mode).await? {
                return Ok(done);
            }
        }
        Err(busy(name))
    }

    /// What an intent needs beside the right to write it: to act as the account that its tasks run as, to read its images,
    /// and to run it, if it is to be run at once.
    async fn permit_job(&self, permit: &Permitted, intent: &Intent, before: Option<&run::Job>) -> Result<(), Error> {
        let (caller, name) = (permit.caller(), &intent.model.name);
        let task = &intent.model.template.template;
        self.permit_act_as(caller, &task.service_account, &name.parent.project).await?;
        if before.is_none_or(|before| before.template != intent.message.template) {
            let images = task.containers.iter().map(|container| container.image.as_str());
            self.permit_local_images(caller, &name.parent.project, ("spec.template.spec.template.spec", images))
                .await?;
        }
        if intent.model.first_execution.is_some() {
            self.permit(caller, "run.jobs.run", &Resource::Job(name.clone())).await?;
        }
        Ok(())
    }

    /// One attempt of a write; `None` when somebody else wrote meanwhile.
    async fn write_job(
        &self,
        permit: &Permitted,
        intent: &Intent,
        (mut job, mut record): (Envelope, JobRecord),
        mode: Mode,
    ) -> Result<Option<Done>, Error> {
        let (name, now, caller) = (&intent.model.name, self.clock.now(), permit.caller());
        let before = view::intent(&job)?;
        let is_same = before.message == intent.message && before.rest == intent.rest;
        if job.generation == 0 || !is_same {
            job.spec = intent.message.encode_to_vec();
            job.v1_only = intent.rest.to_bytes();
            job.generation += 1;
            job.updated = now;
            record.last_modifier = caller.email();
        }
        let id = uuid::Uuid::new_v4().to_string();
        job.internal = record::write(&record);
        let by = ((caller, now), &self.config.url);
        let first = |name| asked_for(intent, (name, &job), by, &id);
        let first = self.first_execution(permit, (intent, &record), first).await?;
        let operation = operation_name(&name.parent, &id);
        record.operation.clone_from(&id);
        if let Some(Run { execution, .. }) = &first {
            record.executions += 1;
            record.latest.clone_from(&execution.key.name);
            record.token.clone_from(&execution.key.name);
        }
        job.internal = record::write(&record);
        if mode.is_check() {
            let job = Stored { operation: String::new(), ..view::stored_job(&job, None)? };
            return Ok(Some(Done { operation: succeeded(operation, pack(&job.message)), job }));
        }
        let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
        let mut pending = crate::services::operation(&id, &name.resource(), &about, now);
        pending.v1_only.clone_from(&job.v1_only);
        let latest = first.as_ref().map(|first| &first.execution);
        let shown = view::stored_job(&job, latest)?;
        let answer = match &first {
            None => succeeded(operation, pack(&shown.message)),
            Some(_) => pending_operation(operation, Some(pack(&shown.message))),
        };
        if first.is_none() {
            pending.status = answer.encode_to_vec();
        }
        let mut changes: Vec<Change> = self.places.creation(&name.parent.project, now).into_iter().collect();
        let puts = [job, pending].into_iter().chain(first.as_ref().map(|first| first.execution.clone()));
        changes.extend(puts.map(|put| Change::Put(Box::new(put))));
        if self.committed(permit, changes).await?.is_none() {
            return Ok(None);
        }
        if let Some(first) = first {
            self.queue.wake(Work::Execution(first.name));
        }
        Ok(Some(Done { operation: answer, job: shown }))
    }
}

/// Somebody else writes it all the time.
pub(super) fn busy(name: &JobName) -> Error {
    Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.job))
}

/// There is such an execution.
pub(super) fn taken(id: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("Resource '{id}' already exists."))
}

// === impl Source ===

impl Source<'_> {
    /// Is it a change of the version with this etag, or of whichever there is?
    fn is_about(&self, etag: &str) -> bool {
        match self {
            Self::V2(sent) => sent.etag.is_empty() || sent.etag == etag,
            Self::V1(written) => {
                let version = written.version().trim_matches('"');
                version.is_empty() || version == etag.trim_matches('"')
            }
        }
    }

    /// What is meant, given what is there.
    fn intent(&self, name: &JobName, before: Option<&Stored<run::Job>>) -> Result<Intent, Error> {
        match self {
            Self::V2(sent) => {
                let intent = Intent::new(name, (*sent).clone())?;
                let rest = before.map(|before| before.rest.beside(&intent.message)).unwrap_or_default();
                intent.keeping(rest)
            }
            Self::V1(written) => {
                let intent = Intent::new(name, written.message(before))?;
                let rest = written.rest(&intent.message);
                intent.keeping(rest)
            }
        }
    }
}
