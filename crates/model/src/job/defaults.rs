//! What a job gets that does not say otherwise.
//!
//! Sources: Cloud Run Admin API v2, `ExecutionTemplate` and `TaskTemplate`; containers as those of revisions.

use std::time::Duration;

use super::{ExecutionTemplate, Job};
use crate::revision::defaults::{fill_container, fill_port, service_account};

/// How many tasks an execution has.
pub const TASK_COUNT: i32 = 1;
/// How often a task is tried again.
pub const MAX_RETRIES: i32 = 3;
/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// Fills in what the client left open. Applying it twice is applying it once.
pub fn apply(job: &mut Job) {
    apply_to_template(&mut job.template, &job.name.parent.project);
}

/// The same for a template of a job in `project`. `parallelism` stays 0 when it is: as many as there is room for.
pub fn apply_to_template(template: &mut ExecutionTemplate, project: &str) {
    if template.task_count == 0 {
        template.task_count = TASK_COUNT;
    }
    let task = &mut template.template;
    task.max_retries.get_or_insert(MAX_RETRIES);
    task.timeout.get_or_insert(TIMEOUT);
    if task.service_account.is_empty() {
        task.service_account = service_account(project);
    }
    for (index, container) in task.containers.iter_mut().enumerate() {
        fill_container(container, index);
        // Nothing is sent to a task: its CPU cannot hang on requests.
        container.resources.cpu_idle = false;
        if container.port_count > 0 {
            fill_port(container);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{job::TaskTemplate, revision::Container};

    #[test]
    fn an_image_alone_gets_everything_google_gives_it_and_neither_port_nor_probe() {
        let container = Container { image: "gcr.io/p/Nightly:v1".to_owned(), ..Container::default() };
        let task = TaskTemplate { containers: vec![container], ..TaskTemplate::default() };
        let mut template = ExecutionTemplate { template: task, ..ExecutionTemplate::default() };
        apply_to_template(&mut template, "demo-project");
        let task = &template.template;
        assert_eq!((template.task_count, template.parallelism), (1, 0));
        assert_eq!((task.max_retries, task.timeout), (Some(3), Some(Duration::from_secs(600))));
        assert!(task.service_account.ends_with("-compute@developer.gserviceaccount.com"));
        let container = &task.containers[0];
        assert_eq!((container.name.as_str(), container.port_count, container.port), ("nightly-1", 0, None));
        assert_eq!(container.startup_probe, None);
        assert_eq!((&*container.resources.limits["cpu"], &*container.resources.limits["memory"]), ("1000m", "512Mi"));
        assert!(!container.resources.cpu_idle, "always on");
        let once = template.clone();
        apply_to_template(&mut template, "demo-project");
        assert_eq!(template, once);
    }

    #[test]
    fn no_retries_are_not_the_default_retries() {
        let mut template = ExecutionTemplate::default();
        template.template.max_retries = Some(0);
        apply_to_template(&mut template, "demo-project");
        assert_eq!(template.template.max_retries, Some(0));
    }
}
