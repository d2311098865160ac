//! Enums whose numbers mean nothing.
//!
//! An enum comes as any number, by either wire. Only input is checked: what is stored was checked once, by a version
//! that may have known more.

use prost_reflect::{DynamicMessage, Kind, Value};
use updraft_model::{Error, Violation};

use crate::{Named, json::to_dynamic};

/// A violation for every enum of `message`, which stands at `at` in its request, that has an unknown number.
///
/// # Errors
/// `Internal` when the message does not fit its descriptor, which a test rules out.
pub fn unknown_values<M: Named>(message: &M, at: &str) -> Result<Vec<Violation>, Error> {
    let mut found = Vec::new();
    walk(&to_dynamic(message)?, at, &mut found);
    found.sort_by(|a, b| a.field.cmp(&b.field));
    Ok(found)
}

fn walk(message: &DynamicMessage, at: &str, found: &mut Vec<Violation>) {
    for (field, value) in message.fields() {
        let path = format!("{at}.{}", field.name());
        match value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    check(&field.kind(), item, &format!("{path}[{index}]"), found);
                }
            }
            // No map of the API holds enums or messages.
            Value::Map(_) => {}
            single => check(&field.kind(), single, &path, found),
        }
    }
}

fn check(kind: &Kind, value: &Value, path: &str, found: &mut Vec<Violation>) {
    match (kind, value) {
        (Kind::Enum(descriptor), Value::EnumNumber(number)) if descriptor.get_value(*number).is_none() => {
            found.push(Violation::new(path, format!("has no value with the number {number}")));
        }
        (_, Value::Message(inner)) => walk(inner, path, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    #[test]
    fn every_enum_is_looked_at_wherever_it_stands() {
        let volume = run::Volume {
            name: "v".to_owned(),
            volume_type: Some(run::volume::VolumeType::EmptyDir(run::EmptyDirVolumeSource {
                medium: 7,
                ..Default::default()
            })),
        };
        let template = run::RevisionTemplate {
            execution_environment: 9,
            volumes: vec![volume],
            ..run::RevisionTemplate::default()
        };
        let target = run::TrafficTarget { r#type: -1, ..run::TrafficTarget::default() };
        let service = run::Service {
            ingress: 1,
            launch_stage: 99,
            template: Some(template),
            traffic: vec![target],
            ..run::Service::default()
        };
        let found: Vec<String> =
            unknown_values(&service, "service").expect("fits").iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "service.launch_stage: has no value with the number 99",
                "service.template.execution_environment: has no value with the number 9",
                "service.template.volumes[0].empty_dir.medium: has no value with the number 7",
                "service.traffic[0].type: has no value with the number -1",
            ]
        );
    }
}
