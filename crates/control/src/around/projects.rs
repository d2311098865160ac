//! Projects: the use cases of Cloud Resource Manager, as far as they are about reading.

use std::time::SystemTime;

use updraft_model::{Error, iam::Principal, name::project_number};
use updraft_store::{Envelope, Page, Selection};

use super::project_policy;
use crate::{Control, access::authorise, failure::of_store};

/// A project as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: u64,
    /// When something was first written down of it; `None` before that.
    pub created: Option<SystemTime>,
}

/// Some projects, by id.
pub type Projects = Vec<Project>;

// === impl Control ===

impl Control {
    /// A project, by its id or number. A well-formed id exists on first use.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed id, `NotFound` for an unknown number, `PermissionDenied`.
    pub async fn projects_get(&self, caller: &Principal, project: &str) -> Result<Project, Error> {
        let project = project.strip_prefix("projects/").unwrap_or(project);
        let (id, found) = self.inner.permitted(caller, "resourcemanager.projects.get", ("name", project)).await?;
        Ok(Project::of(id, found.as_ref()))
    }

    /// The projects that there are for `caller`: the default one, and those that were used.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn projects_list(&self, caller: &Principal) -> Result<Projects, Error> {
        let inner = &*self.inner;
        let selection = Selection::of(updraft_store::Kind::Project);
        let stored = inner.store.list(&selection, &Page::default()).await.map_err(of_store)?;
        let mut found: Vec<(String, Option<Envelope>)> =
            stored.into_iter().map(|envelope| (envelope.key.name.clone(), Some(envelope))).collect();
        let default = &inner.config.default_project;
        if found.iter().all(|(id, _)| id != default) {
            found.push((default.clone(), None));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut projects = Vec::with_capacity(found.len());
        for (id, envelope) in found {
            let policy = project_policy(envelope.as_ref())?;
            // Who may not see a project does not learn that it is there.
            if authorise(caller, "resourcemanager.projects.get", &id, &[&policy]).is_ok() {
                projects.push(Project::of(id, envelope.as_ref()));
            }
        }
        Ok(projects)
    }
}

// === impl Project ===

impl Project {
    fn of(id: String, envelope: Option<&Envelope>) -> Self {
        Self { number: project_number(&id), created: envelope.map(|envelope| envelope.created), id }
    }
}
