//! The line of a request, written from what is at hand.
//!
//! There is one for every request, so it is not put together as a [`LogEntry`](super::LogEntry), which owns its texts; it
//! has the same form, and is read as one.

use std::{
    fmt::Display,
    time::{Duration, SystemTime},
};

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeStruct as _},
};
use updraft_model::channel::{RequestRecord, Waits};

use super::{Severity, rfc3339};

/// A request, as its entry is written at `now`. `sequence` makes the id of the entry unique.
pub(crate) struct RequestLine<'a> {
    pub(crate) request: &'a RequestRecord,
    pub(crate) sequence: u64,
    pub(crate) now: SystemTime,
}

/// Writes a value as text, without a text in between.
struct Text<T>(T);

struct Time(SystemTime);

struct Resource<'a>(&'a RequestRecord);

struct Labels<'a>(&'a RequestRecord);

struct Http<'a>(&'a RequestRecord);

// === impl RequestLine ===

impl Serialize for RequestLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request, sequence, now } = *self;
        let project = &request.service().parent.project;
        let severity = match request.status {
            500.. => Severity::Error,
            400.. => Severity::Warning,
            _ => Severity::Info,
        };
        let nanos = request.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut entry = serializer.serialize_struct("LogEntry", 12)?;
        let name = format_args!("projects/{project}/logs/run.googleapis.com%2Frequests");
        entry.serialize_field("logName", &Text(name))?;
        entry.serialize_field("resource", &Resource(request))?;
        entry.serialize_field("timestamp", &Time(request.time))?;
        entry.serialize_field("receiveTimestamp", &Time(now))?;
        entry.serialize_field("severity", &severity)?;
        entry.serialize_field("insertId", &Text(format_args!("{nanos:016x}{sequence:012x}")))?;
        if request.instance.is_some() || request.waits.is_some() {
            entry.serialize_field("labels", &Labels(request))?;
        }
        if let Some(trace) = request.trace {
            let name = format_args!("projects/{project}/traces/{:032x}", trace.trace);
            entry.serialize_field("trace", &Text(name))?;
            entry.serialize_field("spanId", &Text(format_args!("{:016x}", trace.span)))?;
            if trace.sampled {
                entry.serialize_field("traceSampled", &true)?;
            }
        }
        entry.serialize_field("httpRequest", &Http(request))?;
        match (request.note, &request.detail) {
            (Some(note), Some(detail)) => {
                entry.serialize_field("textPayload", &Text(format_args!("{note} ({detail})")))?;
            }
            (Some(note), None) => entry.serialize_field("textPayload", note)?,
            (None, _) => {}
        }
        entry.end()
    }
}

// === impl Text ===

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

// === impl Time ===

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        rfc3339::serialize(&self.0, serializer)
    }
}

// === impl Resource ===

impl Serialize for Resource<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let service = self.0.service();
        let labels = [
            ("configuration_name", &*service.service),
            ("location", &service.parent.location),
            ("project_id", &service.parent.project),
            ("revision_name", self.0.revision().unwrap_or_default()),
            ("service_name", &service.service),
        ];
        let mut resource = serializer.serialize_struct("Resource", 2)?;
        resource.serialize_field("type", "cloud_run_revision")?;
        resource.serialize_field("labels", &Pairs(&labels))?;
        resource.end()
    }
}

/// A few names with their texts.
struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

// === impl Labels ===

impl Serialize for Labels<'_> {
    /// Which instance took the request; and where its time went, in seconds, if it had to wait.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut labels = serializer.serialize_map(None)?;
        if let Some(instance) = &self.0.instance {
            labels.serialize_entry("instanceId", &instance.0)?;
        }
        if let Some(Waits { queued, sandbox, app, first_byte }) = self.0.waits.as_deref() {
            let parts = [("app", app), ("first-byte", first_byte), ("queued", queued), ("sandbox", sandbox)];
            for (name, time) in parts {
                labels.serialize_entry(&Text(format_args!("updraft.dev/{name}")), &Text(seconds(time)))?;
            }
        }
        labels.end()
    }
}

// === impl Http ===

impl Serialize for Http<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let mut http = serializer.serialize_map(None)?;
        http.serialize_entry("requestMethod", &request.method)?;
        http.serialize_entry("requestUrl", &request.url)?;
        // 64 bit integers are texts in JSON.
        if let Some(bytes) = request.request_bytes {
            http.serialize_entry("requestSize", &Text(bytes))?;
        }
        http.serialize_entry("status", &request.status)?;
        http.serialize_entry("responseSize", &Text(request.response_bytes))?;
        if let Some(agent) = &request.user_agent {
            http.serialize_entry("userAgent", agent)?;
        }
        http.serialize_entry("remoteIp", &Text(request.remote))?;
        if let Some(referer) = &request.referer {
            http.serialize_entry("referer", referer)?;
        }
        http.serialize_entry("latency", &Text(seconds(&request.latency)))?;
        http.serialize_entry("protocol", request.protocol)?;
        http.end()
    }
}

/// As the JSON form of a duration has it, to the microsecond.
fn seconds(time: &Duration) -> impl Display {
    let (whole, micros) = (time.as_secs(), time.subsec_micros());
    std::fmt::from_fn(move |f| write!(f, "{whole}.{micros:06}s"))
}
