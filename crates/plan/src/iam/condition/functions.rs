//! Google's additions to CEL.

use std::sync::Arc;

use cel::{Context, DeclarationError, ExecutionError, Value, extractors::This};

/// The one attribute of an API that there is here: the roles that a call to set a policy changes.
const MODIFIED: &str = "iam.googleapis.com/modifiedGrantsByRole";

/// Adds them to a context.
pub(super) fn declare(context: &mut Context<'_, '_>, modified_roles: &[String]) -> Result<(), DeclarationError> {
    let modified = Value::from(modified_roles.to_vec());
    context.add_function("extract", |This(text): This<Arc<String>>, template: Arc<String>| {
        extract(&text, &template).map(Value::from).map_err(|why| ExecutionError::function_error("extract", why))
    })?;
    context.add_function("hasOnly", |This(list): This<Arc<Vec<Value>>>, allowed: Arc<Vec<Value>>| {
        list.iter().all(|item| allowed.contains(item))
    })?;
    context.add_function("api.getAttribute", move |name: Arc<String>, default: Value| {
        // A call that changes no policy has no such attribute.
        match &modified {
            Value::List(roles) if *name == MODIFIED && !roles.is_empty() => modified.clone(),
            _ => default,
        }
    })
}

/// The part of `text` that stands where the template has `{anything}`: after the first occurrence of what comes before
/// it, up to the first occurrence after that of what comes behind it. Empty when one of them is not there.
fn extract(text: &str, template: &str) -> Result<String, String> {
    let wrong = || format!("the template must have one {{part}} to extract, got '{template}'");
    let (before, rest) = template.split_once('{').ok_or_else(wrong)?;
    let (_, behind) = rest.split_once('}').ok_or_else(wrong)?;
    if before.contains('}') || behind.contains(['{', '}']) {
        return Err(wrong());
    }
    let found = text.split_once(before).and_then(|(_, rest)| match behind {
        "" => Some(rest),
        behind => rest.split_once(behind).map(|(part, _)| part),
    });
    Ok(found.unwrap_or_default().to_owned())
}
