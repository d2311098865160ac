//! Projects: the use cases of Cloud Resource Manager, as far as they are about reading.

use std::time::SystemTime;

use updraft_model::{Error, iam::Principal, name::project_number};
use updraft_store::Envelope;

use crate::Control;

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
        let (id, permit) = self.inner.permitted(caller, "resourcemanager.projects.get", ("name", project)).await?;
        Ok(Project::of(id, permit.found()))
    }

    /// The projects that there are for `caller`: the default one, and those that were used.
    ///
    /// # Errors
    /// `Internal` when the store cannot be read.
    pub async fn projects_list(&self, caller: &Principal) -> Result<Projects, Error> {
        let permitted = self.inner.permitted_projects(caller, "resourcemanager.projects.get").await?;
        Ok(permitted.into_iter().map(|(id, permit)| Project::of(id, permit.found())).collect())
    }
}

// === impl Project ===

impl Project {
    fn of(id: String, envelope: Option<&Envelope>) -> Self {
        Self { number: project_number(&id), created: envelope.map(|envelope| envelope.created), id }
    }
}
