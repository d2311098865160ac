use std::{fs, io::Write};

use tempfile::TempDir;
use updraft_model::{instance::InstanceId, name::Parent};

use super::*;
use crate::follow::Followed;

struct Bench {
    dir: TempDir,
    config: LogConfig,
    clock: Clock,
    metrics: Metrics,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (clock, _hand) = Clock::stopped_at(at(0));
        Self { dir, config: LogConfig::default(), metrics: Metrics::new(&clock), clock }
    }

    fn open(&mut self) -> LogStore {
        LogStore::open(self.dir.path(), self.config, &mut self.metrics, self.clock.clone()).expect("opened")
    }

    /// A store that finds nothing in memory.
    fn reopen(&mut self) -> LogStore {
        self.metrics = Metrics::new(&self.clock);
        self.open()
    }

    fn files(&self, service: &ServiceName) -> Vec<PathBuf> {
        let segments = disk::service_segments(self.dir.path(), service).expect("listed");
        segments.into_iter().map(|segment| segment.path).collect()
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn service(id: &str) -> ServiceName {
    Parent::new("demo-project", "us-central1").service(id)
}

fn line(service: &ServiceName, revision: &str, seconds: u64, text: &str) -> LogLine {
    LogLine {
        time: at(seconds),
        owner: service.revision(revision).into(),
        instance: Some(InstanceId("1".to_owned())),
        container: None,
        source: LogSource::Container(Stream::Stdout),
        text: text.to_owned(),
        receipt: updraft_model::receipt::Receipt::default(),
    }
}

/// Lines `0` to `count - 1`, one each second, odd ones by revision `b`, even ones by `a`.
async fn write(store: &LogStore, service: &ServiceName, count: u64) {
    let (sender, receiver) = mpsc::channel(usize::try_from(count).expect("small").max(1));
    for n in 0..count {
        let revision = if n % 2 == 0 { "a" } else { "b" };
        sender.send(line(service, revision, n, &n.to_string())).await.expect("room");
    }
    drop(sender);
    store.clone().run(receiver).await;
}

fn texts(entries: &[LogEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.text_payload.as_deref().unwrap_or("?")).collect()
}

#[tokio::test]
async fn queries_are_answered_alike_from_memory_and_from_disk() {
    let mut bench = Bench::new();
    let (hello, other) = (service("hello"), service("other"));
    let store = bench.open();
    write(&store, &hello, 10).await;
    write(&store, &other, 5).await;
    for store in [store, bench.reopen()] {
        let newest = LogQuery { limit: 3, ..LogQuery::of(hello.clone()) };
        assert_eq!(texts(&store.query(newest.clone()).await), ["9", "8", "7"]);
        let oldest = LogQuery { order: Order::OldestFirst, ..newest.clone() };
        assert_eq!(texts(&store.query(oldest).await), ["0", "1", "2"]);
        let one = LogQuery { revision: Some("a".to_owned()), ..newest.clone() };
        assert_eq!(texts(&store.query(one).await), ["8", "6", "4"]);
        let late = LogQuery { since: Some(at(8)), ..newest.clone() };
        assert_eq!(texts(&store.query(late).await), ["9", "8"]);
        let all = LogQuery { limit: usize::MAX, ..newest.clone() };
        assert_eq!(store.query(all).await.len(), 10);
        assert!(store.query(LogQuery { limit: 0, ..newest }).await.is_empty());
        assert!(store.query(LogQuery::of(service("nobody"))).await.is_empty());
    }
}

#[tokio::test]
async fn a_torn_last_line_costs_only_itself() {
    let mut bench = Bench::new();
    let hello = service("hello");
    write(&bench.open(), &hello, 2).await;
    let file = bench.files(&hello).remove(0);
    let mut torn = fs::OpenOptions::new().append(true).open(file).expect("opened");
    torn.write_all(br#"{"logName":"projects/demo-pro"#).expect("written");
    let store = bench.reopen();
    let (sender, receiver) = mpsc::channel(1);
    sender.send(line(&hello, "a", 7, "after")).await.expect("room");
    drop(sender);
    store.run(receiver).await;
    let found = bench.reopen().query(LogQuery::of(hello)).await;
    assert_eq!(texts(&found), ["after", "1", "0"]);
}

#[tokio::test]
async fn a_service_takes_no_more_than_its_share_and_the_oldest_make_room() {
    let mut bench = Bench::new();
    bench.config = LogConfig { segment_bytes: 2000, service_bytes: 10_000, recent_bytes: 1000, ..bench.config };
    let hello = service("hello");
    let store = bench.open();
    for n in 0..200 {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(line(&hello, "a", n, &n.to_string())).await.expect("room");
        drop(sender);
        store.clone().run(receiver).await;
    }
    let files = bench.files(&hello);
    let total: u64 = files.iter().map(|file| fs::metadata(file).expect("there").len()).sum();
    assert!(files.len() > 2 && total <= 10_000, "{} files, {total} bytes", files.len());
    let newest = store.query(LogQuery { limit: 15, ..LogQuery::of(hello.clone()) }).await;
    assert_eq!(texts(&newest), (185..200).rev().map(|n| n.to_string()).collect::<Vec<_>>());
    let oldest = store.query(LogQuery { limit: 1, order: Order::OldestFirst, ..LogQuery::of(hello) }).await;
    assert_ne!(texts(&oldest), ["0"]);
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_neither_shown_nor_kept() {
    let mut bench = Bench::new();
    let hello = service("hello");
    write(&bench.open(), &hello, 3).await;
    (bench.clock, _) = Clock::stopped_at(at(0) + bench.config.retention + Duration::from_secs(2));
    let store = bench.reopen();
    assert_eq!(texts(&store.query(LogQuery::of(hello.clone())).await), ["2"]);
    store.expire();
    assert_eq!(bench.files(&hello).len(), 1, "the segment has an entry that is kept");
    (bench.clock, _) = Clock::stopped_at(at(0) + bench.config.retention + Duration::from_secs(9));
    let store = bench.reopen();
    store.expire();
    assert!(bench.files(&hello).is_empty());
    // Of now: an old line could be expired as soon as it is written.
    let (sender, receiver) = mpsc::channel(1);
    let now = bench.config.retention.as_secs() + 9;
    sender.send(line(&hello, "a", now, "new")).await.expect("room");
    drop(sender);
    store.run(receiver).await;
    assert_eq!(bench.files(&hello).len(), 1, "and the service can go on writing");
}

#[tokio::test]
async fn the_lines_of_a_quiet_service_go_on_time_though_its_file_never_fills() {
    const DAY: u64 = 24 * 3600;
    let mut bench = Bench::new();
    let hello = service("hello");
    // One line a day for 40 days; kept are 30, and the day that the oldest file spans.
    for day in 0..40 {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(line(&hello, "a", day * DAY, &day.to_string())).await.expect("room");
        drop(sender);
        (bench.clock, _) = Clock::stopped_at(at(day * DAY));
        bench.reopen().run(receiver).await;
    }
    bench.reopen().expire();
    let files = bench.files(&hello);
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("there")).collect();
    let kept = disk::entries(text.as_bytes()).count();
    assert!((30..=31).contains(&kept), "{kept} lines in {} files", files.len());
}

#[tokio::test]
async fn a_frozen_log_stays_as_it_was_while_the_log_goes_on_and_is_removed() {
    let mut bench = Bench::new();
    let (hello, into) = (service("hello"), TempDir::new_in(bench.dir.path()).expect("a directory"));
    let store = bench.open();
    write(&store, &hello, 3).await;
    let frozen = store.freeze(into.path()).await.expect("linked");
    write(&store, &hello, 2).await;
    store.remove(&hello).await.expect("removed");
    let [log] = &frozen[..] else { panic!("{frozen:?}") };
    let bytes = fs::read(&log.file).expect("kept");
    let size = usize::try_from(log.size).expect("small");
    assert_eq!(disk::entries(&bytes[..size]).count(), 3);
    assert!(log.path.starts_with("demo-project/us-central1/hello/"), "{}", log.path);
}

#[tokio::test]
async fn a_follower_hears_what_comes_and_what_it_lost() {
    let mut bench = Bench::new();
    let (hello, other) = (service("hello"), service("other"));
    let store = bench.open();
    let mut follower = store.follow(&hello, Some("a".to_owned()), Which::Output);
    write(&store, &other, 3).await;
    write(&store, &hello, 3).await;
    for text in ["0", "2"] {
        let Some(Followed::Entry(entry)) = follower.next().await else { panic!("an entry") };
        assert_eq!(entry.text_payload.as_deref(), Some(text));
    }
    write(&store, &hello, 1024 + 10).await;
    assert_eq!(follower.next().await, Some(Followed::Lost(10)));
    assert!(matches!(follower.next().await, Some(Followed::Entry(_))));
}

#[tokio::test]
async fn a_tail_repeats_nothing_that_was_shown() {
    let mut bench = Bench::new();
    let hello = service("hello");
    let store = bench.open();
    write(&store, &hello, 2).await;
    let (shown, mut follower) = store.tail(LogQuery::of(hello.clone())).await;
    assert_eq!(texts(&shown), ["1", "0"]);
    write(&store, &hello, 1).await;
    drop(store);
    assert!(matches!(follower.next().await, Some(Followed::Entry(entry)) if entry.insert_id != shown[1].insert_id));
    assert_eq!(follower.next().await, None);
}

#[tokio::test]
async fn a_disk_that_fails_drops_lines_and_counts_them() {
    let mut bench = Bench::new();
    let hello = service("hello");
    let store = bench.open();
    // A file where a directory has to be: works as root too.
    let parent = bench.dir.path().join("demo-project");
    fs::write(&parent, "in the way").expect("written");
    let mut follower = store.follow(&hello, None, Which::Output);
    write(&store, &hello, 3).await;
    let counted = |metrics: &Metrics, name: &str| metrics.encode().lines().any(|line| line == name);
    assert!(counted(&bench.metrics, "updraft_log_lines_lost_total 3"), "{}", bench.metrics.encode());
    assert!(counted(&bench.metrics, "updraft_log_lines_total{source=\"stdout\"} 3"));
    assert!(matches!(follower.next().await, Some(Followed::Entry(_))), "followers see them all the same");

    fs::remove_file(&parent).expect("removed");
    write(&store, &hello, 2).await;
    assert!(counted(&bench.metrics, "updraft_log_lines_lost_total 3"));
    assert_eq!(bench.reopen().query(LogQuery::of(hello)).await.len(), 2);
}

#[tokio::test]
async fn a_removed_service_leaves_nothing_and_its_namesake_starts_anew() {
    let mut bench = Bench::new();
    let (hello, other) = (service("hello"), service("other"));
    let store = bench.open();
    write(&store, &hello, 3).await;
    write(&store, &other, 3).await;
    store.remove(&hello).await.expect("removed");
    store.remove(&hello).await.expect("nothing to do");
    assert!(store.query(LogQuery::of(hello.clone())).await.is_empty());
    assert!(bench.files(&hello).is_empty());
    assert_eq!(store.query(LogQuery::of(other)).await.len(), 3);
    write(&store, &hello, 1).await;
    assert_eq!(texts(&store.query(LogQuery::of(hello)).await), ["0"]);
}

#[tokio::test]
async fn what_services_that_are_gone_left_is_told_and_removed() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (kept, gone) = (service("kept"), service("gone"));
    for service in [&kept, &gone] {
        write(&store, service, 3).await;
    }
    let known = HashSet::from([kept.clone()]);
    let left = bench.files(&gone)[0].parent().expect("in a directory").to_owned();
    assert_eq!(disk::strays(bench.dir.path(), &known).expect("listed"), std::slice::from_ref(&left));
    assert_eq!(store.keep(known.clone()).await.expect("removed"), 1);
    assert!(!left.exists() && bench.files(&kept).len() == 1);
    assert!(disk::strays(bench.dir.path(), &known).expect("listed").is_empty());
    assert_eq!(bench.reopen().query(LogQuery::of(kept)).await.len(), 3);
}

#[tokio::test]
async fn decisions_are_told_to_those_who_ask_for_them_and_to_nobody_else() {
    let mut bench = Bench::new();
    let store = bench.open();
    let hello = service("hello");
    let (sender, receiver) = mpsc::channel(2);
    let decision = LogLine { source: LogSource::Scaling, instance: None, ..line(&hello, "a", 1, "+1 (0 → 1): why") };
    let (_, mut follower) = store.tail(LogQuery { which: Which::Decisions, ..LogQuery::of(hello.clone()) }).await;
    for line in [line(&hello, "a", 0, "hello"), decision] {
        sender.send(line).await.expect("room");
    }
    drop(sender);
    store.clone().run(receiver).await;
    for (which, expected) in [(Which::Output, "hello"), (Which::Decisions, "+1 (0 → 1): why")] {
        let query = LogQuery { which, ..LogQuery::of(hello.clone()) };
        assert_eq!(texts(&store.query(query).await), [expected]);
    }
    let Some(Followed::Entry(entry)) = follower.next().await else { panic!("it is told") };
    assert_eq!(texts(&[LogEntry::clone(&entry)]), ["+1 (0 → 1): why"]);
}
