//! Any valid v1 service.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

type Pairs = Vec<(&'static str, Value)>;

/// A service with something in any corner; in the spelling that is shown.
pub(crate) fn service() -> BoxedStrategy<Value> {
    (annotations(&SERVICE), labels(), template(), traffic())
        .prop_map(|(annotations, labels, template, traffic)| {
            object(vec![
                ("apiVersion", json!("serving.knative.dev/v1")),
                ("kind", json!("Service")),
                ("metadata", object(vec![("name", json!("demo")), ("annotations", annotations), ("labels", labels)])),
                ("spec", object(vec![("template", template), ("traffic", traffic)])),
            ])
        })
        .boxed()
}

/// Annotations of a service: a key and the values it may have.
const SERVICE: [(&str, &[&str]); 28] = [
    ("example.com/own", &["text", ""]),
    ("run.googleapis.com/base-images", &["{\"\":\"google-22\"}"]),
    ("run.googleapis.com/build-base-image", &["google-22"]),
    ("run.googleapis.com/build-environment-variables", &["{\"A\":\"1\"}"]),
    ("run.googleapis.com/build-function-target", &["main"]),
    ("run.googleapis.com/build-id", &["b-1"]),
    ("run.googleapis.com/build-image-uri", &["gcr.io/p/i"]),
    ("run.googleapis.com/build-name", &["projects/1/builds/2"]),
    ("run.googleapis.com/build-service-account", &["sa@p.iam"]),
    ("run.googleapis.com/build-source-location", &["gs://b/o#1"]),
    ("run.googleapis.com/build-worker-pool", &["pool"]),
    ("run.googleapis.com/build-enable-automatic-updates", &["true", "false"]),
    ("run.googleapis.com/client-name", &["gcloud"]),
    ("run.googleapis.com/client-version", &["578.0.0"]),
    ("run.googleapis.com/custom-audiences", &["[\"https://a.example\"]"]),
    ("run.googleapis.com/default-url-disabled", &["true", "false"]),
    ("run.googleapis.com/description", &["says hello"]),
    ("run.googleapis.com/gc-traffic-tags", &["true"]),
    ("run.googleapis.com/ingress", &["all", "internal", "internal-and-cloud-load-balancing", "none"]),
    ("run.googleapis.com/invoker-iam-disabled", &["true", "false"]),
    ("run.googleapis.com/launch-stage", &["ALPHA", "BETA", "GA"]),
    ("run.googleapis.com/manualInstanceCount", &["0", "3"]),
    ("run.googleapis.com/maxScale", &["10"]),
    ("run.googleapis.com/minScale", &["0", "2"]),
    ("run.googleapis.com/presets", &["[]"]),
    ("run.googleapis.com/scalingMode", &["automatic", "manual"]),
    ("run.googleapis.com/ssh-enabled", &["true"]),
    ("run.googleapis.com/threat-detection", &["true"]),
];

/// Annotations of a template.
const TEMPLATE: [(&str, &[&str]); 32] = [
    ("autoscaling.knative.dev/maxScale", &["5", "100"]),
    ("autoscaling.knative.dev/minScale", &["0", "1"]),
    ("autoscaling.knative.dev/target", &["70"]),
    ("client.knative.dev/user-image", &["hello:v1"]),
    ("run.googleapis.com/ambient-networking", &["true"]),
    ("run.googleapis.com/base-images", &["{\"web\":\"google-22\"}"]),
    ("run.googleapis.com/build-id", &["b-1"]),
    ("run.googleapis.com/client-name", &["gcloud"]),
    ("run.googleapis.com/cloudsql-instances", &["p:r:a", "p:r:a,p:r:b"]),
    ("run.googleapis.com/cpu-throttling", &["true", "false"]),
    ("run.googleapis.com/encryption-key", &["projects/p/locations/l/keyRings/r/cryptoKeys/k"]),
    ("run.googleapis.com/encryption-key-shutdown-hours", &["0", "24"]),
    ("run.googleapis.com/execution-environment", &["gen1", "gen2"]),
    ("run.googleapis.com/gpu-zonal-redundancy-disabled", &["true", "false"]),
    ("run.googleapis.com/health-check-disabled", &["true", "false"]),
    ("run.googleapis.com/identity", &["id"]),
    ("run.googleapis.com/identity-certificate-enabled", &["true"]),
    ("run.googleapis.com/identity-type", &["x"]),
    ("run.googleapis.com/mesh", &["projects/p/locations/global/meshes/m"]),
    ("run.googleapis.com/mesh-dataplane", &["proxyless-grpc"]),
    (
        "run.googleapis.com/network-interfaces",
        &["[{\"network\":\"default\",\"subnetwork\":\"default\",\"tags\":[\"a\"]}]"],
    ),
    ("run.googleapis.com/overflow-scaling", &["true"]),
    ("run.googleapis.com/post-key-revocation-action-type", &["prevent-new", "shut-down"]),
    ("run.googleapis.com/scaling-concurrency-target", &["0.7"]),
    ("run.googleapis.com/scaling-cpu-target", &["0.5"]),
    (
        "run.googleapis.com/secrets",
        &["alias:projects/1/secrets/s", "other:projects/2/secrets/t,alias:projects/1/secrets/s"],
    ),
    ("run.googleapis.com/secure-session-agent", &["x"]),
    ("run.googleapis.com/sessionAffinity", &["true", "false"]),
    ("run.googleapis.com/sources", &["{\"web\":\"gs://b/o\"}", "{\"web\":\"gs://b/o#7\"}"]),
    ("run.googleapis.com/startup-cpu-boost", &["true", "false"]),
    ("run.googleapis.com/vpc-access-connector", &["conn"]),
    ("run.googleapis.com/vpc-access-egress", &["all-traffic", "private-ranges-only"]),
];

pub(crate) fn annotations(known: &'static [(&'static str, &'static [&'static str])]) -> BoxedStrategy<Value> {
    let chosen = prop::sample::subsequence(known, 0..=known.len());
    (chosen, any::<prop::sample::Selector>())
        .prop_map(|(chosen, selector)| {
            let pairs =
                chosen.into_iter().map(|(key, values)| (key.to_owned(), json!(*selector.select(values.iter()))));
            Value::Object(pairs.collect())
        })
        .boxed()
}

pub(crate) fn labels() -> BoxedStrategy<Value> {
    map(&["team", "client.knative.dev/nonce", "app.example.com/name"], "[a-z0-9_-]{0,8}").boxed()
}

fn map(keys: &'static [&'static str], value: &'static str) -> BoxedStrategy<Value> {
    prop::sample::subsequence(keys, 0..=keys.len())
        .prop_flat_map(move |keys| {
            let values = vec(value, keys.len());
            values.prop_map(move |values| {
                keys.iter()
                    .map(|key| (*key).to_owned())
                    .zip(values.into_iter().map(Value::from))
                    .collect::<Map<_, _>>()
                    .into()
            })
        })
        .boxed()
}

fn template() -> BoxedStrategy<Value> {
    let metadata = (annotations(&TEMPLATE), labels(), option::of(Just("demo-v1")));
    let containers = (container("web"), option::of(container("side")));
    let rest = (
        some(select(vec![1, 80, 1000])),
        some(select(vec![1, 300, 3600])),
        some(Just("sa@demo-project.iam.gserviceaccount.com")),
        option::of(select(vec!["nvidia-l4", "nvidia-rtx-pro-6000"])),
        some(select(vec![10, 300])),
        some(Just(true)),
        some(Just("run.googleapis.com/linux-base-image-update")),
    );
    (metadata, containers, volumes(), rest)
        .prop_map(|(metadata, (web, side), volumes, rest)| {
            let (annotations, labels, name) = metadata;
            let (concurrency, timeout, account, gpu, grace, links, class) = rest;
            let containers: Vec<Value> = std::iter::once(web).chain(side).collect();
            let meta = object(vec![("annotations", annotations), ("labels", labels), ("name", json!(name))]);
            let spec = object(vec![
                ("containerConcurrency", concurrency),
                ("containers", json!(containers)),
                ("enableServiceLinks", links),
                ("nodeSelector", gpu.map(|gpu| json!({"run.googleapis.com/accelerator": gpu})).unwrap_or_default()),
                ("runtimeClassName", class),
                ("serviceAccountName", account),
                ("terminationGracePeriodSeconds", grace),
                ("timeoutSeconds", timeout),
                ("volumes", volumes),
            ]);
            object(vec![("metadata", meta), ("spec", spec)])
        })
        .boxed()
}

pub(crate) fn container(name: &'static str) -> BoxedStrategy<Value> {
    let program = (vec("[a-z/-]{0,5}", 0..3), vec("[a-z$()]{0,5}", 0..3), some(Just("/app")));
    let probes = (option::of(probe()), option::of(probe()), option::of(probe()));
    let limits = || map(&["cpu", "memory", "nvidia.com/gpu"], "(1|2|500m|1Gi|512Mi)");
    let odd = (some(select(vec!["Always", "IfNotPresent"])), some(Just("/dev/log")), some(Just(true)));
    (program, env(), probes, (limits(), limits()), mounts(), odd)
        .prop_map(move |((command, args, dir), env, (startup, live, ready), (limits, requests), mounts, odd)| {
            let ports = if name == "web" {
                json!([{"name": "h2c", "containerPort": 9090, "protocol": "TCP"}])
            } else {
                Value::Null
            };
            object(vec![
                ("args", json!(args)),
                ("command", json!(command)),
                ("env", env),
                ("image", json!(format!("localhost/{name}:v1"))),
                ("imagePullPolicy", odd.0),
                ("livenessProbe", json!(live)),
                ("name", json!(name)),
                ("ports", ports),
                ("readinessProbe", json!(ready)),
                ("resources", object(vec![("limits", limits), ("requests", requests)])),
                ("sandboxLauncher", odd.2),
                ("startupProbe", json!(startup)),
                ("terminationMessagePath", odd.1),
                ("volumeMounts", mounts),
                ("workingDir", dir),
            ])
        })
        .boxed()
}

fn env() -> BoxedStrategy<Value> {
    let value = prop_oneof![
        "[ -~]{0,8}".prop_map(|text| json!({"value": text})),
        (select(vec!["own", "alias"]), some(Just(true))).prop_map(|(name, optional)| {
            let key = object(vec![("name", json!(name)), ("key", json!("latest")), ("optional", optional)]);
            json!({"valueFrom": {"secretKeyRef": key}})
        }),
    ];
    vec(value, 0..4)
        .prop_map(|values| {
            let named = values.into_iter().enumerate().map(|(index, mut value)| {
                value["name"] = json!(format!("V{index}"));
                value
            });
            named.collect()
        })
        .boxed()
}

fn probe() -> BoxedStrategy<Value> {
    let action = prop_oneof![
        Just(("tcpSocket", json!({"port": 9090}))),
        Just(("tcpSocket", json!({}))),
        Just(("grpc", json!({"port": 1, "service": "s"}))),
        Just((
            "httpGet",
            json!({"path": "/", "port": 80, "httpHeaders": [{"name": "X", "value": ""}], "scheme": "HTTP"})
        )),
    ];
    let number = || some(1..240);
    (action, number(), number(), number(), number(), some(Just(1)))
        .prop_map(|((kind, action), delay, period, timeout, failures, successes)| {
            let mut probe = object(vec![
                ("failureThreshold", failures),
                ("initialDelaySeconds", delay),
                ("periodSeconds", period),
                ("successThreshold", successes),
                ("timeoutSeconds", timeout),
            ]);
            probe[kind] = action;
            probe
        })
        .boxed()
}

pub(crate) fn volumes() -> BoxedStrategy<Value> {
    let source = prop_oneof![
        (some(select(vec!["Memory", "Disk"])), some(Just("64Mi")))
            .prop_map(|(medium, size)| ("emptyDir", object(vec![("medium", medium), ("sizeLimit", size)]))),
        (select(vec!["own", "alias"]), some(Just(292)), some(Just(true))).prop_map(|(name, mode, optional)| {
            let items = json!([{"key": "1", "path": "a", "mode": 256}, {"key": "latest", "path": "b"}]);
            (
                "secret",
                object(vec![
                    ("secretName", json!(name)),
                    ("defaultMode", mode),
                    ("optional", optional),
                    ("items", items),
                ]),
            )
        }),
        some(Just(true)).prop_map(|read_only| {
            ("nfs", object(vec![("server", json!("s")), ("path", json!("/x")), ("readOnly", read_only)]))
        }),
        some(Just(true)).prop_map(|read_only| {
            let attributes = json!({"bucketName": "b", "mountOptions": "implicit-dirs,uid=1", "odd": "x"});
            let driver = json!("gcsfuse.run.googleapis.com");
            ("csi", object(vec![("driver", driver), ("readOnly", read_only), ("volumeAttributes", attributes)]))
        }),
    ];
    vec(source, 0..4)
        .prop_map(|sources| {
            let volume =
                |(index, (kind, source)): (usize, (&str, Value))| json!({"name": format!("vol{index}"), kind: source});
            sources.into_iter().enumerate().map(volume).collect()
        })
        .boxed()
}

fn mounts() -> BoxedStrategy<Value> {
    vec((some(Just(true)), some(Just("sub"))), 0..3)
        .prop_map(|mounts| {
            let mount = |(index, (read_only, sub)): (usize, (Value, Value))| {
                object(vec![
                    ("name", json!(format!("vol{index}"))),
                    ("mountPath", json!(format!("/mnt/{index}"))),
                    ("readOnly", read_only),
                    ("subPath", sub),
                ])
            };
            mounts.into_iter().enumerate().map(mount).collect()
        })
        .boxed()
}

fn traffic() -> BoxedStrategy<Value> {
    let tag = || some(select(vec!["blue", "green"]));
    (option::of(tag()), option::of(tag()))
        .prop_map(|(latest, named)| {
            let latest =
                latest.map(|tag| object(vec![("latestRevision", json!(true)), ("percent", json!(90)), ("tag", tag)]));
            let named =
                named.map(|tag| object(vec![("revisionName", json!("demo-v0")), ("percent", json!(10)), ("tag", tag)]));
            latest.into_iter().chain(named).collect()
        })
        .boxed()
}

/// A value, or none.
pub(crate) fn some<T: Into<Value> + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Value> {
    option::of(value).prop_map(|value| value.map(Into::into).unwrap_or_default()).boxed()
}

pub(crate) fn object(pairs: Pairs) -> Value {
    let is_empty = |value: &Value| {
        value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
    };
    pairs
        .into_iter()
        .filter(|(_, value)| !is_empty(value))
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<Map<_, _>>()
        .into()
}
