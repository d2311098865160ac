//! Manifests: what goes in comes out, from either version of the API, and writing it again changes nothing.

use serde_json::{Value, json};
use updraft_testkit::World;

use super::merge;

const SERVICES: &str = "/apis/serving.knative.dev/v1/namespaces/demo-project/services";
const V2: &str = "/v2/projects/demo-project/locations/us-central1/services";

/// A service with everything that this version does not run yet.
fn everything(image: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": "all",
            "labels": {"tier": "web"},
            "annotations": {"run.googleapis.com/ingress": "internal", "example.com/owner": "me"},
        },
        "spec": {
            "template": {
                "metadata": {
                    "name": "all-v1",
                    "annotations": {
                        "autoscaling.knative.dev/minScale": "1",
                        "run.googleapis.com/cloudsql-instances": "demo-project:us-central1:db",
                        "run.googleapis.com/container-dependencies": "{\"web\":[\"side\"]}",
                        "run.googleapis.com/gpu-zonal-redundancy-disabled": "true",
                        "run.googleapis.com/scaling-cpu-target": "0.7",
                        "run.googleapis.com/secrets": "theirs:projects/123456789012/secrets/key",
                        "run.googleapis.com/vpc-access-connector": "conn",
                        "run.googleapis.com/vpc-access-egress": "all-traffic",
                    },
                },
                "spec": {
                    "containerConcurrency": 10,
                    "timeoutSeconds": 60,
                    "terminationGracePeriodSeconds": 20,
                    "nodeSelector": {"run.googleapis.com/accelerator": "nvidia-l4"},
                    "containers": [
                        {
                            "name": "web",
                            "image": image,
                            "imagePullPolicy": "Always",
                            "ports": [{"name": "h2c", "containerPort": 9000}],
                            "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}},
                            "env": [
                                {"name": "A", "value": ""},
                                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "latest"}}},
                            ],
                            "startupProbe": {"httpGet": {"path": "/up", "port": 9000}, "successThreshold": 1},
                            "livenessProbe": {"grpc": {"service": "live"}, "periodSeconds": 5},
                            "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": true}],
                        },
                        {"name": "side", "image": image, "startupProbe": {"tcpSocket": {"port": 7}}},
                    ],
                    "volumes": [
                        {"name": "keys", "secret": {"secretName": "own", "items": [{"key": "1", "path": "k"}]}},
                        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
                        {"name": "share", "nfs": {"server": "s", "path": "/x"}},
                        {"name": "bucket", "csi": {"driver": "gcsfuse.run.googleapis.com", "volumeAttributes": {"bucketName": "b"}}},
                    ],
                },
            },
            "traffic": [{"latestRevision": true, "percent": 100, "tag": "next"}],
        },
    })
}

/// Every value of `sent` is in `shown`, at its place.
fn assert_within(sent: &Value, shown: &Value, at: &str) {
    match (sent, shown) {
        (Value::Object(sent), Value::Object(_)) => {
            for (field, value) in sent {
                assert_within(value, &shown[field], &format!("{at}.{field}"));
            }
        }
        (Value::Array(sent), Value::Array(shown)) if sent.len() == shown.len() => {
            for (index, (sent, shown)) in sent.iter().zip(shown).enumerate() {
                assert_within(sent, shown, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(sent, shown, "{at}"),
    }
}

/// Waits until a service is settled, and gives it.
async fn settled(world: &World, name: &str) -> Value {
    world
        .drive(async {
            loop {
                let service = world.ok("GET", &format!("{SERVICES}/{name}"), Value::Null).await;
                if service["status"]["conditions"][0]["status"] != "Unknown" {
                    return service;
                }
            }
        })
        .await
}

fn kept(service: &Value) -> [Value; 3] {
    ["/metadata/generation", "/status/latestCreatedRevisionName", "/spec"]
        .map(|path| service.pointer(path).cloned().unwrap_or_default())
}

#[tokio::test]
async fn what_is_not_built_yet_is_stored_exported_and_named() {
    let world = World::start().await;
    let sent = everything(&world.image("hello").await);
    let made = world.ok("POST", SERVICES, sent.clone()).await;
    assert_within(&sent, &made, "");
    let service = settled(&world, "all").await;
    let [ready, configurations, ..] = &service["status"]["conditions"].as_array().expect("conditions")[..] else {
        panic!("{service:#}")
    };
    assert_eq!((&ready["status"], &configurations["type"]), (&json!("False"), &json!("ConfigurationsReady")));
    let message = configurations["message"].as_str().expect("a message");
    let fields = ["vpc_access", "node_selector", "volumes[2].nfs", "volumes[3].gcs"];
    for field in fields.into_iter().chain(["cloud_sql_instance", "nvidia.com/gpu"]) {
        assert!(message.contains(field), "{field}: {message}");
    }
    for built in ["volumes[0]", "volumes[1]", "value_source", "containers[1]"] {
        assert!(!message.contains(built), "{built} is built: {message}");
    }
    let conditions = service["status"]["conditions"].as_array().expect("conditions");
    let notice = conditions.iter().find(|one| one["type"] == "SettingsApplied").expect("a notice");
    assert_eq!(notice["severity"], "Warning");
    for field in ["terminationGracePeriodSeconds", "gpu-zonal-redundancy-disabled"] {
        assert!(notice["message"].as_str().is_some_and(|text| text.contains(field)), "{field}: {notice:#}");
    }

    // What comes out, written again, is what there is; so is what went in.
    for again in [service.clone(), sent.clone()] {
        let answer = world.ok("PUT", &format!("{SERVICES}/all"), again).await;
        assert_eq!(kept(&answer), kept(&service));
    }
    let revision =
        world.ok("GET", "/apis/serving.knative.dev/v1/namespaces/demo-project/revisions/all-v1", Value::Null).await;
    assert_within(&sent["spec"]["template"]["spec"], &revision["spec"], "spec");

    // Into another place, under the same name.
    world.ok("DELETE", &format!("{SERVICES}/all"), Value::Null).await;
    let mut manifest = service.clone();
    merge(
        &mut manifest,
        &json!({"status": null, "metadata": {"uid": null, "resourceVersion": null, "namespace": null}}),
    );
    let back = world.drive(world.call("POST", SERVICES, manifest)).await;
    assert_eq!(back.status, 200, "{}", back.body);
    let back: Value = serde_json::from_str(&back.body).expect("JSON");
    assert_eq!(back["spec"], service["spec"]);
    world.end().await;
}

/// Changes of one thing each, as `gcloud run deploy` and `services update` make them.
fn changes() -> Vec<Value> {
    let on_service = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    let on_template =
        |key: &str, value: &str| json!({"spec": {"template": {"metadata": {"annotations": {key: value}}}}});
    let in_spec = |field: &str, value: Value| json!({"spec": {"template": {"spec": {field: value}}}});
    let mut changes = vec![
        on_service("run.googleapis.com/description", "a demo"),
        on_service("run.googleapis.com/ingress", "internal"),
        on_service("run.googleapis.com/ingress", "internal-and-cloud-load-balancing"),
        on_service("run.googleapis.com/minScale", "1"),
        on_service("run.googleapis.com/maxScale", "9"),
        on_service("run.googleapis.com/default-url-disabled", "true"),
        on_service("run.googleapis.com/default-url-disabled", "false"),
        on_service("run.googleapis.com/invoker-iam-disabled", "true"),
        on_service("run.googleapis.com/custom-audiences", "[\"https://a.example\"]"),
        on_service("run.googleapis.com/launch-stage", "BETA"),
        on_service("run.googleapis.com/build-id", "b-1"),
        on_service("run.googleapis.com/client-version", "579.0.0"),
        on_service("run.googleapis.com/gc-traffic-tags", "true"),
        on_service("example.com/note", "kept"),
        json!({"metadata": {"labels": {"team": "core"}}}),
        on_template("autoscaling.knative.dev/minScale", "1"),
        on_template("autoscaling.knative.dev/maxScale", "7"),
        on_template("autoscaling.knative.dev/target", "70"),
        on_template("run.googleapis.com/cpu-throttling", "false"),
        on_template("run.googleapis.com/cpu-throttling", "true"),
        on_template("run.googleapis.com/startup-cpu-boost", "true"),
        on_template("run.googleapis.com/execution-environment", "gen2"),
        on_template("run.googleapis.com/sessionAffinity", "true"),
        on_template("run.googleapis.com/health-check-disabled", "true"),
        on_template("run.googleapis.com/scaling-concurrency-target", "0.6"),
        on_template("run.googleapis.com/encryption-key-shutdown-hours", "24"),
        on_template("run.googleapis.com/mesh-dataplane", "proxyless-grpc"),
        json!({"spec": {"template": {"metadata": {"labels": {"client.knative.dev/nonce": "abcdefghij"}}}}}),
        in_spec("containerConcurrency", json!(7)),
        in_spec("timeoutSeconds", json!(77)),
        in_spec("serviceAccountName", json!("runner@demo-project.iam.gserviceaccount.com")),
        in_spec("terminationGracePeriodSeconds", json!(5)),
        in_spec("runtimeClassName", json!("run.googleapis.com/linux-base-image-update")),
        in_spec("volumes", json!([{"name": "t", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])),
    ];
    let of_container = [
        json!({"args": ["serve", "-x"]}),
        json!({"command": ["/app"]}),
        json!({"env": [{"name": "A", "value": "1"}, {"name": "E", "value": ""}]}),
        json!({"workingDir": "/srv"}),
        json!({"ports": [{"name": "h2c", "containerPort": 9090}], "startupProbe": {"tcpSocket": {"port": 9090}}}),
        json!({"livenessProbe": {"httpGet": {"path": "/", "httpHeaders": [{"name": "X", "value": "y"}]}}}),
        json!({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}}),
        json!({"terminationMessagePath": "/dev/log"}),
    ];
    changes.extend(of_container.map(|change| json!({"container": change})));
    changes
}

#[tokio::test]
async fn every_field_of_forty_different_deploys_comes_back_and_the_same_again_changes_nothing() {
    let world = World::start().await;
    world.ok("POST", "/v1/projects/demo-project/serviceAccounts", json!({"accountId": "runner"})).await;
    let image = world.image("hello").await;
    let base = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "demo", "namespace": "demo-project"},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
    });
    world.ok("POST", SERVICES, base.clone()).await;
    let changes = changes();
    assert!(changes.len() >= 40, "{}", changes.len());
    for mut change in changes {
        let mut sent = base.clone();
        if let Some(container) = change.as_object_mut().expect("an object").remove("container") {
            merge(&mut sent["spec"]["template"]["spec"]["containers"][0], &container);
        }
        merge(&mut sent, &change);
        let first = world.ok("PUT", &format!("{SERVICES}/demo"), sent.clone()).await;
        let shown = world.ok("GET", &format!("{SERVICES}/demo"), Value::Null).await;
        let mut expected = sent.clone();
        expected["metadata"]["namespace"] = first["metadata"]["namespace"].clone();
        assert_within(&expected, &shown, "");
        let again = world.ok("PUT", &format!("{SERVICES}/demo"), sent).await;
        assert_eq!(kept(&again), kept(&first));
    }
    world.end().await;
}

#[tokio::test]
async fn both_versions_of_the_api_see_what_the_other_wrote() {
    let world = World::start().await;
    let sent = everything(&world.image("hello").await);
    world.ok("POST", SERVICES, sent.clone()).await;
    let by_v2 = world.ok("GET", &format!("{V2}/all"), Value::Null).await;
    let expected = json!({
        "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
        "labels": {"tier": "web"},
        "annotations": {"example.com/owner": "me"},
        "template": {
            "revision": "all-v1",
            "scaling": {"minInstanceCount": 1},
            "timeout": "60s",
            "maxInstanceRequestConcurrency": 10,
            "vpcAccess": {"connector": "conn", "egress": "ALL_TRAFFIC"},
            "nodeSelector": {"accelerator": "nvidia-l4"},
            "gpuZonalRedundancyDisabled": true,
        },
        "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100, "tag": "next"}],
    });
    assert_within(&expected, &by_v2, "");
    let web = &by_v2["template"]["containers"][0];
    assert_eq!(web["dependsOn"], json!(["side"]));
    assert_eq!(web["env"][1]["valueSource"]["secretKeyRef"]["secret"], "projects/123456789012/secrets/key");
    assert_eq!(
        by_v2["template"]["volumes"][4]["cloudSqlInstance"]["instances"],
        json!(["demo-project:us-central1:db"])
    );
    let has = |kind: &str| by_v2["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == kind));
    assert!(has("SettingsApplied"), "{by_v2:#}");

    // A change by v2 leaves what only v1 can say, and shows in v1.
    let change = json!({"description": "by v2", "template": {"timeout": "61s"}});
    world.ok("PATCH", &format!("{V2}/all?updateMask=description,template.timeout,template.revision"), change).await;
    let mut expected = sent.clone();
    expected["metadata"]["annotations"]["run.googleapis.com/description"] = json!("by v2");
    expected["spec"]["template"]["spec"]["timeoutSeconds"] = json!(61);
    expected["spec"]["template"]["metadata"].as_object_mut().expect("metadata").remove("name");
    let by_v1 = world.ok("GET", &format!("{SERVICES}/all"), Value::Null).await;
    assert_within(&expected, &by_v1, "");

    // Written back by v1 as it is, it stays what v2 wrote.
    let before = world.ok("GET", &format!("{V2}/all"), Value::Null).await;
    world.ok("PUT", &format!("{SERVICES}/all"), by_v1).await;
    let after = world.ok("GET", &format!("{V2}/all"), Value::Null).await;
    assert_eq!((&after["template"], &after["etag"]), (&before["template"], &before["etag"]));
    world.end().await;
}

#[tokio::test]
async fn a_version_that_was_overtaken_is_a_conflict() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let base =
        json!({"metadata": {"name": "demo"}, "spec": {"template": {"spec": {"containers": [{"image": image}]}}}});
    let read = world.ok("POST", SERVICES, base).await;
    let mut mine = read.clone();
    merge(&mut mine, &json!({"metadata": {"annotations": {"run.googleapis.com/description": "mine"}}}));
    let mut theirs = read.clone();
    merge(&mut theirs, &json!({"metadata": {"annotations": {"run.googleapis.com/description": "theirs"}}}));
    world.ok("PUT", &format!("{SERVICES}/demo"), theirs).await;
    let answer = world.call("PUT", &format!("{SERVICES}/demo"), mine.clone()).await;
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(
        (answer.status, &body["reason"], &body["error"]["status"]),
        (409, &json!("Conflict"), &json!("ABORTED"))
    );
    merge(&mut mine, &json!({"metadata": {"resourceVersion": null}}));
    let forced = world.ok("PUT", &format!("{SERVICES}/demo"), mine).await;
    assert_eq!(forced["metadata"]["annotations"]["run.googleapis.com/description"], "mine");
    world.end().await;
}

#[tokio::test]
async fn names_can_be_left_to_the_server_and_places_have_to_agree() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let with = |metadata: Value| json!({"metadata": metadata, "spec": {"template": {"spec": {"containers": [{"image": image}]}}}});
    let made = world.ok("POST", SERVICES, with(json!({"generateName": "demo-"}))).await;
    let name = made["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("demo-") && name.len() == 10, "{name}");
    for (method, path, body, field) in [
        ("POST", SERVICES.to_owned(), with(json!({"name": "x", "namespace": "another-project"})), "metadata.namespace"),
        ("POST", SERVICES.to_owned(), with(json!({"name": "Upper"})), "metadata.name"),
        ("PUT", format!("{SERVICES}/{name}"), with(json!({"name": "other"})), "metadata.name"),
        ("POST", format!("{SERVICES}?dryRun=some"), with(json!({"name": "x"})), "dryRun"),
        ("GET", format!("{SERVICES}?labelSelector=a~b"), Value::Null, "labelSelector"),
        ("GET", format!("{SERVICES}?continue=made-up"), Value::Null, "continue"),
    ] {
        let answer = world.call(method, &path, body).await;
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        let named = &body["error"]["details"][0]["fieldViolations"][0]["field"];
        assert_eq!((answer.status, named), (400, &json!(field)), "{method} {path}: {body:#}");
    }
    // By the number of the project, in its region, and in all of them.
    let number = made["metadata"]["namespace"].as_str().expect("a number");
    for path in [
        format!("/apis/serving.knative.dev/v1/namespaces/{number}/services"),
        format!("/v1/projects/{number}/locations/us-central1/services"),
        "/v1/projects/demo-project/locations/-/services?labelSelector=cloud.googleapis.com/location in (us-central1)"
            .replace(' ', "%20"),
    ] {
        let list = world.ok("GET", &path, Value::Null).await;
        assert_eq!(
            (&list["kind"], &list["items"][0]["metadata"]["name"]),
            (&json!("ServiceList"), &json!(name)),
            "{path}"
        );
    }
    let none = world.ok("GET", &format!("{SERVICES}?labelSelector=team%3Dx"), Value::Null).await;
    assert_eq!(none["items"], json!([]));
    world.end().await;
}

#[tokio::test]
async fn what_v2_refuses_v1_refuses_as_a_status_with_causes() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let base = json!({
        "metadata": {"name": "demo"},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
    });
    let long = "x".repeat(300 << 10);
    for (change, field) in [
        (json!({"metadata": {"annotations": {"example.com/a": long}}}), "metadata.annotations"),
        // Only v1 knows it, so nothing else looks at it.
        (json!({"metadata": {"annotations": {"run.googleapis.com/presets": long}}}), "metadata"),
        (
            json!({"metadata": {"annotations": {"run.googleapis.com/description": "x".repeat(513)}}}),
            "metadata.annotations[run.googleapis.com/description]",
        ),
        (
            json!({"spec": {"template": {"spec": {"containerConcurrency": 1001}}}}),
            "spec.template.spec.containerConcurrency",
        ),
        (json!({"spec": {"template": {"spec": {"timeoutSeconds": 3601}}}}), "spec.template.spec.timeoutSeconds"),
    ] {
        let mut sent = base.clone();
        merge(&mut sent, &change);
        let answer = world.call("POST", SERVICES, sent).await;
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        let status = (&body["kind"], &body["status"], &body["reason"], &body["code"]);
        assert_eq!(answer.status, 400, "{field}: {body:#}");
        assert_eq!(status, (&json!("Status"), &json!("Failure"), &json!("Invalid"), &json!(400)), "{field}: {body:#}");
        assert_eq!(body["details"]["causes"][0]["field"], field, "{body:#}");
    }
    let huge = json!({"metadata": {"name": "demo", "annotations": {"example.com/a": "x".repeat(11 << 20)}}});
    let answer = world.call("POST", SERVICES, huge).await;
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((answer.status, &body["kind"], &body["code"]), (413, &json!("Status"), &json!(413)), "{body:#}");
    let none = world.ok("GET", SERVICES, Value::Null).await;
    assert_eq!(none["items"], json!([]), "nothing was stored");
    world.end().await;
}
