//! Log entries in the form of Cloud Logging (`google.logging.v2.LogEntry` as JSON).

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use updraft_model::{
    channel::{LogLine, LogSource},
    instance::Stream,
    name::RevisionName,
};

/// One log entry. Serialises to what `entries.list` of Cloud Logging returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// `projects/{project}/logs/{log}`, the log's name percent-encoded.
    pub log_name: String,
    /// What wrote it.
    pub resource: Resource,
    /// When it was read from the container.
    #[serde(with = "rfc3339")]
    pub timestamp: SystemTime,
    /// How bad it is.
    pub severity: Severity,
    /// Unique for ever; entries of the same time have ascending ones.
    pub insert_id: String,
    /// `instanceId`, if an instance wrote it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `projects/{project}/traces/{trace}`, if the line named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
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
    /// `cloud_run_revision`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `project_id`, `location`, `service_name`, `revision_name`, `configuration_name`.
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

/// The key of a JSON line that names the trace.
const TRACE: &str = "logging.googleapis.com/trace";

// === impl LogEntry ===

impl LogEntry {
    /// The entry of a line. `sequence` makes its [`LogEntry::insert_id`] unique.
    pub(crate) fn new(line: LogLine, sequence: u64) -> Self {
        let (log, severity) = match line.source {
            LogSource::Container(Stream::Stdout) => ("stdout", Severity::Default),
            LogSource::Container(Stream::Stderr) => ("stderr", Severity::Default),
            LogSource::System => ("varlog%2Fsystem", Severity::Info),
        };
        let nanos = line.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let labels = line.instance.map(|instance| ("instanceId".to_owned(), instance.0));
        let mut entry = Self {
            log_name: format!("projects/{}/logs/run.googleapis.com%2F{log}", line.revision.service.parent.project),
            resource: Resource::of(line.revision),
            timestamp: line.time,
            severity,
            insert_id: format!("{nanos:016x}{sequence:012x}"),
            labels: labels.into_iter().collect(),
            trace: None,
            text_payload: None,
            json_payload: None,
        };
        match (line.source, structured(&line.text)) {
            (LogSource::Container(_), Some(object)) => entry.lift(object),
            _ => entry.text_payload = Some(line.text),
        }
        entry
    }

    /// The id of the revision that wrote it.
    pub fn revision(&self) -> Option<&str> {
        self.resource.labels.get("revision_name").map(String::as_str)
    }

    /// Takes the fields that mean something out of a JSON line, as Cloud Run does: `severity` and
    /// the trace always; `message` when nothing else is left, otherwise it stays beside the rest.
    fn lift(&mut self, mut object: Map<String, Value>) {
        if let Some(severity) = object.get("severity").and_then(Value::as_str).and_then(Severity::parse) {
            self.severity = severity;
            object.shift_remove("severity");
        }
        if let Some(trace) = object.get(TRACE).and_then(Value::as_str) {
            self.trace = Some(trace.to_owned());
            object.shift_remove(TRACE);
        }
        match (object.len(), object.get("message")) {
            (1, Some(Value::String(message))) => self.text_payload = Some(message.clone()),
            _ => self.json_payload = Some(object),
        }
    }
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
    fn of(revision: RevisionName) -> Self {
        let (service, parent) = (revision.service.service, revision.service.parent);
        let labels = [
            ("project_id", parent.project),
            ("location", parent.location),
            ("configuration_name", service.clone()),
            ("service_name", service),
            ("revision_name", revision.revision),
        ];
        Self {
            kind: "cloud_run_revision".to_owned(),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

// === impl Severity ===

impl Severity {
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
mod rfc3339 {
    use std::time::SystemTime;

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        // Out of range only beyond the year 9999.
        let timestamp = Timestamp::try_from(*time).unwrap_or(Timestamp::MAX);
        serializer.collect_str(&timestamp)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<Timestamp>().map(SystemTime::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use updraft_model::{instance::InstanceId, name::Parent};

    use super::*;

    fn entry(source: LogSource, text: &str) -> LogEntry {
        let line = LogLine {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            revision: Parent::new("demo-project", "us-central1").service("hello").revision("hello-00001-abc"),
            instance: Some(InstanceId("00c0ffee".to_owned())),
            source,
            text: text.to_owned(),
        };
        LogEntry::new(line, 7)
    }

    fn stdout(text: &str) -> LogEntry {
        entry(LogSource::Container(Stream::Stdout), text)
    }

    #[test]
    fn a_line_of_output_has_the_form_of_cloud_logging() {
        let value = serde_json::to_value(stdout("hello")).expect("serialises");
        assert_eq!(
            value,
            json!({
                "logName": "projects/demo-project/logs/run.googleapis.com%2Fstdout",
                "resource": {"type": "cloud_run_revision", "labels": {
                    "configuration_name": "hello", "location": "us-central1", "project_id": "demo-project",
                    "revision_name": "hello-00001-abc", "service_name": "hello",
                }},
                "timestamp": "2023-11-14T22:13:20.123Z",
                "severity": "DEFAULT",
                "insertId": "17979cfe3d7ed4c0000000000007",
                "labels": {"instanceId": "00c0ffee"},
                "textPayload": "hello",
            })
        );
        assert_eq!(serde_json::from_value::<LogEntry>(value).expect("and back"), stdout("hello"));
    }

    #[test]
    fn json_lines_lift_severity_and_trace() {
        let entry = stdout(
            r#"{"severity":"error","message":"no","logging.googleapis.com/trace":"projects/p/traces/1","user":3}"#,
        );
        assert_eq!(entry.severity, Severity::Error);
        assert_eq!(entry.trace.as_deref(), Some("projects/p/traces/1"));
        assert_eq!(entry.json_payload.map(Value::Object), Some(json!({"message": "no", "user": 3})));
        assert_eq!(entry.text_payload, None);
    }

    #[test]
    fn a_message_alone_is_the_text() {
        let entry = stdout(r#"{"severity":"WARNING","message":"careful"}"#);
        assert_eq!((entry.severity, entry.text_payload.as_deref()), (Severity::Warning, Some("careful")));
        assert_eq!(entry.json_payload, None);
    }

    #[test]
    fn what_is_no_severity_stays_where_it_was() {
        let entry = stdout(r#"{"severity":"loud","message":"x"}"#);
        assert_eq!(entry.severity, Severity::Default);
        assert_eq!(entry.json_payload.map(Value::Object), Some(json!({"severity": "loud", "message": "x"})));
    }

    #[test]
    fn only_objects_are_structured() {
        for text in ["[1]", "3", "{broken}", "\"x\"", "{\"a\":1} and more"] {
            assert_eq!(stdout(text).text_payload.as_deref(), Some(text));
        }
    }

    #[test]
    fn the_platforms_lines_are_never_taken_apart() {
        let entry = entry(LogSource::System, r#"{"severity":"ERROR"}"#);
        assert_eq!(entry.severity, Severity::Info);
        assert!(entry.log_name.ends_with("run.googleapis.com%2Fvarlog%2Fsystem"));
        assert!(entry.text_payload.is_some());
    }
}
