//! The cases of secrets.

use updraft_model::{
    Confidential,
    instance::{Contents, Exit, InstanceId, InstanceSpec, Mount, SecretEnv, SecretPath, Secrets, VolumeSpec},
};

use super::{Bed, Stage};
use crate::{EngineError, EngineEvent};

const SECRET: &str = "projects/demo-project/secrets/db";

/// Values of different versions for different variables; and never an instance that lacks one.
pub async fn a_variable_from_a_secret_has_its_value_and_without_one_nothing_starts(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let mut spec = stage.spec(&["serve"]);
    spec.ingress.secret_env = vec![SecretEnv { name: "ANSWER".to_owned(), secret: SECRET.to_owned(), version: 2 }];
    let mut secrets = Secrets::default();
    secrets.env.insert((SECRET.to_owned(), 1), value("old"));
    stage.engine.prepare(&spec).await.expect("the image can be prepared");
    let refused = stage.engine.start(&InstanceId("0a".to_owned()), &spec, &secrets).await;
    assert!(matches!(&refused, Err(EngineError::Host { cause, .. }) if cause.contains("'ANSWER'")), "{refused:?}");
    assert!(stage.engine.list().await.is_empty());
    secrets.env.insert((SECRET.to_owned(), 2), value("new"));
    let id = stage.start_with("b", &spec, &secrets).await;
    assert_eq!(stage.get(&id).await, "new");
    stage.end().await;
}

/// Each may mount it elsewhere.
pub async fn a_secret_is_a_file_that_all_containers_read_and_none_changes(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let steps = ["put=/secrets/db:mine", "show=/secrets/db", "show=/secrets/tls/key", "exit=0"];
    let mut spec = stage.spec(&steps);
    mount(&mut spec, "/secrets");
    let mut side = stage.container("side", 9000, &["show=/etc/creds/tls/key", "sleep"]);
    side.mounts = vec![Mount { volume: "creds".to_owned(), path: "/etc/creds".to_owned() }];
    spec.ingress.depends_on = vec!["side".to_owned()];
    spec.sidecars = vec![side];
    let secrets = files([Ok("hunter2"), Ok("key")]);
    let id = stage.start_with("a", &spec, &secrets).await;
    assert_eq!(stage.next_line(&id).await, "key");
    let ingress = spec.ingress.name.clone();
    stage.engine.start_container(&id, (&spec, &secrets), &ingress).await.expect("it can be started");
    let (lines, exit) = stage.until_exit(&id).await;
    let lines: Vec<String> = lines.into_iter().map(|(_, text)| text).collect();
    assert!(lines[0].starts_with("/secrets/db: "), "{lines:?}");
    assert_eq!((&lines[1..], exit), (&["hunter2".to_owned(), "key".to_owned()][..], Exit::Code(0)));
    stage.end().await;
}

/// The other files stay what they were.
pub async fn a_new_value_is_seen_in_the_file_without_a_restart(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let spec = following(&stage);
    let id = stage.start_with("a", &spec, &files([Ok("first"), Ok("key")])).await;
    assert_eq!(stage.next_line(&id).await, "first");
    for text in ["second", "third"] {
        stage.engine.show_secrets(&id, &spec, &files([Ok(text), Ok("key")])).await.expect("it can be told");
        assert_eq!(stage.next_line(&id).await, text);
    }
    stage.engine.show_secrets(&InstanceId("0b".to_owned()), &spec, &files([Ok("x"), Ok("x")])).await.expect("nobody");
    stage.end().await;
}

/// A version that was disabled, or a right that was taken away.
pub async fn what_cannot_be_read_is_not_there_and_comes_back(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let spec = following(&stage);
    let id = stage.start_with("a", &spec, &files([Err("disabled"), Ok("key")])).await;
    assert!(stage.next_line(&id).await.starts_with("/secrets/db: "));
    stage.engine.show_secrets(&id, &spec, &files([Ok("there"), Ok("key")])).await.expect("it can be told");
    assert_eq!(stage.next_line(&id).await, "there");
    stage.engine.show_secrets(&id, &spec, &files([Err("denied"), Ok("key")])).await.expect("it can be told");
    assert!(stage.next_line(&id).await.starts_with("/secrets/db: "));
    stage.end().await;
}

/// A successor tells an instance that its predecessor had started.
pub async fn files_of_an_adopted_instance_follow_as_before(bed: &mut impl Bed) {
    if !bed.instances_outlive_their_engine() {
        return;
    }
    let mut stage = Stage::new(bed);
    let spec = following(&stage);
    let id = stage.start_with("a", &spec, &files([Ok("first"), Ok("key")])).await;
    assert_eq!(stage.next_line(&id).await, "first");
    let mut stage = stage.succeed(bed).await;
    assert_eq!(stage.engine.adopted().await.len(), 1);
    stage.engine.show_secrets(&id, &spec, &files([Ok("second"), Ok("key")])).await.expect("it can be told");
    // What was told and not dealt with before may come again.
    while stage.next_line(&id).await != "second" {}
    stage.end().await;
}

/// An instance that says what is in a file of a secret.
fn following(stage: &Stage) -> InstanceSpec {
    let mut spec = stage.spec(&["follow=/secrets/db"]);
    mount(&mut spec, "/secrets");
    spec
}

/// Gives the container that takes the traffic a secret volume with the files `db` and `tls/key`.
fn mount(spec: &mut InstanceSpec, path: &str) {
    let file =
        |path: &str, version: &str| SecretPath { path: path.to_owned(), mode: 0o444, version: version.to_owned() };
    let paths = vec![file("db", "latest"), file("tls/key", "1")];
    spec.volumes =
        vec![VolumeSpec { name: "creds".to_owned(), contents: Contents::Secret { secret: SECRET.to_owned(), paths } }];
    spec.ingress.mounts = vec![Mount { volume: "creds".to_owned(), path: path.to_owned() }];
}

/// What is in its files.
fn files(contents: [Result<&str, &str>; 2]) -> Secrets {
    let file = |content: Result<&str, &str>| content.map(value).map_err(str::to_owned);
    let files = [("creds".to_owned(), contents.into_iter().map(file).collect())].into();
    Secrets { files, ..Secrets::default() }
}

fn value(text: &str) -> Confidential {
    Confidential::new(text.as_bytes().to_vec())
}

// === impl Stage ===

impl Stage {
    /// The next line of any container of the instance.
    async fn next_line(&mut self, wanted: &InstanceId) -> String {
        loop {
            match self.event().await {
                EngineEvent::Output { id, text, .. } if id == *wanted => return text,
                EngineEvent::Exited { id, exit, .. } if id == *wanted => panic!("it ended: {exit}"),
                _ => {}
            }
        }
    }
}
