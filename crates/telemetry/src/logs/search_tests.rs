//! Searches over several services, page by page.

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;
use updraft_model::name::Parent;

use super::*;
use crate::{Position, filter::Filter};

/// Ends a page as soon as it may.
const STINGY: Bounds = Bounds { scan: 0, page: 0 };

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn service(id: &str) -> ServiceName {
    Parent::new("demo-project", "us-central1").service(id)
}

/// A store with small segments, and what was written into it: service and second of each line, in this order.
async fn store(dir: &TempDir, lines: &[(&str, u64)]) -> LogStore {
    let (clock, _hand) = Clock::stopped_at(at(0));
    let config = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
    let store = LogStore::open(dir.path(), config, &mut Metrics::new(&clock), clock).expect("opened");
    for (index, (id, seconds)) in lines.iter().enumerate() {
        // One batch each, so that segments are filled as they would be over time.
        let (sender, receiver) = mpsc::channel(1);
        let source = LogSource::Container(if index % 2 == 0 { Stream::Stdout } else { Stream::Stderr });
        let line = LogLine {
            time: at(*seconds),
            owner: service(id).revision(format!("{id}-1")).into(),
            instance: None,
            container: None,
            source,
            text: index.to_string(),
            receipt: updraft_model::receipt::Receipt::default(),
        };
        sender.send(line).await.expect("room");
        drop(sender);
        store.clone().take(receiver, Incoming::Line, Duration::ZERO).await;
    }
    store
}

fn search(filter: &str, order: Order, limit: usize) -> Search {
    let filter = Filter::parse(filter).expect("sound");
    let projects = vec!["demo-project".to_owned()];
    Search { projects, private: Vec::new(), filter, since: None, order, limit, after: None }
}

/// All pages of a search: the texts of the entries.
fn pages(dir: &TempDir, mut search: Search, bounds: Bounds) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..1000 {
        let page = search::run(dir.path(), &search, |_| 0, bounds);
        assert!(page.entries.len() <= search.limit);
        found.extend(page.entries.iter().map(|entry| entry["textPayload"].as_str().expect("text").to_owned()));
        let Some(next) = page.next else { return found };
        let ahead = match (&search.after, search.order) {
            (None, _) => true,
            (Some(before), Order::NewestFirst) => next < *before,
            (Some(before), Order::OldestFirst) => next > *before,
        };
        assert!(ahead, "{next:?} after {:?}", search.after);
        search.after = Some(next);
    }
    panic!("there is no end of pages");
}

#[tokio::test]
async fn entries_of_all_services_come_in_one_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let lines = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)];
    let store = store(&dir, &lines).await;
    let all = |order| pages(&dir, search("", order, 2), BOUNDS);
    assert_eq!(all(Order::OldestFirst), ["0", "1", "2", "3", "4"]);
    assert_eq!(all(Order::NewestFirst), ["4", "3", "2", "1", "0"]);
    let of = |filter: &str| pages(&dir, search(filter, Order::OldestFirst, 10), BOUNDS);
    assert_eq!(of("resource.labels.service_name=B"), ["1", "4"]);
    assert_eq!(of("log_id(\"run.googleapis.com/stderr\")"), ["1", "3"]);
    assert_eq!(of("timestamp>=\"2023-11-14T22:13:23Z\" timestamp<\"2023-11-14T22:13:25Z\""), ["2", "3"]);
    assert!(of("resource.labels.project_id=other-project").is_empty());
    let elsewhere = Search { projects: vec!["other-project".to_owned()], ..search("", Order::OldestFirst, 10) };
    assert!(store.search(elsewhere).await.entries.is_empty());
    let found: Vec<Value> = store.search(search("", Order::NewestFirst, 1)).await.entries;
    assert_eq!(found[0]["receiveTimestamp"], "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_not_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir, &[("a", 1), ("a", 2)]).await;
    let recent = Search { since: Some(at(2)), ..search("", Order::OldestFirst, 10) };
    assert_eq!(store.search(recent).await.entries.len(), 1);
}

#[tokio::test]
async fn a_page_of_a_rare_filter_ends_early_and_says_where_to_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let lines: Vec<(&str, u64)> = (0..60).map(|n| ("a", n * 100)).collect();
    store(&dir, &lines).await;
    let rare = search("textPayload=\"7\"", Order::NewestFirst, 5);
    let first = search::run(dir.path(), &rare, |_| 0, STINGY);
    assert!(first.entries.is_empty() && first.next.is_some(), "{first:?}");
    for order in [Order::NewestFirst, Order::OldestFirst] {
        assert_eq!(pages(&dir, search("textPayload=\"7\"", order, 5), STINGY), ["7"]);
    }
}

#[tokio::test]
async fn a_position_between_entries_is_a_place_to_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    store(&dir, &[("a", 1), ("a", 2), ("a", 3)]).await;
    let nanos = disk::nanos(at(2));
    let after = Some(Position { nanos, id: String::new() });
    let older = Search { after: after.clone(), ..search("", Order::NewestFirst, 10) };
    assert_eq!(pages(&dir, older, BOUNDS), ["0"]);
    let younger = Search { after, ..search("", Order::OldestFirst, 10) };
    assert_eq!(pages(&dir, younger, BOUNDS), ["1", "2"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was written, however out of order (within the minute that is allowed), by whichever service, and
    /// however little a page may read: all pages together are all entries, each once, in their order.
    #[test]
    fn pages_together_are_everything_once(
        steps in prop::collection::vec((0usize..3, 0u64..90, 0u64..50), 1..40),
        limit in 1usize..7,
        scan in prop_oneof![Just(0), Just(u64::MAX)],
        page in prop_oneof![Just(0), 500usize..2000, Just(usize::MAX)],
    ) {
        let mut now = 1000;
        let lines: Vec<(&str, u64)> = steps.iter().map(|(who, step, late)| {
            now += step;
            (["a", "b", "c"][*who], now - late)
        }).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(store(&dir, &lines));
        let mut expected: Vec<(u64, usize)> = lines.iter().enumerate().map(|(index, (_, at))| (*at, index)).collect();
        expected.sort_unstable();
        let expected: Vec<String> = expected.into_iter().map(|(_, index)| index.to_string()).collect();
        let bounds = Bounds { scan, page };
        prop_assert_eq!(&pages(&dir, search("", Order::OldestFirst, limit), bounds), &expected);
        let backwards: Vec<String> = expected.into_iter().rev().collect();
        prop_assert_eq!(&pages(&dir, search("", Order::NewestFirst, limit), bounds), &backwards);
    }
}
