//! The rules of a job, each with its field and the value that broke it.
//!
//! Source: Cloud Run Admin API v2, `Job`, `ExecutionTemplate` and `TaskTemplate`. Run it after the defaults.

use std::time::Duration;

use super::{ExecutionTemplate, Job, name::check_execution_token};
use crate::{
    error::Violation,
    label,
    name::check_service_account,
    revision::{egress, validation as container_rules},
    service::validation::CLIENT_BYTES_MAX,
};

/// The most tasks of an execution.
pub const TASK_COUNT_MAX: i32 = 10_000;
/// The most retries of a task.
pub const RETRIES_MAX: i32 = 10;
/// The longest timeout of an attempt: 168 h.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(168 * 3600);

/// Checks everything that can be checked without looking at anything else.
pub fn check(job: &Job) -> Vec<Violation> {
    let mut found = Vec::new();
    label::check_labels("job.labels", &job.labels, &mut found);
    label::check_annotations("job.annotations", &job.annotations, &mut found);
    egress::check_service("job.annotations", &job.annotations, &mut found);
    for (field, text) in ["client", "client_version"].into_iter().zip(&job.client) {
        if text.len() > CLIENT_BYTES_MAX {
            let rule = format!("must be at most {CLIENT_BYTES_MAX} bytes long, got {}", text.len());
            found.push(Violation::new(format!("job.{field}"), rule));
        }
    }
    check_template("job.template", &job.template, &mut found);
    if let Some(first) = &job.first_execution {
        found.extend(check_execution_token(&format!("job.{}", first.field()), &job.name.job, first.token()).err());
    }
    let unsupported = job.unsupported.iter().map(|field| format!("job.{field}"));
    found.extend(unsupported.map(|field| Violation::new(field, "is not supported by this version")));
    found
}

/// Checks the template of an execution at the path `at`.
pub fn check_template(at: &str, template: &ExecutionTemplate, found: &mut Vec<Violation>) {
    label::check_labels(&format!("{at}.labels"), &template.labels, found);
    label::check_annotations(&format!("{at}.annotations"), &template.annotations, found);
    egress::check_execution(&format!("{at}.annotations"), &template.annotations, found);
    check_task_count(&format!("{at}.task_count"), template.task_count, found);
    let (parallelism, count) = (template.parallelism, template.task_count);
    // Of a count that is wrong itself nothing follows.
    if parallelism < 0 || (count > 0 && parallelism > count) {
        let rule = format!(
            "must be between 0, as many as there is room for, and task_count {}, got {parallelism}",
            count.max(0)
        );
        found.push(Violation::new(format!("{at}.parallelism"), rule));
    }
    let task = &template.template;
    let at = format!("{at}.template");
    if let Some(retries) = task.max_retries
        && !(0..=RETRIES_MAX).contains(&retries)
    {
        let rule = format!("must be between 0 and {RETRIES_MAX}, got {retries}");
        found.push(Violation::new(format!("{at}.max_retries"), rule));
    }
    if let Some(timeout) = task.timeout {
        check_timeout(&format!("{at}.timeout"), timeout, found);
    }
    // Empty until the defaults are in; the default is one of ours.
    if !task.service_account.is_empty() {
        found.extend(check_service_account(&format!("{at}.service_account"), &task.service_account).err());
    }
    container_rules::check_task(&at, &task.containers, &task.volumes, found);
}

/// Checks a number of tasks at `field`.
pub(super) fn check_task_count(field: &str, count: i32, found: &mut Vec<Violation>) {
    if !(1..=TASK_COUNT_MAX).contains(&count) {
        found.push(Violation::new(field, format!("must be between 1 and {TASK_COUNT_MAX}, got {count}")));
    }
}

/// Checks the timeout of an attempt at `field`.
pub(super) fn check_timeout(field: &str, timeout: Duration, found: &mut Vec<Violation>) {
    if !(Duration::from_secs(1)..=TIMEOUT_MAX).contains(&timeout) || timeout.subsec_nanos() > 0 {
        let (most, got) = (TIMEOUT_MAX.as_secs(), timeout.as_secs_f64());
        let rule = format!("must be whole seconds between 1s and {most}s (168 hours), got {got}s");
        found.push(Violation::new(field, rule));
    }
}

#[cfg(test)]
mod tests;
