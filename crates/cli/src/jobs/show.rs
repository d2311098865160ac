//! A job, an execution and a task as text, as gcloud writes them.

use std::time::Duration;

use updraft_api::run::{Execution, Job, Task, TaskTemplate, task_template::Retries};

use super::{
    state::{Counts, Phase, TaskState, condition},
    tasks,
    view::short,
};
use crate::{
    describe::{Page, Purpose},
    output::{id, readiness, region, time},
};

/// A job.
pub(super) fn job(job: &Job) -> String {
    let mut page = Page::default();
    let (mark, message) = readiness(job.terminal_condition.as_ref());
    page.line(0, &format!("{mark} Job {} in region {}", id(&job.name), region(&job.name)));
    page.line(0, &format!("Executed {}", many(job.execution_count, "time")));
    if let Some(latest) = &job.latest_created_execution {
        let at = time(latest.create_time.as_ref());
        page.line(0, &format!("Last executed {at} with execution {}", id(&latest.name)));
    }
    page.line(0, &format!("Last updated on {} by {}", time(job.update_time.as_ref()), job.last_modifier));
    page.blank();
    labelled(&mut page, &job.labels);
    if let Some(template) = &job.template {
        size(&mut page, template.task_count, template.parallelism);
        if let Some(task) = &template.template {
            runs(&mut page, task);
        }
    }
    page.problem(mark, message);
    page.0
}

/// An execution.
pub(super) fn execution(execution: &Execution) -> String {
    let mut page = Page::default();
    let completed = condition(&execution.conditions, "Completed");
    let (mark, message) = readiness(completed);
    page.line(0, &format!("{mark} Execution {} in region {}", id(&execution.name), region(&execution.name)));
    let (counts, phase) = (Counts::of(execution), Phase::of(execution));
    if !phase.is_over() {
        page.line(0, &format!("{} currently running", many(execution.running_count, "task")));
        if counts.pending() > 0 {
            page.line(0, &format!("{} waiting", many(i32::try_from(counts.pending()).unwrap_or(i32::MAX), "task")));
        }
    }
    page.line(0, &format!("{} completed successfully", many(execution.succeeded_count, "task")));
    for (count, what) in [
        (execution.failed_count, "failed to complete"),
        (execution.cancelled_count, "cancelled"),
        (execution.retried_count, "tried more than once"),
    ] {
        if count > 0 {
            page.line(0, &format!("{} {what}", many(count, "task")));
        }
    }
    if let Some(took) = took(execution) {
        page.line(0, &format!("Elapsed time: {}", in_words(took)));
    }
    if !execution.log_uri.is_empty() {
        page.blank();
        page.line(0, &format!("Log URI: {}", execution.log_uri));
    }
    page.blank();
    labelled(&mut page, &execution.labels);
    size(&mut page, execution.task_count, execution.parallelism);
    if let Some(task) = &execution.template {
        runs(&mut page, task);
    }
    page.problem(mark, message);
    page.0
}

/// A task.
pub(super) fn task(task: &Task) -> String {
    let mut page = Page::default();
    let state = TaskState::of(task);
    page.line(0, &format!("{} Task {} in region {}", state.mark(), id(&task.name), region(&task.name)));
    page.fields(0, &[("Running state", state.word().to_owned())]);
    if let Some(result) = &task.last_attempt_result {
        let said = result.status.as_ref().map(|status| status.message.clone()).unwrap_or_default();
        let told = tasks::told(result);
        let told = if told.is_empty() { "exit code 0".to_owned() } else { told };
        page.line(0, "Last Attempt Result:");
        page.fields(2, &[("Ended", told), ("Message", said), ("Retries", task.retried.to_string())]);
    }
    page.blank();
    let template = TaskTemplate {
        containers: task.containers.clone(),
        volumes: task.volumes.clone(),
        timeout: task.timeout,
        service_account: task.service_account.clone(),
        retries: Some(Retries::MaxRetries(task.max_retries)),
        ..TaskTemplate::default()
    };
    runs(&mut page, &template);
    let completed = condition(&task.conditions, "Completed");
    let (mark, message) = readiness(completed);
    page.problem(mark, message);
    page.0
}

fn labelled(page: &mut Page, labels: &std::collections::HashMap<String, String>) {
    let before = page.0.len();
    page.labels(labels);
    if page.0.len() > before {
        page.blank();
    }
}

fn size(page: &mut Page, tasks: i32, parallelism: i32) {
    let parallelism = if parallelism == 0 { "No limit".to_owned() } else { parallelism.to_string() };
    page.fields(0, &[("Tasks", tasks.to_string()), ("Parallelism", parallelism)]);
}

fn runs(page: &mut Page, task: &TaskTemplate) {
    page.containers(0, Purpose::Work, (&task.containers, &task.volumes));
    let seconds = task.timeout.and_then(|timeout| u64::try_from(timeout.seconds).ok());
    let retries = task.retries.map(|Retries::MaxRetries(times)| times.to_string());
    page.fields(
        0,
        &[
            ("Task Timeout", seconds.map(|seconds| short(Duration::from_secs(seconds))).unwrap_or_default()),
            ("Max Retries", retries.unwrap_or_default()),
            ("Service account", task.service_account.clone()),
        ],
    );
}

/// How long an execution took, if it has ended.
fn took(execution: &Execution) -> Option<Duration> {
    let (begin, end) = (execution.create_time?, execution.completion_time?);
    u64::try_from(end.seconds - begin.seconds).ok().map(Duration::from_secs)
}

/// A time in gcloud's words: `1 minute and 3 seconds`.
fn in_words(time: Duration) -> String {
    let part = |count: u64, unit: &str| many(i32::try_from(count).unwrap_or(i32::MAX), unit);
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => part(seconds, "second"),
        (0, minutes, seconds) => format!("{} and {}", part(minutes, "minute"), part(seconds, "second")),
        (hours, minutes, _) => format!("{} and {}", part(hours, "hour"), part(minutes, "minute")),
    }
}

fn many(count: i32, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (63, "1 minute and 3 seconds"),
            (7261, "2 hours and 1 minute"),
            (90_000, "25 hours and 0 minutes"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), expected);
        }
    }
}
