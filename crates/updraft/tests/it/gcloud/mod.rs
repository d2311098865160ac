//! What gcloud 578 sends, replayed: the requests of each command in their order, and the fields that it reads of
//! their answers.
//!
//! `commands.json` was written down from measurements: nothing of gcloud is in it. A request is a verb and a path,
//! with a body or with a change of the service that was read last (gcloud writes whole objects back); `api` is the
//! prefix of the API that it goes to, `run` where nothing is said. Words in braces stand for what earlier answers said.
//! Tokens, keys and signatures are made anew, so no transcript has one: `as` says whose token a request shows, `sign` is
//! what an assertion for the token endpoint says, `service` is a call of a service with what was got there.

use serde_json::{Value, json};
use updraft_testkit::World;

mod hand;
mod jobs;
mod manifests;
mod pools;

use hand::Hand;

const COMMANDS: &str = include_str!("commands.json");

/// What earlier answers said.
#[derive(Default)]
struct Memory {
    image: String,
    service: Value,
    etag: String,
    digest: String,
    token: String,
    /// Revisions of the last list, oldest last.
    revisions: Vec<String>,
    hand: Hand,
}

// === impl Memory ===

impl Memory {
    fn fill(&self, text: &str) -> String {
        let said = |path: &str| at(&self.service, path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let pairs = [
            ("{image}", self.image.clone()),
            ("{operation}", said("metadata.annotations.run~googleapis~com/operation-id")),
            ("{namespace}", said("metadata.namespace")),
            ("{revision}", said("status.latestCreatedRevisionName")),
            ("{ready}", said("status.latestReadyRevisionName")),
            ("{container}", said("spec.template.spec.containers.0.name")),
            ("{etag}", self.etag.clone()),
            ("{digest}", self.digest.clone()),
            ("{token}", self.token.clone()),
            ("{oldest}", self.revisions.last().cloned().unwrap_or_default()),
            ("{url}", said("status.url")),
            ("{key}", self.hand.key_id()),
        ];
        pairs.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    fn body(&self, call: &Value) -> Value {
        // Nothing that is filled in has a quote in it.
        let filled = |value: &Value| serde_json::from_str(&self.fill(&value.to_string())).expect("still JSON");
        if let Some(change) = call.get("change") {
            let mut service = self.service.clone();
            merge(&mut service, &filled(change));
            return service;
        }
        call.get("body").map(filled).unwrap_or_default()
    }

    fn note(&mut self, answer: &Value) {
        let object = answer.get("response").unwrap_or(answer);
        match object["kind"].as_str() {
            Some("Service") => self.service = object.clone(),
            Some("Revision") => self.digest = object["status"]["imageDigest"].as_str().unwrap_or_default().to_owned(),
            Some("RevisionList") => {
                let names = object["items"].as_array().into_iter().flatten();
                self.revisions =
                    names.filter_map(|item| item["metadata"]["name"].as_str()).map(str::to_owned).collect();
                self.token = object["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            }
            _ => {}
        }
        if let Some(etag) = answer["etag"].as_str() {
            // gcloud has it as bytes in between, and writes those in the other alphabet of base64.
            self.etag = etag.replace('+', "-").replace('/', "_");
        }
    }
}

/// The value at a dotted path; `~` in a key stands for a full stop.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) if value.is_array() => value.get(index),
        _ => value.get(key.replace('~', ".")),
    })
}

/// A merge patch: objects are merged, `null` removes, anything else replaces.
fn merge(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                match value {
                    Value::Null => drop(base.remove(key)),
                    _ => merge(base.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (base, change) => *base = change.clone(),
    }
}

fn assert_reads(fields: &Value, answer: &Value, what: &str) {
    for field in fields.as_array().expect("a list of fields") {
        let field = field.as_str().expect("a field");
        assert!(at(answer, field).is_some_and(|value| !value.is_null()), "{what}: gcloud reads {field}: {answer:#}");
    }
}

fn assert_shows(expected: &Value, answer: &Value, what: &str) {
    for (path, expected) in expected.as_object().into_iter().flatten() {
        let shown = at(answer, path).unwrap_or_else(|| panic!("{what}: {path} is missing: {answer:#}"));
        let part = expected.as_str().and_then(|text| text.strip_prefix('*')?.strip_suffix('*'));
        match part {
            Some(part) => assert!(shown.as_str().is_some_and(|text| text.contains(part)), "{what}: {path}: {shown}"),
            None => assert_eq!(shown, expected, "{what}: {path}"),
        }
    }
}

/// Sends a call; one that waits is repeated until the operation is done, as gcloud does.
async fn send(world: &World, memory: &Memory, call: &Value, what: &str) -> Value {
    let line = memory.fill(call["call"].as_str().expect("a call"));
    let (verb, path) = line.split_once(' ').expect("a verb and a path");
    let expected = call["status"].as_u64().unwrap_or(200);
    let body = memory.body(call);
    let api = call["api"].as_str().unwrap_or("run");
    let path = match path.contains('?') {
        true => format!("/{api}{path}&alt=json"),
        false => format!("/{api}{path}?alt=json"),
    };
    let operator = world.token();
    let token = memory.hand.token(call["as"].as_str()).unwrap_or(&operator);
    world
        .drive(async {
            loop {
                let answer = world.call_as(token, verb, &path, body.clone()).await;
                assert_eq!(u64::from(answer.status), expected, "{what}: {line}: {}", answer.body);
                let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
                if call.get("ends").is_none() || answer["done"] == true {
                    return answer;
                }
            }
        })
        .await
}

/// What a request is answered, wherever it goes.
async fn answer(world: &World, memory: &Memory, call: &Value, what: &str) -> Value {
    if let Some(claims) = call.get("sign") {
        let claims = serde_json::from_str(&memory.fill(&claims.to_string())).expect("still JSON");
        return memory.hand.exchange(world, &claims, call["status"].as_u64().unwrap_or(200), what).await;
    }
    if call.get("service").is_some() {
        let url = at(&memory.service, "status.url").and_then(Value::as_str).expect("a URL");
        memory.hand.ask(world, url, call, what).await;
        return Value::Null;
    }
    send(world, memory, call, what).await
}

fn check(reads: &Value, call: &Value, answer: &Value, what: &str) {
    if let Some(kind) = call["reads"].as_str() {
        assert_reads(&reads[kind], answer, what);
    }
    if let Some(kind) = call["each"].as_str() {
        let items = answer[call["in"].as_str().unwrap_or("items")]
            .as_array()
            .unwrap_or_else(|| panic!("{what}: no items: {answer:#}"));
        assert_eq!(items.len() as u64, call["count"].as_u64().expect("a count"), "{what}: {answer:#}");
        items.iter().for_each(|item| assert_reads(&reads[kind], item, what));
        let goes_on = answer["metadata"]["continue"].is_string() || answer["nextPageToken"].is_string();
        assert_eq!(goes_on, call["token"] == true, "{what}: {answer:#}");
    }
    match call["ends"].as_str() {
        Some("ready") => {
            let service = &answer["response"];
            assert_reads(&reads["service"], service, what);
            let ready = &service["status"]["conditions"][0];
            assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")), "{what}: {answer:#}");
            assert_eq!(service["status"]["observedGeneration"], service["metadata"]["generation"], "{what}");
            assert_shows(&call["shows"], service, what);
        }
        _ => assert_shows(&call["shows"], answer, what),
    }
}

/// Sends what the commands of this part of the script send.
async fn replay(world: &World, memory: &mut Memory, part: &str) {
    let script: Value = serde_json::from_str(COMMANDS).expect("JSON");
    for command in script[part].as_array().expect("commands") {
        let words = command["gcloud"].as_str().expect("words");
        for (index, call) in command["calls"].as_array().expect("calls").iter().enumerate() {
            let what = format!("gcloud {words} [{}]", index + 1);
            let answer = answer(world, memory, call, &what).await;
            check(&script["reads"], call, &answer, &what);
            memory.note(&answer);
            memory.hand.note(call, &answer);
        }
    }
}

#[tokio::test]
async fn every_request_of_gcloud_is_answered_with_every_field_that_it_reads() {
    let world = World::start_with(&[("auth", "token")]).await;
    // What the commands deploy as.
    let runner = json!({"accountId": "runner"});
    let accounts = "/v1/projects/demo-project/serviceAccounts";
    assert_eq!(world.call_as(&world.token(), "POST", accounts, runner).await.status, 200);
    let mut memory = Memory { image: world.image("hello").await, ..Memory::default() };
    replay(&world, &mut memory, "commands").await;
    world.end().await;
}

#[tokio::test]
async fn gclouds_scheduler_makes_runs_changes_and_deletes_jobs() {
    let world = World::start_with(&[("auth", "token")]).await;
    let runner = json!({"accountId": "runner"});
    let accounts = "/v1/projects/demo-project/serviceAccounts";
    assert_eq!(world.call_as(&world.token(), "POST", accounts, runner).await.status, 200);
    replay(&world, &mut Memory::default(), "scheduler").await;
    world.end().await;
}

#[tokio::test]
async fn gclouds_secrets_accounts_keys_and_tokens_open_a_private_service_to_whom_its_policy_names() {
    let world = World::start_with(&[("auth", "token")]).await;
    let mut memory = Memory { image: world.image("hello").await, ..Memory::default() };
    replay(&world, &mut memory, "accounts").await;
    world.end().await;
}
