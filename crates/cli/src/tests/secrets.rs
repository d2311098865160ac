//! `secrets`.

use std::{io::Read as _, os::unix::fs::PermissionsExt};

use expect_test::expect;
use serde_json::json;

use super::{Try, fake::Answer, refused};

fn ok(line: &'static str, body: &serde_json::Value) -> Answer {
    Answer(line, 200, body.to_string())
}

#[tokio::test]
async fn a_value_comes_from_a_file_and_goes_with_its_checksum() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("value");
    std::fs::write(&file, "hunter2").expect("written");
    let answers = vec![
        ok("POST /v1/projects/demo-project/secrets?secretId=db", &json!({"name": "projects/1/secrets/db"})),
        ok(
            "POST /v1/projects/demo-project/secrets/db:addVersion",
            &json!({"name": "projects/1/secrets/db/versions/1"}),
        ),
    ];
    let fake = Try::new("secrets create db --labels a=b,c=d --ttl 86400s --data-file", answers)
        .with(&[file.to_str().expect("UTF-8")])
        .check(expect![[r#"
            exit: Done
            err:
            Created version [1] of the secret [db].
        "#]])
        .await;
    let seen = fake.seen();
    assert_eq!(
        seen[0].json(),
        json!({"replication": {"automatic": {}}, "labels": {"a": "b", "c": "d"}, "ttl": "86400s"})
    );
    assert_eq!(seen[1].json(), json!({"payload": {"data": "aHVudGVyMg==", "dataCrc32c": "1736498283"}}));
    assert!(seen.iter().all(|seen| !seen.head.contains("hunter2")), "no value is in a URL");
}

#[tokio::test]
async fn a_file_that_is_not_there_leaves_no_secret_behind() {
    let none = Try::new("secrets create db --data-file /nonexistent/value", Vec::new());
    none.check(expect![[r#"
        exit: Failed
        err:
        error: cannot read /nonexistent/value: No such file or directory (os error 2)
    "#]])
        .await;
}

#[tokio::test]
async fn a_secret_that_got_no_version_is_said_to_be_there() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("value");
    std::fs::write(&file, "hunter2").expect("written");
    let file = file.to_str().expect("UTF-8");
    let made = |line| ok(line, &json!({"name": "projects/1/secrets/db"}));
    let add = "POST /v1/projects/demo-project/secrets/db:addVersion";
    let denied = refused(add, 403, "PERMISSION_DENIED", "Permission 'secretmanager.versions.add' denied");
    let answers = vec![made("POST /v1/projects/demo-project/secrets?secretId=db"), denied];
    Try::new("secrets create db --data-file", answers)
        .with(&[file])
        .check(expect![[r#"
            exit: Denied
            err:
            error: Permission 'secretmanager.versions.add' denied
              the secret [db] was created and is without a version
            hint: add its value with 'updraft secrets versions add db --data-file FILE'
        "#]])
        .await;
    // One of a region is added to where it is; and an answer that did not come says nothing of what was done.
    let only = vec![made("POST /v1/projects/demo-project/locations/us-central1/secrets?secretId=db")];
    let (text, _) = Try::new("secrets create db --location us-central1 --data-file", only).with(&[file]).run().await;
    assert!(text.starts_with("exit: Unreachable\n"), "{text}");
    assert!(text.contains("  the secret [db] was created; it may be without a version\n"), "{text}");
    assert!(text.contains("versions add db --location us-central1 --data-file FILE'"), "{text}");
}

#[tokio::test]
async fn a_value_comes_out_as_it_is_if_it_is_whole() {
    let access = "GET /v1/projects/demo-project/secrets/db/versions/latest:access";
    let answer = |sum: &str| json!({"name": "n", "payload": {"data": "aHVudGVyMg==", "dataCrc32c": sum}});
    let line = "secrets versions access latest --secret db";
    let (text, _) = Try::new(line, vec![ok(access, &answer("1736498283"))]).run().await;
    assert!(text.contains("hunter2") && !text.contains("hunter2\n\n"), "{text:?}");
    let (text, _) = Try::new(line, vec![ok(access, &answer("1"))]).run().await;
    assert!(text.contains("does not have its checksum") && !text.contains("hunter2"), "{text}");
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("out");
    let (text, _) = Try::new(line, vec![ok(access, &answer("1736498283"))])
        .with(&["--out-file", file.to_str().expect("UTF-8")])
        .run()
        .await;
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(std::fs::read(&file).expect("written"), b"hunter2");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_value_takes_the_place_of_a_file_for_its_owner_alone_and_of_nothing_else() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let access = "GET /v1/projects/demo-project/secrets/db/versions/1:access";
    let value = json!({"name": "n", "payload": {"data": "aHVudGVyMg==", "dataCrc32c": "1736498283"}});
    let out = async |name: &str| {
        let file = dir.path().join(name);
        let line = Try::new("secrets versions access 1 --secret db", vec![ok(access, &value)]);
        line.with(&["--out-file", file.to_str().expect("UTF-8")]).run().await.0
    };
    // Somebody could read the file that was there, and has it open.
    let file = dir.path().join("out");
    std::fs::write(&file, "old").expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("ours");
    let mut open = std::fs::File::open(&file).expect("readable");
    let text = out("out").await;
    assert_eq!(std::fs::read(&file).expect("written"), b"hunter2", "{text}");
    assert_eq!(std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
    let mut seen = String::new();
    open.read_to_string(&mut seen).expect("readable");
    assert_eq!(seen, "old");

    let elsewhere = dir.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, dir.path().join("link")).expect("made");
    std::fs::create_dir(dir.path().join("directory")).expect("made");
    for name in ["link", "directory"] {
        let text = out(name).await;
        assert!(text.contains("exit: Failed") && text.contains("it is there, and no file"), "{name}: {text}");
    }
    assert!(!elsewhere.exists());
    let text = out("nowhere/out").await;
    assert!(text.contains("exit: Failed") && text.contains("No such file or directory"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 3, "no draft is left");
}

#[tokio::test]
async fn lists_have_gclouds_columns_and_all_pages() {
    let secret = |name: &str, replication| json!({"name": format!("projects/1/secrets/{name}"), "createTime": "2026-11-27T10:00:00Z", "replication": replication});
    let managed = json!({"userManaged": {"replicas": [{"location": "us-east1"}, {"location": "us-west1"}]}});
    let first = json!({"secrets": [secret("b", json!({"automatic": {}}))], "nextPageToken": "t"});
    let answers = vec![
        ok("GET /v1/projects/demo-project/secrets?pageSize=500&filter=name%3Ax", &first),
        ok(
            "GET /v1/projects/demo-project/secrets?pageSize=500&pageToken=t&filter=name%3Ax",
            &json!({"secrets": [secret("a", managed)]}),
        ),
    ];
    Try::new("secrets list --filter name:x", answers)
        .check(expect![[r#"
            exit: Done
            out:
            NAME  CREATED                  REPLICATION_POLICY  LOCATIONS
            b     2026-11-27 10:00:00 UTC  automatic           -
            a     2026-11-27 10:00:00 UTC  user_managed        us-east1,us-west1
        "#]])
        .await;
    let versions = json!({"versions": [
        {"name": "projects/1/secrets/db/versions/2", "state": "ENABLED", "createTime": "2026-11-27T10:00:00Z"},
        {"name": "projects/1/secrets/db/versions/1", "state": "DESTROYED", "createTime": "2026-11-26T10:00:00Z",
         "destroyTime": "2026-11-27T09:00:00Z"},
    ]});
    let line = "GET /v1/projects/demo-project/locations/us-central1/secrets/db/versions?pageSize=500";
    Try::new("secrets versions list db --location us-central1", vec![ok(line, &versions)])
        .check(expect![[r#"
            exit: Done
            out:
            NAME  STATE      CREATED                  DESTROYED
            2     enabled    2026-11-27 10:00:00 UTC  -
            1     destroyed  2026-11-26 10:00:00 UTC  2026-11-27 09:00:00 UTC
        "#]])
        .await;
}

#[tokio::test]
async fn versions_change_their_state_and_what_is_for_ever_is_asked_for_first() {
    let version = json!({"name": "projects/1/secrets/db/versions/3"});
    let answers = vec![ok("POST /v1/projects/demo-project/secrets/db/versions/3:disable", &version)];
    let fake = Try::new("secrets versions disable 3 --secret db --etag \"x\"", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Disabled version [3] of the secret [db].
        "#]])
        .await;
    assert_eq!(fake.seen()[0].json(), json!({"etag": "\"x\""}));
    let (text, _) = Try::new("secrets versions destroy 3 --secret db", Vec::new()).run().await;
    assert!(text.contains("nobody can be asked whether to go on"), "{text}");
    let answers = vec![ok("POST /v1/projects/demo-project/secrets/db/versions/3:destroy", &version)];
    let (text, _) = Try::new("secrets versions destroy 3 --secret db --quiet", answers).run().await;
    assert!(text.contains("Destroyed version [3] of the secret [db]."), "{text}");
}

#[tokio::test]
async fn a_rotation_says_how_many_values_have_the_new_key() {
    let done = json!({"key": "0123456789abcdef", "resealed": 2, "values": 3});
    let (text, _) = Try::new("secrets rotate-key", vec![ok("POST /updraft/v1/secrets:rotateKey", &done)]).run().await;
    assert!(text.contains("new key [0123456789abcdef]: 2 of 3 have it since now"), "{text}");
}
