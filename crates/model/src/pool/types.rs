//! The types.

use std::collections::BTreeMap;

use crate::{
    name::ServiceName,
    revision::RevisionTemplate,
    service::{Allocation, TrafficTarget},
};

/// A worker pool as decisions see it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerPool {
    /// Its name.
    pub name: ServiceName,
    /// Free text, at most 512 characters.
    pub description: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The template of the next revision. What is about requests is not set in it: concurrency, timeout, bounds.
    pub template: RevisionTemplate,
    /// How many instances there are of all revisions together, 0 to 10,000; 0 switches the pool off. By default 1.
    pub count: Option<u32>,
    /// Which revisions they are of; empty means all of the latest ready one.
    pub splits: Vec<InstanceSplit>,
    /// What made the request, and its version: free text.
    pub client: [String; 2],
    /// Fields of the pool itself that are set and that this version does not act on, though ignoring them would run
    /// something else: such as `binary_authorization`.
    pub unsupported: Vec<String>,
}

/// One line of the table of instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceSplit {
    /// Which revision.
    pub allocation: Allocation,
    /// Its share of the instances, 0 to 100. All lines together make 100.
    pub percent: i32,
}

// === impl WorkerPool ===

impl WorkerPool {
    /// The table as a rollout has it: that of a service without tags.
    pub fn targets(&self) -> Vec<TrafficTarget> {
        let target = |split: &InstanceSplit| TrafficTarget {
            allocation: split.allocation.clone(),
            percent: split.percent,
            tag: None,
        };
        self.splits.iter().map(target).collect()
    }

    /// How many instances there are to be, of all revisions together.
    pub fn instances(&self) -> u32 {
        self.count.unwrap_or(super::defaults::COUNT)
    }
}
