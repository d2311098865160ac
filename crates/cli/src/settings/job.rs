//! From flags to a job.

use updraft_api::run::{Job, task_template::Retries};

use super::{Program, labels, mark, mask, program_of};
use crate::{args::JobSettingsArgs, error::CliError};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobWish<'a> {
    /// What is to run.
    pub(crate) program: Program<'a>,
    /// The flags.
    pub(crate) settings: &'a JobSettingsArgs,
    /// Picks what is to be unique.
    pub(crate) seed: u64,
}

/// What to send: the job that is there, or a new one, with what was asked for. `None` when it is that way already.
///
/// The API takes a job as a whole (`UpdateJobRequest` has no mask), so this is all that a client can write; the etag makes
/// sure that it still is `before` that is changed.
pub(crate) fn job(before: Option<&Job>, wish: &JobWish<'_>) -> Result<Option<Job>, CliError> {
    let mut after = before.map(writable).unwrap_or_default();
    apply(&mut after, wish)?;
    if before.is_some_and(|before| writable(before) == after) {
        return Ok(None);
    }
    mask::CLIENT.clone_into(&mut after.client);
    mask::VERSION.clone_into(&mut after.client_version);
    Ok(Some(after))
}

/// Without what the server says of it, and without the token of an execution that was started long ago.
fn writable(job: &Job) -> Job {
    let Job { name, etag, labels, annotations, launch_stage, binary_authorization, template, .. } = job.clone();
    let (client, client_version) = (job.client.clone(), job.client_version.clone());
    let written =
        Job { name, etag, labels, annotations, launch_stage, binary_authorization, template, ..Job::default() };
    Job { client, client_version, ..written }
}

fn apply(job: &mut Job, wish: &JobWish<'_>) -> Result<(), CliError> {
    let settings = wish.settings;
    labels(&mut job.labels, &settings.labels);
    let execution = job.template.get_or_insert_default();
    labels(&mut execution.labels, &settings.labels);
    if wish.program.image.is_some() {
        mark(&mut execution.labels, wish.seed);
    }
    if let Some(tasks) = settings.tasks {
        execution.task_count = tasks;
    }
    if let Some(parallelism) = settings.parallelism {
        execution.parallelism = parallelism.or_unset();
    }
    let task = execution.template.get_or_insert_default();
    if let Some(times) = settings.max_retries {
        task.retries = Some(Retries::MaxRetries(times));
    }
    if let Some(timeout) = settings.task_timeout {
        task.timeout = Some(prost_types::Duration { seconds: timeout.0, nanos: 0 });
    }
    if let Some(account) = &settings.service_account {
        task.service_account.clone_from(account);
    }
    program_of((&mut task.containers, &mut task.volumes), &wish.program)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{decode, encode};

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long)]
        image: Option<String>,
        #[command(flatten)]
        settings: JobSettingsArgs,
    }

    fn planned(before: Option<&Value>, line: &str) -> Result<Option<Value>, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let flags = Flags::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let container = &flags.settings.container;
        let program = Program { project: "demo-project", image: flags.image.as_deref(), container, env_file: None };
        let wish = JobWish { program, settings: &flags.settings, seed: 12_345 };
        let before: Option<Job> = before.map(|before| decode(before).unwrap());
        let after = job(before.as_ref(), &wish).map_err(|error| error.to_string())?;
        Ok(after.map(|after| {
            let mut after = encode(&after).unwrap();
            let fields = after.as_object_mut().unwrap();
            // Who sent it changes from version to version.
            fields.retain(|field, _| !field.starts_with("client"));
            after
        }))
    }

    fn before() -> Value {
        json!({
            "name": "projects/demo-project/locations/us-central1/jobs/batch", "uid": "u", "generation": "2",
            "etag": "\"e2\"", "labels": {"team": "a"}, "annotations": {"note": "n"}, "creator": "a@b.c",
            "executionCount": 4, "terminalCondition": {"type": "Ready", "state": "CONDITION_SUCCEEDED"},
            "startExecutionToken": "once",
            "template": {"labels": {"team": "a"}, "taskCount": 10, "parallelism": 2, "template": {
                "maxRetries": 3, "timeout": "600s", "serviceAccount": "s@p.iam.gserviceaccount.com",
                "containers": [{
                    "image": "localhost:5000/batch", "args": ["--all"],
                    "env": [{"name": "A", "value": "1"}],
                    "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}},
                }],
            }},
        })
    }

    #[test]
    fn a_new_job_says_only_what_was_asked_for() {
        let line = "--image i --tasks 3 --parallelism none --max-retries 0 --task-timeout 5m --cpu 2 \
                    --set-env-vars A=1 --set-secrets /s/key=db:latest --labels team=a --args=one,two";
        let expected = json!({
            "labels": {"team": "a"},
            "template": {"taskCount": 3, "labels": {"team": "a", "client.knative.dev/nonce": "vgsaaaaaaa"}, "template": {
                "maxRetries": 0, "timeout": "300s",
                "containers": [{
                    "image": "i", "args": ["one", "two"], "env": [{"name": "A", "value": "1"}],
                    "resources": {"limits": {"cpu": "2"}}, "volumeMounts": [{"name": "db", "mountPath": "/s"}],
                }],
                "volumes": [{"name": "db", "secret": {"secret": "db", "items": [{"path": "key", "version": "latest"}]}}],
            }},
        });
        assert_eq!(planned(None, line), Ok(Some(expected)));
    }

    #[test]
    fn an_update_sends_the_whole_job_without_what_the_server_says_of_it() {
        let mut expected = before();
        let fields = expected.as_object_mut().unwrap();
        for field in ["uid", "generation", "creator", "executionCount", "terminalCondition", "startExecutionToken"] {
            fields.remove(field);
        }
        expected["template"]["parallelism"] = json!(5);
        expected["template"]["template"]["containers"][0]["env"] =
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
        assert_eq!(planned(Some(&before()), "--parallelism 5 --update-env-vars B=2"), Ok(Some(expected)));
    }

    #[test]
    fn what_is_that_way_already_is_not_sent() {
        for line in ["", "--tasks 10", "--update-env-vars A=1", "--max-retries 3 --cpu 1000m --labels team=a"] {
            assert_eq!(planned(Some(&before()), line), Ok(None), "{line}");
        }
        let sent = planned(Some(&before()), "--image localhost:5000/batch").unwrap().expect("it may be another image");
        assert_eq!(sent["template"]["labels"]["client.knative.dev/nonce"], "vgsaaaaaaa");
    }

    #[test]
    fn no_limit_of_parallelism_is_what_the_api_takes_for_not_said() {
        let sent = planned(Some(&before()), "--parallelism none").unwrap().unwrap();
        assert_eq!(sent["template"].get("parallelism"), None);
    }

    #[test]
    fn a_secret_does_not_become_a_plain_variable_unasked() {
        let mut secret = before();
        secret["template"]["template"]["containers"][0]["env"] =
            json!([{"name": "A", "valueSource": {"secretKeyRef": {"secret": "s", "version": "1"}}}]);
        let refused = planned(Some(&secret), "--update-env-vars A=1").unwrap_err();
        assert!(refused.contains("hint: add --remove-secrets A"), "{refused}");
    }
}
