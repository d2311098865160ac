//! Log entries in the form of Cloud Logging (`google.logging.v2.LogEntry` as JSON).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use updraft_model::{
    channel::{LogLine, LogSource},
    instance::Stream,
    job::AttemptName,
    name::{Collection, ServiceName},
    owner::Owner,
};

use crate::which;

/// One log entry. Serialises to what `entries.list` of Cloud Logging returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// `projects/{project}/logs/{log}`, the log's name percent-encoded.
    pub log_name: String,
    /// What wrote it.
    pub resource: Resource,
    /// When it was read from the container, or what the line says of itself; of a request, when it came in.
    #[serde(with = "rfc3339")]
    pub timestamp: SystemTime,
    /// When it was written here. Entries of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::optional")]
    pub receive_timestamp: Option<SystemTime>,
    /// How bad it is.
    pub severity: Severity,
    /// Unique for ever; entries of the same time have ascending ones.
    pub insert_id: String,
    /// `instanceId`, if an instance wrote it; `container_name`, if that has several containers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `projects/{project}/traces/{trace}`, if the line named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The span within the trace, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Did the client ask for the trace to be kept?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace_sampled: bool,
    /// The request it is about (`google.logging.type.HttpRequest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_request: Option<Map<String, Value>>,
    /// Where in the program the line was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_location: Option<Map<String, Value>>,
    /// What the line is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Map<String, Value>>,
    /// The line, if it is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_payload: Option<String>,
    /// The line, if it is a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_payload: Option<Map<String, Value>>,
}

/// What wrote an entry (`google.api.MonitoredResource`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `cloud_run_revision`, `cloud_run_worker_pool` or `cloud_run_job`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `project_id`, `location`, and by the type: `service_name`, `revision_name`, `configuration_name`;
    /// `worker_pool_name`, `revision_name`; `job_name`.
    pub labels: BTreeMap<String, String>,
}

/// How bad an entry is (`google.logging.type.LogSeverity`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Nobody said.
    #[default]
    Default,
    /// For finding faults.
    Debug,
    /// Routine.
    Info,
    /// Normal, but worth a look.
    Notice,
    /// May become trouble.
    Warning,
    /// Trouble.
    Error,
    /// Severe trouble.
    Critical,
    /// Somebody must act now.
    Alert,
    /// Nothing works.
    Emergency,
}

/// The label that has the id of the execution that wrote an entry.
const EXECUTION: &str = "run.googleapis.com/execution_name";
/// The label that has the index of the task.
const TASK: &str = "run.googleapis.com/task_index";
/// A line that says when it was written is believed, if it is not further off than this: segments are looked for by
/// time, and nothing may be hidden in another year.
const TIME_TRUST: Duration = Duration::from_secs(60);

// === impl LogEntry ===

impl LogEntry {
    /// The entry of a line, written at `now`. `sequence` makes its [`LogEntry::insert_id`] unique.
    pub(crate) fn new(line: LogLine, sequence: u64, now: SystemTime) -> Self {
        let (log, severity) = match line.source {
            LogSource::Container(Stream::Stdout) => ("stdout", Severity::Default),
            LogSource::Container(Stream::Stderr) => ("stderr", Severity::Default),
            LogSource::System => ("varlog%2Fsystem", Severity::Info),
            LogSource::Scaling => (which::SCALING, Severity::Info),
        };
        let own = [("instanceId", line.instance.map(|instance| instance.0)), ("container_name", line.container)];
        let mut labels: BTreeMap<_, _> =
            own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        labels.extend(line.owner.attempt().into_iter().flat_map(of_attempt));
        let mut entry =
            Self { severity, labels, ..Self::bare(log, Resource::of(&line.owner), line.time, (sequence, now)) };
        match (line.source, structured(&line.text)) {
            (LogSource::Container(_), Some(object)) => entry.lift(object, line.time),
            _ => entry.text_payload = Some(line.text),
        }
        entry
    }

    fn bare(log: &str, resource: Resource, time: SystemTime, (sequence, now): (u64, SystemTime)) -> Self {
        let nanos = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            log_name: format!("projects/{}/logs/run.googleapis.com%2F{log}", resource.project()),
            resource,
            timestamp: time,
            receive_timestamp: Some(now),
            severity: Severity::Default,
            insert_id: format!("{nanos:016x}{sequence:012x}"),
            labels: BTreeMap::new(),
            trace: None,
            span_id: None,
            trace_sampled: false,
            http_request: None,
            source_location: None,
            operation: None,
            text_payload: None,
            json_payload: None,
        }
    }

    /// The id of the revision that wrote it, or of the execution.
    pub fn revision(&self) -> Option<&str> {
        self.resource.labels.get("revision_name").or_else(|| self.labels.get(EXECUTION)).map(String::as_str)
    }

    /// The index of the task that wrote it.
    pub fn task(&self) -> Option<u32> {
        self.labels.get(TASK)?.parse().ok()
    }

    /// Takes the fields that mean something out of a JSON line, as Cloud Run does: severity, time and trace, the
    /// request, place and operation it is about, labels; `message` when nothing else is left, otherwise it stays
    /// beside the rest. What does not have the form of its field stays where it was.
    fn lift(&mut self, mut object: Map<String, Value>, read: SystemTime) {
        let text = |value: &Value| Some(Some(value.as_str()?.to_owned()));
        let fields = |value: &Value| Some(Some(value.as_object()?.clone()));
        lifted(&mut object, "severity", &mut self.severity, |value| Severity::parse(value.as_str()?));
        for name in ["time", "timestamp"] {
            lifted(&mut object, name, &mut self.timestamp, |value| believable(value.as_str()?, read));
        }
        lifted(&mut object, "logging.googleapis.com/trace", &mut self.trace, text);
        lifted(&mut object, "logging.googleapis.com/spanId", &mut self.span_id, text);
        lifted(&mut object, "logging.googleapis.com/trace_sampled", &mut self.trace_sampled, Value::as_bool);
        lifted(&mut object, "httpRequest", &mut self.http_request, fields);
        lifted(&mut object, "logging.googleapis.com/sourceLocation", &mut self.source_location, fields);
        lifted(&mut object, "logging.googleapis.com/operation", &mut self.operation, fields);
        let known = self.labels.clone();
        lifted(&mut object, "logging.googleapis.com/labels", &mut self.labels, |value| {
            let said = value.as_object()?.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            let mut labels = said.collect::<Option<BTreeMap<_, _>>>()?;
            // What we know wins over what the line says.
            labels.extend(known);
            Some(labels)
        });
        match (object.len(), object.get("message")) {
            (1, Some(Value::String(message))) => self.text_payload = Some(message.clone()),
            _ => self.json_payload = Some(object),
        }
    }
}

/// Moves the value at `name` out of a line to its field, if `read` can make something of it.
fn lifted<T>(object: &mut Map<String, Value>, name: &str, field: &mut T, read: impl FnOnce(&Value) -> Option<T>) {
    if let Some(value) = object.get(name).and_then(read) {
        *field = value;
        object.shift_remove(name);
    }
}

/// The time a line says it was written at, if that can be.
fn believable(text: &str, read: SystemTime) -> Option<SystemTime> {
    let time: SystemTime = text.parse::<jiff::Timestamp>().ok()?.into();
    let off = time.duration_since(read).unwrap_or_else(|error| error.duration());
    (off <= TIME_TRUST).then_some(time)
}

fn structured(text: &str) -> Option<Map<String, Value>> {
    // Most lines are no JSON, and this says so without an attempt.
    let text = text.trim();
    if !(text.starts_with('{') && text.ends_with('}')) {
        return None;
    }
    serde_json::from_str(text).ok()
}

// === impl Resource ===

impl Resource {
    fn of(owner: &Owner) -> Self {
        let ServiceName { parent, collection, service: id } = owner.resource();
        let (kind, name) = match collection {
            Collection::Services => ("cloud_run_revision", "service_name"),
            Collection::WorkerPools => ("cloud_run_worker_pool", "worker_pool_name"),
            Collection::Jobs => ("cloud_run_job", "job_name"),
        };
        let mut labels = vec![("project_id", parent.project), ("location", parent.location)];
        if collection == Collection::Services {
            labels.push(("configuration_name", id.clone()));
        }
        labels.push((name, id));
        labels.extend(owner.revision().map(|name| ("revision_name", name.revision.clone())));
        Self {
            kind: kind.to_owned(),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    fn project(&self) -> &str {
        self.labels.get("project_id").map(String::as_str).unwrap_or_default()
    }
}

/// What Cloud Logging says of the task that wrote an entry.
fn of_attempt(name: &AttemptName) -> [(String, String); 3] {
    [
        (EXECUTION.to_owned(), name.task.execution.execution.clone()),
        (TASK.to_owned(), name.task.index.to_string()),
        ("run.googleapis.com/task_attempt".to_owned(), name.attempt.to_string()),
    ]
}

// === impl Severity ===

impl Severity {
    /// Its number, which orders them.
    pub fn number(self) -> i64 {
        self as i64 * 100
    }

    /// The severity with this name, in any case; `None` for an unknown one.
    pub fn parse(name: &str) -> Option<Self> {
        const ALL: [(&str, Severity); 9] = [
            ("DEFAULT", Severity::Default),
            ("DEBUG", Severity::Debug),
            ("INFO", Severity::Info),
            ("NOTICE", Severity::Notice),
            ("WARNING", Severity::Warning),
            ("ERROR", Severity::Error),
            ("CRITICAL", Severity::Critical),
            ("ALERT", Severity::Alert),
            ("EMERGENCY", Severity::Emergency),
        ];
        ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, severity)| severity)
    }
}

/// Times as text.
pub(crate) mod rfc3339 {
    use std::time::SystemTime;

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        // Out of range only beyond the year 9999.
        let timestamp = Timestamp::try_from(*time).unwrap_or(Timestamp::MAX);
        serializer.collect_str(&timestamp)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<Timestamp>().map(SystemTime::from).map_err(D::Error::custom)
    }

    /// The same for a time that may be missing.
    pub(super) mod optional {
        use std::time::SystemTime;

        use serde::{Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<SystemTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

pub(crate) mod request;
#[cfg(test)]
mod tests;
