//! What comes of scheduled jobs, on disk: a log of each project, beside those of its services and under a name that none of
//! them can have, as the audit logs are.
//!
//! Source of the form: `cloudscheduler.googleapis.com/executions` of Cloud Logging.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value, json};
use updraft_model::{
    name::{Parent, ServiceName},
    schedule::{AttemptEntry, AttemptEvent},
};

use crate::Severity;

/// The location of what belongs to no region.
const GLOBAL: &str = "global";
/// The place of a project's entries among the logs of services, whose ids have no dots.
const SHELF: &str = "cloudscheduler.executions";
/// What the payloads are, before the event.
const TYPE: &str = "type.googleapis.com/google.cloud.scheduler.logging";

/// Where an entry belongs.
pub(crate) fn shelf(entry: &AttemptEntry) -> ServiceName {
    Parent::new(&entry.name.parent.project, GLOBAL).service(SHELF)
}

/// Is this such a place?
pub(crate) fn is_shelf(shelf: &ServiceName) -> bool {
    shelf.service == SHELF
}

/// The entry and the end of its line, written at `now`. `sequence` makes its id unique.
pub(crate) fn line(entry: &AttemptEntry, sequence: u64, now: SystemTime) -> Vec<u8> {
    let nanos = entry.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let AttemptEntry { name, url, .. } = entry;
    let (project, location) = (&name.parent.project, &name.parent.location);
    let mut line = json!({
        "logName": format!("projects/{project}/logs/cloudscheduler.googleapis.com%2Fexecutions"),
        "resource": {
            "type": "cloud_scheduler_job",
            "labels": {"project_id": project, "location": location, "job_id": name.job},
        },
        "timestamp": time(entry.time),
        "receiveTimestamp": time(now),
        "severity": Severity::Info,
        "insertId": format!("{nanos:016x}{sequence:012x}"),
        "jsonPayload": {
            "@type": format!("{TYPE}.AttemptStarted"),
            "jobName": name.to_string(),
            "targetType": "HTTP",
            "url": url,
            "scheduledTime": time(entry.due),
        },
    });
    match &entry.event {
        AttemptEvent::Started { dropped: 0 } => {}
        // Ours: Google's has no word of it.
        AttemptEvent::Started { dropped } => line["jsonPayload"]["droppedTimes"] = Value::from(*dropped),
        AttemptEvent::Finished(end) => {
            line["jsonPayload"]["@type"] = Value::from(format!("{TYPE}.AttemptFinished"));
            if let Some(status) = end.status {
                line["httpRequest"] = json!({"status": status});
            }
            if end.code != 0 {
                line["severity"] = json!(Severity::Error);
                line["jsonPayload"]["status"] = Value::from(word(end.code));
                line["jsonPayload"]["debugInfo"] = Value::from(end.message.as_str());
            }
        }
    }
    format!("{line}\n").into_bytes()
}

fn time(time: SystemTime) -> String {
    // Out of range only beyond the year 9999.
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).to_string()
}

/// The name of a code of `google.rpc.Code`.
fn word(code: i32) -> &'static str {
    match code {
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}
