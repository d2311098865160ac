//! What permissions are needed on.

use std::fmt;

use updraft_model::{
    Parent, RevisionName, ServiceName,
    iam::Target,
    job::{ExecutionName, JobName, TaskName},
    name::Collection,
    schedule::ScheduledJobName,
    secret::{SecretName, VersionName},
};

/// What a permission is needed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The server itself. No policy has a say about it: it is its owner's.
    Server,
    /// A project, by its id.
    Project(String),
    /// A location of a project; `-` stands for all. The project's policy has a say.
    Place(Parent),
    /// Something in a place that has no policy: its collection and its id. The project's policy has a say.
    Within(Parent, &'static str, String),
    /// A service, a worker pool, or what else has a name like theirs.
    Service(ServiceName),
    /// A revision. The policies of its service have a say.
    Revision(RevisionName),
    /// A revision, by its id alone.
    RevisionId(Parent, String),
    /// A job.
    Job(JobName),
    /// An execution. The policies of its job have a say.
    Execution(ExecutionName),
    /// An execution, by its id alone.
    ExecutionId(Parent, String),
    /// A task. The policies of its job have a say.
    Task(TaskName),
    /// A service account, by its address or unique id.
    Account {
        /// Its project; `None` when its address is not of an account of ours, about which no policy has a say.
        project: Option<String>,
        /// Its address or unique id.
        account: String,
    },
    /// A secret.
    Secret(SecretName),
    /// A version of a secret. The policies of its secret have a say.
    SecretVersion(VersionName),
    /// A job of Cloud Scheduler. The project's policy has a say.
    ScheduledJob(ScheduledJobName),
    /// A location of Cloud Scheduler. The project's policy has a say.
    SchedulerPlace(Parent),
}

/// The service of conditions.
const RUN: &str = "run.googleapis.com";
const PROJECTS: &str = "cloudresourcemanager.googleapis.com";
const IAM: &str = "iam.googleapis.com";
const SCHEDULER: &str = "cloudscheduler.googleapis.com";
const SECRETS: &str = "secretmanager.googleapis.com";

/// The project that the address of a service account says, by id or number: `NAME@PROJECT.iam.gserviceaccount.com`,
/// `NUMBER-compute@developer.gserviceaccount.com`.
pub(crate) fn account_project(email: &str) -> Option<&str> {
    let (name, domain) = email.split_once('@')?;
    match domain {
        "developer.gserviceaccount.com" => name.strip_suffix("-compute"),
        domain => domain.strip_suffix(".iam.gserviceaccount.com"),
    }
}

// === impl Resource ===

impl Resource {
    /// The id of the project whose policy has a say.
    pub(super) fn project(&self) -> Option<&str> {
        match self {
            Self::Server => None,
            Self::Project(project) => Some(project),
            Self::Place(parent) | Self::Within(parent, ..) | Self::RevisionId(parent, _) => Some(&parent.project),
            Self::Service(name) => Some(&name.parent.project),
            Self::Revision(name) => Some(&name.service.parent.project),
            Self::ExecutionId(parent, _) => Some(&parent.project),
            Self::Job(name) => Some(&name.parent.project),
            Self::Execution(name) => Some(&name.job.parent.project),
            Self::Task(name) => Some(&name.execution.job.parent.project),
            Self::Account { project, .. } => project.as_deref(),
            Self::Secret(name) => Some(&name.parent.project),
            Self::SecretVersion(name) => Some(&name.secret.parent.project),
            Self::ScheduledJob(name) => Some(&name.parent.project),
            Self::SchedulerPlace(parent) => Some(&parent.project),
        }
    }

    /// What conditions see of it.
    pub(super) fn target(&self) -> Target {
        let (kind, service) = match self {
            Self::Server => ("", ""),
            Self::Project(_) => ("cloudresourcemanager.googleapis.com/Project", PROJECTS),
            Self::Place(_) => ("run.googleapis.com/Location", RUN),
            Self::Within(_, "operations", _) => ("run.googleapis.com/Operation", RUN),
            Self::Within(..) => ("run.googleapis.com/DomainMapping", RUN),
            Self::Service(name) => match name.collection {
                Collection::Services => ("run.googleapis.com/Service", RUN),
                Collection::WorkerPools => ("run.googleapis.com/WorkerPool", RUN),
                Collection::Jobs => ("run.googleapis.com/Job", RUN),
            },
            Self::Revision(_) | Self::RevisionId(..) => ("run.googleapis.com/Revision", RUN),
            Self::Job(_) => ("run.googleapis.com/Job", RUN),
            Self::Execution(_) | Self::ExecutionId(..) => ("run.googleapis.com/Execution", RUN),
            Self::Task(_) => ("run.googleapis.com/Task", RUN),
            Self::Account { .. } => ("iam.googleapis.com/ServiceAccount", IAM),
            Self::Secret(_) => ("secretmanager.googleapis.com/Secret", SECRETS),
            Self::SecretVersion(_) => ("secretmanager.googleapis.com/SecretVersion", SECRETS),
            Self::ScheduledJob(_) => ("cloudscheduler.googleapis.com/Job", SCHEDULER),
            Self::SchedulerPlace(_) => ("cloudscheduler.googleapis.com/Location", SCHEDULER),
        };
        // Google documents names of secrets with the project's number, and all others with its id.
        let name = match self {
            Self::Secret(name) => name.numbered().to_string(),
            Self::SecretVersion(name) => name.secret.numbered().version(name.version.clone()).to_string(),
            other => other.to_string(),
        };
        Target { name, kind, service }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("updraft"),
            Self::Project(project) => write!(f, "projects/{project}"),
            Self::Place(parent) => parent.fmt(f),
            Self::Within(parent, collection, id) => write!(f, "{parent}/{collection}/{id}"),
            Self::Service(name) => name.fmt(f),
            Self::Revision(name) => name.fmt(f),
            Self::RevisionId(parent, id) => write!(f, "{parent}/revisions/{id}"),
            Self::Job(name) => name.fmt(f),
            Self::Execution(name) => name.fmt(f),
            Self::ExecutionId(parent, id) => write!(f, "{parent}/executions/{id}"),
            Self::Task(name) => name.fmt(f),
            Self::Account { project, account } => {
                write!(f, "projects/{}/serviceAccounts/{account}", project.as_deref().unwrap_or("-"))
            }
            Self::Secret(name) => name.fmt(f),
            Self::SecretVersion(name) => name.fmt(f),
            Self::ScheduledJob(name) => name.fmt(f),
            Self::SchedulerPlace(parent) => parent.fmt(f),
        }
    }
}
