//! What a worker pool gets that does not say otherwise.
//!
//! Source: Cloud Run Admin API v2, `WorkerPool`; containers as those of services, but for what is about requests: no
//! port, no startup probe, and their CPU all the time.

use super::{InstanceSplit, WorkerPool};
use crate::{
    revision::defaults::{fill_container, service_account},
    service::Allocation,
};

/// How many instances a pool has.
pub const COUNT: u32 = 1;

/// Fills in what the client left open. Applying it twice is applying it once.
pub fn apply(pool: &mut WorkerPool) {
    pool.count.get_or_insert(COUNT);
    if pool.splits.is_empty() {
        pool.splits.push(InstanceSplit { allocation: Allocation::Latest, percent: 100 });
    }
    let template = &mut pool.template;
    if template.service_account.is_empty() {
        template.service_account = service_account(&pool.name.parent.project);
    }
    for (index, container) in template.containers.iter_mut().enumerate() {
        fill_container(container, index);
        container.resources.cpu_idle = false;
    }
}
