//! Settings that are stored and returned, and that nothing acts on.
//!
//! What would change which program runs, or who may reach it, is not here: with such a field a revision is
//! not ready, or the service is refused. The switch for more CPU while starting, which gcloud sets on every
//! new service, and the execution environment are not here either: a start takes what CPU there is, and
//! both environments promise less than the one that there is.

use serde_json::Value;

use super::{Rest, keys};
use crate::run;

/// The condition that names them, of severity `Warning`.
pub const NOTICE: &str = "SettingsApplied";

/// Values of fields of which Cloud Run ignores every value, or knows this one only.
const PLAIN: [(&str, &str); 6] = [
    ("terminationMessagePath", ""),
    ("terminationMessagePolicy", ""),
    ("imagePullPolicy", ""),
    ("protocol", "TCP"),
    ("scheme", "HTTP"),
    ("medium", "Disk"),
];

/// The sentence about `template`, of this service or of a revision, in v1's words; `None` when everything
/// is acted on.
pub fn notice(service: Option<&run::Service>, template: &run::RevisionTemplate, rest: &Rest) -> Option<String> {
    let at = if service.is_some() { "spec.template." } else { "" };
    let mut names: Vec<String> = Vec::new();
    if service.is_some_and(|service| !service.custom_audiences.is_empty()) {
        names.push(annotation("", keys::CUSTOM_AUDIENCES));
    }
    if service.is_some_and(|service| service.build_config.is_some()) {
        names.push("metadata.annotations[run.googleapis.com/build-*]".to_owned());
    }
    if template.session_affinity {
        names.push(annotation(at, keys::SESSION_AFFINITY));
    }
    if template.gpu_zonal_redundancy_disabled.is_some() {
        names.push(annotation(at, keys::ZONAL_REDUNDANCY_DISABLED));
    }
    if template.containers.iter().any(|container| !container.base_image_uri.is_empty()) {
        names.push(annotation(at, keys::BASE_IMAGES));
    }
    names.extend(rest.leaves("").into_iter().filter(|(path, value)| matters(path, value)).map(|(path, _)| path));
    if names.is_empty() { None } else { Some(format!("Stored, but not acted on by this version: {}.", names.join(", "))) }
}

fn annotation(at: &str, key: &str) -> String {
    format!("{at}metadata.annotations[{key}]")
}

/// Is a value of the rest one that something would have to be done about?
fn matters(path: &str, value: &Value) -> bool {
    if let Some(key) = path.strip_suffix(']').and_then(|path| path.rsplit_once('[')).map(|(_, key)| key)
        && key.contains('/')
    {
        // Words for what is so anyway.
        let plain = matches!(value.as_str().unwrap_or_default(), "" | "0" | "false" | "False" | "automatic" | "GA");
        let default = key == keys::CPU_THROTTLING || key == keys::SECRETS || plain;
        return !default && !keys::is_inert(key) && !keys::is_output(key);
    }
    let field = path.rsplit('.').next().unwrap_or(path);
    let text = value.as_str().unwrap_or_default();
    match field {
        "successThreshold" => value.as_i64() != Some(1),
        // Mounts of secrets and the like are read-only anyway; others are refused where they are not built.
        "readOnly" => false,
        "name" | "percent" | "latestRevision" => false,
        _ => !PLAIN.iter().any(|(name, plain)| *name == field && (plain.is_empty() || *plain == text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_something_would_have_to_be_done_about_is_named() {
        let sent = json!({
            "metadata": {"annotations": {
                "run.googleapis.com/scaling-cpu-target": "0.7", "run.googleapis.com/client-name": "gcloud",
                "run.googleapis.com/cpu-throttling": "true", "run.googleapis.com/sessionAffinity": "false",
            }},
            "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "a", "imagePullPolicy": "Always",
                     "startupProbe": {"successThreshold": 1}, "sandboxLauncher": true}]},
        });
        let view = json!({"metadata": {"annotations": {}}, "spec": {"containers": [{"name": "a", "startupProbe": {}}]}});
        let said = notice(None, &run::RevisionTemplate::default(), &Rest::between(&sent, &view));
        let expected = "Stored, but not acted on by this version: metadata.annotations[run.googleapis.com/scaling-cpu-target], \
             spec.terminationGracePeriodSeconds, spec.containers[a].sandboxLauncher.";
        assert_eq!(said.as_deref(), Some(expected));
        assert_eq!(notice(None, &run::RevisionTemplate::default(), &Rest::default()), None);
    }
}
