//! A service with something in every corner.

use serde_json::{Value, json};
use updraft_api::run;

/// As a client would send it, and as it is printed.
pub(crate) fn rich_json() -> Value {
    json!({
        "name": "projects/demo-project/locations/us-central1/services/hello",
        "description": "says hello",
        "uid": "48f050dd-40ec-4612-acc9-9f13fac2d571",
        "generation": "3",
        "labels": {"env": "test", "team": "core"},
        "annotations": {"example.com/note": "kept"},
        "createTime": "2026-11-21T08:36:59.956485Z",
        "creator": "local@updraft.local",
        "ingress": "INGRESS_TRAFFIC_ALL",
        "launchStage": "GA",
        "template": {
            "revision": "hello-v3",
            "scaling": {"minInstanceCount": 1, "maxInstanceCount": 100},
            "timeout": "300s",
            "serviceAccount": "1-compute@developer.gserviceaccount.com",
            "containers": [{
                "name": "hello-1",
                "image": "localhost:5000/hello:v3",
                "command": ["/bin/hello"],
                "args": ["--port", "8080"],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "EMPTY", "value": ""},
                    {"name": "S", "valueSource": {"secretKeyRef": {"secret": "s", "version": "latest"}}}
                ],
                "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}, "cpuIdle": true, "startupCpuBoost": true},
                "ports": [{"name": "http1", "containerPort": 8080}],
                "startupProbe": {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1,
                                 "tcpSocket": {"port": 8080}},
                "livenessProbe": {"httpGet": {"path": "/live", "httpHeaders": [{"name": "X", "value": "y"}]}}
            }],
            "volumes": [{"name": "tmp", "emptyDir": {"medium": "MEMORY", "sizeLimit": "64Mi"}}],
            "maxInstanceRequestConcurrency": 80
        },
        "traffic": [
            {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "hello-v2", "percent": 90},
            {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 10, "tag": "next"}
        ],
        "scaling": {"scalingMode": "MANUAL", "manualInstanceCount": 0},
        "urls": ["http://hello-1.us-central1.run.localhost:8080"],
        "observedGeneration": "3",
        "terminalCondition": {"type": "Ready", "state": "CONDITION_FAILED", "message": "no",
                              "lastTransitionTime": "2026-11-21T08:37:00Z", "reason": "REVISION_FAILED"},
        "conditions": [
            {"type": "RoutesReady", "state": "CONDITION_SUCCEEDED", "lastTransitionTime": "2026-11-21T08:37:00.5Z"},
            {"type": "ConfigurationsReady", "state": "CONDITION_FAILED", "severity": "WARNING",
             "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR"}
        ],
        "latestReadyRevision": "projects/demo-project/locations/us-central1/services/hello/revisions/hello-v2",
        "latestCreatedRevision": "projects/demo-project/locations/us-central1/services/hello/revisions/hello-v3",
        "trafficStatuses": [
            {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "revision": "hello-v2", "percent": 10, "tag": "next",
             "uri": "http://next---hello-1.us-central1.run.localhost:8080"}
        ],
        "uri": "http://hello-1.us-central1.run.localhost:8080",
        "reconciling": true,
        "etag": "\"abc\""
    })
}

/// The same as a message.
pub(crate) fn rich() -> run::Service {
    updraft_api::json::from_json(&rich_json(), "service").expect("well formed")
}
