//! IAM policies: message → model.

use updraft_model::iam::{Binding, Condition, Policy};

use crate::iam;

/// Reads what decisions are made from; the rest of the message (audit settings) stays in the message.
pub fn to_model(message: &iam::Policy) -> Policy {
    let binding = |binding: &iam::Binding| Binding {
        role: binding.role.clone(),
        members: binding.members.clone(),
        condition: binding.condition.as_ref().map(|it| Condition {
            title: it.title.clone(),
            description: it.description.clone(),
            expression: it.expression.clone(),
        }),
    };
    Policy { bindings: message.bindings.iter().map(binding).collect() }
}
