//! Values of secrets: what a start gets, what running instances see, and what happens without them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use updraft_model::{
    Confidential,
    condition::Reason,
    instance::{Contents, InstanceId, Mount, SecretEnv, SecretPath, Secrets, VolumeSpec},
};

use super::*;
use crate::Refusal;

const SECRET: &str = "projects/demo-project/secrets/db";

/// A revision whose answer is version 1 of a secret, and that has the latest as a file.
fn with_secrets(revision: &RevisionName, secrets: Secrets) -> BookEntry {
    let mut entry = BookEntry { secrets: Arc::new(secrets), ..entry(revision) };
    let spec = Arc::make_mut(&mut entry.spec);
    spec.ingress.secret_env = vec![SecretEnv { name: "ANSWER".to_owned(), secret: SECRET.to_owned(), version: 1 }];
    let path = SecretPath { path: "db".to_owned(), mode: 0o444, version: "latest".to_owned() };
    let contents = Contents::Secret { secret: SECRET.to_owned(), paths: vec![path] };
    spec.volumes = vec![VolumeSpec { name: "creds".to_owned(), contents }];
    spec.ingress.mounts = vec![Mount { volume: "creds".to_owned(), path: "/secrets".to_owned() }];
    entry
}

fn values(env: &str, file: Result<&str, &str>) -> Secrets {
    let value = |text: &str| Confidential::new(text.as_bytes().to_vec());
    Secrets {
        env: [((SECRET.to_owned(), 1), value(env))].into(),
        files: [("creds".to_owned(), vec![file.map(value).map_err(str::to_owned)])].into(),
        fault: None,
    }
}

impl World {
    /// The body of an instance's answer.
    async fn get(&self, id: &InstanceId, path: &str) -> String {
        let mut stream = self.engine.connect(id, 8080).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a head")
    }

    /// Waits until the file of an instance says so.
    async fn until_file(&self, id: &InstanceId, text: &str) {
        let begun = Clock::system().instant();
        while self.get(id, "/file/secrets/db").await != text {
            assert!(Clock::system().instant() - begun < DEADLINE, "the file never said '{text}'");
            breathe().await;
        }
    }
}

#[tokio::test]
async fn an_instance_has_its_values_and_its_files_follow_what_the_book_says_while_it_runs() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, with_secrets(&app, values("pinned", Ok("first"))));
    let slot = world.fleet.admit(&app).await.expect("it comes up");
    let id = slot.instance().clone();
    assert_eq!(
        (world.get(&id, "/").await, world.get(&id, "/file/secrets/db").await),
        ("pinned".into(), "first".into())
    );
    for text in ["second", "third"] {
        world.put(&app, with_secrets(&app, values("pinned", Ok(text))));
        world.until_file(&id, text).await;
    }
    assert_eq!((world.get(&id, "/").await, world.engine.records().len()), ("pinned".to_owned(), 1));
    drop(slot);
    world.end().await;
}

#[tokio::test]
async fn without_the_value_of_a_variable_nothing_starts_and_what_runs_goes_on() {
    let mut world = World::new();
    let app = name("app-1");
    let two = |secrets| BookEntry { max: 2, ..with_secrets(&app, secrets) };
    world.put(&app, two(values("pinned", Ok("first"))));
    let slot = world.fleet.admit(&app).await.expect("it comes up");
    let id = slot.instance().clone();
    world.lines();
    let fault = "Permission denied on secret: projects/1/secrets/db/versions/1.";
    let denied = Secrets { env: Default::default(), fault: Some(fault.to_owned()), ..values("", Err("denied")) };
    world.put(&app, two(denied));
    let fleet = world.fleet.clone();
    let (waiting, ()) =
        tokio::join!(fleet.admit(&app), world.pass(Duration::from_secs(40), Duration::from_millis(200)));
    assert!(matches!(waiting, Err(Refusal::Overdue(_) | Refusal::StartFailed(_))), "{waiting:?}");
    let trouble = world.health(&app).and_then(|health| health.trouble).expect("it is told");
    assert_eq!((trouble.reason, trouble.diagnosis.to_string()), (Reason::SecretsAccessCheckFailed, fault.to_owned()));
    assert_eq!(world.get(&id, "/").await, "pinned");
    let said = world.lines();
    for line in [
        "system: The file 'db' of the volume 'creds' cannot be read. denied\n",
        "system: Start failed [secret-unreadable]. Permission denied on secret: projects/1/secrets/db/versions/1.\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    // As soon as it may be read again.
    world.put(&app, two(values("pinned", Ok("again"))));
    let (admitted, ()) =
        tokio::join!(fleet.admit(&app), world.pass(Duration::from_secs(11), Duration::from_millis(200)));
    assert_ne!(admitted.expect("it comes up").instance(), &id);
    world.until_file(&id, "again").await;
    drop(slot);
    world.end().await;
}

#[tokio::test]
async fn a_check_without_a_secret_fails_the_revision_for_it() {
    let world = World::new();
    let app = name("app-1");
    let fault = Secrets { fault: Some("Secret projects/1/secrets/db was not found".to_owned()), ..Secrets::default() };
    world.put(&app, BookEntry { check: Check::Wanted, ..with_secrets(&app, fault) });
    let failed = || matches!(world.outcome(&app), Some(CheckOutcome::Failed(failure)) if failure.reason == Reason::SecretsAccessCheckFailed);
    world.pass(Duration::from_secs(30), Duration::from_millis(200)).await;
    until("the check fails", failed).await;
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn an_adopted_instance_gets_the_files_that_changed_while_there_was_no_server() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, with_secrets(&app, values("pinned", Ok("first"))));
    let id = world.fleet.admit(&app).await.expect("it comes up").instance().clone();
    let world = world.succeed(FleetConfig::default()).await;
    world.put(&app, with_secrets(&app, values("pinned", Ok("second"))));
    let slot = world.fleet.admit(&app).await.expect("it is there");
    assert_eq!(slot.instance(), &id);
    world.until_file(&id, "second").await;
    assert_eq!(world.get(&id, "/").await, "pinned");
    drop(slot);
    world.end().await;
}
