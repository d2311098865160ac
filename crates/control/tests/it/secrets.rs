//! Secrets: their life, their values, who may have them.

use std::time::Duration;

use updraft_api::{
    iam,
    secretmanager::{
        AccessSecretVersionRequest, AddSecretVersionRequest, CreateSecretRequest, DeleteSecretRequest,
        DestroySecretVersionRequest, DisableSecretVersionRequest, EnableSecretVersionRequest, GetSecretRequest,
        GetSecretVersionRequest, ListSecretVersionsRequest, ListSecretsRequest, Replication, Secret, SecretPayload,
        SecretVersion, UpdateSecretRequest, replication, secret::Expiration, secret_version::State,
    },
    r#type::Expr,
};
use updraft_control::around::{AccountChange, NewAccount};
use updraft_model::{
    Error, ErrorKind,
    iam::{Account, Principal},
    name::project_number,
    secret::{SecretReference, crc32c},
};
use updraft_store::{Kind, Page, Selection};

use crate::world::*;

pub(crate) const PROJECT: &str = "projects/demo-project";
pub(crate) const RUNNER: &str = "runner@demo-project.iam.gserviceaccount.com";
pub(crate) const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

pub(crate) fn automatic() -> Secret {
    let kind = replication::Replication::Automatic(replication::Automatic::default());
    Secret { replication: Some(Replication { replication: Some(kind) }), ..Secret::default() }
}

pub(crate) fn name(id: &str) -> String {
    format!("{PROJECT}/secrets/{id}")
}

/// A name as answers have it.
pub(crate) fn shown(rest: &str) -> String {
    format!("projects/{}/secrets/{rest}", project_number("demo-project"))
}

pub(crate) async fn create(world: &World, id: &str, secret: Secret) -> Result<Secret, Error> {
    let (parent, secret_id) = (PROJECT.to_owned(), id.to_owned());
    world.control.secrets_create(&ME, CreateSecretRequest { parent, secret_id, secret: Some(secret) }).await
}

pub(crate) async fn add(world: &World, id: &str, value: &str) -> Result<SecretVersion, Error> {
    let payload = Some(SecretPayload { data: value.as_bytes().to_vec(), data_crc32c: None });
    world.control.secret_versions_add(&ME, AddSecretVersionRequest { parent: name(id), payload }).await
}

pub(crate) async fn access_as(world: &World, caller: &Principal, version: &str) -> Result<(String, Vec<u8>), Error> {
    let request = AccessSecretVersionRequest { name: name(version) };
    let answer = world.control.secret_versions_access(caller, request).await?;
    let payload = answer.payload.expect("a value");
    assert_eq!(payload.data_crc32c, Some(i64::from(crc32c(&payload.data))));
    Ok((answer.name, payload.data))
}

/// The value of `SECRET/versions/VERSION`, or why there is none.
pub(crate) async fn value(world: &World, version: &str) -> Result<String, Error> {
    access_as(world, &ME, version).await.map(|(_, data)| String::from_utf8(data).expect("text"))
}

async fn update(world: &World, secret: Secret, paths: &[&str]) -> Result<Secret, Error> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    world.control.secrets_update(&ME, UpdateSecretRequest { secret: Some(secret), update_mask }).await
}

async fn destroy(world: &World, version: &str, etag: &str) -> Result<SecretVersion, Error> {
    let request = DestroySecretVersionRequest { name: name(version), etag: etag.to_owned() };
    world.control.secret_versions_destroy(&ME, request).await
}

async fn disable(world: &World, version: &str) -> Result<SecretVersion, Error> {
    let request = DisableSecretVersionRequest { name: name(version), etag: String::new() };
    world.control.secret_versions_disable(&ME, request).await
}

async fn enable(world: &World, version: &str) -> Result<SecretVersion, Error> {
    let request = EnableSecretVersionRequest { name: name(version), etag: String::new() };
    world.control.secret_versions_enable(&ME, request).await
}

/// Numbers and states of a page of versions, and the token of the next.
async fn versions(world: &World, id: &str, (size, token, filter): (i32, &str, &str)) -> (Vec<(u64, State)>, String) {
    let request = ListSecretVersionsRequest {
        parent: name(id),
        page_size: size,
        page_token: token.to_owned(),
        filter: filter.to_owned(),
    };
    let answer = world.control.secret_versions_list(&ME, request).await.expect("lists");
    let read = |version: &SecretVersion| {
        let number = version.name.rsplit('/').next().and_then(|number| number.parse().ok()).expect("a number");
        (number, version.state())
    };
    (answer.versions.iter().map(read).collect(), answer.next_page_token)
}

/// How many of a kind are stored.
async fn stored(world: &World, kind: Kind) -> usize {
    world.store.count(&Selection::of(kind)).await.expect("counts")
}

fn fields(error: &Error) -> Vec<&str> {
    error.violations().iter().map(|violation| violation.field.as_str()).collect()
}

pub(crate) fn binding(role: &str, member: &str, condition: &str) -> iam::Binding {
    let condition = (!condition.is_empty()).then(|| Expr {
        title: "t".to_owned(),
        expression: condition.to_owned(),
        ..Expr::default()
    });
    iam::Binding { role: role.to_owned(), members: vec![member.to_owned()], condition }
}

pub(crate) async fn bind(world: &World, id: &str, binding: iam::Binding) {
    let policy = Some(iam::Policy { version: 3, bindings: vec![binding], ..Default::default() });
    let request = iam::SetIamPolicyRequest { resource: name(id), policy, update_mask: None };
    world.control.secrets_set_iam_policy(&ME, request).await.expect("is set");
}

pub(crate) fn runner() -> Principal {
    let (email, unique_id, project) = (RUNNER.to_owned(), "1".repeat(21), "demo-project".to_owned());
    Principal::ServiceAccount(Account { email, unique_id, project })
}

#[tokio::test]
async fn a_secret_has_versions_and_latest_is_the_one_that_was_added_last() {
    let world = World::new().await;
    let made = create(&world, "db", automatic()).await.expect("is made");
    assert_eq!(made.name, shown("db"));
    assert_eq!(
        value(&world, "db/versions/latest").await.expect_err("has none").message(),
        format!("Secret [{}] not found or has no versions.", shown("db"))
    );
    let first = add(&world, "db", "one").await.expect("is added");
    assert_eq!((first.name.as_str(), first.state()), (shown("db/versions/1").as_str(), State::Enabled));
    add(&world, "db", "two").await.expect("is added");
    let (latest, data) = access_as(&world, &ME, "db/versions/latest").await.expect("is readable");
    assert_eq!((latest, data), (shown("db/versions/2"), b"two".to_vec()));
    assert_eq!(value(&world, "db/versions/1").await.expect("is readable"), "one");
    assert_eq!(
        value(&world, "db/versions/3").await.expect_err("is none").message(),
        format!("Secret Version [{}] not found.", shown("db/versions/3"))
    );
    // By the number of the project it is the same one.
    let by_number = GetSecretRequest { name: shown("db") };
    assert_eq!(world.control.secrets_get(&ME, by_number).await.expect("is there"), made);
    let error = create(&world, "db", automatic()).await.expect_err("is taken");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::AlreadyExists, &*format!("Secret [{}] already exists.", shown("db")))
    );
}

#[tokio::test]
async fn nothing_that_is_stored_has_a_value_in_it() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    add(&world, "db", "hunter2-hunter2").await.expect("is added");
    for kind in [Kind::Secret, Kind::SecretVersion, Kind::SecretValue] {
        for envelope in world.store.list(&Selection::of(kind), &Page::default()).await.expect("lists") {
            for bytes in [&envelope.spec, &envelope.status, &envelope.internal, &envelope.v1_only] {
                assert!(!String::from_utf8_lossy(bytes).contains("hunter2"), "{}", envelope.key);
            }
        }
    }
}

#[tokio::test]
async fn a_disabled_version_is_not_read_and_a_destroyed_one_is_gone_for_ever() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    add(&world, "db", "one").await.expect("is added");
    assert_eq!(disable(&world, "db/versions/1").await.expect("is enabled").state(), State::Disabled);
    let error = value(&world, "db/versions/latest").await.expect_err("is disabled");
    let expected = format!("Secret Version [{}] is in DISABLED state.", shown("db/versions/1"));
    assert_eq!((error.kind(), error.message()), (ErrorKind::FailedPrecondition, expected.as_str()));
    enable(&world, "db/versions/1").await.expect("is disabled");
    assert_eq!(value(&world, "db/versions/1").await.expect("is readable"), "one");
    let destroyed = destroy(&world, "db/versions/1", "").await.expect("is enabled");
    assert_eq!(destroyed.state(), State::Destroyed);
    assert!(destroyed.destroy_time.is_some());
    assert_eq!((stored(&world, Kind::SecretVersion).await, stored(&world, Kind::SecretValue).await), (1, 0));
    for outcome in [enable(&world, "db/versions/1").await, destroy(&world, "db/versions/1", "").await] {
        assert_eq!(outcome.expect_err("is destroyed").kind(), ErrorKind::FailedPrecondition);
    }
    let error =
        value(&world, "db/versions/latest").await.expect_err("is destroyed, and the version before is not meant");
    assert!(error.message().ends_with("is in DESTROYED state."), "{error}");
    let error = destroy(&world, "db/versions/latest", "").await.expect_err("could be another by then");
    assert_eq!(fields(&error), ["name"]);
}

#[tokio::test]
async fn an_old_etag_is_refused_and_a_new_version_makes_none_old() {
    let world = World::new().await;
    let made = create(&world, "db", automatic()).await.expect("is made");
    let version = add(&world, "db", "one").await.expect("is added");
    let labelled = |etag: &str, value: &str| Secret {
        name: name("db"),
        etag: etag.to_owned(),
        labels: [("team".to_owned(), value.to_owned())].into(),
        ..Secret::default()
    };
    let changed = update(&world, labelled(&made.etag, "blue"), &["labels"]).await.expect("is the current one");
    assert_eq!((changed.labels["team"].as_str(), changed.replication), ("blue", made.replication));
    assert_ne!(changed.etag, made.etag);
    let error = update(&world, labelled(&made.etag, "red"), &["labels"]).await.expect_err("is old");
    assert_eq!(error.kind(), ErrorKind::Aborted);
    let delete = |etag: &str| DeleteSecretRequest { name: name("db"), etag: etag.to_owned() };
    assert!(world.control.secrets_delete(&ME, delete(&made.etag)).await.is_err());
    disable(&world, "db/versions/1").await.expect("is enabled");
    assert_eq!(destroy(&world, "db/versions/1", &version.etag).await.expect_err("is old").kind(), ErrorKind::Aborted);
    world.control.secrets_delete(&ME, delete(&changed.etag)).await.expect("is the current one");
}

#[tokio::test]
async fn deleting_a_secret_removes_all_that_is_of_it_and_the_next_of_its_name_begins_anew() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    for value in ["one", "two", "three"] {
        add(&world, "db", value).await.expect("is added");
    }
    destroy(&world, "db/versions/2", "").await.expect("is enabled");
    bind(&world, "db", binding(ACCESSOR, &format!("serviceAccount:{RUNNER}"), "")).await;
    let delete = DeleteSecretRequest { name: name("db"), etag: String::new() };
    world.control.secrets_delete(&ME, delete).await.expect("is there");
    for kind in [Kind::Secret, Kind::SecretVersion, Kind::SecretValue] {
        assert_eq!(stored(&world, kind).await, 0, "{kind:?}");
    }
    let error = add(&world, "db", "x").await.expect_err("is gone");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, &*format!("Secret [{}] not found.", shown("db")))
    );
    create(&world, "db", automatic()).await.expect("the name is free");
    assert_eq!(add(&world, "db", "other").await.expect("is added").name, shown("db/versions/1"));
    assert!(access_as(&world, &runner(), "db/versions/1").await.is_err(), "its policy went with it");
}

#[tokio::test]
async fn a_sealed_value_of_an_earlier_secret_of_the_name_does_not_open_in_the_place_of_a_later_ones() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    add(&world, "db", "old").await.expect("is added");
    let values = Selection::of(Kind::SecretValue);
    let old = world.store.list(&values, &Page::default()).await.expect("lists").remove(0);
    let delete = DeleteSecretRequest { name: name("db"), etag: String::new() };
    world.control.secrets_delete(&ME, delete).await.expect("is there");
    create(&world, "db", automatic()).await.expect("the name is free");
    add(&world, "db", "new").await.expect("is added");
    let mut new = world.store.list(&values, &Page::default()).await.expect("lists").remove(0);
    new.spec = old.spec;
    world.store.commit(vec![updraft_store::Change::Put(Box::new(new))]).await.expect("is put");
    assert_eq!(value(&world, "db/versions/1").await.expect_err("belongs to another").kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn aliases_name_versions_that_there_are() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    for value in ["one", "two"] {
        add(&world, "db", value).await.expect("is added");
    }
    let aliased = |number| Secret {
        name: name("db"),
        version_aliases: [("blue".to_owned(), number)].into(),
        ..Secret::default()
    };
    let error = update(&world, aliased(3), &["version_aliases"]).await.expect_err("is none");
    assert_eq!(fields(&error), ["secret.version_aliases[blue]"]);
    update(&world, aliased(1), &["versionAliases"]).await.expect("is there");
    assert_eq!(value(&world, "db/versions/blue").await.expect("is named"), "one");
    let get = GetSecretVersionRequest { name: name("db/versions/blue") };
    assert_eq!(world.control.secret_versions_get(&ME, get).await.expect("is named").name, shown("db/versions/1"));
    update(&world, aliased(2), &["version_aliases.blue"]).await.expect("is there");
    assert_eq!(value(&world, "db/versions/blue").await.expect("is named"), "two");
    update(&world, Secret { name: name("db"), ..Secret::default() }, &["version_aliases"]).await.expect("are cleared");
    assert_eq!(value(&world, "db/versions/blue").await.expect_err("is no name").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_update_names_what_may_change() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    let secret = || Secret { name: name("db"), ..Secret::default() };
    for paths in [&[][..], &["replication"], &["name"], &["create_time"], &["no_such"], &["labels", "topics"]] {
        let error = update(&world, secret(), paths).await.expect_err("is refused");
        assert_eq!((error.kind(), fields(&error)), (ErrorKind::InvalidArgument, vec!["update_mask"]), "{paths:?}");
    }
    let error = update(&world, Secret { name: name("gone"), ..Secret::default() }, &["labels"]).await;
    assert_eq!(error.expect_err("is not there").kind(), ErrorKind::NotFound);
    let unmade =
        create(&world, "x.y", Secret { labels: [("A".to_owned(), String::new())].into(), ..Secret::default() });
    let error = unmade.await.expect_err("breaks three rules");
    assert_eq!(fields(&error), ["secret_id", "secret.replication", "secret.labels[A]"]);
}

#[tokio::test]
async fn a_secret_goes_at_its_time_with_its_values_and_its_name_is_free() {
    let world = World::new().await;
    let ttl = prost_types::Duration { seconds: 3600, nanos: 0 };
    let secret = Secret { expiration: Some(Expiration::Ttl(ttl)), ..automatic() };
    let made = create(&world, "db", secret.clone()).await.expect("is made");
    assert!(matches!(made.expiration, Some(Expiration::ExpireTime(_))), "a moment is shown: {made:?}");
    add(&world, "db", "one").await.expect("is added");
    world.hand.advance(Duration::from_secs(3599));
    assert_eq!(value(&world, "db/versions/1").await.expect("is there"), "one");
    world.hand.advance(Duration::from_secs(1));
    // Whether or not it was removed by now.
    assert_eq!(value(&world, "db/versions/1").await.expect_err("is over").kind(), ErrorKind::NotFound);
    world.advance(Duration::from_secs(120)).await;
    for kind in [Kind::Secret, Kind::SecretVersion, Kind::SecretValue] {
        assert_eq!(stored(&world, kind).await, 0, "{kind:?}");
    }
    create(&world, "db", secret.clone()).await.expect("the name is free");
    let never = update(&world, Secret { name: name("db"), ..Secret::default() }, &["ttl"]).await.expect("is changed");
    assert_eq!(never.expiration, None, "whoever names it without one takes it away");
    let later = Secret { name: name("db"), ..secret };
    assert!(update(&world, later, &["expire_time"]).await.expect("is changed").expiration.is_some());
}

#[tokio::test]
async fn a_delayed_destruction_happens_by_itself_and_the_value_goes_then() {
    let world = World::new().await;
    let ttl = Some(prost_types::Duration { seconds: 86400, nanos: 0 });
    create(&world, "db", Secret { version_destroy_ttl: ttl, ..automatic() }).await.expect("is made");
    add(&world, "db", "one").await.expect("is added");
    add(&world, "db", "two").await.expect("is added");
    for version in ["db/versions/1", "db/versions/2"] {
        let waiting = destroy(&world, version, "").await.expect("is enabled");
        assert_eq!((waiting.state(), waiting.destroy_time), (State::Disabled, None));
        assert!(waiting.scheduled_destroy_time.is_some());
    }
    enable(&world, "db/versions/2").await.expect("in time");
    world.advance(Duration::from_secs(86400)).await;
    assert!(value(&world, "db/versions/1").await.expect_err("is over").message().contains("DESTROYED"));
    world.advance(Duration::from_secs(120)).await;
    assert_eq!(stored(&world, Kind::SecretValue).await, 1);
    assert_eq!(value(&world, "db/versions/2").await.expect("was taken back"), "two");
    let (states, _) = versions(&world, "db", (0, "", "")).await;
    assert_eq!(states, [(2, State::Enabled), (1, State::Destroyed)]);
}

#[tokio::test]
async fn lists_are_newest_first_page_by_page_and_as_the_filter_says() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        let labels = [("env".to_owned(), if id == "b" { "prod" } else { "test" }.to_owned())].into();
        create(&world, id, Secret { labels, ..automatic() }).await.expect("is made");
        world.hand.advance(Duration::from_secs(1));
    }
    let list = async |size, token: &str, filter: &str| {
        let (page_token, filter) = (token.to_owned(), filter.to_owned());
        let request = ListSecretsRequest { parent: PROJECT.to_owned(), page_size: size, page_token, filter };
        let answer = world.control.secrets_list(&ME, request).await.expect("lists");
        let ids: Vec<String> = answer.secrets.iter().map(|secret| id(&secret.name)).collect();
        (ids, answer.next_page_token, answer.total_size)
    };
    let (first, token, total) = list(2, "", "").await;
    assert_eq!((first, total), (vec!["c".to_owned(), "b".to_owned()], 3));
    let (second, end, _) = list(2, &token, "").await;
    assert_eq!((second, end), (vec!["a".to_owned()], String::new()));
    assert_eq!(list(0, "", "labels.env=prod").await, (vec!["b".to_owned()], String::new(), 0));
    // Twelve of one moment: by their numbers all the same.
    for number in 0..12 {
        add(&world, "a", &number.to_string()).await.expect("is added");
    }
    disable(&world, "a/versions/7").await.expect("is enabled");
    let (all, _) = versions(&world, "a", (0, "", "")).await;
    assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=12).rev().collect::<Vec<_>>());
    let (page, token) = versions(&world, "a", (5, "", "state:ENABLED")).await;
    assert_eq!(page.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [12, 11, 10, 9, 8]);
    let (page, _) = versions(&world, "a", (5, &token, "state:ENABLED")).await;
    assert_eq!(page.first().map(|(number, _)| *number), Some(6));
}

#[tokio::test]
async fn secrets_of_a_region_are_others_than_those_of_none() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    let request = CreateSecretRequest { parent: PARENT.to_owned(), secret_id: "db".to_owned(), secret: None };
    let regional = world.control.secrets_create(&ME, request.clone()).await.expect("is another");
    assert!(regional.name.ends_with("/locations/us-central1/secrets/db"), "{}", regional.name);
    let payload = Some(SecretPayload { data: b"here".to_vec(), data_crc32c: None });
    let parent = format!("{PARENT}/secrets/db");
    world
        .control
        .secret_versions_add(&ME, AddSecretVersionRequest { parent: parent.clone(), payload })
        .await
        .expect("added");
    let access = AccessSecretVersionRequest { name: format!("{parent}/versions/latest") };
    let read = world.control.secret_versions_access(&ME, access).await.expect("is readable");
    assert_eq!(read.payload.expect("a value").data, b"here");
    assert_eq!(value(&world, "db/versions/latest").await.expect_err("has none").kind(), ErrorKind::NotFound);
    let elsewhere = CreateSecretRequest { parent: format!("{PROJECT}/locations/mars"), ..request.clone() };
    assert_eq!(world.control.secrets_create(&ME, elsewhere).await.expect_err("is none").kind(), ErrorKind::NotFound);
    let replicated = CreateSecretRequest { secret: Some(automatic()), secret_id: "x".to_owned(), ..request };
    assert_eq!(
        fields(&world.control.secrets_create(&ME, replicated).await.expect_err("is refused")),
        ["secret.replication"]
    );
}

#[tokio::test]
async fn a_container_gets_what_its_account_may_read_and_is_told_what_is_missing() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    add(&world, "db", "one").await.expect("is added");
    let reference = SecretReference::read("f", "db", "demo-project").expect("sound");
    let read = async |version: &str| world.control.runtime_secret(RUNNER, &reference, version).await;
    let error = read("latest").await.expect_err("has no role");
    let number = project_number("demo-project");
    let expected = format!(
        "Permission denied on secret: projects/{number}/secrets/db/versions/latest for Revision service account {RUNNER}. \
         The service account used must be granted the 'Secret Manager Secret Accessor' role \
         (roles/secretmanager.secretAccessor) at the secret, project or higher level."
    );
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected.as_str()));
    bind(&world, "db", binding(ACCESSOR, &format!("serviceAccount:{RUNNER}"), "")).await;
    let error = read("latest").await.expect_err("is named and not there");
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected.as_str()));
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, PROJECT, account).await.expect("is made");
    let (number, value) = read("latest").await.expect("may read");
    assert_eq!((number, value.expose()), (1, &b"one"[..]));
    add(&world, "db", "two").await.expect("is added");
    assert_eq!(read("latest").await.expect("may read").0, 2);
    assert_eq!(read("1").await.expect("may read").0, 1);
    assert_eq!(
        read("7").await.expect_err("is none").message(),
        format!("Secret {} was not found", shown("db/versions/7"))
    );
    assert_eq!(read("").await.expect_err("is no version").kind(), ErrorKind::InvalidArgument);
    let off = AccountChange { disabled: Some(true), ..AccountChange::default() };
    let named = format!("{PROJECT}/serviceAccounts/{RUNNER}");
    world.control.accounts_change(&ME, (&named, "iam.serviceAccounts.disable"), &off).await.expect("is there");
    assert_eq!(read("latest").await.expect_err("is disabled").kind(), ErrorKind::PermissionDenied);
}
