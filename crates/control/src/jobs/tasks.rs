//! Looking at tasks.

use updraft_api::run;
use updraft_model::{
    Error,
    iam::Principal,
    job::{JobName, TaskName},
};
use updraft_store::{Envelope, Kind, Page, Selection};

use super::{executions::is_deleting, executions::of_all, keys, view};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    failure::of_store,
    page::{PAGE_DEFAULT, PAGE_MAX},
};

/// Where a list of tasks goes on: an execution, and a place in it.
pub(crate) struct Position {
    execution: String,
    place: u32,
}

// === impl Control ===

impl Control {
    /// A task. One that has not begun is there, too: it is pending.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn tasks_get(&self, caller: &Principal, request: run::GetTaskRequest) -> Result<run::Task, Error> {
        let inner = &*self.inner;
        let name = inner.places.task(&request.name)?;
        let permit = inner.permit(caller, "run.tasks.get", &Resource::Task(name.clone())).await?;
        let execution = permit.found().ok_or_else(|| Error::not_found(name.id()))?;
        inner.task(&permit, execution, &name).await?.ok_or_else(|| Error::not_found(name.id()))
    }

    /// Tasks of an execution by their index, or with `-` in its place of all executions, of the newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad page token or size; `NotFound`, `PermissionDenied`.
    pub async fn tasks_list(
        &self,
        caller: &Principal,
        request: run::ListTasksRequest,
    ) -> Result<run::ListTasksResponse, Error> {
        let inner = &*self.inner;
        let parent = inner.places.execution(&request.parent)?;
        let one = parent.execution != "-";
        let resource = if one && parent.job.job != "-" {
            Resource::Execution(parent.clone())
        } else if one {
            Resource::ExecutionId(parent.job.parent.clone(), parent.execution.clone())
        } else {
            of_all(&parent.job)
        };
        let permit = inner.permit(caller, "run.tasks.list", &resource).await?;
        let executions = match permit.found().filter(|_| one) {
            Some(execution) => vec![execution.clone()],
            None if one => return Err(Error::not_found(&parent.execution)),
            None => inner.executions_of(&permit, &parent.job).await?,
        };
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(size) => size.min(PAGE_MAX),
            Err(_) => {
                let rule = format!("must not be negative, got {}", request.page_size);
                return Err(Error::invalid_field("page_size", rule));
            }
        };
        let from = Position::read(&request.page_token)?;
        let (tasks, next_page_token) = inner.tasks_from(&permit, (&executions, from), size, |_| true).await?;
        Ok(run::ListTasksResponse { tasks, next_page_token })
    }
}

// === impl Inner ===

impl Inner {
    /// A task of an execution; `None` if that has no such task.
    pub(crate) async fn task(
        &self,
        permit: &Permitted,
        execution: &Envelope,
        name: &TaskName,
    ) -> Result<Option<run::Task>, Error> {
        let tasks = view::Tasks::of(execution)?;
        let Some(place) = tasks.place_of(name) else { return Ok(None) };
        let row = self.get(permit, &keys::task(name)).await?;
        tasks.task((name, place), row.as_ref()).map(Some)
    }

    /// Executions of a job, or of all, newest first.
    async fn executions_of(&self, permit: &Permitted, job: &JobName) -> Result<Vec<Envelope>, Error> {
        let selection = Selection::of(Kind::Execution).under(job.parent.clone());
        let selection = if job.job == "-" { selection } else { selection.owned_by(&job.job) };
        let mut found = self.store.open(permit).list(&selection, &Page::default()).await.map_err(of_store)?;
        let mut kept = Ok(());
        found.retain(|envelope| match is_deleting(envelope) {
            Ok(deleting) => !deleting,
            Err(error) => {
                kept = Err(error);
                false
            }
        });
        kept.map(|()| found)
    }

    /// The tasks of these executions from some position on for which `keep` holds, at most `size`, and a token of where to
    /// go on; empty at the end.
    pub(crate) async fn tasks_from(
        &self,
        permit: &Permitted,
        (executions, from): (&[Envelope], Option<Position>),
        size: usize,
        keep: impl Fn(&run::Task) -> bool,
    ) -> Result<(Vec<run::Task>, String), Error> {
        let mut tasks = Vec::new();
        let mut skipping = from.as_ref();
        for execution in executions {
            let begin = match skipping {
                Some(position) if position.execution != execution.key.name => continue,
                Some(position) => position.place,
                None => 0,
            };
            skipping = None;
            let all = view::Tasks::of(execution)?;
            for place in begin..all.count() {
                if tasks.len() == size {
                    let position = Position { execution: execution.key.name.clone(), place };
                    return Ok((tasks, position.write()));
                }
                let name = all.name_at(place);
                let row = self.get(permit, &keys::task(&name)).await?;
                let task = all.task((&name, place), row.as_ref())?;
                tasks.extend(Some(task).filter(&keep));
            }
        }
        if skipping.is_some() {
            return Err(bad_token());
        }
        Ok((tasks, String::new()))
    }
}

// === impl Position ===

impl Position {
    pub(crate) fn read(token: &str) -> Result<Option<Self>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let (execution, place) = token.rsplit_once('.').ok_or_else(bad_token)?;
        let place = place.parse().map_err(|_| bad_token())?;
        Ok(Some(Self { execution: execution.to_owned(), place }))
    }

    fn write(&self) -> String {
        format!("{}.{}", self.execution, self.place)
    }
}

fn bad_token() -> Error {
    Error::invalid_field("page_token", "must be a token that this list gave out")
}
