//! The traffic table: message ↔ model.

use updraft_model::service::{Allocation, TrafficTarget};

use super::Issues;
use crate::run::{self, TrafficTargetAllocationType as Type};

/// The messages of a traffic table.
pub fn from_model(targets: &[TrafficTarget]) -> Vec<run::TrafficTarget> {
    targets.iter().map(message).collect()
}

/// What is observed of one line: LATEST comes with the revision it is resolved to.
pub fn status(target: &TrafficTarget, revision: &str, uri: Option<String>) -> run::TrafficTargetStatus {
    run::TrafficTargetStatus {
        r#type: allocation_type(&target.allocation),
        revision: revision.to_owned(),
        percent: target.percent,
        tag: target.tag.clone().unwrap_or_default(),
        uri: uri.unwrap_or_default(),
    }
}

pub(super) fn read(issues: &mut Issues, path: &str, messages: &[run::TrafficTarget]) -> Vec<TrafficTarget> {
    let numbered = messages.iter().enumerate();
    numbered.map(|(index, message)| line(issues, &format!("{path}[{index}]"), message)).collect()
}

fn line(issues: &mut Issues, path: &str, message: &run::TrafficTarget) -> TrafficTarget {
    let allocation = match issues.enumeration(&format!("{path}.type"), message.r#type) {
        Type::Latest if !message.revision.is_empty() => {
            issues.add(format!("{path}.revision"), "must be empty when type is TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST");
            Allocation::Latest
        }
        Type::Unspecified if message.revision.is_empty() => Allocation::Latest,
        Type::Latest => Allocation::Latest,
        Type::Revision | Type::Unspecified => Allocation::Revision(short(&message.revision)),
    };
    let tag = Some(message.tag.clone()).filter(|tag| !tag.is_empty());
    TrafficTarget { allocation, percent: message.percent, tag }
}

/// The id of a revision that may be given by its full name.
pub(super) fn short(revision: &str) -> String {
    let id = revision.rsplit_once("/revisions/").map_or(revision, |(_, id)| id);
    id.to_owned()
}

fn message(target: &TrafficTarget) -> run::TrafficTarget {
    let revision = match &target.allocation {
        Allocation::Latest => String::new(),
        Allocation::Revision(id) => id.clone(),
    };
    run::TrafficTarget {
        r#type: allocation_type(&target.allocation),
        revision,
        percent: target.percent,
        tag: target.tag.clone().unwrap_or_default(),
    }
}

fn allocation_type(allocation: &Allocation) -> i32 {
    let value = match allocation {
        Allocation::Latest => Type::Latest,
        Allocation::Revision(_) => Type::Revision,
    };
    value.into()
}
