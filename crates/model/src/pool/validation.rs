//! The rules of a worker pool, each with its field and the value that broke it.
//!
//! Source: Cloud Run Admin API v2, `WorkerPool`, `WorkerPoolRevisionTemplate` and `InstanceSplit`. Run it after the
//! defaults.

use super::{InstanceSplit, WorkerPool};
use crate::{
    error::Violation,
    label,
    name::{self, check_service_account},
    revision::{RevisionTemplate, egress, validation as container_rules},
    service::{
        Allocation,
        validation::{CLIENT_BYTES_MAX, DESCRIPTION_MAX},
    },
};

/// The most lines of a table of instances.
pub const SPLITS_MAX: usize = 1000;

/// Checks everything that can be checked without looking at anything else.
pub fn check(pool: &WorkerPool) -> Vec<Violation> {
    let mut found = Vec::new();
    let length = pool.description.chars().count();
    if length > DESCRIPTION_MAX {
        let rule = format!("must be at most {DESCRIPTION_MAX} characters long, got {length}");
        found.push(Violation::new("worker_pool.description", rule));
    }
    label::check_labels("worker_pool.labels", &pool.labels, &mut found);
    label::check_annotations("worker_pool.annotations", &pool.annotations, &mut found);
    egress::check_service("worker_pool.annotations", &pool.annotations, &mut found);
    for (field, text) in ["client", "client_version"].into_iter().zip(&pool.client) {
        if text.len() > CLIENT_BYTES_MAX {
            let rule = format!("must be at most {CLIENT_BYTES_MAX} bytes long, got {}", text.len());
            found.push(Violation::new(format!("worker_pool.{field}"), rule));
        }
    }
    container_rules::check_instances("worker_pool.scaling.manual_instance_count", pool.instances(), &mut found);
    check_template("worker_pool.template", &pool.name.service, &pool.template, &mut found);
    check_splits(pool, &mut found);
    let unsupported = pool.unsupported.iter().map(|field| format!("worker_pool.{field}"));
    found.extend(unsupported.map(|field| Violation::new(field, "is not supported by this version")));
    found
}

fn check_template(at: &str, pool: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    if let Some(id) = &template.revision {
        found.extend(name::check_revision_id(&format!("{at}.revision"), pool, id).err());
    }
    label::check_labels(&format!("{at}.labels"), &template.labels, found);
    label::check_annotations(&format!("{at}.annotations"), &template.annotations, found);
    egress::check_unscaled(&format!("{at}.annotations"), &template.annotations, found);
    // Empty until the defaults are in; the default is one of ours.
    if !template.service_account.is_empty() {
        found.extend(check_service_account(&format!("{at}.service_account"), &template.service_account).err());
    }
    container_rules::check_worker(at, &template.containers, &template.volumes, found);
}

fn check_splits(pool: &WorkerPool, found: &mut Vec<Violation>) {
    let splits = &pool.splits;
    if splits.len() > SPLITS_MAX {
        let rule = format!("must have at most {SPLITS_MAX} entries, got {}", splits.len());
        found.push(Violation::new("worker_pool.instance_splits", rule));
    }
    for (index, split) in splits.iter().enumerate() {
        check_split(pool, (index, split), found);
    }
    let sum: i64 = splits.iter().map(|split| i64::from(split.percent)).sum();
    if sum != 100 {
        found.push(Violation::new("worker_pool.instance_splits", format!("percentages must add up to 100, got {sum}")));
    }
}

fn check_split(pool: &WorkerPool, (index, split): (usize, &InstanceSplit), found: &mut Vec<Violation>) {
    let field = |name: &str| format!("worker_pool.instance_splits[{index}].{name}");
    if !(0..=100).contains(&split.percent) {
        found.push(Violation::new(field("percent"), format!("must be between 0 and 100, got {}", split.percent)));
    }
    let Allocation::Revision(id) = &split.allocation else { return };
    if id.is_empty() {
        let rule = "must be set when type is INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION, got nothing";
        found.push(Violation::new(field("revision"), rule));
    } else if !name::is_label(id) {
        let rule = format!("must be the id of a revision of '{}' or its full name, got '{id}'", pool.name.service);
        found.push(Violation::new(field("revision"), rule));
    }
}

#[cfg(test)]
mod tests;
