//! IAM policies: message ⇄ model.

use updraft_model::iam::{Binding, Condition, Policy};

use crate::{iam, r#type::Expr};

/// Reads what decisions are made from; the rest of the message (audit settings) stays in the message.
pub fn to_model(message: &iam::Policy) -> Policy {
    let binding = |binding: &iam::Binding| Binding {
        role: binding.role.clone(),
        members: binding.members.clone(),
        condition: binding.condition.as_ref().map(|it| Condition {
            title: it.title.clone(),
            description: it.description.clone(),
            expression: it.expression.clone(),
            ..Condition::default()
        }),
    };
    Policy { bindings: message.bindings.iter().map(binding).collect() }
}

/// The message of what decisions are made from, and no more: [`to_model`] makes the same of it again.
pub fn from_model(policy: &Policy) -> iam::Policy {
    let binding = |binding: &Binding| iam::Binding {
        role: binding.role.clone(),
        members: binding.members.clone(),
        condition: binding.condition.as_ref().map(|it| Expr {
            title: it.title.clone(),
            description: it.description.clone(),
            expression: it.expression.clone(),
            ..Expr::default()
        }),
    };
    iam::Policy { bindings: policy.bindings.iter().map(binding).collect(), ..iam::Policy::default() }
}
