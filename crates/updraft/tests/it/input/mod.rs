//! Bad input, as a table: what is sent, what comes back, and which line of the reference on Google's API says so.
//!
//! Every row goes through the real front door. After all of them nothing has changed, nothing was complained about, and
//! a valid request succeeds.

#![expect(clippy::too_many_lines, reason = "tables: a row is data, however many there are")]

mod case;
mod fuzz;
mod grpc;
mod http;
mod iam;
mod json;
mod lists;
mod names;
mod slow;
mod template;
mod template_parts;
mod traffic;
mod wire;

use std::collections::BTreeSet;

use case::{Case, Source};
use serde_json::{Value, json};
use updraft_testkit::World;

/// Where the services are.
const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";

/// All rows.
fn table() -> Vec<Case> {
    [
        names::cases(),
        http::cases(),
        json::cases(),
        traffic::cases(),
        template::cases(),
        template_parts::cases(),
        lists::cases(),
        iam::cases(),
        grpc::cases(),
    ]
    .concat()
}

/// A world with one service, `hello`, of one revision, `hello-v1`.
async fn world() -> World {
    let world = World::start().await;
    let image = world.image("hello").await;
    world.deploy("hello", json!({"revision": "hello-v1", "containers": [{"image": image, "args": ["serve"]}]})).await;
    world.until("the instance of the check is retired", || world.engine.live() == 0).await;
    world
}

/// Everything that is stored, as clients see it.
async fn everything(world: &World) -> Vec<Value> {
    let parent = "/v2/projects/demo-project/locations/us-central1";
    let mut seen = Vec::new();
    for path in [
        format!("{SERVICES}?showDeleted=true"),
        format!("{SERVICES}/-/revisions?showDeleted=true"),
        format!("{SERVICES}/hello:getIamPolicy"),
        format!("{parent}/operations"),
        "/updraft/v1/images".to_owned(),
    ] {
        seen.push(world.ok("GET", &path, Value::Null).await);
    }
    seen
}

#[tokio::test]
async fn every_bad_request_is_refused_as_the_table_says_and_changes_nothing() {
    let table = table();
    let names: BTreeSet<&str> = table.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), table.len(), "each row has a name of its own");
    assert!(table.len() >= 160, "{} rows", table.len());
    for case in &table {
        let (Source::Reference(line) | Source::Marked(line)) = case.source else { continue };
        let rest = ["admin-api-v2.md §", "cloud-run-contract.md §"].iter().find_map(|file| line.strip_prefix(file));
        let names = rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.len() > 4);
        assert!(names, "{}: '{line}' names a section and what it says", case.name);
    }
    let world = world().await;
    let before = everything(&world).await;
    let mut wrong = Vec::new();
    for case in &table {
        let got = wire::send(&world, &case.ask).await;
        if let Err(why) = case.expected.check(&got) {
            wrong.push(format!("{}: {why}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert_eq!(everything(&world).await, before, "nothing was stored or changed");
    assert_eq!(world.engine.live(), 0, "nothing was started");
    let count = |is: fn(&Source) -> bool| table.iter().filter(|case| is(&case.source)).count();
    eprintln!(
        "{} rows of bad input: {} by the reference, {} by lines that it marks as unconfirmed, {} unconfirmed",
        table.len(),
        count(|source| matches!(source, Source::Reference(_))),
        count(|source| matches!(source, Source::Marked(_))),
        count(|source| matches!(source, Source::Unconfirmed)),
    );

    let image = world.image("hello").await;
    world.deploy("after", json!({"containers": [{"image": image, "args": ["serve"]}]})).await;
    world.end().await;
}

#[tokio::test]
async fn what_only_the_server_writes_is_ignored() {
    let world = world().await;
    let before = world.ok("GET", &format!("{SERVICES}/hello"), Value::Null).await;
    let mut sent = before.clone();
    for (field, value) in [
        ("uid", json!("mine")),
        ("generation", json!("77")),
        ("createTime", json!("2000-01-01T00:00:00Z")),
        ("creator", json!("me@example.com")),
        ("lastModifier", json!("me@example.com")),
        ("urls", json!(["http://example.com"])),
        ("uri", json!("http://example.com")),
        ("observedGeneration", json!("77")),
        ("terminalCondition", json!({"type": "Ready", "state": "CONDITION_FAILED"})),
        ("conditions", json!([])),
        ("latestReadyRevision", json!("x")),
        ("latestCreatedRevision", json!("x")),
        ("trafficStatuses", json!([])),
        ("satisfiesPzs", json!(true)),
        ("threatDetectionEnabled", json!(true)),
        ("reconciling", json!(true)),
        ("deleteTime", json!("2000-01-01T00:00:00Z")),
        ("expireTime", json!("2000-01-01T00:00:00Z")),
    ] {
        sent[field] = value;
    }
    for query in ["", "?updateMask=uid,generation,uri,conditions,creator", "?updateMask=*"] {
        let operation = world.ok("PATCH", &format!("{SERVICES}/hello{query}"), sent.clone()).await;
        world.done(&operation).await;
        let after = world.ok("GET", &format!("{SERVICES}/hello"), Value::Null).await;
        assert_eq!(after, before, "{query}");
    }
    world.end().await;
}
