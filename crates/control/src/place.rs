//! Projects and locations: what a name may say, and what it means.
//!
//! A well-formed project id exists on first use. A project may be named by its id or by its number; in
//! keys it is always the id.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use updraft_model::{
    Error, Parent, RevisionName, ServiceName,
    job::{ExecutionName, JobName, TaskName},
    name::{Collection, check_project_id, project_number},
};
use updraft_store::{Change, Key, Kind, Page, Selection, Store};

use crate::{failure::of_store, record};

/// The location of a project's own key.
const GLOBAL: &str = "global";

/// The projects that exist, and the locations that are served.
#[derive(Debug)]
pub(crate) struct Places {
    locations: Vec<String>,
    by_number: Mutex<HashMap<u64, String>>,
}

// === impl Places ===

impl Places {
    /// Reads the projects of the store; `default_project` exists from the beginning.
    pub(crate) async fn load(store: &dyn Store, locations: Vec<String>, default_project: &str) -> Result<Self, Error> {
        let stored = store.list(&Selection::of(Kind::Project), &Page::default()).await.map_err(of_store)?;
        let mut by_number = HashMap::from([(project_number(default_project), default_project.to_owned())]);
        by_number.extend(stored.into_iter().map(|project| (project_number(&project.key.name), project.key.name)));
        Ok(Self { locations, by_number: Mutex::new(by_number) })
    }

    /// The locations, in their order.
    pub(crate) fn locations(&self) -> &[String] {
        &self.locations
    }

    /// The id of a project given by its id or its number.
    pub(crate) fn project(&self, field: &str, project: &str) -> Result<String, Error> {
        match project.parse::<u64>() {
            Ok(number) => {
                let known = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(&number).cloned().ok_or_else(|| Error::not_found(format!("projects/{project}")))
            }
            Err(_) => match check_project_id(field, project) {
                Ok(()) => Ok(project.to_owned()),
                Err(violation) => Err(Error::invalid(vec![violation])),
            },
        }
    }

    /// A parent as a request names it, with the project's id. The location has to be one of ours.
    pub(crate) fn parent(&self, field: &str, parent: &Parent) -> Result<Parent, Error> {
        let project = self.project(field, &parent.project)?;
        if parent.location == "-" {
            return Err(Error::invalid_field(field, "the location must not be the wildcard '-'"));
        }
        if !self.locations.contains(&parent.location) {
            return Err(Error::not_found(parent));
        }
        Ok(Parent::new(project, &parent.location))
    }

    /// The name of a service, worker pool or job as a request gives it, with the project's id.
    pub(crate) fn resource(&self, collection: Collection, name: &str) -> Result<ServiceName, Error> {
        match name.parse::<ServiceName>() {
            Ok(name) if name.collection == collection => {
                Ok(self.parent("name", &name.parent)?.resource(collection, name.service))
            }
            _ => {
                let (segment, id) = (collection.segment(), collection.segment().trim_end_matches('s'));
                let form = format!("projects/{{project}}/locations/{{location}}/{segment}/{{{id}}}");
                Err(Error::invalid_field("name", format!("must have the form {form}, got '{name}'")))
            }
        }
    }

    /// A revision's name as a request gives it, with the project's id.
    pub(crate) fn revision(&self, name: &str) -> Result<RevisionName, Error> {
        let name: RevisionName = name.parse()?;
        let parent = self.parent("name", &name.service.parent)?;
        Ok(parent.resource(name.service.collection, name.service.service).revision(name.revision))
    }

    /// A job's name as a request gives it in `field`, with the project's id.
    pub(crate) fn job(&self, field: &str, name: &str) -> Result<JobName, Error> {
        let name: JobName = name.parse()?;
        Ok(self.parent(field, &name.parent)?.job(name.job))
    }

    /// An execution's name as a request gives it, with the project's id.
    pub(crate) fn execution(&self, name: &str) -> Result<ExecutionName, Error> {
        let name: ExecutionName = name.parse()?;
        Ok(self.parent("name", &name.job.parent)?.job(name.job.job).execution(name.execution))
    }

    /// A task's name as a request gives it, with the project's id.
    pub(crate) fn task(&self, name: &str) -> Result<TaskName, Error> {
        let name: TaskName = name.parse()?;
        let job = self.parent("name", &name.execution.job.parent)?.job(name.execution.job.job);
        Ok(job.execution(name.execution.execution).task(name.index))
    }

    /// The change that makes the project exist, if it does not yet.
    pub(crate) fn creation(&self, project: &str, now: SystemTime) -> Option<Change> {
        let known = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(&project_number(project)) {
            return None;
        }
        let key = Key::new(Kind::Project, Parent::new(project, GLOBAL), project);
        Some(Change::Put(Box::new(record::envelope(key, "", now))))
    }

    /// Notes that the project exists.
    pub(crate) fn created(&self, project: &str) {
        let mut known = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(project_number(project), project.to_owned());
    }
}
