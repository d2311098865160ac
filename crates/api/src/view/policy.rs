//! IAM policies: message → model.

use updraft_model::iam::{Binding, Policy};

use crate::iam;

/// Reads what decisions are made from; the rest of the message (audit settings, the conditions' text)
/// stays in the message.
pub fn to_model(message: &iam::Policy) -> Policy {
    let binding = |binding: &iam::Binding| Binding {
        role: binding.role.clone(),
        members: binding.members.clone(),
        conditional: binding.condition.is_some(),
    };
    Policy { bindings: message.bindings.iter().map(binding).collect() }
}
