//! What one execution has otherwise than its job's template says.
//!
//! Source: Cloud Run Admin API v2, `RunJobRequest.Overrides`; `parallelism` is an extension of ours.

use std::time::Duration;

use super::{ExecutionTemplate, validation};
use crate::{
    error::{Error, Violation},
    revision::{
        Container, EnvVar,
        validation::{self as container_rules, Kind},
    },
};

/// What one execution has otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// By container.
    pub containers: Vec<ContainerOverride>,
    /// How many tasks there are, 1 to 10,000.
    pub task_count: Option<i32>,
    /// How long one attempt may take: whole seconds, 1 s to 168 h.
    pub timeout: Option<Duration>,
    /// The most tasks that run at a time; 0 means as many as there is room for. More than there are tasks means all of
    /// them.
    pub parallelism: Option<i32>,
}

/// What one container has otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerOverride {
    /// Which; may be empty when there is only one.
    pub name: String,
    /// Replaces its arguments; none leaves them as they are.
    pub args: Vec<String>,
    /// Merged over its variables: those of the same name are replaced, others are added.
    pub env: Vec<EnvVar>,
    /// Takes its arguments away.
    pub clear_args: bool,
}

// === impl Overrides ===

impl Overrides {
    /// Is nothing otherwise? Then no further permission is needed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The template with these changes, checked. `template` has its defaults and was checked.
    ///
    /// # Errors
    ///
    /// Whatever breaks a rule, below `overrides`; of what only the whole breaks, below `job.template`.
    pub fn apply(&self, template: &ExecutionTemplate) -> Result<ExecutionTemplate, Error> {
        let mut found = Vec::new();
        let mut changed = template.clone();
        if let Some(count) = self.task_count {
            validation::check_task_count("overrides.task_count", count, &mut found);
            changed.task_count = count;
            // Fewer tasks than the job lets run at a time: all of them may.
            changed.parallelism = changed.parallelism.min(count);
        }
        if let Some(parallelism) = self.parallelism {
            if parallelism < 0 {
                let rule = format!("must be 0 or more, got {parallelism}");
                found.push(Violation::new("overrides.parallelism", rule));
            }
            changed.parallelism = parallelism.min(changed.task_count);
        }
        if let Some(timeout) = self.timeout {
            validation::check_timeout("overrides.timeout", timeout, &mut found);
            changed.template.timeout = Some(timeout);
        }
        for (index, own) in self.containers.iter().enumerate() {
            own.apply(&format!("overrides.container_overrides[{index}]"), &mut changed.template.containers, &mut found);
        }
        if found.is_empty() {
            validation::check_template("job.template", &changed, &mut found);
        }
        if found.is_empty() { Ok(changed) } else { Err(Error::invalid(found)) }
    }
}

// === impl ContainerOverride ===

impl ContainerOverride {
    fn apply(&self, at: &str, containers: &mut [Container], found: &mut Vec<Violation>) {
        container_rules::check_arguments(&format!("{at}.args"), &self.args, found);
        container_rules::check_env(at, &self.env, Kind::Task, found);
        if self.clear_args && !self.args.is_empty() {
            let rule = format!("must be empty when clear_args is true, got {} arguments", self.args.len());
            found.push(Violation::new(format!("{at}.args"), rule));
        }
        let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
        let place = match (self.name.as_str(), &names[..]) {
            ("", [_]) => Some(0),
            (name, names) => names.iter().position(|own| *own == name),
        };
        let Some(place) = place else {
            let rule =
                format!("must be the name of a container of the job ({}), got '{}'", names.join(", "), self.name);
            found.push(Violation::new(format!("{at}.name"), rule));
            return;
        };
        let container = &mut containers[place];
        if self.clear_args || !self.args.is_empty() {
            container.args.clone_from(&self.args);
        }
        for variable in &self.env {
            // Of plain duplicates the last wins, so all of them make room for the new one.
            container.env.retain(|own| own.name != variable.name);
        }
        container.env.extend(self.env.iter().cloned());
    }
}
