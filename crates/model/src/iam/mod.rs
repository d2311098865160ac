//! Who calls, what they may do, and the policies that say so.
//!
//! * [`Principal`]: who makes a call.
//! * [`PERMISSIONS`], [`ROLES`]: the catalogue, and the predefined roles as a table.
//! * [`Policy`]: who has which role on a resource, under which condition.
//!
//! Whether a principal has a permission is decided by `updraft-plan`.

mod invokers;
mod parsed;
mod permissions;
mod principal;
mod roles;
pub mod validation;

pub use invokers::{INVOKE, InvokerAccess, Invokers, ProjectInvokers};
pub use parsed::Parsed;
pub use permissions::{PERMISSIONS, Permission, known_permission};
pub use principal::{Account, Principal, User};
pub use roles::{CustomRoles, ROLES, Role, predefined_role};

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
    /// When it counts; `None` means always.
    pub condition: Option<Condition>,
}

/// When a binding counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// What it is called.
    pub title: String,
    /// For people.
    pub description: String,
    /// An expression in CEL that is true or false.
    pub expression: String,
    /// What that was parsed into, where it was done ahead.
    pub parsed: Parsed,
}

/// What a permission is asked on, as conditions see it.
///
/// Source: IAM Conditions' resource attributes. Google has them for few products; here every resource has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// `resource.name`: `projects/demo/locations/us-central1/services/hello`.
    pub name: String,
    /// `resource.type`: `run.googleapis.com/Service`.
    pub kind: &'static str,
    /// `resource.service`: `run.googleapis.com`.
    pub service: &'static str,
}

// === impl Policy ===

impl Policy {
    /// Is there a binding with a condition?
    pub fn is_conditional(&self) -> bool {
        self.bindings.iter().any(|binding| binding.condition.is_some())
    }
}
