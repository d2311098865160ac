//! Who calls, what they may do, and the policies that say so.

use std::fmt;

pub mod validation;

/// Who makes a call. Every call of every API carries one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Anybody on this machine, with `--auth none`.
    Local,
    /// The holder of the admin token, with `--auth token`.
    AdminToken,
    /// A part of the platform acting for itself, such as `control`.
    System(&'static str),
    /// Nobody in particular: no credentials were shown.
    Anonymous,
}

/// A permission, such as `run.services.create`.
pub type Permission = &'static str;

/// Every permission of the API, also of what is not built here: it can be asked for.
///
/// Source: Cloud Run's IAM permissions; `get`, `list` and the like follow the pattern of those that are documented.
pub const PERMISSIONS: &[&str] = &[
    "run.configurations.get",
    "run.configurations.list",
    "run.executions.cancel",
    "run.executions.delete",
    "run.executions.get",
    "run.executions.list",
    "run.instances.create",
    "run.instances.delete",
    "run.instances.get",
    "run.instances.list",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.get",
    "run.jobs.getIamPolicy",
    "run.jobs.list",
    "run.jobs.run",
    "run.jobs.runWithOverrides",
    "run.jobs.setIamPolicy",
    "run.jobs.update",
    "run.locations.get",
    "run.locations.list",
    "run.operations.delete",
    "run.operations.get",
    "run.operations.list",
    "run.revisions.delete",
    "run.revisions.get",
    "run.revisions.list",
    "run.routes.get",
    "run.routes.invoke",
    "run.routes.list",
    "run.services.create",
    "run.services.delete",
    "run.services.get",
    "run.services.getIamPolicy",
    "run.services.list",
    "run.services.setIamPolicy",
    "run.services.update",
    "run.tasks.get",
    "run.tasks.list",
    "run.workerpools.create",
    "run.workerpools.delete",
    "run.workerpools.get",
    "run.workerpools.getIamPolicy",
    "run.workerpools.list",
    "run.workerpools.setIamPolicy",
    "run.workerpools.update",
];

/// The role that lets its members call a service.
pub const ROLE_INVOKER: &str = "roles/run.invoker";
/// Everybody on the network.
pub const ALL_USERS: &str = "allUsers";
/// Everybody with an account.
pub const ALL_AUTHENTICATED_USERS: &str = "allAuthenticatedUsers";

/// An IAM policy, as far as decisions are made from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Who has which role.
    pub bindings: Vec<Binding>,
}

/// A role and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binding {
    /// The role, such as `roles/run.invoker`.
    pub role: String,
    /// The members, such as `allUsers` or `user:me@example.com`.
    pub members: Vec<String>,
    /// Is there a condition? Conditional bindings grant nothing until conditions are evaluated.
    pub conditional: bool,
}

/// What the proxy needs to know of a service's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvokerAccess {
    /// Anybody may call.
    Open,
    /// Only who proves to be a member.
    #[default]
    Restricted,
}

// === impl Principal ===

impl Principal {
    /// The e-mail that `creator` and `lastModifier` show.
    pub fn email(&self) -> String {
        match self {
            Self::Local => "local@updraft.local".to_owned(),
            Self::AdminToken => "admin@updraft.local".to_owned(),
            Self::System(part) => format!("{part}@system.updraft.local"),
            Self::Anonymous => "anonymous".to_owned(),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.email())
    }
}
