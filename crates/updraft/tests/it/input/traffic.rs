//! The service itself: texts, labels, switches, scaling, traffic.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::case::{
    Case,
    Source::{self, Marked as M, Reference as R, Unconfirmed as U},
    service, text, update,
};

const LABELS: &str = "admin-api-v2.md §8.1 labels: keys in 4 namespaces rejected";
const FORM: &str = "admin-api-v2.md §8.1 labels: ≤64 labels, key ≤63, value ≤63, lowercase/digits/_/-";
const ANNOTATIONS: &str = "admin-api-v2.md §8.1 annotations: same 4 reserved namespaces rejected";
const TRAFFIC: &str = "admin-api-v2.md §8.1 traffic: percents of all entries must sum to 100";
const TARGET: &str = "admin-api-v2.md §8.1 TrafficTarget";
const SCALING: &str = "admin-api-v2.md §8.1 ServiceScaling";
const TAG: &str = "admin-api-v2.md §3 traffic tag: DNS-label fragment; TAG---SERVICE… ≤63";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = texts();
    cases.extend(labels());
    cases.extend(switches());
    cases.extend(scaling());
    cases.extend(shares());
    cases.extend(tags());
    cases
}

fn texts() -> Vec<Case> {
    let long = |bytes: usize| "x".repeat(bytes);
    let description = "admin-api-v2.md §3 description: ≤512 chars";
    vec![
        text("no template", "{}", ("service.template", "must be set"), R("admin-api-v2.md §8.1 Service.template: REQ")),
        text(
            "a template that is null",
            r#"{"template": null}"#,
            ("service.template", "must be set"),
            R("admin-api-v2.md §8.1 Service.template: REQ"),
        ),
        service(
            "a description of 513 characters",
            &json!({"description": long(513)}),
            ("description", "at most 512 characters long, got 513"),
            R(description),
        ),
        service("a client with a long name", &json!({"client": long(257)}), ("client", "at most 256 bytes"), U),
        service(
            "a client with a long version",
            &json!({"clientVersion": long(257)}),
            ("client_version", "at most 256 bytes"),
            U,
        ),
        service(
            "an audience that is empty",
            &json!({"customAudiences": [""]}),
            ("custom_audiences[0]", "without spaces"),
            U,
        ),
        service(
            "an audience with a space",
            &json!({"customAudiences": ["https://a b"]}),
            ("custom_audiences[0]", "without spaces"),
            R("admin-api-v2.md §8.1 customAudiences: full URLs"),
        ),
        service(
            "too many audiences",
            &json!({"customAudiences": vec!["https://a"; 101]}),
            ("custom_audiences", "at most 100"),
            U,
        ),
    ]
}

fn labels() -> Vec<Case> {
    let label = |name, key: &str, value: &str, says| {
        service(name, &json!({"labels": {key: value}}), (&format!("labels[{key}]"), says), M(FORM))
    };
    let reserved = |name, key: &str, says| Case { source: R(LABELS), ..label(name, key, "y", says) };
    let note = |name, key: &str, says| {
        service(name, &json!({"annotations": {key: "x"}}), (&format!("annotations[{key}]"), says), R(ANNOTATIONS))
    };
    let many: BTreeMap<String, &str> = (0..65).map(|n| (format!("label-{n}"), "x")).collect();
    vec![
        reserved("a label of Cloud Run's own", "run.googleapis.com/x", "run.googleapis.com are reserved"),
        reserved("a label of Google Cloud's own", "cloud.googleapis.com/location", "cloud.googleapis.com are reserved"),
        reserved("a label of Knative's own", "serving.knative.dev/x", "serving.knative.dev are reserved"),
        reserved("a label of its autoscaler's", "autoscaling.knative.dev/x", "autoscaling.knative.dev are reserved"),
        label("a label in capitals", "Team", "y", "lowercase"),
        label("a label without a name", "", "y", "key must be"),
        label("a label with a slash first", "/x", "y", "key must be"),
        label("a label with a space", "a b", "y", "key must be"),
        label("a label of 64 characters", &"a".repeat(64), "y", "key must be"),
        label("a label's value in capitals", "team", "Blue", "value must be"),
        label("a label's value of 64 characters", "team", &"a".repeat(64), "value must be"),
        label("a label's value with a dot", "team", "a.b", "value must be"),
        service("65 labels", &json!({"labels": many}), ("labels", "at most 64 labels, got 65"), M(FORM)),
        note("an annotation of Cloud Run's own", "run.googleapis.com/launch-stage", "reserved"),
        note("an annotation of Google Cloud's own", "cloud.googleapis.com/x", "reserved"),
        note("an annotation of Knative's own", "serving.knative.dev/creator", "reserved"),
        note("an annotation of its autoscaler's", "autoscaling.knative.dev/maxScale", "reserved"),
        Case { source: U, ..note("an annotation with a space", "a b", "key must be") },
        Case { source: U, ..note("an annotation with two slashes", "a/b/c", "key must be") },
        service(
            "annotations of more than 256 KiB",
            &json!({"annotations": {"a": "x".repeat(256 << 10)}}),
            ("annotations", "at most 262144 bytes"),
            U,
        ),
        service(
            "a template's label of Cloud Run's own",
            &json!({"template": {"labels": {"run.googleapis.com/x": "y"}}}),
            ("template.labels[run.googleapis.com/x]", "reserved"),
            R("admin-api-v2.md §8.2 RevisionTemplate.labels"),
        ),
        service(
            "a template's annotation of Knative's",
            &json!({"template": {"annotations": {"autoscaling.knative.dev/minScale": "1"}}}),
            ("template.annotations[autoscaling.knative.dev/minScale]", "reserved"),
            R("admin-api-v2.md §8.2 RevisionTemplate.annotations"),
        ),
        service(
            "an egress that is none of ours",
            &json!({"template": {"annotations": {"updraft.dev/egress": "private-ranges-only"}}}),
            (
                "template.annotations[updraft.dev/egress]",
                "must be 'none', 'private' or 'all', got 'private-ranges-only'",
            ),
            U,
        ),
        service(
            "an annotation of ours that there is not",
            &json!({"template": {"annotations": {"updraft.dev/ingress": "all"}}}),
            ("template.annotations[updraft.dev/ingress]", "the keys in the namespace updraft.dev are"),
            U,
        ),
        service(
            "a target that leaves no room",
            &json!({"template": {"annotations": {"updraft.dev/scaling-cpu-target": "0.99"}}}),
            (
                "template.annotations[updraft.dev/scaling-cpu-target]",
                "must be a part between 0.1 and 0.95, or 0 to leave it out of account, got '0.99'",
            ),
            U,
        ),
        service(
            "nothing to scale by",
            &json!({"template": {"annotations": {
                "updraft.dev/scaling-cpu-target": "0", "updraft.dev/scaling-concurrency-target": "0",
            }}}),
            (
                "template.annotations[updraft.dev/scaling-cpu-target]",
                "cannot be 0 together with 'updraft.dev/scaling-concurrency-target'",
            ),
            U,
        ),
        note("an egress of a service", "updraft.dev/egress", "belong to the template"),
    ]
}

/// Ours: ignoring them would serve something else than was asked for.
fn switches() -> Vec<Case> {
    let refused = |name, field: &str, value: Value, path: &str| {
        service(name, &json!({field: value}), (path, "is not supported by this version"), U)
    };
    vec![
        refused("a proxy that asks who one is", "iapEnabled", json!(true), "iap_enabled"),
        refused(
            "an authorisation of binaries",
            "binaryAuthorization",
            json!({"useDefault": true}),
            "binary_authorization",
        ),
        refused("several regions", "multiRegionSettings", json!({"regions": ["a", "b"]}), "multi_region_settings"),
    ]
}

fn scaling() -> Vec<Case> {
    let of = |name, value, field: &str, says, source: Source| {
        service(name, &json!({"scaling": value}), (&format!("scaling.{field}"), says), source)
    };
    vec![
        of(
            "fewer than no instances",
            json!({"minInstanceCount": -1}),
            "min_instance_count",
            "greater than or equal to 0, got -1",
            R(SCALING),
        ),
        of("a maximum below zero", json!({"maxInstanceCount": -5}), "max_instance_count", "got -5", R(SCALING)),
        of(
            "a minimum above the maximum",
            json!({"minInstanceCount": 3, "maxInstanceCount": 2}),
            "min_instance_count",
            "must not be greater than max_instance_count 2, got 3",
            R(SCALING),
        ),
        of(
            "a count by hand without the mode",
            json!({"manualInstanceCount": 1}),
            "manual_instance_count",
            "only be set when scaling_mode is MANUAL",
            R("admin-api-v2.md §8.1 manualInstanceCount: MANUAL mode only"),
        ),
        of(
            "the mode without a count",
            json!({"scalingMode": "MANUAL"}),
            "manual_instance_count",
            "must be set when",
            U,
        ),
        of(
            "a count by hand below zero",
            json!({"scalingMode": "MANUAL", "manualInstanceCount": -1}),
            "manual_instance_count",
            "got -1",
            R(SCALING),
        ),
        of(
            "more instances than any host has",
            json!({"maxInstanceCount": 10_001}),
            "max_instance_count",
            "between 0 and 10000",
            U,
        ),
    ]
}

fn target(percent: i64) -> Value {
    json!({"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": percent})
}

fn shares() -> Vec<Case> {
    let of = |name, traffic: Value, field: &str, says, source: Source| {
        service(name, &json!({"traffic": traffic}), (&format!("traffic{field}"), says), source)
    };
    let to = |revision: &str| json!({"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": 100});
    vec![
        of("99 percent", json!([target(99)]), "", "must add up to 100, got 99", R(TRAFFIC)),
        of("101 percent in two shares", json!([target(51), target(50)]), "", "must add up to 100, got 101", R(TRAFFIC)),
        of("shares of nothing", json!([target(0)]), "", "must add up to 100, got 0", R(TRAFFIC)),
        of(
            "a share below zero",
            json!([target(-1), target(101)]),
            "[0].percent",
            "between 0 and 100, got -1",
            R(TARGET),
        ),
        of("a share above 100", json!([target(101)]), "[0].percent", "between 0 and 100, got 101", R(TARGET)),
        of(
            "a share with a fraction",
            json!([{"percent": 99.5}]),
            "[0].percent",
            "(TYPE_INT32)",
            R("admin-api-v2.md §8.1 TrafficTarget.percent: int32"),
        ),
        of(
            "a share in words",
            json!([{"percent": "all"}]),
            "[0].percent",
            "(TYPE_INT32)",
            R("admin-api-v2.md §8.1 TrafficTarget.percent: int32"),
        ),
        of(
            "shares that overflow",
            json!([target(2_147_483_647), target(2_147_483_647)]),
            "[1].percent",
            "between 0 and 100",
            R(TARGET),
        ),
        of("1001 shares", json!(vec![target(0); 1001]), "", "at most 1000 targets", U),
        of(
            "a type by a wrong number",
            json!([{"type": 3, "percent": 100}]),
            "[0].type",
            "number 3",
            R("admin-api-v2.md §8.11 TrafficTargetAllocationType"),
        ),
        of(
            "a type by a wrong name",
            json!([{"type": "NEWEST", "percent": 100}]),
            "[0].type",
            "AllocationType)",
            R("admin-api-v2.md §8.11 TrafficTargetAllocationType"),
        ),
        of(
            "a revision with the latest",
            json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "revision": "bad-1", "percent": 100}]),
            "[0].revision",
            "must be empty",
            U,
        ),
        of(
            "the type of a revision without one",
            json!([to("")]),
            "[0].revision",
            "must be set",
            R("admin-api-v2.md §8.1 TrafficTarget.revision: when type=REVISION"),
        ),
        of(
            "a revision's name in capitals",
            json!([to("Bad-1")]),
            "[0].revision",
            "must be the id of a revision",
            R("admin-api-v2.md §3 revision name"),
        ),
        update(
            "traffic to a revision that is not there",
            "?updateMask=traffic",
            &json!({"traffic": [to("hello-v9")]}),
            ("", "Revision 'hello-v9' of service 'hello' was not found"),
            U,
        )
        .gets(400, "FAILED_PRECONDITION"),
    ]
}

fn tags() -> Vec<Case> {
    let of = |name, tags: &[&str], index: usize, says| {
        let line = |(index, tag): (usize, &&str)| json!({"percent": if index == 0 { 100 } else { 0 }, "tag": tag});
        let traffic: Vec<Value> = tags.iter().enumerate().map(line).collect();
        service(name, &json!({"traffic": traffic}), (&format!("traffic[{index}].tag"), says), R(TAG))
    };
    vec![
        of("a tag in capitals", &["Next"], 0, "tag must be at most 46"),
        of("a tag with a hyphen first", &["-next"], 0, "tag must be at most 46"),
        of("a tag with a hyphen last", &["next-"], 0, "tag must be at most 46"),
        of("a tag with a dot", &["a.b"], 0, "tag must be at most 46"),
        of("a tag of 47 characters", &["a".repeat(47).as_str()], 0, "tag must be at most 46"),
        of("a tag that leaves no room for the service", &["a".repeat(44).as_str()], 0, "together must be at most 46"),
        Case { source: U, ..of("a tag twice", &["next", "next"], 1, "each tag may be used once") },
    ]
}
