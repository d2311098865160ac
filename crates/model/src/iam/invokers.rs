//! Who may call a service, as the front door needs to know it.

use std::sync::Arc;

use super::{CustomRoles, Policy};

/// The permission that calling a service needs.
pub const INVOKE: &str = "run.routes.invoke";

/// Who may call a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvokerAccess {
    /// Anybody.
    Open,
    /// Who proves to be one of these.
    Restricted(Arc<Invokers>),
}

/// Who may call a service that is not open to everybody, and for whom their tokens have to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invokers {
    /// The hosts of the service; a token for the URL of one of them is for it. Those of tags are not among them: a token
    /// is for a service, whatever revision answers.
    pub hosts: Vec<Arc<str>>,
    /// What else tokens may be for: its custom audiences.
    pub audiences: Vec<String>,
    /// The bindings of its policy that let somebody call, or may do so: what a custom role grants its project knows.
    pub policy: Policy,
}

/// What a project says about who may call the services in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProjectInvokers {
    /// The bindings of its policy that let somebody call.
    pub policy: Policy,
    /// Its custom roles that do.
    pub roles: CustomRoles,
}

// === impl InvokerAccess ===

impl Default for InvokerAccess {
    /// Nobody may.
    fn default() -> Self {
        Self::Restricted(Arc::default())
    }
}
