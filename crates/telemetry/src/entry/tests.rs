//! Entries as they are kept and shown.

use std::sync::Arc;

use serde_json::json;
use updraft_model::{
    channel::{RequestRecord, TraceContext, Waits},
    iam::InvokerAccess,
    instance::InstanceId,
    name::Parent,
    revision::Protocol,
    route::{Route, RouteTarget, SessionAffinity},
    service::Ingress,
};

use super::{request::RequestLine, *};

fn entry(source: LogSource, text: &str) -> LogEntry {
    let line = LogLine {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        owner: Parent::new("demo-project", "us-central1").service("hello").revision("hello-00001-abc").into(),
        instance: Some(InstanceId("00c0ffee".to_owned())),
        container: None,
        source,
        text: text.to_owned(),
        receipt: updraft_model::receipt::Receipt::default(),
    };
    LogEntry::new(line, 7, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001))
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
            "receiveTimestamp": "2023-11-14T22:13:21Z",
            "severity": "DEFAULT",
            "insertId": "17979cfe3d7ed4c0000000000007",
            "labels": {"instanceId": "00c0ffee"},
            "textPayload": "hello",
        })
    );
    assert_eq!(serde_json::from_value::<LogEntry>(value).expect("and back"), stdout("hello"));
}

#[test]
fn a_line_of_one_of_several_containers_says_of_which() {
    let line = LogLine {
        time: SystemTime::UNIX_EPOCH,
        owner: Parent::new("demo-project", "us-central1").service("hello").revision("hello-00001-abc").into(),
        instance: Some(InstanceId("1".to_owned())),
        container: Some("proxy".to_owned()),
        source: LogSource::Container(Stream::Stdout),
        text: "hello".to_owned(),
        receipt: updraft_model::receipt::Receipt::default(),
    };
    let entry = LogEntry::new(line, 1, SystemTime::UNIX_EPOCH);
    let labels: Vec<String> = entry.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["container_name=proxy", "instanceId=1"]);
}

#[test]
fn json_lines_lift_severity_and_trace() {
    let entry =
        stdout(r#"{"severity":"error","message":"no","logging.googleapis.com/trace":"projects/p/traces/1","user":3}"#);
    assert_eq!(entry.severity, Severity::Error);
    assert_eq!(entry.trace.as_deref(), Some("projects/p/traces/1"));
    assert_eq!(entry.json_payload.map(Value::Object), Some(json!({"message": "no", "user": 3})));
    assert_eq!(entry.text_payload, None);
}

#[test]
fn every_field_that_means_something_is_lifted_out_of_a_json_line() {
    let line = json!({
        "severity": "NOTICE", "message": "served", "time": "2023-11-14T22:13:19.5Z",
        "logging.googleapis.com/trace": "projects/p/traces/1", "logging.googleapis.com/spanId": "00f0",
        "logging.googleapis.com/trace_sampled": true,
        "logging.googleapis.com/labels": {"tenant": "a", "instanceId": "mine"},
        "logging.googleapis.com/sourceLocation": {"file": "a.rs", "line": "3"},
        "logging.googleapis.com/operation": {"id": "7"},
        "httpRequest": {"requestMethod": "GET", "status": 200},
    });
    let value = serde_json::to_value(stdout(&line.to_string())).expect("serialises");
    assert_eq!(value["timestamp"], "2023-11-14T22:13:19.5Z");
    assert_eq!((&value["severity"], &value["textPayload"]), (&json!("NOTICE"), &json!("served")));
    assert_eq!((&value["spanId"], &value["traceSampled"]), (&json!("00f0"), &json!(true)));
    assert_eq!(value["labels"], json!({"instanceId": "00c0ffee", "tenant": "a"}), "ours wins");
    assert_eq!(value["sourceLocation"], json!({"file": "a.rs", "line": "3"}));
    assert_eq!((&value["operation"]["id"], &value["httpRequest"]["status"]), (&json!("7"), &json!(200)));
    assert!(value.get("jsonPayload").is_none());
    let back: LogEntry = serde_json::from_value(value).expect("and back");
    assert_eq!(back, stdout(&line.to_string()));
}

#[test]
fn a_time_from_another_day_and_what_has_another_form_stay_in_the_payload() {
    let line = json!({"time": "2020-01-01T00:00:00Z", "timestamp": 5, "httpRequest": "GET /",
        "logging.googleapis.com/labels": {"n": 1}, "logging.googleapis.com/spanId": 9});
    let entry = stdout(&line.to_string());
    assert_eq!(entry.json_payload.map(Value::Object), Some(line));
    assert_eq!(entry.timestamp, SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
}

#[test]
fn a_request_has_the_form_of_cloud_runs_request_log() {
    let service = Parent::new("demo-project", "us-central1").service("hello");
    let target = RouteTarget {
        revision: service.revision("hello-00001-abc"),
        percent: 100,
        timeout: Duration::from_secs(300),
        protocol: Protocol::Http1,
        affinity: SessionAffinity::None,
    };
    let (ingress, invoker) = (Ingress::All, InvokerAccess::Open);
    let route = Route { service, ingress, invoker, targets: vec![target] };
    let request = RequestRecord {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        route: Arc::new(route),
        target: Some(0),
        instance: Some(InstanceId("00c0ffee".to_owned())),
        method: "GET".into(),
        url: "http://hello.run.localhost/x?y".to_owned(),
        protocol: "HTTP/1.1",
        request_bytes: Some(0),
        status: 504,
        response_bytes: 24,
        user_agent: Some("curl/8".to_owned()),
        referer: None,
        remote: std::net::Ipv4Addr::LOCALHOST.into(),
        latency: Duration::from_micros(5_100_250),
        trace: Some(TraceContext { trace: 0xaf, span: 10, sampled: true }),
        waits: Some(Box::new(Waits { app: Duration::from_millis(1500), ..Waits::default() })),
        note: Some("too long"),
        detail: None,
        stops: [None; 6],
    };
    let of = |status| {
        let request = RequestRecord { status, ..request.clone() };
        let line = RequestLine { request: &request, sequence: 1, now: SystemTime::UNIX_EPOCH };
        let line = serde_json::to_string(&line).expect("serialises");
        let entry: LogEntry = serde_json::from_str(&line).expect("it is an entry");
        assert_eq!(serde_json::to_string(&entry).expect("serialises"), line, "in the same form as all others");
        serde_json::to_value(entry).expect("serialises")
    };
    let value = of(504);
    assert_eq!(value["logName"], "projects/demo-project/logs/run.googleapis.com%2Frequests");
    assert_eq!(
        value["httpRequest"],
        json!({"requestMethod": "GET", "requestUrl": "http://hello.run.localhost/x?y", "requestSize": "0",
            "status": 504, "responseSize": "24", "userAgent": "curl/8", "remoteIp": "127.0.0.1",
            "latency": "5.100250s", "protocol": "HTTP/1.1"})
    );
    assert_eq!(value["trace"], "projects/demo-project/traces/000000000000000000000000000000af");
    assert_eq!((&value["spanId"], &value["traceSampled"]), (&json!("000000000000000a"), &json!(true)));
    assert_eq!((&value["textPayload"], &value["labels"]["instanceId"]), (&json!("too long"), &json!("00c0ffee")));
    assert_eq!(
        value["labels"],
        json!({"instanceId": "00c0ffee", "updraft.dev/app": "1.500000s", "updraft.dev/first-byte": "0.000000s",
            "updraft.dev/queued": "0.000000s", "updraft.dev/sandbox": "0.000000s"})
    );
    for (status, severity) in [(200, "INFO"), (302, "INFO"), (404, "WARNING"), (499, "WARNING"), (500, "ERROR")] {
        assert_eq!(of(status)["severity"], severity, "{status}");
    }
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
