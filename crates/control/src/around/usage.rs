//! Which APIs a project uses: the use cases of Service Usage.
//!
//! What this server has is on by itself; anything else is off until somebody switches it on, which is written down and
//! changes nothing: gcloud asks before a deploy and wants to see that it helped.

use serde_json::{Value, json};
use updraft_api::around::PREFIXES;
use updraft_model::{
    Error, ErrorKind, Parent,
    iam::{Permission, Principal},
    name::project_number,
};
use updraft_store::{Change, Key, Kind};

use super::{ATTEMPTS, GLOBAL, ProjectRecord, busy};
use crate::{
    Control,
    record::{self, OperationRecord},
};

/// What every name ends with.
const SUFFIX: &str = ".googleapis.com";
/// The most APIs that one call may name; Google's limit.
const BATCH_MAX: usize = 20;
/// The most APIs of a project that are not as they are by themselves.
const NOTED_MAX: usize = 300;

/// An API in a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The number of the project.
    pub project: u64,
    /// Its name, such as `run.googleapis.com`.
    pub name: String,
    /// Is it switched on?
    pub is_enabled: bool,
}

/// The APIs of a project, by name.
pub type Usages = Vec<Usage>;

/// An operation that has ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageOperation {
    /// `operations/…`.
    pub name: String,
    /// The answer, with its type.
    pub response: Value,
}

// === impl Control ===

impl Control {
    /// An API of a project. `name` is `projects/{project}/services/{service}`.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed name, `PermissionDenied`.
    pub async fn usage_get(&self, caller: &Principal, name: &str) -> Result<Usage, Error> {
        let (project, service) = parsed(name)?;
        let (project, permit) = self.inner.permitted(caller, "serviceusage.services.get", ("name", project)).await?;
        Ok(ProjectRecord::of(permit.found())?.usage_of(&project, service))
    }

    /// The APIs of a project that are on by themselves or were switched.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed project, `PermissionDenied`.
    pub async fn usage_list(&self, caller: &Principal, parent: &str) -> Result<Usages, Error> {
        let project = parent.strip_prefix("projects/").unwrap_or(parent);
        let (project, permit) = self.inner.permitted(caller, "serviceusage.services.list", ("parent", project)).await?;
        let record = ProjectRecord::of(permit.found())?;
        let mut names: Vec<String> = PREFIXES.iter().map(|prefix| format!("{prefix}{SUFFIX}")).collect();
        names.extend(record.usage.keys().cloned());
        names.sort_unstable();
        names.dedup();
        Ok(names.iter().map(|name| record.usage_of(&project, name)).collect())
    }

    /// Switches an API of a project on.
    ///
    /// # Errors
    /// As [`Control::usage_get`]; `ResourceExhausted` when the project has too many.
    pub async fn usage_enable(&self, caller: &Principal, name: &str) -> Result<UsageOperation, Error> {
        let (project, service) = parsed(name)?;
        let switch = Switch {
            permission: "serviceusage.services.enable",
            to: true,
            answer: Answer::One("EnableServiceResponse"),
        };
        self.switched(caller, project, &[service.to_owned()], switch).await
    }

    /// Switches an API of a project off.
    ///
    /// # Errors
    /// As [`Control::usage_enable`].
    pub async fn usage_disable(&self, caller: &Principal, name: &str) -> Result<UsageOperation, Error> {
        let (project, service) = parsed(name)?;
        let switch = Switch {
            permission: "serviceusage.services.disable",
            to: false,
            answer: Answer::One("DisableServiceResponse"),
        };
        self.switched(caller, project, &[service.to_owned()], switch).await
    }

    /// Switches several APIs of a project on.
    ///
    /// # Errors
    /// As [`Control::usage_enable`]; `InvalidArgument` for none or too many.
    pub async fn usage_batch_enable(
        &self,
        caller: &Principal,
        parent: &str,
        services: &[String],
    ) -> Result<UsageOperation, Error> {
        let project = parent.strip_prefix("projects/").unwrap_or(parent);
        if !(1..=BATCH_MAX).contains(&services.len()) {
            let rule = format!("must name 1 to {BATCH_MAX} services, got {}", services.len());
            return Err(Error::invalid_field("serviceIds", rule));
        }
        for (index, service) in services.iter().enumerate() {
            check_name(&format!("serviceIds[{index}]"), service)?;
        }
        let switch = Switch {
            permission: "serviceusage.services.enable",
            to: true,
            answer: Answer::Several("BatchEnableServicesResponse"),
        };
        self.switched(caller, project, services, switch).await
    }

    /// An operation that one of these methods gave out; kept as long as those of Cloud Run.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn usage_operation(&self, caller: &Principal, name: &str) -> Result<UsageOperation, Error> {
        let missing = || Error::not_found(name);
        let id = name.strip_prefix("operations/").ok_or_else(missing)?;
        let number = id.split('-').nth(1).ok_or_else(missing)?;
        let named = ("name", number);
        let (project, permit) = self.inner.permitted(caller, "serviceusage.operations.get", named).await?;
        let found = self.inner.get(&permit, &operation_key(&project, id)).await?.ok_or_else(missing)?;
        let response =
            serde_json::from_slice(&found.status).map_err(|error| Error::internal(format!("{name}: {error}")))?;
        Ok(UsageOperation { name: name.to_owned(), response })
    }

    async fn switched(
        &self,
        caller: &Principal,
        project: &str,
        services: &[String],
        switch: Switch,
    ) -> Result<UsageOperation, Error> {
        for _ in 0..ATTEMPTS {
            let (project, permit) = self.inner.permitted(caller, switch.permission, ("name", project)).await?;
            let mut record = ProjectRecord::of(permit.found())?;
            services.iter().for_each(|service| record.switch(service, switch.to));
            if record.usage.len() > NOTED_MAX {
                let message = format!("Project '{project}' has switched more than {NOTED_MAX} services.");
                return Err(Error::new(ErrorKind::ResourceExhausted, message));
            }
            let usages: Vec<Usage> = services.iter().map(|service| record.usage_of(&project, service)).collect();
            let response = switch.answer.of(&usages);
            let id = format!("acf.p2-{}-{}", project_number(&project), uuid::Uuid::new_v4());
            let mut operation = record::envelope(operation_key(&project, &id), "", self.inner.clock.now());
            operation.internal = record::write(&OperationRecord::default());
            operation.status = response.to_string().into_bytes();
            let rest = vec![Change::Put(Box::new(operation))];
            if self.inner.write_project(&permit, &project, &record, rest).await?.is_some() {
                return Ok(UsageOperation { name: format!("operations/{id}"), response });
            }
        }
        Err(busy(project))
    }
}

/// What a method does to the APIs it names.
struct Switch {
    permission: Permission,
    to: bool,
    answer: Answer,
}

/// The message that it answers with.
enum Answer {
    /// With one API.
    One(&'static str),
    /// With all of them.
    Several(&'static str),
}

fn kind_url(kind: &str) -> String {
    format!("type.googleapis.com/google.api.serviceusage.v1.{kind}")
}

fn operation_key(project: &str, id: &str) -> Key {
    Key::new(Kind::Operation, Parent::new(project, GLOBAL), id)
}

// === impl Answer ===

impl Answer {
    fn of(&self, usages: &[Usage]) -> Value {
        match self {
            Self::One(kind) => json!({"@type": kind_url(kind), "service": usages.first().map(Usage::to_json)}),
            Self::Several(kind) => {
                let all: Vec<Value> = usages.iter().map(Usage::to_json).collect();
                json!({"@type": kind_url(kind), "services": all})
            }
        }
    }
}

// === impl Usage ===

impl Usage {
    /// As `google.api.serviceusage.v1.Service`.
    pub fn to_json(&self) -> Value {
        let parent = format!("projects/{}", self.project);
        json!({
            "name": format!("{parent}/services/{}", self.name),
            "parent": parent,
            "config": {"name": self.name, "title": self.name},
            "state": if self.is_enabled { "ENABLED" } else { "DISABLED" },
        })
    }
}

// === impl ProjectRecord ===

impl ProjectRecord {
    fn usage_of(&self, project: &str, service: &str) -> Usage {
        let is_enabled = self.usage.get(service).copied().unwrap_or_else(|| is_ours(service));
        Usage { project: project_number(project), name: service.to_owned(), is_enabled }
    }

    fn switch(&mut self, service: &str, to: bool) {
        if is_ours(service) == to {
            self.usage.remove(service);
        } else {
            self.usage.insert(service.to_owned(), to);
        }
    }
}

/// Is it on by itself?
fn is_ours(service: &str) -> bool {
    service.strip_suffix(SUFFIX).is_some_and(|name| PREFIXES.contains(&name))
}

/// Project and service of `projects/{project}/services/{service}`.
fn parsed(name: &str) -> Result<(&str, &str), Error> {
    match name.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "services", service] => {
            check_name("name", service)?;
            Ok((project, service))
        }
        _ => Err(Error::invalid_field("name", format!("must have the form projects/*/services/*, got '{name}'"))),
    }
}

fn check_name(field: &str, service: &str) -> Result<(), Error> {
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if service.len() <= 128 && service.contains('.') && service.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::invalid_field(field, format!("must be a name such as run.googleapis.com, got '{service}'")))
}
