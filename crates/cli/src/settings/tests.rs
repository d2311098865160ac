mod egress;
mod secrets;

use clap::Parser;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::client::{decode, encode};

#[derive(Debug, Parser)]
struct Flags {
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

fn flags(line: &str) -> Flags {
    Flags::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap_or_else(|error| panic!("{error}"))
}

fn wish<'a>(flags: &'a Flags, revision: NewRevision) -> Wish<'a> {
    let (image, settings) = (flags.image.as_deref(), &flags.settings);
    Wish { id: "hello", project: "demo-project", image, settings, env_file: None, revision, seed: 12_345 }
}

/// A service as the server gives it, with everything written in.
fn service() -> Value {
    json!({
        "name": "projects/demo-project/locations/us-central1/services/hello",
        "generation": "3",
        "etag": "\"e3\"",
        "labels": { "team": "a" },
        "ingress": "INGRESS_TRAFFIC_ALL",
        "client": "gcloud",
        "template": {
            "revision": "hello-00003-old",
            "labels": { "team": "a" },
            "timeout": "300s",
            "serviceAccount": "1-compute@developer.gserviceaccount.com",
            "maxInstanceRequestConcurrency": 80,
            "scaling": { "maxInstanceCount": 100 },
            "containers": [
                { "name": "sidecar", "image": "side" },
                {
                    "name": "hello-1",
                    "image": "hello",
                    "env": [
                        { "name": "A", "value": "1" },
                        { "name": "S", "valueSource": { "secretKeyRef": { "secret": "s", "version": "1" } } },
                        { "name": "B", "value": "2" }
                    ],
                    "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" }, "cpuIdle": true },
                    "ports": [{ "name": "http1", "containerPort": 8080 }],
                    "startupProbe": {
                        "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": { "port": 8080 }
                    }
                }
            ]
        },
        "traffic": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
        "latestReadyRevision": "projects/demo-project/locations/us-central1/services/hello/revisions/hello-00002-rdy",
        "uri": "http://hello.example"
    })
}

/// What flags change: lines that come and go between the service before and the one that is sent
/// (of the fields that are sent), and the mask.
fn check_update(line: &str, revision: NewRevision, expected: &Expect) {
    let flags = flags(line);
    let before: Service = decode(&service()).unwrap();
    let plan = update(&before, &wish(&flags, revision)).unwrap();
    let sent = encode(&plan.service).unwrap();
    let mut was = service();
    was.as_object_mut().unwrap().retain(|field, _| sent.get(field).is_some());
    // Who sent it changes from version to version.
    let told = |value: &Value| lines(value).into_iter().filter(|line| !line.starts_with("client")).collect::<Vec<_>>();
    let (was, is) = (told(&was), told(&sent));
    let mut text = format!("mask: {}\n", plan.mask.join(","));
    let gone = was.iter().filter(|line| !is.contains(line)).map(|line| format!("- {line}\n"));
    let come = is.iter().filter(|line| !was.contains(line)).map(|line| format!("+ {line}\n"));
    text.extend(gone.chain(come));
    expected.assert_eq(&text);
}

/// One line per value, with its path.
fn lines(value: &Value) -> Vec<String> {
    fn walk(path: &str, value: &Value, lines: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, field)| walk(&format!("{path}.{name}"), field, lines))
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| walk(&format!("{path}[{n}]"), item, lines));
            }
            leaf => lines.push(format!("{} = {leaf}", path.trim_start_matches('.'))),
        }
    }
    let mut lines_found = Vec::new();
    walk("", value, &mut lines_found);
    lines_found.sort();
    lines_found
}

#[test]
fn a_new_service_says_only_what_was_asked_for() {
    let flags = flags("--image localhost:5000/hello:v1");
    let plan = creation(&wish(&flags, NewRevision::Always)).unwrap();
    let text = lines(&encode(&plan.service).unwrap()).join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    expect![[r#"
        client = "updraft"
        clientVersion = "VERSION"
        template.containers[0].image = "localhost:5000/hello:v1"
        template.containers[0].resources.cpuIdle = true
        template.containers[0].resources.startupCpuBoost = true
        template.labels.client.knative.dev/nonce = "vgsaaaaaaa""#]]
    .assert_eq(&text);
    assert!(plan.makes_revision);
}

#[test]
fn every_flag_of_a_new_service_has_its_field() {
    let flags = flags(
        "--image i --port 9000 --cpu 2 --memory 1Gi --concurrency 10 --timeout 10m --min-instances 1 \
         --max-instances 5 --min 2 --max 9 --set-env-vars A=1,B=2 --command /bin/app --args=-v,--port=9000 --use-http2 \
         --service-account me@example.com --revision-suffix v1 --tag blue --labels team=b --description text \
         --ingress internal --startup-probe httpGet.path=/up,httpGet.port=9000,periodSeconds=1 --no-cpu-throttling \
         --no-cpu-boost --no-invoker-iam-check --egress private",
    );
    let plan = creation(&wish(&flags, NewRevision::Always)).unwrap();
    let text = lines(&encode(&plan.service).unwrap()).join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    expect![[r#"
        client = "updraft"
        clientVersion = "VERSION"
        description = "text"
        ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
        invokerIamDisabled = true
        labels.team = "b"
        scaling.maxInstanceCount = 9
        scaling.minInstanceCount = 2
        template.annotations.updraft.dev/egress = "private"
        template.containers[0].args[0] = "-v"
        template.containers[0].args[1] = "--port=9000"
        template.containers[0].command[0] = "/bin/app"
        template.containers[0].env[0].name = "A"
        template.containers[0].env[0].value = "1"
        template.containers[0].env[1].name = "B"
        template.containers[0].env[1].value = "2"
        template.containers[0].image = "i"
        template.containers[0].ports[0].containerPort = 9000
        template.containers[0].ports[0].name = "h2c"
        template.containers[0].resources.limits.cpu = "2"
        template.containers[0].resources.limits.memory = "1Gi"
        template.containers[0].startupProbe.httpGet.path = "/up"
        template.containers[0].startupProbe.httpGet.port = 9000
        template.containers[0].startupProbe.periodSeconds = 1
        template.labels.team = "b"
        template.maxInstanceRequestConcurrency = 10
        template.revision = "hello-v1"
        template.scaling.maxInstanceCount = 5
        template.scaling.minInstanceCount = 1
        template.serviceAccount = "me@example.com"
        template.timeout = "600s"
        traffic[0].percent = 100
        traffic[0].type = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
        traffic[1].revision = "hello-v1"
        traffic[1].tag = "blue"
        traffic[1].type = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION""#]]
    .assert_eq(&text);
}

#[test]
fn a_new_service_cannot_be_without_traffic() {
    let flags = flags("--image i --no-traffic");
    let error = creation(&wish(&flags, NewRevision::Always)).unwrap_err();
    assert!(error.to_string().starts_with("error: a new service cannot be without traffic\nhint: "));
}

#[test]
fn a_deploy_always_makes_a_revision_and_touches_only_the_container_with_the_port() {
    check_update(
        "--image hello",
        NewRevision::Always,
        &expect![[r#"
        mask: template,client,clientVersion
        - template.revision = "hello-00003-old"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check_update(
        "--image hello:v2 --cpu 2",
        NewRevision::Always,
        &expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].image = "hello"
        - template.containers[1].resources.limits.cpu = "1000m"
        - template.revision = "hello-00003-old"
        + template.containers[1].image = "hello:v2"
        + template.containers[1].resources.limits.cpu = "2"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
}

#[test]
fn an_update_that_changes_nothing_sends_nothing() {
    check_update(
        "--concurrency 80 --memory 512Mi --update-env-vars A=1",
        NewRevision::IfChanged,
        &expect![[r#"
        mask: 
    "#]],
    );
}

#[test]
fn what_is_about_the_service_makes_no_revision() {
    check_update(
        "--min 1 --max default --ingress internal-and-cloud-load-balancing --description x",
        NewRevision::IfChanged,
        &expect![[r#"
            mask: description,ingress,scaling,client,clientVersion
            - ingress = "INGRESS_TRAFFIC_ALL"
            + description = "x"
            + ingress = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
            + scaling.minInstanceCount = 1
        "#]],
    );
}

#[test]
fn variables_are_added_replaced_and_removed_in_their_place() {
    let check = |line, expected: Expect| check_update(line, NewRevision::IfChanged, &expected);
    check(
        "--update-env-vars B=3,C=4 --remove-env-vars A",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].env[0].name = "A"
        - template.containers[1].env[0].value = "1"
        - template.containers[1].env[1].name = "S"
        - template.containers[1].env[1].valueSource.secretKeyRef.secret = "s"
        - template.containers[1].env[1].valueSource.secretKeyRef.version = "1"
        - template.containers[1].env[2].name = "B"
        - template.containers[1].env[2].value = "2"
        - template.revision = "hello-00003-old"
        + template.containers[1].env[0].name = "S"
        + template.containers[1].env[0].valueSource.secretKeyRef.secret = "s"
        + template.containers[1].env[0].valueSource.secretKeyRef.version = "1"
        + template.containers[1].env[1].name = "B"
        + template.containers[1].env[1].value = "3"
        + template.containers[1].env[2].name = "C"
        + template.containers[1].env[2].value = "4"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check(
        "--set-env-vars ^;^C=1,2;D=",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].env[0].name = "A"
        - template.containers[1].env[0].value = "1"
        - template.containers[1].env[1].name = "S"
        - template.containers[1].env[1].valueSource.secretKeyRef.secret = "s"
        - template.containers[1].env[1].valueSource.secretKeyRef.version = "1"
        - template.containers[1].env[2].name = "B"
        - template.containers[1].env[2].value = "2"
        - template.revision = "hello-00003-old"
        + template.containers[1].env[0].name = "S"
        + template.containers[1].env[0].valueSource.secretKeyRef.secret = "s"
        + template.containers[1].env[0].valueSource.secretKeyRef.version = "1"
        + template.containers[1].env[1].name = "C"
        + template.containers[1].env[1].value = "1,2"
        + template.containers[1].env[2].name = "D"
        + template.containers[1].env[2].value = ""
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check(
        "--clear-env-vars",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].env[0].name = "A"
        - template.containers[1].env[0].value = "1"
        - template.containers[1].env[1].name = "S"
        - template.containers[1].env[1].valueSource.secretKeyRef.secret = "s"
        - template.containers[1].env[1].valueSource.secretKeyRef.version = "1"
        - template.containers[1].env[2].name = "B"
        - template.containers[1].env[2].value = "2"
        - template.revision = "hello-00003-old"
        + template.containers[1].env[0].name = "S"
        + template.containers[1].env[0].valueSource.secretKeyRef.secret = "s"
        + template.containers[1].env[0].valueSource.secretKeyRef.version = "1"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check(
        "--remove-env-vars S",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].env[1].name = "S"
        - template.containers[1].env[1].valueSource.secretKeyRef.secret = "s"
        - template.containers[1].env[1].valueSource.secretKeyRef.version = "1"
        - template.containers[1].env[2].name = "B"
        - template.containers[1].env[2].value = "2"
        - template.revision = "hello-00003-old"
        + template.containers[1].env[1].name = "B"
        + template.containers[1].env[1].value = "2"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
}

#[test]
fn a_file_of_variables_replaces_them() {
    let flags = flags("");
    let file = [("X".to_owned(), "y".to_owned())];
    let wish = Wish { env_file: Some(&file), ..wish(&flags, NewRevision::IfChanged) };
    let plan = update(&decode(&service()).unwrap(), &wish).unwrap();
    let names: Vec<_> = plan.service.template.unwrap().containers[1].env.iter().map(|env| env.name.clone()).collect();
    assert_eq!(names, ["S", "X"]);
}

#[test]
fn the_port_takes_its_probe_along() {
    let check = |line, expected: Expect| check_update(line, NewRevision::IfChanged, &expected);
    check(
        "--port 9000 --use-http2",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].ports[0].containerPort = 8080
        - template.containers[1].ports[0].name = "http1"
        - template.containers[1].startupProbe.tcpSocket.port = 8080
        - template.revision = "hello-00003-old"
        + template.containers[1].ports[0].containerPort = 9000
        + template.containers[1].ports[0].name = "h2c"
        + template.containers[1].startupProbe.tcpSocket.port = 9000
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check(
        "--no-use-http2 --port default --startup-probe=",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].startupProbe.failureThreshold = 1
        - template.containers[1].startupProbe.periodSeconds = 240
        - template.containers[1].startupProbe.tcpSocket.port = 8080
        - template.containers[1].startupProbe.timeoutSeconds = 240
        - template.revision = "hello-00003-old"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check(
        "--port 9000 --startup-probe grpc.service=s,grpc.port=1,initialDelaySeconds=5",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].ports[0].containerPort = 8080
        - template.containers[1].startupProbe.tcpSocket.port = 8080
        - template.revision = "hello-00003-old"
        + template.containers[1].ports[0].containerPort = 9000
        + template.containers[1].startupProbe.grpc.port = 1
        + template.containers[1].startupProbe.grpc.service = "s"
        + template.containers[1].startupProbe.initialDelaySeconds = 5
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
}

#[test]
fn a_probe_has_known_fields_only() {
    let refused = |line| {
        let flags = flags(line);
        update(&decode(&service()).unwrap(), &wish(&flags, NewRevision::IfChanged)).unwrap_err().to_string()
    };
    assert!(refused("--startup-probe exec=ls").starts_with("error: --startup-probe: there is no field 'exec'\nhint: "));
    assert_eq!(
        refused("--startup-probe periodSeconds=soon"),
        "error: --startup-probe: periodSeconds must be a whole number from 0, got 'soon'\n"
    );
}

#[test]
fn labels_are_those_of_the_service_and_of_its_revisions() {
    let check = |line, expected: Expect| check_update(line, NewRevision::IfChanged, &expected);
    check(
        "--labels env=dev",
        expect![[r#"
        mask: labels,template,client,clientVersion
        - template.revision = "hello-00003-old"
        + labels.env = "dev"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
        + template.labels.env = "dev"
    "#]],
    );
    check(
        "--clear-labels",
        expect![[r#"
        mask: labels,template,client,clientVersion
        - template.labels.team = "a"
        - template.revision = "hello-00003-old"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
    check(
        "--remove-labels team --update-labels team=b",
        expect![[r#"
        mask: labels,template,client,clientVersion
        - labels.team = "a"
        - template.labels.team = "a"
        - template.revision = "hello-00003-old"
        + labels.team = "b"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
        + template.labels.team = "b"
    "#]],
    );
}

#[test]
fn resources_default_and_lists_empty() {
    let check = |line, expected: Expect| check_update(line, NewRevision::IfChanged, &expected);
    check(
        "--concurrency default --timeout 45s --min-instances 2 --max-instances default",
        expect![[r#"
        mask: template,client,clientVersion
        - template.maxInstanceRequestConcurrency = 80
        - template.revision = "hello-00003-old"
        - template.scaling.maxInstanceCount = 100
        - template.timeout = "300s"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
        + template.scaling.minInstanceCount = 2
        + template.timeout = "45s"
    "#]],
    );
    check(
        "--command= --args a,b --no-cpu-throttling --cpu-boost",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].resources.cpuIdle = true
        - template.revision = "hello-00003-old"
        + template.containers[1].args[0] = "a"
        + template.containers[1].args[1] = "b"
        + template.containers[1].resources.startupCpuBoost = true
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
}

#[test]
fn a_tag_names_the_revision_and_no_traffic_pins_the_rest() {
    let check = |line, expected: Expect| check_update(line, NewRevision::Always, &expected);
    check(
        "--image hello:v2 --tag canary --no-traffic",
        expect![[r#"
        mask: template,traffic,client,clientVersion
        - template.containers[1].image = "hello"
        - template.revision = "hello-00003-old"
        - traffic[0].type = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
        + template.containers[1].image = "hello:v2"
        + template.revision = "hello-00004-hif"
        + traffic[0].revision = "hello-00002-rdy"
        + traffic[0].type = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
        + traffic[1].revision = "hello-00004-hif"
        + traffic[1].tag = "canary"
        + traffic[1].type = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    "#]],
    );
    check(
        "--image hello:v2 --revision-suffix v2",
        expect![[r#"
        mask: template,client,clientVersion
        - template.containers[1].image = "hello"
        - template.revision = "hello-00003-old"
        + template.containers[1].image = "hello:v2"
        + template.revision = "hello-v2"
    "#]],
    );
}

#[test]
fn without_a_ready_revision_nothing_can_keep_the_traffic() {
    let mut unready = service();
    unready.as_object_mut().unwrap().remove("latestReadyRevision");
    let flags = flags("--image hello:v2 --no-traffic");
    let error = update(&decode(&unready).unwrap(), &wish(&flags, NewRevision::Always)).unwrap_err();
    assert_eq!(error.to_string(), "error: no revision of [hello] is ready to keep the traffic\n");
}
