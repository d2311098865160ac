//! Jobs, executions and tasks as objects. Executions and tasks are named by their ids alone, which are unique in their
//! project and location.

use updraft_api::{
    run,
    run_job::RunJobRequest,
    v1::{Rest, Stored, WrittenJob, execution_labels, job_labels, task_labels},
};
use updraft_model::{
    Error,
    iam::{Permission, Principal},
    job::{TaskName, name::check_job_id},
    name::Collection,
};
use updraft_store::{Envelope, Kind};

use super::{EVERYWHERE, Found, Place, Wanted, services::generated};
use crate::{
    Control, Inner, Mode,
    access::{Permitted, Resource},
    audit,
    jobs::{self, Running, Source, Start, keys, view},
    page::PAGE_DEFAULT,
    view::rest,
};

/// The label that names the job of an execution.
const JOB: &str = "run.googleapis.com/job";
/// The label that names the execution of a task.
const EXECUTION: &str = "run.googleapis.com/execution";

// === impl Control ===

impl Control {
    /// Jobs of a place, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad token or limit, `NotFound` for a place that is not served, `PermissionDenied`.
    pub async fn v1_jobs_list(
        &self,
        caller: &Principal,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::Job>>, Error> {
        let inner = &*self.inner;
        let permit = inner.permit(caller, "run.jobs.list", &inner.place(place)?).await?;
        let keep = |envelope: &Envelope| {
            let labels = job_labels(&view::job(envelope, None)?);
            Ok(!jobs::is_deleting(envelope)? && wanted.selector.matches(&labels))
        };
        let found = inner.list_at(&permit, (Kind::Job, place), (wanted, None), keep).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for envelope in &found.items {
            items.push(inner.stored_job(&permit, envelope).await?);
        }
        Ok(Found { items, token: found.token })
    }

    /// A job.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed project.
    pub async fn v1_jobs_get(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        permission: Permission,
    ) -> Result<Stored<run::Job>, Error> {
        let inner = &*self.inner;
        let name = inner.parent_at(place)?.job(name);
        let permit = inner.permit(caller, permission, &Resource::Job(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.job))?;
        inner.stored_job(&permit, envelope).await
    }

    /// Creates a job.
    ///
    /// # Errors
    /// As [`Control::jobs_create`].
    pub async fn v1_jobs_create(
        &self,
        caller: &Principal,
        place: &Place,
        (written, mode): (&WrittenJob, Mode),
    ) -> Result<Stored<run::Job>, Error> {
        let inner = &*self.inner;
        let parent = inner.parent_at(place)?;
        audit::makes(parent.job(&written.name));
        let permit = inner.permit(caller, "run.jobs.create", &Resource::Place(parent.clone())).await?;
        inner.check_namespace(&parent, &written.namespace)?;
        let id = match written.name.as_str() {
            "" => generated(Collection::Jobs, &written.generate_name),
            name => name.to_owned(),
        };
        check_job_id("metadata.name", &id).map_err(|violation| Error::invalid(vec![violation]))?;
        Ok(inner.create_job(&permit, &parent.job(id), Source::V1(written), mode).await?.job)
    }

    /// Replaces a job: all that a client can set, nothing of what the server says.
    ///
    /// # Errors
    /// As [`Control::jobs_update`].
    pub async fn v1_jobs_replace(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        (written, mode): (&WrittenJob, Mode),
    ) -> Result<Stored<run::Job>, Error> {
        let inner = &*self.inner;
        let parent = inner.parent_at(place)?;
        inner.check_namespace(&parent, &written.namespace)?;
        if !written.name.is_empty() && written.name != name {
            let rule = format!("must be the name in the path, '{name}', got '{}'", written.name);
            return Err(Error::invalid_field("metadata.name", rule));
        }
        Ok(inner.replace_job(caller, &parent.job(name), Source::V1(written), mode).await?.job)
    }

    /// Deletes a job; gives it as it was. With `force` also while one of its executions runs.
    ///
    /// # Errors
    /// As [`Control::jobs_delete`].
    pub async fn v1_jobs_delete(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        (mode, running): (Mode, Running),
    ) -> Result<Stored<run::Job>, Error> {
        let gone = self.v1_jobs_get(caller, (place, name), "run.jobs.delete").await?;
        let name = gone.message.name.clone();
        let request = run::DeleteJobRequest { name, validate_only: mode.is_check(), ..Default::default() };
        self.inner.delete_job(caller, request, running).await?;
        Ok(gone)
    }

    /// Begins an execution of a job.
    ///
    /// # Errors
    /// As [`Control::jobs_run`].
    pub async fn v1_jobs_run(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        request: &RunJobRequest,
    ) -> Result<Stored<run::Execution>, Error> {
        let name = self.inner.parent_at(place)?.job(name);
        let begun: Start = self.inner.run_job(caller, &name, request).await?;
        view::stored_execution(&begun.execution, None)
    }

    /// Executions of a place, newest first.
    ///
    /// # Errors
    /// As [`Control::v1_jobs_list`].
    pub async fn v1_executions_list(
        &self,
        caller: &Principal,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::Execution>>, Error> {
        let inner = &*self.inner;
        let owner = wanted.selector.value_of(JOB);
        let resource = match owner {
            // Of one job in one place: its own policy has a say.
            Some(job) if place.location.as_deref() != Some(EVERYWHERE) => {
                Resource::Job(inner.parent_at(place)?.job(job))
            }
            _ => inner.place(place)?,
        };
        let permit = inner.permit(caller, "run.executions.list", &resource).await?;
        let keep = |envelope: &Envelope| {
            let labels = execution_labels(&view::execution(envelope, None)?);
            Ok(!jobs::is_execution_deleting(envelope)? && wanted.selector.matches(&labels))
        };
        let found = inner.list_at(&permit, (Kind::Execution, place), (wanted, owner), keep).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for envelope in &found.items {
            items.push(inner.stored_execution(&permit, envelope).await?);
        }
        Ok(Found { items, token: found.token })
    }

    /// An execution.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed project.
    pub async fn v1_executions_get(
        &self,
        caller: &Principal,
        at: (&Place, &str),
    ) -> Result<Stored<run::Execution>, Error> {
        let (permit, envelope) = self.inner.execution_at(caller, at, "run.executions.get").await?;
        self.inner.stored_execution(&permit, &envelope).await
    }

    /// Ends an execution; gives it as it is then.
    ///
    /// # Errors
    /// As [`Control::executions_cancel`].
    pub async fn v1_executions_cancel(
        &self,
        caller: &Principal,
        at: (&Place, &str),
    ) -> Result<Stored<run::Execution>, Error> {
        let (_, envelope) = self.inner.execution_at(caller, at, "run.executions.cancel").await?;
        let name = keys::execution_name(&envelope).to_string();
        self.executions_cancel(caller, run::CancelExecutionRequest { name, ..Default::default() }).await?;
        let (permit, envelope) = self.inner.execution_at(caller, at, "run.executions.cancel").await?;
        self.inner.stored_execution(&permit, &envelope).await
    }

    /// Deletes an execution; gives it as it was.
    ///
    /// # Errors
    /// As [`Control::executions_delete`].
    pub async fn v1_executions_delete(
        &self,
        caller: &Principal,
        at: (&Place, &str),
        mode: Mode,
    ) -> Result<Stored<run::Execution>, Error> {
        let (permit, envelope) = self.inner.execution_at(caller, at, "run.executions.delete").await?;
        let gone = self.inner.stored_execution(&permit, &envelope).await?;
        let name = keys::execution_name(&envelope).to_string();
        let request = run::DeleteExecutionRequest { name, validate_only: mode.is_check(), ..Default::default() };
        self.executions_delete(caller, request).await?;
        Ok(gone)
    }

    /// Tasks of a place, those of one execution by their index.
    ///
    /// # Errors
    /// As [`Control::v1_jobs_list`].
    pub async fn v1_tasks_list(
        &self,
        caller: &Principal,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::Task>>, Error> {
        let inner = &*self.inner;
        let size = usize::try_from(wanted.limit).ok().filter(|size| *size > 0).unwrap_or(PAGE_DEFAULT);
        let (permit, executions) = match wanted.selector.value_of(EXECUTION) {
            Some(id) => match inner.execution_at(caller, (place, id), "run.tasks.list").await {
                Ok((permit, execution)) => (permit, vec![execution]),
                // A selector that fits nothing is no error.
                Err(error) if error.kind() == updraft_model::ErrorKind::NotFound => {
                    return Ok(Found { items: Vec::new(), token: String::new() });
                }
                Err(error) => return Err(error),
            },
            None => {
                let permit = inner.permit(caller, "run.tasks.list", &inner.place(place)?).await?;
                let executions = inner.all_executions(&permit, place, wanted.selector.value_of(JOB)).await?;
                (permit, executions)
            }
        };
        let keep = |task: &run::Task| wanted.selector.matches(&task_labels(task));
        let from = jobs::Position::read(&wanted.token)?;
        let (tasks, token) = inner.tasks_from(&permit, (&executions, from), size, keep).await?;
        Ok(Found { items: with_rest(tasks, &executions)?, token })
    }

    /// A task.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed project.
    pub async fn v1_tasks_get(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
    ) -> Result<Stored<run::Task>, Error> {
        let missing = || Error::not_found(id);
        let (execution, _) = id.rsplit_once("-task").ok_or_else(missing)?;
        let found = self.inner.execution_at(caller, (place, execution), "run.tasks.get").await;
        let (permit, envelope) = found.map_err(|error| match error.kind() {
            updraft_model::ErrorKind::NotFound => missing(),
            _ => error,
        })?;
        let name: TaskName =
            format!("{}/tasks/{id}", keys::execution_name(&envelope)).parse().map_err(|_| missing())?;
        let task = self.inner.task(&permit, &envelope, &name).await?.ok_or_else(missing)?;
        with_rest(vec![task], std::slice::from_ref(&envelope))?.pop().ok_or_else(missing)
    }
}

// === impl Inner ===

impl Inner {
    /// An execution that is known by its id.
    async fn execution_at(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
        permission: Permission,
    ) -> Result<(Permitted, Envelope), Error> {
        let resource = Resource::ExecutionId(self.parent_at(place)?, id.to_owned());
        let mut permit = self.permit(caller, permission, &resource).await?;
        let envelope = permit.take_found().ok_or_else(|| Error::not_found(id))?;
        Ok((permit, envelope))
    }

    /// Every execution of a place, or of one job in it, newest first.
    async fn all_executions(
        &self,
        permit: &Permitted,
        place: &Place,
        job: Option<&str>,
    ) -> Result<Vec<Envelope>, Error> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let page = Wanted { limit: 0, token, ..Wanted::default() };
            let keep = |envelope: &Envelope| Ok(!jobs::is_execution_deleting(envelope)?);
            let found = self.list_at(permit, (Kind::Execution, place), (&page, job), keep).await?;
            all.extend(found.items);
            token = found.token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn stored_execution(&self, permit: &Permitted, envelope: &Envelope) -> Result<Stored<run::Execution>, Error> {
        let message = self.execution(permit, envelope).await?;
        Ok(Stored { message, rest: rest(envelope)?, operation: String::new() })
    }
}

/// Tasks, in the order of their executions, with what v1 says of them beside their messages: what it says of their
/// execution, which is read once for all of its tasks.
fn with_rest(tasks: Vec<run::Task>, executions: &[Envelope]) -> Result<Vec<Stored<run::Task>>, Error> {
    let mut executions = executions.iter();
    let mut last: Option<(&str, Rest)> = None;
    let mut items = Vec::with_capacity(tasks.len());
    for message in tasks {
        if last.as_ref().is_none_or(|(name, _)| *name != message.execution) {
            let execution = executions.find(|one| one.key.name == message.execution);
            last = execution
                .map(|one| Ok::<_, Error>((one.key.name.as_str(), view::stored_execution(one, None)?.task_rest())))
                .transpose()?;
        }
        let rest = last.as_ref().map(|(_, rest)| rest.clone()).unwrap_or_default();
        items.push(Stored { message, rest, operation: String::new() });
    }
    Ok(items)
}
