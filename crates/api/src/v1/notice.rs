//! Settings that are stored and returned, and that nothing acts on.
//!
//! What would change which program runs, or who may reach it, is not here: with such a field a revision is
//! not ready, or the service is refused. The switch for more CPU while starting, which gcloud sets on every
//! new service, and the execution environment are not here either: a start takes what CPU there is, and
//! both environments promise less than the one that there is.

use serde_json::Value;

use super::{Rest, alike, keys, rest};
use crate::run;

/// The condition that names them, of severity `Warning`.
pub const NOTICE: &str = "SettingsApplied";

/// Values of fields of which Cloud Run ignores every value, or knows this one only.
const PLAIN: [(&str, &str); 5] = [
    ("terminationMessagePath", ""),
    ("terminationMessagePolicy", ""),
    ("imagePullPolicy", ""),
    ("protocol", "TCP"),
    ("scheme", "HTTP"),
];

/// In whose words fields are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// `metadata.annotations[run.googleapis.com/custom-audiences]`.
    V1,
    /// `custom_audiences`. What only v1 can say is named as v1 does.
    V2,
}

/// Where the template stands that containers come from, in v2's spelling and in v1's.
type Place = (&'static str, &'static str);

/// A template that is part of what is asked for; one that it is made of.
const WITHIN: Place = ("template.", "spec.template.");
const OF_JOB: Place = ("template.template.", "spec.template.");
const OF_EXECUTION: Place = ("template.", "");
const ITSELF: Place = ("", "");

/// The sentence about `template`, of this service or of a revision; `None` when everything is acted on.
pub fn notice(
    service: Option<&run::Service>,
    template: &run::RevisionTemplate,
    (rest, words): (&Rest, Words),
) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    let (audiences, built) = match service {
        Some(service) => (!service.custom_audiences.is_empty(), service.build_config.is_some()),
        None => (false, false),
    };
    for (is_set, field, key) in
        [(audiences, "custom_audiences", keys::CUSTOM_AUDIENCES), (built, "build_config", "run.googleapis.com/build-*")]
    {
        if is_set {
            names.push(match words {
                Words::V1 => format!("metadata.annotations[{key}]"),
                Words::V2 => field.to_owned(),
            });
        }
    }
    names.extend(in_template(template, if service.is_some() { WITHIN } else { ITSELF }, words));
    sentence(names, rest)
}

/// The sentence about a job.
pub(super) fn of_job(job: &run::Job, (rest, words): (&Rest, Words)) -> Option<String> {
    let execution = job.template.as_ref()?;
    let task = execution.template.clone().unwrap_or_default();
    let template = alike::of_task(&task, (&execution.labels, &execution.annotations));
    sentence(in_template(&template, OF_JOB, words), rest)
}

/// The sentence about an execution.
pub(super) fn of_execution(execution: &run::Execution, (rest, words): (&Rest, Words)) -> Option<String> {
    let task = execution.template.clone().unwrap_or_default();
    let template = alike::of_task(&task, (&execution.labels, &execution.annotations));
    sentence(in_template(&template, OF_EXECUTION, words), rest)
}

/// The sentence about a task.
pub(super) fn of_task(task: &run::Task, (rest, words): (&Rest, Words)) -> Option<String> {
    let template = alike::of_task(&alike::template_of_task(task), (&task.labels, &task.annotations));
    sentence(in_template(&template, ITSELF, words), rest)
}

/// The sentence about a worker pool.
pub(super) fn of_worker_pool(pool: &run::WorkerPool, (rest, words): (&Rest, Words)) -> Option<String> {
    let template = alike::of_worker(pool.template.as_ref()?);
    sentence(in_template(&template, WITHIN, words), rest)
}

/// What a template says that nothing acts on.
fn in_template(template: &run::RevisionTemplate, (v2, v1): Place, words: Words) -> Vec<String> {
    let based = template.containers.iter().any(|container| !container.base_image_uri.is_empty());
    let settings = [
        (
            template.gpu_zonal_redundancy_disabled.is_some(),
            "gpu_zonal_redundancy_disabled",
            keys::ZONAL_REDUNDANCY_DISABLED,
        ),
        (based, "containers[].base_image_uri", keys::BASE_IMAGES),
    ];
    let set = settings.into_iter().filter(|(is_set, ..)| *is_set);
    set.map(|(_, field, key)| match words {
        Words::V1 => format!("{v1}metadata.annotations[{key}]"),
        Words::V2 => format!("{v2}{field}"),
    })
    .collect()
}

fn sentence(mut names: Vec<String>, rest: &Rest) -> Option<String> {
    names.extend(rest.leaves("").into_iter().filter(|(path, value)| matters(path, value)).map(|(path, _)| path));
    if names.is_empty() {
        None
    } else {
        Some(format!("Stored, but not acted on by this version: {}.", names.join(", ")))
    }
}

/// The same as a condition of v2.
pub fn notice_condition(
    service: Option<&run::Service>,
    template: &run::RevisionTemplate,
    rest: &Rest,
) -> Option<run::Condition> {
    notice(service, template, (rest, Words::V2)).map(condition)
}

/// What [`notice_condition`] is for a service, for a job.
pub fn job_notice_condition(job: &run::Job, rest: &Rest) -> Option<run::Condition> {
    of_job(job, (rest, Words::V2)).map(condition)
}

/// What [`notice_condition`] is for a service, for an execution.
pub fn execution_notice_condition(execution: &run::Execution, rest: &Rest) -> Option<run::Condition> {
    of_execution(execution, (rest, Words::V2)).map(condition)
}

/// What [`notice_condition`] is for a service, for a worker pool.
pub fn worker_pool_notice_condition(pool: &run::WorkerPool, rest: &Rest) -> Option<run::Condition> {
    of_worker_pool(pool, (rest, Words::V2)).map(condition)
}

fn condition(message: String) -> run::Condition {
    run::Condition {
        r#type: NOTICE.to_owned(),
        state: run::condition::State::ConditionPending.into(),
        message,
        severity: run::condition::Severity::Warning.into(),
        ..run::Condition::default()
    }
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
    if rest::is_readiness_successes(path) {
        return false;
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
    fn a_template_is_named_where_it_stands() {
        let task = run::TaskTemplate { gpu_zonal_redundancy_disabled: Some(true), ..Default::default() };
        let template = run::ExecutionTemplate { template: Some(task.clone()), ..Default::default() };
        let job = run::Job { template: Some(template), ..Default::default() };
        let execution = run::Execution { template: Some(task), ..Default::default() };
        let worker =
            run::WorkerPoolRevisionTemplate { gpu_zonal_redundancy_disabled: Some(true), ..Default::default() };
        let pool = run::WorkerPool { template: Some(worker), ..Default::default() };
        let none = Rest::default();
        let said = |said: Option<String>| {
            said.expect("something is set").replace("Stored, but not acted on by this version: ", "")
        };
        let key = "metadata.annotations[run.googleapis.com/gpu-zonal-redundancy-disabled].";
        assert_eq!(said(of_job(&job, (&none, Words::V2))), "template.template.gpu_zonal_redundancy_disabled.");
        assert_eq!(said(of_job(&job, (&none, Words::V1))), format!("spec.template.{key}"));
        assert_eq!(said(of_execution(&execution, (&none, Words::V2))), "template.gpu_zonal_redundancy_disabled.");
        assert_eq!(said(of_execution(&execution, (&none, Words::V1))), key);
        assert_eq!(said(of_worker_pool(&pool, (&none, Words::V2))), "template.gpu_zonal_redundancy_disabled.");
        assert_eq!(said(of_worker_pool(&pool, (&none, Words::V1))), format!("spec.template.{key}"));
        assert_eq!(of_job(&run::Job::default(), (&none, Words::V1)), None);
    }

    #[test]
    fn only_what_something_would_have_to_be_done_about_is_named() {
        let sent = json!({
            "metadata": {"annotations": {
                "run.googleapis.com/scaling-cpu-target": "0.7", "run.googleapis.com/client-name": "gcloud",
                "run.googleapis.com/cpu-throttling": "true", "run.googleapis.com/sessionAffinity": "false",
            }},
            "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "a", "imagePullPolicy": "Always",
                     "startupProbe": {"successThreshold": 1}, "livenessProbe": {"successThreshold": 2},
                     "readinessProbe": {"successThreshold": 2}, "sandboxLauncher": true}],
                     "volumes": [{"name": "v", "emptyDir": {"medium": "Disk"}}]},
        });
        let view = json!({"metadata": {"annotations": {}}, "spec": {"containers": [{"name": "a", "startupProbe": {}, "livenessProbe": {}, "readinessProbe": {}}], "volumes": [{"name": "v", "emptyDir": {}}]}});
        let said = notice(None, &run::RevisionTemplate::default(), (&Rest::between(&sent, &view), Words::V1));
        let expected = "Stored, but not acted on by this version: metadata.annotations[run.googleapis.com/scaling-cpu-target], \
             spec.terminationGracePeriodSeconds, spec.containers[a].sandboxLauncher, spec.containers[a].livenessProbe.successThreshold, spec.volumes[v].emptyDir.medium.";
        assert_eq!(said.as_deref(), Some(expected));
        assert_eq!(notice(None, &run::RevisionTemplate::default(), (&Rest::default(), Words::V1)), None);
    }
}
