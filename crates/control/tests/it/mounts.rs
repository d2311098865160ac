//! Secrets of revisions: which versions they get, who has to be allowed to read them, and what the fleet is told.

use updraft_api::{
    iam,
    run::{self, env_var::Values, volume::VolumeType},
    secretmanager::{
        AddSecretVersionRequest, CreateSecretRequest, DisableSecretVersionRequest, EnableSecretVersionRequest,
        Replication, Secret, SecretPayload, replication,
    },
};
use updraft_control::around::NewAccount;
use updraft_model::{channel::BookEntry, name::project_number};
use updraft_store::{Kind, Page, Selection};

use crate::world::*;

const PROJECT: &str = "projects/demo-project";
const RUNNER: &str = "runner@demo-project.iam.gserviceaccount.com";
/// Values that are nothing else.
const ONE: &str = "first-value-51d0";
const TWO: &str = "second-value-9e7b";

/// A world with the account that its services run as.
async fn world() -> World {
    let world = World::new().await;
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, PROJECT, account).await.expect("is made");
    world
}

/// A secret with a first version.
async fn secret(world: &World, id: &str, value: &[u8]) {
    let kind = replication::Replication::Automatic(replication::Automatic::default());
    let secret = Secret { replication: Some(Replication { replication: Some(kind) }), ..Secret::default() };
    let (parent, secret_id) = (PROJECT.to_owned(), id.to_owned());
    let create = CreateSecretRequest { parent, secret_id, secret: Some(secret) };
    world.control.secrets_create(&ME, create).await.expect("is made");
    add(world, id, value).await;
}

async fn add(world: &World, id: &str, value: &[u8]) {
    let payload = Some(SecretPayload { data: value.to_vec(), data_crc32c: None });
    let request = AddSecretVersionRequest { parent: format!("{PROJECT}/secrets/{id}"), payload };
    world.control.secret_versions_add(&ME, request).await.expect("is added");
}

/// The account of the services may read the secret, or nobody any more.
async fn allow(world: &World, id: &str, members: &[&str]) {
    let binding = iam::Binding {
        role: "roles/secretmanager.secretAccessor".to_owned(),
        members: members.iter().map(|member| format!("serviceAccount:{member}")).collect(),
        condition: None,
    };
    let bindings = if members.is_empty() { Vec::new() } else { vec![binding] };
    let policy = Some(iam::Policy { bindings, ..iam::Policy::default() });
    let request =
        iam::SetIamPolicyRequest { resource: format!("{PROJECT}/secrets/{id}"), policy, ..Default::default() };
    world.control.secrets_set_iam_policy(&ME, request).await.expect("is set");
}

/// A service with a variable from the secret `db` and its latest version as a file.
fn with_secrets(version: &str) -> run::Service {
    let mut made = service("app");
    let template = made.template.as_mut().expect("there is one");
    template.service_account = RUNNER.to_owned();
    let key = run::SecretKeySelector { secret: "db".to_owned(), version: version.to_owned() };
    let values = Some(Values::ValueSource(run::EnvVarSource { secret_key_ref: Some(key) }));
    template.containers[0].env.push(run::EnvVar { name: "PASSWORD".to_owned(), values });
    let source = run::SecretVolumeSource { secret: "db".to_owned(), ..Default::default() };
    template.volumes.push(run::Volume { name: "creds".to_owned(), volume_type: Some(VolumeType::Secret(source)) });
    let mount = run::VolumeMount { name: "creds".to_owned(), mount_path: "/secrets".to_owned(), ..Default::default() };
    template.containers[0].volume_mounts.push(mount);
    made
}

/// The version of the variable, its value, and what is in the file.
fn told(entry: &BookEntry) -> (u64, Option<String>, Result<String, String>) {
    let text = |value: &updraft_model::Confidential| String::from_utf8_lossy(value.expose()).into_owned();
    let [variable] = &entry.spec.ingress.secret_env[..] else { panic!("one variable") };
    let value = entry.secrets.env.get(&(variable.secret.clone(), variable.version));
    let [file] = &entry.secrets.files["creds"][..] else { panic!("one file") };
    (variable.version, value.map(text), file.as_ref().map(text).map_err(Clone::clone))
}

async fn latest_entry(world: &World) -> std::sync::Arc<BookEntry> {
    world.settle().await;
    let created = id(&world.get("hello").await.latest_created_revision);
    world.booked("hello", &created).expect("it is in the book")
}

#[tokio::test]
async fn a_rollout_resolves_a_variable_once_also_over_a_restart_and_a_file_follows() {
    let world = world().await;
    secret(&world, "db", ONE.as_bytes()).await;
    allow(&world, "db", &[RUNNER]).await;
    world.create("hello", with_secrets("latest")).await;
    world.pass().await;
    let whole = |number, env: &str, file: &str| (number, Some(env.to_owned()), Ok(file.to_owned()));
    assert_eq!(told(&*latest_entry(&world).await), whole(1, ONE, ONE));
    add(&world, "db", TWO.as_bytes()).await;
    assert_eq!(told(&*latest_entry(&world).await), whole(1, ONE, TWO));
    let world = world.restart().await;
    assert_eq!(told(&*latest_entry(&world).await), whole(1, ONE, TWO));
    // The next rollout resolves anew; the values themselves are stored with neither.
    world.redeploy("hello", "other").await;
    let mut again = with_secrets("latest");
    again.name = world.get("hello").await.name;
    world.update(again).await;
    world.pass().await;
    assert_eq!(told(&*latest_entry(&world).await), whole(2, TWO, TWO));
    for kind in [Kind::Service, Kind::Revision, Kind::Operation] {
        for envelope in world.store.list(&Selection::of(kind), &Page::default()).await.expect("lists") {
            let all = [envelope.spec, envelope.status, envelope.internal, envelope.v1_only].concat();
            let text = String::from_utf8_lossy(&all);
            assert!(![ONE, TWO].iter().any(|value| text.contains(value)), "in {}", envelope.key);
        }
    }
    let shown = format!("{:?}", latest_entry(&world).await);
    assert!(!shown.contains(TWO) && shown.contains("Confidential"), "{shown}");
}

#[tokio::test]
async fn an_account_that_may_not_read_a_secret_fails_the_revision_with_googles_sentence() {
    let world = world().await;
    secret(&world, "db", ONE.as_bytes()).await;
    let operation = world.create("hello", with_secrets("latest")).await;
    world.settle().await;
    let service = world.get("hello").await;
    let revision = id(&service.latest_created_revision);
    let number = project_number("demo-project");
    let denied = |field: &str| {
        format!(
            "spec.template.spec.{field}: Permission denied on secret: projects/{number}/secrets/db/versions/latest for Revision \
             service account {RUNNER}. The service account used must be granted the 'Secret Manager Secret Accessor' role \
             (roles/secretmanager.secretAccessor) at the secret, project or higher level."
        )
    };
    let message = format!(
        "Revision '{revision}' is not ready and cannot serve traffic. {}\n{}",
        denied("containers[0].env[0].value_from.secret_key_ref.name"),
        denied("volumes[0].secret.secret_name")
    );
    assert_eq!(world.error(&operation).await, (9, message.clone()));
    let conditions = world.revisions("hello").await.remove(0).conditions;
    let said = |kind: &str| conditions.iter().find(|one| one.r#type == kind).expect("there is one");
    assert_eq!(said("Ready").message, message);
    let reason = run::condition::Reasons::Reason(run::condition::CommonReason::SecretsAccessCheckFailed.into());
    assert_eq!(said("ResourcesAvailable").reasons, Some(reason));
    assert!(world.booked("hello", &revision).is_none());
    assert_eq!(world.engine.prepares(), 0, "no image is fetched for it");
}

#[tokio::test]
async fn a_secret_or_a_version_that_is_not_there_is_named() {
    let world = world().await;
    let message = |error: (i32, String)| error.1.split_once("secret_key_ref.name: ").map(|(_, rest)| rest.to_owned());
    for (id, version, want) in [("none", "latest", "was not found"), ("seven", "7", "/versions/7 was not found")] {
        let operation = world.create(id, with_secrets(version)).await;
        world.settle().await;
        let said = message(world.error(&operation).await).expect("a field");
        if id == "none" {
            // Who may not know whether it is there is told the same as who may not read it.
            assert!(said.contains(want) || said.contains("Permission denied on secret"), "{said}");
            secret(&world, "db", ONE.as_bytes()).await;
            allow(&world, "db", &[RUNNER]).await;
        } else {
            assert!(said.contains(want), "{said}");
        }
    }
}

#[tokio::test]
async fn a_version_that_is_disabled_later_stops_new_starts_and_says_so_until_it_is_enabled() {
    let world = world().await;
    secret(&world, "db", ONE.as_bytes()).await;
    allow(&world, "db", &[RUNNER]).await;
    world.create("hello", with_secrets("1")).await;
    world.pass().await;
    assert_eq!(latest_entry(&world).await.secrets.fault, None);
    let conditions = async || world.revisions("hello").await.remove(0).conditions;
    let message = async |kind: &str| {
        let conditions = conditions().await;
        conditions.into_iter().find(|one| one.r#type == kind).expect("there is one").message
    };
    let version = format!("{PROJECT}/secrets/db/versions/1");
    let disable = DisableSecretVersionRequest { name: version.clone(), etag: String::new() };
    world.control.secret_versions_disable(&ME, disable).await.expect("is disabled");
    let entry = latest_entry(&world).await;
    let fault = entry.secrets.fault.clone().expect("nothing can be started");
    assert!(fault.contains("DISABLED"), "{fault}");
    assert!(told(&entry).2.expect_err("nor read").contains("DISABLED"));
    assert_eq!((message("Ready").await, message("ResourcesAvailable").await), (String::new(), fault));
    let enable = EnableSecretVersionRequest { name: version, etag: String::new() };
    world.control.secret_versions_enable(&ME, enable).await.expect("is enabled");
    assert_eq!(told(&*latest_entry(&world).await), (1, Some(ONE.to_owned()), Ok(ONE.to_owned())));
    assert_eq!(message("ResourcesAvailable").await, "");
    // The same when the right is taken away.
    allow(&world, "db", &[]).await;
    let fault = latest_entry(&world).await.secrets.fault.clone().expect("nothing can be started");
    assert!(fault.starts_with("Permission denied on secret"), "{fault}");
}

#[tokio::test]
async fn what_is_no_text_can_be_a_file_and_no_variable() {
    let world = world().await;
    secret(&world, "db", &[0xff, 0, 1]).await;
    allow(&world, "db", &[RUNNER]).await;
    let operation = world.create("hello", with_secrets("latest")).await;
    world.settle().await;
    let (_, said) = world.error(&operation).await;
    assert!(said.contains("env[0].value_from.secret_key_ref.name: ") && said.contains("it is no text"), "{said}");
    let mut files = with_secrets("latest");
    files.template.as_mut().expect("there is one").containers[0].env.clear();
    world.create("files", files).await;
    world.pass().await;
    let created = id(&world.get("files").await.latest_created_revision);
    let entry = world.booked("files", &created).expect("it serves");
    assert_eq!(entry.secrets.files["creds"][0].as_ref().map(|it| it.expose().to_vec()), Ok(vec![0xff, 0, 1]));
}
