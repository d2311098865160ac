//! Authorisation: the one place that asks `plan::iam`, and the lock on the store.
//!
//! A use case gets at the store ([`Vault`]) only with a [`Permitted`], which only this module makes, and only after a
//! decision. So a method that asks for no permission does not compile. Reconcilers act for the platform and have a proof
//! of their own, which only they can make.

mod resource;
mod vault;

use std::fmt;

use updraft_api::iam;
use updraft_model::{
    Error, ErrorKind,
    account::default_email,
    audit::AccessCheck,
    iam::{CustomRoles, Permission, Policy, Principal, Target},
};
use updraft_plan::iam::{Decision, Layer, Question, decide, held, modified_roles};
use updraft_store::Envelope;

use crate::{Inner, audit, policies};

pub(crate) use resource::{Resource, account_project};
pub(crate) use vault::{Proof, Vault};

/// What the permissions of Secret Manager begin with, which has a sentence of its own for who lacks one.
const SECRETS: &str = "secretmanager.";
/// The same of Cloud Scheduler.
const SCHEDULER: &str = "cloudscheduler.";

/// Proof that a caller has a permission on a resource: the one authorisation point let the call go on.
///
/// Nobody else can make one; whoever keeps something that not everybody may have asks for one.
#[derive(Clone)]
pub struct Permitted {
    caller: Principal,
    permission: Permission,
    resource: String,
    decision: Decision,
    found: Option<Envelope>,
}

/// What the policies of a resource are made of, as it was read.
struct Standing {
    found: Option<Envelope>,
    target: Target,
    /// Whose policies have a say, the resource's own first.
    layers: Vec<(String, Policy)>,
    roles: CustomRoles,
    /// Is there such a project? What callers name who may nothing can be made up.
    is_known: bool,
}

// === impl Permitted ===

impl Permitted {
    /// Who calls.
    pub fn caller(&self) -> &Principal {
        &self.caller
    }

    /// What was needed, on what, and which binding of which policy grants it.
    pub fn reason(&self) -> &str {
        self.decision.reason()
    }

    /// The resource as it was when its policy was read: the one it was asked on, or the project.
    pub(crate) fn found(&self) -> Option<&Envelope> {
        self.found.as_ref()
    }

    /// The same, to keep.
    pub(crate) fn take_found(&mut self) -> Option<Envelope> {
        self.found.take()
    }
}

/// Without the resource itself, which may hold secrets.
impl fmt::Debug for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permitted({self})")
    }
}

impl fmt::Display for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} on {}: {}", self.permission, self.caller, self.resource, self.decision)
    }
}

// === impl Standing ===

impl Standing {
    /// Tells the audit log what was decided.
    fn note(&self, permission: Permission, resource: &Resource, is_granted: bool) {
        audit::decided(|| AccessCheck {
            permission: permission.to_owned(),
            resource: self.target.name.clone(),
            is_granted,
            project: resource.project().filter(|_| self.is_known).map(str::to_owned),
        });
    }
}

// === impl Inner ===

impl Inner {
    /// Lets a call go on only if `caller` has `permission` on `resource`, by its own policy or by that of its project.
    ///
    /// # Errors
    /// `PermissionDenied`, in Google's words: it does not tell whether the resource exists.
    pub(crate) async fn permit(
        &self,
        caller: &Principal,
        permission: Permission,
        resource: &Resource,
    ) -> Result<Permitted, Error> {
        let standing = self.standing(caller, resource).await?;
        self.let_in((caller, permission), resource, standing, &[])
    }

    /// The same for a call that sets the policy of `resource`: conditions may be about the roles that it changes.
    ///
    /// # Errors
    /// As [`Inner::permit`].
    pub(crate) async fn permit_set(
        &self,
        caller: &Principal,
        permission: Permission,
        resource: &Resource,
        request: &iam::SetIamPolicyRequest,
    ) -> Result<Permitted, Error> {
        let standing = self.standing(caller, resource).await?;
        let modified = match standing.layers.first() {
            Some((_, own)) => modified_roles(own, &policies::meant(own, request)),
            None => Vec::new(),
        };
        self.let_in((caller, permission), resource, standing, &modified)
    }

    /// Which of some permissions `caller` has on `resource`, each told once.
    ///
    /// # Errors
    /// When the policies cannot be read.
    pub(crate) async fn held(
        &self,
        caller: &Principal,
        permissions: Vec<String>,
        resource: &Resource,
    ) -> Result<Vec<String>, Error> {
        let standing = self.standing(caller, resource).await?;
        let (question, layers) = self.question((caller, ""), &standing, &[]);
        Ok(held(&question, permissions, &layers, &standing.roles))
    }

    /// The projects on each of which `caller` has `permission`. Who may not see a project does not learn that it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn permitted_projects(
        &self,
        caller: &Principal,
        permission: Permission,
    ) -> Result<Vec<(String, Permitted)>, Error> {
        let mut permitted = Vec::new();
        for project in self.store.projects(&self.config.default_project).await? {
            let resource = Resource::Project(project.clone());
            match self.permit(caller, permission, &resource).await {
                Ok(permit) => permitted.push((project, permit)),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        Ok(permitted)
    }

    /// Running something as a service account needs the right to act as it, and that it is there. What a project's policy
    /// gives on all its accounts it does not give on one that may be made by somebody else one day. As at Google the owner is
    /// told the same: the account may be mistyped. `home` is the project that it is run in.
    ///
    /// # Errors
    /// `PermissionDenied`, in Google's words.
    pub(crate) async fn permit_act_as(&self, caller: &Principal, email: &str, home: &str) -> Result<Permitted, Error> {
        // Before its first service a project is not known by its number, which is in the address of its default account.
        let is_own_default = email == default_email(home);
        let project = match is_own_default {
            true => Some(home.to_owned()),
            false => account_project(email).and_then(|project| self.places.project("", project).ok()),
        };
        let is_default = is_own_default || project.as_deref().is_some_and(|project| email == default_email(project));
        let account = Resource::Account { project, account: email.to_owned() };
        let (permission, standing) = ("iam.serviceAccounts.actAs", self.standing(caller, &account).await?);
        let denied = || {
            let message = format!(
                "Permission 'iam.serviceaccounts.actAs' denied on service account {email} (or it may not exist)."
            );
            Error::new(ErrorKind::PermissionDenied, message)
        };
        if !is_default && standing.found.is_none() {
            tracing::debug!(%caller, %account, "there is no such account, and no policy has a say about it");
            standing.note(permission, &account, false);
            return Err(denied());
        }
        match self.let_in((caller, permission), &account, standing, &[]) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(denied()),
            permitted => permitted,
        }
    }

    fn let_in(
        &self,
        (caller, permission): (&Principal, Permission),
        resource: &Resource,
        standing: Standing,
        modified_roles: &[String],
    ) -> Result<Permitted, Error> {
        let decision = self.decided((caller, permission), &standing, modified_roles);
        tracing::debug!(%caller, permission, %resource, %decision, "authorisation");
        standing.note(permission, resource, decision.is_allowed());
        if !decision.is_allowed() {
            let message = if permission.starts_with(SECRETS) {
                format!("Permission '{permission}' denied for resource '{resource}' (or it may not exist).")
            } else if permission.starts_with(SCHEDULER) {
                let lacks = "The principal (user or service account) lacks IAM permission";
                format!("{lacks} \"{permission}\" for the resource \"{resource}\" (or the resource may not exist).")
            } else {
                format!("Permission '{permission}' denied on resource '{resource}' (or resource may not exist).")
            };
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        }
        let (caller, resource) = (caller.clone(), resource.to_string());
        Ok(Permitted { caller, permission, resource, decision, found: standing.found })
    }

    fn decided(&self, asked: (&Principal, &str), standing: &Standing, modified_roles: &[String]) -> Decision {
        let (question, layers) = self.question(asked, standing, modified_roles);
        decide(&question, &layers, &standing.roles)
    }

    fn question<'a>(
        &self,
        (principal, permission): (&'a Principal, &'a str),
        standing: &'a Standing,
        modified_roles: &'a [String],
    ) -> (Question<'a>, Vec<Layer<'a>>) {
        let now = self.clock.now();
        let layers = standing.layers.iter().map(|(of, policy)| Layer { of: of.as_str(), policy }).collect();
        (Question { principal, permission, target: &standing.target, now, modified_roles }, layers)
    }
}
