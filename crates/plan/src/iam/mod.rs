//! Who may do what.
//!
//! [`decide`] is the whole of it: a [`Question`], the policies that have a say ([`Layer`]), the custom roles in force →
//! a [`Decision`] that says why. Access is granted by bindings only, and one is enough: its role has the permission
//! ([`updraft_model::iam::ROLES`]), one of its members is the caller ([`members`]), and its condition holds
//! ([`condition`]).
//!
//! Source: Google's documentation of IAM allow policies, their inheritance and their conditions.

pub mod condition;
mod invoke;
mod members;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::SystemTime,
};

use updraft_model::{
    audit::BindingDelta,
    iam::{Binding, Condition, CustomRoles, Policy, Principal, Target},
};

use condition::Facts;
pub use invoke::{InvokerCheck, may_invoke, of_project, of_service};
pub use members::is_member;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who calls.
    pub principal: &'a Principal,
    /// What the call needs.
    pub permission: &'a str,
    /// What it needs it on.
    pub target: &'a Target,
    /// When: `request.time` of conditions.
    pub now: SystemTime,
    /// The roles whose bindings the call would change, if it sets a policy.
    pub modified_roles: &'a [String],
}

/// A policy that has a say: that of the target itself, or of what it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Whose policy it is, as reasons name it: `projects/demo`.
    pub of: &'a str,
    /// The policy.
    pub policy: &'a Policy,
}

/// Whether a call may go on, and why: which binding of which policy grants it, or that none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed(String),
    /// It may not.
    Denied(String),
}

/// Decides a question by the policies of the target and of what it belongs to. They add up: none takes away what another
/// one grants.
pub fn decide<'a>(question: &Question<'a>, layers: &[Layer<'a>], roles: &CustomRoles) -> Decision {
    decided(question, layers, roles, &mut Facts::of(question))
}

/// Those of some permissions of which the question would be answered with yes, each once, in their order. The question's own
/// does not matter.
pub fn held<'a>(
    question: &Question<'a>,
    mut permissions: Vec<String>,
    layers: &[Layer<'a>],
    roles: &CustomRoles,
) -> Vec<String> {
    // Each condition is evaluated once, however many permissions it stands before.
    let (mut facts, mut asked) = (Facts::of(question), HashSet::new());
    permissions.retain(|permission| {
        let is_new = asked.insert(permission.clone());
        is_new && decided(&Question { permission, ..*question }, layers, roles, &mut facts).is_allowed()
    });
    permissions
}

fn decided<'a>(question: &Question<'_>, layers: &[Layer<'a>], roles: &CustomRoles, facts: &mut Facts<'a>) -> Decision {
    match question.principal {
        Principal::Local => return Decision::Allowed("without authentication the caller owns everything".to_owned()),
        Principal::AdminToken => return Decision::Allowed("the holder of the admin token owns everything".to_owned()),
        Principal::System(part) => return Decision::Allowed(format!("the platform itself, as {part}")),
        Principal::ServiceAccount(_) | Principal::User(_) | Principal::Anonymous => {}
    }
    let mut unmet = Vec::new();
    for layer in layers {
        for binding in &layer.policy.bindings {
            match granted(question, binding, roles, facts) {
                Grant::Yes(member) => return Decision::Allowed(told(binding, member, layer)),
                Grant::Unless(why) => unmet.push(format!("{} of {}: {why}", binding.role, layer.of)),
                Grant::No => {}
            }
        }
    }
    Decision::Denied(refusal(question, layers, &unmet))
}

/// What a binding says to a question.
enum Grant<'a> {
    /// Yes, as it names this member.
    Yes(&'a str),
    /// It would, but for its condition.
    Unless(String),
    /// Nothing.
    No,
}

fn granted<'a>(question: &Question<'_>, binding: &'a Binding, roles: &CustomRoles, facts: &mut Facts<'a>) -> Grant<'a> {
    if !roles.grants(&binding.role, question.permission) {
        return Grant::No;
    }
    let Some(member) = binding.members.iter().find(|member| is_member(member, question.principal)) else {
        return Grant::No;
    };
    let Some(condition) = &binding.condition else { return Grant::Yes(member) };
    match facts.holds(condition) {
        Ok(true) => Grant::Yes(member),
        Ok(false) => Grant::Unless(format!("its condition '{}' does not hold", condition.title)),
        // What cannot be evaluated grants nothing, as at Google.
        Err(why) => Grant::Unless(format!("its condition '{}' cannot be evaluated: {why}", condition.title)),
    }
}

fn told(binding: &Binding, member: &str, layer: &Layer<'_>) -> String {
    let condition = match &binding.condition {
        Some(condition) => format!(", while '{}' holds", condition.title),
        None => String::new(),
    };
    format!("{} for {member} in the policy of {}{condition}", binding.role, layer.of)
}

fn refusal(question: &Question<'_>, layers: &[Layer<'_>], unmet: &[String]) -> String {
    let asked: Vec<&str> = layers.iter().map(|layer| layer.of).collect();
    let asked = if asked.is_empty() { "no policy has a say".to_owned() } else { asked.join(", ") };
    let mut text = format!("no binding grants {} to {} ({asked})", question.permission, question.principal);
    for why in unmet {
        text.push_str("; ");
        text.push_str(why);
    }
    text
}

/// The roles whose bindings differ between two policies, sorted: `iam.googleapis.com/modifiedGrantsByRole`.
pub fn modified_roles(before: &Policy, after: &Policy) -> Vec<String> {
    let grants = |policy: &Policy, role: &str| {
        let mut grants: Vec<(String, String)> = Vec::new();
        for binding in policy.bindings.iter().filter(|binding| binding.role == role) {
            let condition = binding.condition.as_ref().map(|it| it.expression.clone()).unwrap_or_default();
            grants.extend(binding.members.iter().map(|member| (member.clone(), condition.clone())));
        }
        grants.sort_unstable();
        grants.dedup();
        grants
    };
    let mut roles: Vec<String> =
        before.bindings.iter().chain(&after.bindings).map(|binding| binding.role.clone()).collect();
    roles.sort_unstable();
    roles.dedup();
    roles.retain(|role| grants(before, role) != grants(after, role));
    roles
}

/// What a new policy gives that the old one did not, then what it does not give any more, each in alphabetical order.
/// Somebody who may still do what they might before under another condition has lost one and been given the other.
pub fn deltas(before: &Policy, after: &Policy) -> Vec<BindingDelta> {
    let (old, new) = (grants(before), grants(after));
    let delta = |is_added| {
        move |((role, member, _), condition): (&GrantKey<'_>, &Option<&Condition>)| BindingDelta {
            is_added,
            role: (*role).to_owned(),
            member: (*member).to_owned(),
            condition: condition.cloned(),
        }
    };
    let added = new.iter().filter(|(grant, _)| !old.contains_key(*grant)).map(delta(true));
    let removed = old.iter().filter(|(grant, _)| !new.contains_key(*grant)).map(delta(false));
    added.chain(removed).collect()
}

/// A role, who has it, and the title, the description and the expression of when.
type GrantKey<'a> = (&'a str, &'a str, Option<[&'a str; 3]>);

fn grants(policy: &Policy) -> BTreeMap<GrantKey<'_>, Option<&Condition>> {
    let mut grants = BTreeMap::new();
    for Binding { role, members, condition } in &policy.bindings {
        let when = condition.as_ref().map(|it| [&*it.title, &*it.description, &*it.expression]);
        grants.extend(members.iter().map(|member| ((role.as_str(), member.as_str(), when), condition.as_ref())));
    }
    grants
}

// === impl Decision ===

impl Decision {
    /// May the call go on?
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Why, in words for people who may read policies. The caller is told less.
    pub fn reason(&self) -> &str {
        let (Self::Allowed(reason) | Self::Denied(reason)) = self;
        reason
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_allowed() { "allowed" } else { "denied" };
        write!(f, "{word}: {}", self.reason())
    }
}

#[cfg(test)]
mod tests;
