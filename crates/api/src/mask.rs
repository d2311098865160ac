//! Update masks, by descriptor.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};
use prost_types::FieldMask;
use updraft_model::Error;

use crate::{
    Named,
    json::{find, from_dynamic, to_dynamic},
    message,
};

/// Stands for every field.
const ALL: &str = "*";
/// The most paths of a mask; a service has fewer fields.
pub const PATHS_MAX: usize = 500;
/// What requests call the field.
const FIELD: &str = "update_mask";

/// `base` with what the mask names taken from `update`. A field that the mask names and `update` lacks is
/// cleared. `*` takes all of `update`; a mask without paths changes nothing.
///
/// # Errors
/// `InvalidArgument` that names the path when there is no such field.
pub fn apply<M: Named + Clone>(base: &M, update: &M, mask: &FieldMask) -> Result<M, Error> {
    let paths = canonical::<M>(mask)?;
    if paths.iter().any(|path| path == ALL) {
        return Ok(update.clone());
    }
    let (mut result, update) = (to_dynamic(base)?, to_dynamic(update)?);
    for path in &paths {
        copy(&mut result, &update, path);
    }
    from_dynamic(&result)
}

/// The paths of a mask over `M` in their canonical spelling: the names of the fields, with underscores.
///
/// # Errors
/// As [`apply`].
pub fn canonical<M: Named>(mask: &FieldMask) -> Result<Vec<String>, Error> {
    if mask.paths.len() > PATHS_MAX {
        let rule = format!("must have at most {PATHS_MAX} paths, got {}", mask.paths.len());
        return Err(Error::invalid_field(FIELD, rule));
    }
    let descriptor = message(M::NAME);
    mask.paths.iter().map(|path| resolve(&descriptor, path.trim())).collect()
}

fn resolve(descriptor: &MessageDescriptor, path: &str) -> Result<String, Error> {
    if path == ALL {
        return Ok(path.to_owned());
    }
    let unknown = || Error::invalid_field(FIELD, format!("'{path}' is not a field of {}", descriptor.name()));
    let mut names: Vec<String> = Vec::new();
    let mut inside = Some(descriptor.clone());
    let mut rest = path;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('.').unwrap_or((rest, ""));
        let field = inside.as_ref().and_then(|inside| find(inside, name)).ok_or_else(unknown)?;
        names.push(field.name().to_owned());
        if field.is_map() && !after.is_empty() {
            // All that follows is the key, which may have dots.
            names.push(after.to_owned());
            break;
        }
        inside = child(&field);
        rest = after;
    }
    if names.is_empty() || path.ends_with('.') { Err(unknown()) } else { Ok(names.join(".")) }
}

/// The message that a path may go on into: not into lists.
fn child(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !field.is_list() && !field.is_map() => Some(message),
        _ => None,
    }
}

/// Copies what is at a canonical path.
fn copy(base: &mut DynamicMessage, update: &DynamicMessage, path: &str) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(field) = base.descriptor().get_field_by_name(name) else { return };
    let Some(rest) = rest else {
        match update.has_field(&field) {
            true => base.set_field(&field, update.get_field(&field).into_owned()),
            false => base.clear_field(&field),
        }
        return;
    };
    if !base.has_field(&field) && !update.has_field(&field) {
        return;
    }
    match (base.get_field_mut(&field), &*update.get_field(&field)) {
        (Value::Message(base), Value::Message(update)) => copy(base, update, rest),
        (Value::Map(base), Value::Map(update)) => {
            let key = MapKey::String(rest.to_owned());
            match update.get(&key) {
                Some(value) => drop(base.insert(key, value.clone())),
                None => drop(base.remove(&key)),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    fn service(description: &str, timeout: i64) -> run::Service {
        let timeout = Some(prost_types::Duration { seconds: timeout, nanos: 0 });
        run::Service {
            description: description.to_owned(),
            labels: [("team.name".to_owned(), description.to_owned())].into(),
            template: Some(run::RevisionTemplate {
                timeout,
                max_instance_request_concurrency: 7,
                ..run::RevisionTemplate::default()
            }),
            ..run::Service::default()
        }
    }

    #[test]
    fn only_what_the_mask_names_changes() {
        let (old, new) = (service("old", 1), service("new", 2));
        let changed = apply(&old, &new, &mask(&["template.timeout"])).expect("valid");
        assert_eq!(changed, run::Service { template: new.template, ..old });
    }

    #[test]
    fn both_spellings_name_the_same_field() {
        let update = run::Service { template: Some(run::RevisionTemplate::default()), ..run::Service::default() };
        for path in ["template.maxInstanceRequestConcurrency", "template.max_instance_request_concurrency"] {
            let changed = apply(&service("old", 1), &update, &mask(&[path])).expect("valid");
            assert_eq!(changed.template.map(|template| template.max_instance_request_concurrency), Some(0), "{path}");
        }
    }

    #[test]
    fn a_named_field_that_the_update_lacks_is_cleared() {
        let changed = apply(&service("old", 1), &run::Service::default(), &mask(&["template"])).expect("valid");
        assert_eq!(changed, run::Service { template: None, ..service("old", 1) });
        let untouched = apply(&run::Service::default(), &run::Service::default(), &mask(&["template.timeout"]));
        assert_eq!(untouched.expect("valid"), run::Service::default());
    }

    #[test]
    fn a_key_of_a_map_is_a_path_too() {
        let changed = apply(&service("old", 1), &service("new", 2), &mask(&["labels.team.name"])).expect("valid");
        assert_eq!(changed.labels["team.name"], "new");
        assert_eq!(changed.description, "old");
    }

    #[test]
    fn a_star_takes_everything() {
        let changed = apply(&service("old", 1), &service("new", 2), &mask(&["*"])).expect("valid");
        assert_eq!(changed, service("new", 2));
    }

    #[test]
    fn unknown_paths_are_named() {
        for path in ["nope", "template.nope", "template.containers.image", "name.x", "template.", ""] {
            let error = apply(&service("old", 1), &service("new", 2), &mask(&[path])).expect_err(path);
            assert_eq!(error.violations()[0].field, "update_mask");
            assert!(error.message().contains(&format!("'{path}'")), "{error}");
        }
        assert!(canonical::<run::Service>(&mask(&["uid"; 501])).is_err());
    }
}
