//! Audit records on disk: where they are, and how they look.
//!
//! A project has two logs of them, beside those of its services: each is a directory as a service's is, with segments,
//! an age and a size like theirs, in every backup and found by every search. What it is called no service can be. Calls
//! that nobody let in are in the same log and in a directory of their own: with as many as one likes, whoever may nothing
//! pushes out those of others who may nothing, and not what was changed.
//!
//! Source of the form: `google.cloud.audit.AuditLog` and the examples in "Understanding audit logs" of Google Cloud.

use std::{collections::BTreeMap, time::SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};
use updraft_model::{
    audit::{AuditLog, AuditRecord, BindingDelta},
    name::{Parent, ServiceName},
};

use crate::Severity;

/// The location of what belongs to no region.
const GLOBAL: &str = "global";
/// The longest text that callers choose, in bytes as it is written: what they call themselves, what they ask for, what they
/// are told.
const TEXT_MAX: usize = 512;
/// What is told of the changes of a policy, in bytes. One may have thousands of members, and all may be new.
const DELTAS_MAX: usize = 64 << 10;
/// The places of a project's records among the logs of services, whose ids have no dots: which log it is, and whether of
/// calls that were let in.
const SHELVES: [(&str, AuditLog, bool); 4] = [
    ("cloudaudit.activity", AuditLog::Activity, true),
    ("cloudaudit.activity.refused", AuditLog::Activity, false),
    ("cloudaudit.data-access", AuditLog::DataAccess, true),
    ("cloudaudit.data-access.refused", AuditLog::DataAccess, false),
];

/// Where a record belongs.
pub(crate) fn shelf(record: &AuditRecord) -> ServiceName {
    let is_its = |(_, log, let_in): &&(&str, AuditLog, bool)| *log == record.log && *let_in == record.was_let_in();
    // There is one for each.
    let (id, ..) = SHELVES.iter().find(is_its).unwrap_or(&SHELVES[0]);
    Parent::new(&record.project, GLOBAL).service(*id)
}

/// Which log of its project this is, if it is none of a service.
pub(crate) fn log_of(shelf: &ServiceName) -> Option<AuditLog> {
    SHELVES.iter().find(|(id, ..)| shelf.service == *id).map(|(_, log, _)| *log)
}

/// The entry of a record, written at `now`, and the end of its line. `sequence` makes its id unique.
pub(crate) fn line(record: &AuditRecord, sequence: u64, now: SystemTime) -> Vec<u8> {
    let nanos = record.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let severity = match (&record.failure, record.log) {
        (Some(_), _) => Severity::Error,
        (None, AuditLog::Activity) => Severity::Notice,
        (None, AuditLog::DataAccess) => Severity::Info,
    };
    let entry = json!({
        "logName": format!("projects/{}/logs/{}", record.project, record.log.name()),
        "resource": resource(record),
        "timestamp": time(record.time),
        "receiveTimestamp": time(now),
        "severity": severity,
        "insertId": format!("{nanos:016x}{sequence:012x}"),
        "protoPayload": payload(record),
    });
    format!("{entry}\n").into_bytes()
}

fn time(time: SystemTime) -> String {
    // Out of range only beyond the year 9999.
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).to_string()
}

fn payload(record: &AuditRecord) -> Value {
    let checks = record.checks.iter().map(|check| {
        // Told also when it is false, which ProtoJSON leaves out: filters ask for it.
        json!({"resource": cut(&check.resource), "permission": check.permission, "granted": check.is_granted})
    });
    let mut payload = json!({
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": record.service,
        "methodName": record.method,
        "resourceName": cut(&record.resource),
        "authenticationInfo": {},
        "requestMetadata": {},
        "status": {},
    });
    if let Some(principal) = &record.principal {
        payload["authenticationInfo"]["principalEmail"] = cut(principal).into();
    }
    if !record.checks.is_empty() {
        payload["authorizationInfo"] = checks.collect();
    }
    if let Some(caller) = record.caller {
        payload["requestMetadata"]["callerIp"] = caller.to_string().into();
    }
    if let Some(agent) = &record.user_agent {
        payload["requestMetadata"]["callerSuppliedUserAgent"] = cut(agent).into();
    }
    if let Some((code, message)) = &record.failure {
        payload["status"] = json!({"code": code, "message": cut(message)});
    }
    if !record.deltas.is_empty() {
        let told = deltas(&record.deltas);
        // Whoever pads a change until what matters does not fit can be seen to have done so.
        if told.len() < record.deltas.len() {
            payload["metadata"] = json!({"bindingDeltasLeftOut": record.deltas.len() - told.len()});
        }
        payload["serviceData"] = json!({
            "@type": "type.googleapis.com/google.iam.v1.logging.AuditData",
            "policyDelta": {"bindingDeltas": told},
        });
    }
    payload
}

/// The first changes of a policy, as many as there is room for.
fn deltas(deltas: &[BindingDelta]) -> Vec<Value> {
    let told = deltas.iter().map(|delta| {
        let action = if delta.is_added { "ADD" } else { "REMOVE" };
        let mut told = json!({"action": action, "role": cut(&delta.role), "member": cut(&delta.member)});
        if let Some(condition) = &delta.condition {
            let texts = [
                ("title", &condition.title),
                ("description", &condition.description),
                ("expression", &condition.expression),
            ];
            told["condition"] =
                texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key, cut(text))).collect();
        }
        told
    });
    let mut room = DELTAS_MAX;
    let fits = |told: &Value| {
        let size = told.to_string().len();
        room.checked_sub(size).inspect(|&rest| room = rest).is_some()
    };
    told.take_while(fits).collect()
}

/// What it is about, as Cloud Logging classes it.
fn resource(record: &AuditRecord) -> Value {
    let parts: Vec<&str> = record.resource.split('/').collect();
    let (kind, mut labels): (_, BTreeMap<&str, &str>) = match (record.service, &parts[..]) {
        (_, ["projects", _, "locations", location, "services", service, rest @ ..]) => {
            let revision = match rest {
                ["revisions", revision] => revision,
                _ => "",
            };
            let labels = [
                ("location", *location),
                ("service_name", service),
                ("configuration_name", service),
                ("revision_name", revision),
            ];
            ("cloud_run_revision", labels.into())
        }
        (_, ["projects", _, "locations", location, "workerPools" | "workerpools", pool, rest @ ..]) => {
            let revision = match rest {
                ["revisions", revision] => revision,
                _ => "",
            };
            let labels = [("location", *location), ("worker_pool_name", pool), ("revision_name", revision)];
            ("cloud_run_worker_pool", labels.into())
        }
        (_, ["projects", _, "locations", location, "revisions", revision]) => {
            ("cloud_run_revision", [("location", *location), ("revision_name", *revision)].into())
        }
        (_, ["projects", _, "serviceAccounts", account, ..]) => {
            let is_number = account.bytes().all(|byte| byte.is_ascii_digit());
            let (email, unique) = if is_number { ("", *account) } else { (*account, "") };
            ("service_account", [("email_id", email), ("unique_id", unique)].into())
        }
        (_, ["projects", _, "roles", _]) => ("iam_role", [("role_name", &*record.resource)].into()),
        ("cloudresourcemanager.googleapis.com", _) => ("project", BTreeMap::new()),
        (service, _) => ("audited_resource", [("service", service), ("method", &*record.method)].into()),
    };
    labels.insert("project_id", &record.project);
    let labels: BTreeMap<&str, String> = labels.into_iter().map(|(name, value)| (name, cut(value))).collect();
    json!({"type": kind, "labels": labels})
}

/// The beginning of a text. What counts is how it is written: a character may take six bytes, and a log's room is in bytes.
fn cut(text: &str) -> String {
    let mut left = TEXT_MAX;
    let fits = |c: &char| {
        let size = match c {
            '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
            '\0'..' ' => 6,
            c => c.len_utf8(),
        };
        left.checked_sub(size).inspect(|&rest| left = rest).is_some()
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use updraft_model::{audit::AccessCheck, iam::Condition, name::check_service_id};

    use super::*;

    fn record(service: &'static str, resource: &str) -> AuditRecord {
        AuditRecord {
            time: SystemTime::UNIX_EPOCH,
            project: "p".to_owned(),
            log: AuditLog::Activity,
            service,
            method: "m".to_owned(),
            resource: resource.to_owned(),
            principal: Some("me@example.com".to_owned()),
            checks: vec![AccessCheck {
                permission: "run.services.create".to_owned(),
                resource: "projects/p/locations/l".to_owned(),
                is_granted: false,
                project: None,
            }],
            caller: Some([127, 0, 0, 1].into()),
            user_agent: Some("curl/8".to_owned()),
            deltas: Vec::new(),
            failure: Some((7, "no".to_owned())),
        }
    }

    #[test]
    fn an_entry_has_the_form_of_cloud_audit_logs() {
        let line = line(&record("run.googleapis.com", "projects/p/locations/l/services/s"), 1, SystemTime::UNIX_EPOCH);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let entry: Value = serde_json::from_slice(&line).expect("JSON");
        let expected = json!({
            "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
            "resource": {"type": "cloud_run_revision", "labels": {
                "project_id": "p", "location": "l", "service_name": "s", "configuration_name": "s", "revision_name": "",
            }},
            "timestamp": "1970-01-01T00:00:00Z",
            "receiveTimestamp": "1970-01-01T00:00:00Z",
            "severity": "ERROR",
            "insertId": "0000000000000000000000000001",
            "protoPayload": {
                "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
                "serviceName": "run.googleapis.com",
                "methodName": "m",
                "resourceName": "projects/p/locations/l/services/s",
                "authenticationInfo": {"principalEmail": "me@example.com"},
                "authorizationInfo": [
                    {"resource": "projects/p/locations/l", "permission": "run.services.create", "granted": false},
                ],
                "requestMetadata": {"callerIp": "127.0.0.1", "callerSuppliedUserAgent": "curl/8"},
                "status": {"code": 7, "message": "no"},
            },
        });
        assert_eq!(entry, expected);
    }

    #[test]
    fn what_a_call_is_about_is_classed_as_cloud_logging_does() {
        for (service, name, kind, label) in [
            ("iam.googleapis.com", "projects/p/serviceAccounts/a@p/keys/k", "service_account", ("email_id", "a@p")),
            ("iam.googleapis.com", "projects/p/serviceAccounts/123", "service_account", ("unique_id", "123")),
            ("iam.googleapis.com", "projects/p/roles/r", "iam_role", ("role_name", "projects/p/roles/r")),
            ("cloudresourcemanager.googleapis.com", "projects/p", "project", ("project_id", "p")),
            (
                "run.googleapis.com",
                "projects/p/locations/l/workerPools/w/revisions/w-1",
                "cloud_run_worker_pool",
                ("revision_name", "w-1"),
            ),
            ("run.googleapis.com", "projects/p/locations/l/operations/o", "audited_resource", ("method", "m")),
        ] {
            let resource = resource(&record(service, name));
            assert_eq!((&resource["type"], &resource["labels"][label.0]), (&kind.into(), &label.1.into()), "{name}");
            assert_eq!(resource["labels"]["project_id"], "p");
        }
    }

    #[test]
    fn a_policy_that_was_set_tells_what_it_changed_and_how_much_of_that_is_not_told() {
        let condition = Condition { title: "t".to_owned(), expression: "true".to_owned(), ..Condition::default() };
        let (role, member) = ("roles/owner".to_owned(), "user:a@x.org".to_owned());
        let given = BindingDelta { is_added: true, role, member, condition: Some(condition) };
        let taken = BindingDelta { is_added: false, condition: None, ..given.clone() };
        let entry = |deltas: Vec<BindingDelta>| -> Value {
            let record = AuditRecord { deltas, ..record("run.googleapis.com", "projects/p") };
            let line = line(&record, 1, SystemTime::UNIX_EPOCH);
            assert!(line.len() < DELTAS_MAX + 10_000);
            serde_json::from_slice::<Value>(&line).expect("JSON")["protoPayload"].take()
        };
        let payload = entry(vec![given.clone(), taken]);
        let expected = json!({
            "@type": "type.googleapis.com/google.iam.v1.logging.AuditData",
            "policyDelta": {"bindingDeltas": [
                {
                    "action": "ADD",
                    "role": "roles/owner",
                    "member": "user:a@x.org",
                    "condition": {"title": "t", "expression": "true"},
                },
                {"action": "REMOVE", "role": "roles/owner", "member": "user:a@x.org"},
            ]},
        });
        assert_eq!((&payload["serviceData"], &payload["metadata"]), (&expected, &Value::Null));
        let payload = entry(vec![given; 3000]);
        let told = payload["serviceData"]["policyDelta"]["bindingDeltas"].as_array().map_or(0, Vec::len);
        assert!(told > 300, "{told}");
        assert_eq!(payload["metadata"]["bindingDeltasLeftOut"], 3000 - told);
    }

    #[test]
    fn no_service_can_have_the_place_of_an_audit_log() {
        let mut shelves = HashSet::new();
        for log in AuditLog::ALL {
            for is_granted in [true, false] {
                let mut record = AuditRecord { log, ..record("run.googleapis.com", "projects/p") };
                record.checks[0].is_granted = is_granted;
                let shelf = shelf(&record);
                assert!(check_service_id("name", &shelf.service).is_err());
                assert_eq!(log_of(&shelf), Some(log));
                shelves.insert(shelf);
            }
        }
        assert_eq!(shelves.len(), 4);
        assert_eq!(log_of(&Parent::new("p", GLOBAL).service("cloudaudit")), None);
    }

    #[test]
    fn what_callers_choose_takes_no_more_room_than_there_is() {
        for evil in ["x", "ä", "\u{1}", "\"", "\u{1f600}"] {
            let evil = evil.repeat(100_000);
            let name = format!("projects/p/locations/{evil}/services/{evil}");
            let long = AuditRecord {
                user_agent: Some(evil.clone()),
                failure: Some((3, evil.clone())),
                ..record("run.googleapis.com", &name)
            };
            let size = line(&long, 1, SystemTime::UNIX_EPOCH).len();
            assert!((3000..5000).contains(&size), "{size}");
        }
        for c in ('\0'..='\u{100}').chain(['\u{2028}', '\u{ffff}', '\u{10ffff}']) {
            let written = json!(cut(&c.to_string().repeat(1000))).to_string().len() - 2;
            assert!((TEXT_MAX - 5..=TEXT_MAX).contains(&written), "{c:?}: {written}");
        }
    }
}
