//! What every store must do, as tests: `store_contract!` runs each case for one implementation.

use std::time::{Duration, SystemTime};

use tokio::sync::broadcast::error::TryRecvError;
use updraft_model::Parent;

use crate::{Change, Envelope, FORMAT, Key, Kind, Page, Selection, Store, StoreError};

/// Makes a test of every case. Takes an expression that is a future of a new, empty store and of
/// whatever must live as long as it (a temporary directory, or `()`).
#[macro_export]
macro_rules! store_contract {
    ($new:expr) => {
        $crate::store_contract! { @cases $new;
            what_was_put_can_be_read_back_whole,
            a_put_needs_the_version_it_was_read_at,
            a_creation_needs_the_name_to_be_free,
            a_delete_needs_its_version_or_zero,
            a_commit_is_carried_out_whole_or_not_at_all,
            a_commit_sees_its_own_changes_in_order,
            versions_count_the_writes_of_the_whole_store,
            a_deleted_name_can_be_taken_again_with_a_new_version,
            lists_are_newest_first_then_by_name,
            a_selection_takes_only_what_it_names,
            pages_join_to_the_whole_list,
            a_scan_goes_through_a_kind_in_the_order_of_its_keys,
            a_count_is_the_length_of_the_list,
            times_keep_their_nanoseconds,
            watchers_hear_what_changed_after_it_is_readable,
            watchers_hear_nothing_of_a_refused_commit,
            an_empty_commit_changes_nothing,
        }
    };
    (@cases $new:expr; $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (store, _lives_as_long) = ($new).await;
                $crate::contract::$case(&store).await;
            }
        )*
    };
}

/// Bytes of every kind come back as they were, under a new version.
pub async fn what_was_put_can_be_read_back_whole(store: &dyn Store) {
    let new = Envelope {
        owner: "the-owner".to_owned(),
        generation: 7,
        owner_epoch: 3,
        spec: (0..=255).collect(),
        v1_only: vec![0, 1],
        status: "ü".into(),
        internal: Vec::new(),
        ..sample("hello", 5)
    };
    let stored = put(store, new.clone()).await;
    assert_eq!(stored, Envelope { resource_version: stored.resource_version, ..new });
    assert!(stored.resource_version > 0);
    assert_eq!(get(store, &stored.key).await, Some(stored));
    assert_eq!(get(store, &service("other")).await, None);
}

/// Two readers of one version: the second to write is told.
pub async fn a_put_needs_the_version_it_was_read_at(store: &dyn Store) {
    let first = put(store, sample("hello", 1)).await;
    let second = put(store, Envelope { generation: 2, ..first.clone() }).await;
    assert!(second.resource_version > first.resource_version);
    let late = store.commit(vec![put_change(Envelope { generation: 3, ..first.clone() })]).await;
    assert_conflict(late, &first.key, first.resource_version);
    assert_eq!(get(store, &first.key).await, Some(second));
}

/// Version 0 means a creation, and only that.
pub async fn a_creation_needs_the_name_to_be_free(store: &dyn Store) {
    put(store, sample("hello", 1)).await;
    assert_conflict(store.commit(vec![put_change(sample("hello", 2))]).await, &service("hello"), 0);
    let unseen = Envelope { resource_version: 1, ..sample("never-created", 1) };
    assert_conflict(store.commit(vec![put_change(unseen)]).await, &service("never-created"), 1);
}

/// A stale delete is refused; one at any version, or of what is absent, is not.
pub async fn a_delete_needs_its_version_or_zero(store: &dyn Store) {
    let stored = put(store, sample("hello", 1)).await;
    let stale = stored.resource_version + 1;
    assert_conflict(store.commit(vec![delete(&stored.key, stale)]).await, &stored.key, stale);
    commit(store, vec![delete(&stored.key, stored.resource_version)]).await;
    assert_eq!(get(store, &stored.key).await, None);
    commit(store, vec![delete(&stored.key, 0)]).await;
    assert_conflict(store.commit(vec![delete(&stored.key, 1)]).await, &stored.key, 1);
    put(store, sample("hello", 1)).await;
    commit(store, vec![delete(&stored.key, 0)]).await;
    assert_eq!(get(store, &stored.key).await, None);
}

/// The last change of three is refused: none of them happened, and no version was used up.
pub async fn a_commit_is_carried_out_whole_or_not_at_all(store: &dyn Store) {
    let kept = put(store, sample("kept", 1)).await;
    let refused = store
        .commit(vec![
            put_change(sample("new", 2)),
            delete(&kept.key, 0),
            put_change(sample("kept-too", 1)),
            delete(&service("absent"), 9),
        ])
        .await;
    assert_conflict(refused, &service("absent"), 9);
    assert_eq!(names(&list(store, &Selection::of(Kind::Service), &Page::default()).await), ["kept"]);
    let next = put(store, sample("next", 3)).await;
    assert_eq!(next.resource_version, kept.resource_version + 1);
}

/// Steps of one commit build on each other.
pub async fn a_commit_sees_its_own_changes_in_order(store: &dyn Store) {
    let first = put(store, sample("hello", 1)).await;
    let again = Envelope { generation: 2, ..sample("hello", 2) };
    let stored = commit(store, vec![delete(&first.key, first.resource_version), put_change(again)]).await;
    assert_eq!(get(store, &first.key).await.as_ref(), stored.first());
    let twice = store.commit(vec![put_change(sample("twice", 1)), put_change(sample("twice", 1))]).await;
    assert_conflict(twice, &service("twice"), 0);
    assert_eq!(get(store, &service("twice")).await, None);
}

/// Every put and every delete of something takes the next number.
pub async fn versions_count_the_writes_of_the_whole_store(store: &dyn Store) {
    let stored = commit(store, vec![put_change(sample("a", 1)), put_change(sample("b", 1))]).await;
    assert_eq!(stored.iter().map(|envelope| envelope.resource_version).collect::<Vec<_>>(), [1, 2]);
    commit(store, vec![delete(&service("a"), 0), delete(&service("absent"), 0)]).await;
    assert_eq!(put(store, sample("c", 1)).await.resource_version, 4);
}

/// So that a writer who knew the former holder of a name cannot overwrite the new one.
pub async fn a_deleted_name_can_be_taken_again_with_a_new_version(store: &dyn Store) {
    let former = put(store, sample("hello", 1)).await;
    commit(store, vec![delete(&former.key, 0)]).await;
    let new = put(store, sample("hello", 2)).await;
    assert!(new.resource_version > former.resource_version);
    let late = store.commit(vec![put_change(former.clone())]).await;
    assert_conflict(late, &former.key, former.resource_version);
}

/// The order of every list.
pub async fn lists_are_newest_first_then_by_name(store: &dyn Store) {
    for (name, created) in [("b", 2), ("c", 1), ("a", 2), ("d", 3)] {
        put(store, sample(name, created)).await;
    }
    assert_eq!(names(&list(store, &Selection::of(Kind::Service), &Page::default()).await), ["d", "a", "b", "c"]);
}

/// By kind, by place, by owner.
pub async fn a_selection_takes_only_what_it_names(store: &dyn Store) {
    let here = Parent::new("demo-project", "us-central1");
    let there = Parent::new("demo-project", "europe-west1");
    let owned = |name: &str, parent: &Parent, owner: &str| Envelope {
        key: Key::new(Kind::Revision, parent.clone(), name),
        owner: owner.to_owned(),
        ..sample("", 1)
    };
    let changes = [owned("a-1", &here, "a"), owned("a-2", &there, "a"), owned("b-1", &here, "b"), sample("a", 1)];
    commit(store, changes.into_iter().map(put_change).collect()).await;
    let all = Selection::of(Kind::Revision);
    for (selection, expected) in [
        (all.clone(), vec!["a-1", "a-2", "b-1"]),
        (all.clone().under(here.clone()), vec!["a-1", "b-1"]),
        (all.clone().owned_by("a"), vec!["a-1", "a-2"]),
        (all.clone().under(here.clone()).owned_by("a"), vec!["a-1"]),
        (all.under(Parent::new("demo-project", "asia-east1")), vec![]),
        (Selection::of(Kind::Operation), vec![]),
    ] {
        assert_eq!(names(&list(store, &selection, &Page::default()).await), expected, "{selection:?}");
    }
}

/// Whatever the size of the page, and with several of one moment.
pub async fn pages_join_to_the_whole_list(store: &dyn Store) {
    for number in 0..7 {
        put(store, sample(&format!("s-{number}"), number / 3)).await;
    }
    let all = Selection::of(Kind::Service);
    let whole = names(&list(store, &all, &Page::default()).await);
    for limit in 1..=8 {
        let (mut joined, mut after) = (Vec::new(), None);
        loop {
            let page = list(store, &all, &Page { limit, after }).await;
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some((last.created, last.key.name.clone()));
            joined.extend(names(&page));
        }
        assert_eq!(joined, whole, "in pages of {limit}");
    }
}

/// Whatever the size of the page, and where several have one name and one moment.
pub async fn a_scan_goes_through_a_kind_in_the_order_of_its_keys(store: &dyn Store) {
    let place = |number: usize| Parent::new(["b-project", "a-project"][number % 2], ["x", "y"][number / 2 % 2]);
    let new = (0..8).map(|number| Envelope {
        key: Key::new(Kind::Service, place(number), ["hello", "ahoy"][number / 4]),
        ..sample("", 1)
    });
    let other = Envelope { key: Key::new(Kind::Revision, place(0), "hello"), ..sample("", 1) };
    commit(store, new.chain([other]).map(put_change).collect()).await;
    let mut whole: Vec<Key> = keys(&list(store, &Selection::of(Kind::Service), &Page::default()).await);
    whole.sort();
    for limit in 1..=9 {
        let mut joined: Vec<Key> = Vec::new();
        loop {
            let page = store.scan(Kind::Service, joined.last(), limit).await.expect("the store can be read");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            joined.extend(keys(&page));
        }
        assert_eq!(joined, whole, "in pages of {limit}");
    }
}

/// Also when there is nothing.
pub async fn a_count_is_the_length_of_the_list(store: &dyn Store) {
    let mine = Selection::of(Kind::Service).owned_by("me");
    let of_me = |name: &str| Envelope { owner: "me".to_owned(), ..sample(name, 1) };
    for (new, expected) in [(sample("a", 1), 0), (of_me("b"), 1), (of_me("c"), 2)] {
        put(store, new).await;
        assert_eq!(count(store, &mine).await, expected);
    }
    assert_eq!(count(store, &Selection::of(Kind::Service)).await, 3);
    assert_eq!(count(store, &Selection::of(Kind::Operation)).await, 0);
}

/// Also before 1970.
pub async fn times_keep_their_nanoseconds(store: &dyn Store) {
    let odd = Duration::new(1_700_000_000, 123_456_789);
    let times = [SystemTime::UNIX_EPOCH + odd, SystemTime::UNIX_EPOCH - odd, SystemTime::UNIX_EPOCH];
    for (number, time) in times.into_iter().enumerate() {
        let new = Envelope { created: time, updated: time, ..sample(&format!("s-{number}"), 0) };
        let key = put(store, new).await.key;
        let found = get(store, &key).await.expect("it was just put");
        assert_eq!((found.created, found.updated), (time, time));
    }
}

/// Whoever is woken by a change finds it.
pub async fn watchers_hear_what_changed_after_it_is_readable(store: &dyn Store) {
    let mut watch = store.watch();
    commit(store, vec![put_change(sample("a", 1)), put_change(sample("b", 1))]).await;
    for expected in ["a", "b"] {
        let key = watch.recv().await.expect("the store lives");
        assert_eq!(key, service(expected));
        assert!(get(store, &key).await.is_some());
    }
    commit(store, vec![delete(&service("a"), 0)]).await;
    assert_eq!(watch.recv().await.expect("the store lives"), service("a"));
    assert!(get(store, &service("a")).await.is_none());
}

/// Nor of a delete of nothing.
pub async fn watchers_hear_nothing_of_a_refused_commit(store: &dyn Store) {
    let mut watch = store.watch();
    let refused = store.commit(vec![put_change(sample("a", 1)), delete(&service("absent"), 9)]).await;
    assert_conflict(refused, &service("absent"), 9);
    commit(store, vec![delete(&service("absent"), 0)]).await;
    assert_eq!(watch.try_recv(), Err(TryRecvError::Empty));
}

/// And is no error.
pub async fn an_empty_commit_changes_nothing(store: &dyn Store) {
    assert_eq!(commit(store, Vec::new()).await, []);
    assert_eq!(put(store, sample("a", 1)).await.resource_version, 1);
}

// === helpers ===

/// A new service of that name, created so many seconds after 1970.
pub fn sample(name: &str, created: u64) -> Envelope {
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(created);
    Envelope {
        key: service(name),
        owner: String::new(),
        format: FORMAT,
        uid: format!("uid-of-{name}"),
        generation: 1,
        resource_version: 0,
        owner_epoch: 0,
        created,
        updated: created,
        spec: name.into(),
        v1_only: Vec::new(),
        status: Vec::new(),
        internal: Vec::new(),
    }
}

fn service(name: &str) -> Key {
    Key::new(Kind::Service, Parent::new("demo-project", "us-central1"), name)
}

fn put_change(envelope: Envelope) -> Change {
    Change::Put(Box::new(envelope))
}

fn delete(key: &Key, resource_version: i64) -> Change {
    Change::Delete { key: key.clone(), resource_version }
}

fn keys(envelopes: &[Envelope]) -> Vec<Key> {
    envelopes.iter().map(|envelope| envelope.key.clone()).collect()
}

fn names(envelopes: &[Envelope]) -> Vec<String> {
    envelopes.iter().map(|envelope| envelope.key.name.clone()).collect()
}

async fn commit(store: &dyn Store, changes: Vec<Change>) -> Vec<Envelope> {
    store.commit(changes).await.expect("the commit is legal")
}

async fn put(store: &dyn Store, envelope: Envelope) -> Envelope {
    commit(store, vec![put_change(envelope)]).await.pop().expect("one put, one envelope")
}

async fn get(store: &dyn Store, key: &Key) -> Option<Envelope> {
    store.get(key).await.expect("the store can be read")
}

async fn list(store: &dyn Store, selection: &Selection, page: &Page) -> Vec<Envelope> {
    store.list(selection, page).await.expect("the store can be read")
}

async fn count(store: &dyn Store, selection: &Selection) -> usize {
    store.count(selection).await.expect("the store can be read")
}

#[track_caller]
fn assert_conflict(outcome: Result<Vec<Envelope>, StoreError>, at: &Key, version: i64) {
    match outcome {
        Err(StoreError::Conflict { key, expected }) => assert_eq!((&key, expected), (at, version)),
        other => panic!("expected a conflict at {at}, got {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_case_is_forgotten_by_the_macro() {
        let source = include_str!("contract.rs");
        for line in source.lines() {
            if let Some((case, _)) = line.strip_prefix("pub async fn ").and_then(|rest| rest.split_once('(')) {
                assert!(source.contains(&format!("            {case},\n")), "{case} is not run");
            }
        }
    }
}
