//! Worker pools, as gcloud 578 asks for them: it writes by gRPC, in which a pool is created by updating it, and reads by
//! API v1. Written down from measurements.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use updraft_api::{
    Named,
    longrunning::{GetOperationRequest, Operation, operation},
    rpc::Code,
    run, unpack,
};
use updraft_base::{OnFailure, Tasks};
use updraft_testkit::World;

use super::{assert_reads, assert_shows};

const SERVICE: &str = "google.cloud.run.v2.WorkerPools";
const NAME: &str = "projects/demo-project/locations/us-central1/workerPools/wp1";
const V1: &str = "/run/apis/run.googleapis.com/v1/namespaces/demo-project/workerpools";

/// What gcloud reads of a pool by API v1.
fn reads() -> Value {
    json!([
        "metadata.name",
        "metadata.namespace",
        "metadata.labels.cloud~googleapis~com/location",
        "metadata.annotations.run~googleapis~com/manualInstanceCount",
        "metadata.creationTimestamp",
        "metadata.generation",
        "metadata.uid",
        "spec.template.spec.containers.0.image",
        "status.observedGeneration",
        "status.conditions.0.type",
        "status.conditions.0.status",
        "status.conditions.0.lastTransitionTime",
        "status.latestReadyRevisionName",
        "status.latestCreatedRevisionName",
        "status.instanceSplits.0.revisionName",
        "status.instanceSplits.0.percent",
        "status.instanceSplits.0.latestRevision"
    ])
}

/// A call by gRPC with the headers that gcloud sends; the answer, or the code of the refusal.
async fn call<M: Named>(world: &World, method: &str, request: &impl Named) -> Result<M, Code> {
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let frame = [&[0][..], &length, &message].concat();
    let stream = TcpStream::connect(world.server.address).await.expect("it listens");
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("it speaks h2c");
    Tasks::new().spawn("client", OnFailure::Log, async {
        let _ = connection.await;
    });
    let request = http::Request::post(format!("http://localhost/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", world.token()))
        .header("x-goog-request-params", "location=us-central1")
        .body(Full::new(Bytes::from(frame)))
        .expect("well formed");
    let answer = world.drive(sender.send_request(request)).await.expect("an answer");
    let mut told = answer.headers().clone();
    let body = world.drive(answer.into_body().collect()).await.expect("it ends");
    told.extend(body.trailers().cloned().unwrap_or_default());
    let status: Option<i32> =
        told.get("grpc-status").and_then(|status| status.to_str().ok()).and_then(|status| status.parse().ok());
    match Code::try_from(status.expect("a status")) {
        Ok(Code::Ok) => Ok(M::decode(&body.to_bytes()[5..]).expect("that message")),
        code => Err(code.expect("a known code")),
    }
}

/// The pool as it is, by which gcloud sees whether it is there.
async fn get(world: &World) -> Result<run::WorkerPool, Code> {
    let request = run::GetWorkerPoolRequest { name: NAME.to_owned() };
    call(world, &format!("{SERVICE}/GetWorkerPool"), &request).await
}

/// What gcloud does to write a pool: it updates it, whether it is there or not, and asks until that is done.
async fn write(world: &World, pool: run::WorkerPool, force_new_revision: bool) -> run::WorkerPool {
    let (client, client_version) = ("gcloud".to_owned(), "578.0.0".to_owned());
    let request = run::UpdateWorkerPoolRequest {
        worker_pool: Some(run::WorkerPool { name: NAME.to_owned(), client, client_version, ..pool }),
        allow_missing: true,
        force_new_revision,
        ..Default::default()
    };
    let begun: Operation = call(world, &format!("{SERVICE}/UpdateWorkerPool"), &request).await.expect("is accepted");
    let metadata: run::WorkerPool = unpack(begun.metadata.as_ref().expect("metadata")).expect("a worker pool");
    assert!(metadata.latest_created_revision.starts_with(&format!("{NAME}/revisions/wp1-")), "{metadata:?}");
    let asked = GetOperationRequest { name: begun.name };
    for _ in 0..10_000 {
        let now: Operation = call(world, "google.longrunning.Operations/GetOperation", &asked).await.expect("is there");
        match now.result {
            Some(operation::Result::Response(any)) => return unpack(&any).expect("a worker pool"),
            Some(operation::Result::Error(error)) => panic!("{error:?}"),
            None => {}
        }
    }
    panic!("never done")
}

fn container(image: &str) -> run::Container {
    run::Container { image: image.to_owned(), args: vec!["sleep".to_owned()], ..Default::default() }
}

async fn v1(world: &World, path: &str) -> Value {
    rest(world, &format!("GET {V1}{path}?alt=json"), Value::Null).await
}

async fn rest(world: &World, call: &str, body: Value) -> Value {
    let (verb, path) = call.split_once(' ').expect("a verb and a path");
    let answer = world.drive(world.call_as(&world.token(), verb, path, body)).await;
    assert_eq!(answer.status, 200, "{call}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// What gcloud writes to deploy a revision of this name.
async fn deploy(world: &World, image: &str, revision: &str, splits: Vec<run::InstanceSplit>) -> run::WorkerPool {
    let before = get(world).await.unwrap_or_default();
    let template = run::WorkerPoolRevisionTemplate {
        revision: revision.to_owned(),
        containers: vec![container(image)],
        ..Default::default()
    };
    write(world, run::WorkerPool { template: Some(template), instance_splits: splits, ..before }, true).await
}

fn to_revision(revision: &str, percent: i32) -> run::InstanceSplit {
    let r#type = run::InstanceSplitAllocationType::Revision.into();
    run::InstanceSplit { r#type, revision: revision.to_owned(), percent }
}

fn to_latest() -> run::InstanceSplit {
    let r#type = run::InstanceSplitAllocationType::Latest.into();
    run::InstanceSplit { r#type, revision: String::new(), percent: 100 }
}

/// What a pool says of who has which share of it.
fn shares(pool: &run::WorkerPool) -> Vec<(&str, i32)> {
    pool.instance_split_statuses.iter().map(|split| (split.revision.as_str(), split.percent)).collect()
}

#[tokio::test]
async fn gcloud_deploys_describes_scales_and_deletes_a_worker_pool() {
    let world = World::start_with(&[("auth", "token")]).await;
    let image = world.image("worker").await;

    // gcloud run worker-pools deploy wp1 --image … --instances 2 --set-env-vars A=1 --cpu 1 --memory 512Mi
    assert_eq!(get(&world).await, Err(Code::NotFound));
    let limits = [("memory", "512Mi"), ("cpu", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let variable = run::EnvVar { name: "A".to_owned(), values: Some(run::env_var::Values::Value("1".to_owned())) };
    let worker = run::Container {
        env: vec![variable],
        resources: Some(run::ResourceRequirements { limits: limits.into(), ..Default::default() }),
        ..container(&image)
    };
    let template = run::WorkerPoolRevisionTemplate { containers: vec![worker], ..Default::default() };
    let scaling = Some(run::WorkerPoolScaling { manual_instance_count: Some(2) });
    let made = write(&world, run::WorkerPool { template: Some(template), scaling, ..Default::default() }, true).await;
    assert_eq!((made.generation, made.observed_generation, made.reconciling), (1, 1, false));
    assert_eq!(made.latest_ready_revision, made.latest_created_revision);
    assert!(made.latest_created_revision.starts_with(&format!("{NAME}/revisions/wp1-00001-")), "{made:?}");
    world.until("two run", || world.engine.live() == 2).await;

    // … deploy wp1 --image …: the same again is a new revision.
    let there = get(&world).await.expect("is there");
    let again = write(&world, there.clone(), true).await;
    assert!(again.latest_ready_revision.starts_with(&format!("{NAME}/revisions/wp1-00002-")), "{again:?}");

    // … update wp1 --instances 3: the whole pool is written back, and no new revision is made.
    let there = get(&world).await.expect("is there");
    let scaling = Some(run::WorkerPoolScaling { manual_instance_count: Some(3) });
    let scaled = write(&world, run::WorkerPool { scaling, ..there }, false).await;
    assert_eq!(scaled.latest_ready_revision, again.latest_ready_revision);
    world.until("three run", || world.engine.live() == 3).await;

    // … describe wp1, list
    let described = v1(&world, "/wp1").await;
    assert_reads(&reads(), &described, "describe");
    let shows = json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "WorkerPool",
        "metadata.annotations.run~googleapis~com/manualInstanceCount": "3",
        "metadata.generation": 3,
        "status.observedGeneration": 3,
        "status.conditions.0.type": "Ready",
        "status.conditions.0.status": "True",
        "status.instanceSplits.0.percent": 100,
        "status.instanceSplits.0.latestRevision": true
    });
    assert_shows(&shows, &described, "describe");
    let list = v1(&world, "").await;
    assert_eq!(
        (&list["kind"], list["items"].as_array().map(Vec::len)),
        (&json!("WorkerPoolList"), Some(1)),
        "{list:#}"
    );
    assert_reads(&reads(), &list["items"][0], "list");

    // … delete wp1
    let request = run::DeleteWorkerPoolRequest { name: NAME.to_owned(), ..Default::default() };
    let _: Operation = call(&world, &format!("{SERVICE}/DeleteWorkerPool"), &request).await.expect("is deleted");
    assert_eq!(get(&world).await, Err(Code::NotFound));
    world.until("none is left", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn gcloud_divides_a_worker_pool_and_lists_describes_and_deletes_its_revisions() {
    const REVISIONS: &str = "/run/apis/serving.knative.dev/v1/namespaces/demo-project/revisions";
    let world = World::start_with(&[("auth", "token")]).await;
    let image = world.image("worker").await;

    // gcloud run worker-pools deploy wp1 --image … --revision-suffix one; … two --no-promote
    deploy(&world, &image, "wp1-one", Vec::new()).await;
    let second = deploy(&world, &image, "wp1-two", vec![to_revision("wp1-one", 100)]).await;
    assert_eq!(second.latest_ready_revision, format!("{NAME}/revisions/wp1-two"));
    assert_eq!(shares(&second), [("wp1-one", 100)]);

    // … revisions list --worker-pool wp1
    let selector = "labelSelector=run.googleapis.com%2FworkerPool+%3D+wp1";
    let list = rest(&world, &format!("GET {REVISIONS}?alt=json&{selector}"), Value::Null).await;
    let names: Vec<&str> =
        list["items"].as_array().into_iter().flatten().filter_map(|one| one["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["wp1-two", "wp1-one"], "{list:#}");
    let reads = json!([
        "metadata.labels.run~googleapis~com/workerPool",
        "metadata.creationTimestamp",
        "metadata.annotations.serving~knative~dev/creator",
        "spec.containers.0.image",
        "status.conditions.0.type",
        "status.conditions.0.status"
    ]);
    assert_reads(&reads, &list["items"][0], "revisions list");

    // … revisions describe wp1-one
    let described = rest(&world, &format!("GET {REVISIONS}/wp1-one?alt=json"), Value::Null).await;
    assert_reads(&reads, &described, "revisions describe");

    // … update-instance-split wp1 --to-revisions wp1-one=50,wp1-two=50, then --to-latest
    let halves = vec![to_revision("wp1-one", 50), to_revision("wp1-two", 50)];
    let there = get(&world).await.expect("is there");
    let split = write(&world, run::WorkerPool { instance_splits: halves, ..there }, false).await;
    assert_eq!(shares(&split), [("wp1-one", 50), ("wp1-two", 50)]);
    let there = get(&world).await.expect("is there");
    let latest = write(&world, run::WorkerPool { instance_splits: vec![to_latest()], ..there }, false).await;
    assert_eq!((latest.instance_split_statuses.len(), latest.instance_split_statuses[0].percent), (1, 100));

    // … revisions delete wp1-one --worker-pool wp1: it asks until it is not there any more.
    let name = format!("{NAME}/revisions/wp1-one");
    let request = run::DeleteRevisionRequest { name: name.clone(), ..Default::default() };
    let begun: Operation =
        call(&world, "google.cloud.run.v2.Revisions/DeleteRevision", &request).await.expect("accepted");
    let gone: run::Revision = unpack(begun.metadata.as_ref().expect("metadata")).expect("a revision");
    assert!(gone.name == name && gone.delete_time.is_some(), "{gone:?}");
    let asked = run::GetRevisionRequest { name };
    let mut answers = 0;
    while call::<run::Revision>(&world, "google.cloud.run.v2.Revisions/GetRevision", &asked).await
        != Err(Code::NotFound)
    {
        answers += 1;
        assert!(answers < 10_000, "it is never gone");
    }
    world.end().await;
}

#[tokio::test]
async fn gcloud_replaces_a_worker_pool_by_a_manifest_and_says_who_may_do_what_to_it() {
    const RESOURCE: &str = "/run/v1/projects/demo-project/locations/us-central1";
    let world = World::start_with(&[("auth", "token")]).await;
    let image = world.image("worker").await;

    // gcloud run worker-pools replace pool.yaml: asks twice whether it is there, writes it, and waits for its operation.
    for _ in 0..2 {
        let missing = world.call_as(&world.token(), "GET", &format!("{V1}/wp1?alt=json"), Value::Null).await;
        assert_eq!(missing.status, 404);
    }
    let client = json!({"run.googleapis.com/client-name": "gcloud", "run.googleapis.com/client-version": "578.0.0"});
    let manifest = json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "WorkerPool",
        "metadata": {"annotations": client, "labels": {}, "name": "wp1", "namespace": "demo-project"},
        "spec": {"template": {
            "metadata": {"annotations": client},
            "spec": {"containers": [{"env": [{"name": "A", "value": "1"}], "image": image, "args": ["sleep"]}]},
        }},
    });
    let made = rest(&world, &format!("POST {V1}?alt=json"), manifest).await;
    let operation = made["metadata"]["annotations"]["run.googleapis.com/operation-id"].as_str().expect("an operation");
    let wait = format!("POST {RESOURCE}/operations/{operation}:wait?alt=json");
    let mut answers = 0;
    while rest(&world, &wait, json!({"timeout": "10s"})).await["done"] != true {
        answers += 1;
        assert!(answers < 1000, "it is never done");
    }
    world.until("one runs", || world.engine.live() == 1).await;
    assert_reads(&reads(), &v1(&world, "/wp1").await, "describe");

    // … add-iam-policy-binding wp1 --member user:ann@example.com --role roles/run.viewer
    let get = format!("GET {RESOURCE}/workerpools/wp1:getIamPolicy?alt=json&options.requestedPolicyVersion=3");
    let before = rest(&world, &get, Value::Null).await;
    let bindings = json!([{"members": ["user:ann@example.com"], "role": "roles/run.viewer"}]);
    let policy = json!({"policy": {"bindings": bindings, "etag": before["etag"], "version": 3}});
    rest(&world, &format!("POST {RESOURCE}/workerpools/wp1:setIamPolicy?alt=json"), policy).await;
    assert_eq!(rest(&world, &get, Value::Null).await["bindings"], bindings);
    world.end().await;
}
