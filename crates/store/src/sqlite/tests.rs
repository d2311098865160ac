use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use sqlx::SqliteConnection;
use tempfile::TempDir;

use super::*;
use crate::{FORMAT, MemoryStore, contract::sample};

crate::store_contract!(async {
    let dir = TempDir::new().expect("a temporary directory");
    (open(&dir).await, dir)
});

/// Set for the child of the crash test: the directory it commits in.
const CRASH_DIR: &str = "UPDRAFT_STORE_CRASH_DIR";

async fn open(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(dir.path()).await.expect("the directory is ours")
}

fn change(name: &str) -> Vec<Change> {
    vec![Change::Put(Box::new(sample(name, 1)))]
}

async fn everything(store: &dyn Store) -> Vec<Envelope> {
    store.list(&Selection::of(Kind::Service), &Page::default()).await.expect("the store can be read")
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_versions_go_on() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let stored = store.commit(change("hello")).await.unwrap();
    store.close().await;
    let store = open(&dir).await;
    assert_eq!(everything(&store).await, stored);
    assert_eq!(store.commit(change("next")).await.unwrap()[0].resource_version, 2);
}

#[tokio::test]
async fn what_was_deleted_or_replaced_is_not_left_in_the_file() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let put = |name: &str, version, text: &str| {
        let spec = text.repeat(2000).into_bytes();
        Change::Put(Box::new(Envelope { spec, resource_version: version, ..sample(name, 1) }))
    };
    store.commit(vec![put("gone", 0, "hunter2"), put("other", 0, "letmein")]).await.unwrap();
    let key = sample("gone", 1).key;
    store.commit(vec![Change::Delete { key, resource_version: 0 }, put("other", 2, "x")]).await.unwrap();
    // Writes its log into the file, and removes it.
    store.close().await;
    let file = std::fs::read(dir.path().join(FILE)).unwrap();
    for text in ["hunter2", "letmein"] {
        assert!(!file.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert!(!dir.path().join("state.db-wal").exists());
}

#[tokio::test]
async fn a_second_store_on_the_directory_is_refused_and_told_who_has_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    let expected = format!(
        "the data directory {0} is in use by process {1} (lock file {0}/LOCK)",
        dir.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    store.close().await;
    open(&dir).await;
}

#[tokio::test]
async fn a_snapshot_holds_what_was_committed_before_it_and_nothing_after_while_commits_go_on() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(&dir).await;
    for number in 0..50 {
        store.commit(change(&format!("before-{number}"))).await.unwrap();
    }
    let before = everything(&store).await;
    let snapshots = store.snapshots();
    let (taken, written) = tokio::join!(snapshots.take(copy.path()), async {
        for number in 0..50 {
            store.commit(change(&format!("during-{number}"))).await.unwrap();
        }
    });
    taken.unwrap();
    let () = written;
    assert_eq!(std::fs::metadata(copy.path().join("state.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let reopened = open(&copy).await;
    let copied = everything(&reopened).await;
    assert!(before.iter().all(|one| copied.contains(one)), "what was acknowledged is in it");
    let now = everything(&store).await;
    assert!(copied.iter().all(|one| now.contains(one)), "and nothing that never was");
    assert!(snapshots.take(copy.path()).await.is_err(), "never over another database");
}

#[tokio::test]
async fn a_writer_that_fails_is_told_and_no_commit_hangs() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let options = SqliteConnectOptions::new().filename(dir.path().join(FILE));
    let mut beside = options.connect().await.unwrap();
    // The next number does not exist, which no check expects.
    sqlx::query("UPDATE writes SET count = ?").bind(i64::MAX).execute(&mut beside).await.unwrap();
    for _ in 0..2 {
        let error = store.commit(change("hello")).await.unwrap_err();
        assert_eq!(error.to_string(), "commit: the task that writes has failed");
    }
    store.failed().await;
}

#[tokio::test]
async fn commits_that_are_written_together_are_refused_alone_and_use_up_no_number_then() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    // On one thread all of them are handed over before the writer comes to the first.
    let (a, refused, b) = tokio::join!(
        store.commit(change("a")),
        store.commit([change("never"), change("a")].concat()),
        store.commit(change("b")),
    );
    assert_eq!((a.unwrap()[0].resource_version, b.unwrap()[0].resource_version), (1, 2));
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    store.close().await;
    let store = open(&dir).await;
    assert_eq!(everything(&store).await.iter().map(|one| &*one.key.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(store.commit(change("c")).await.unwrap()[0].resource_version, 3);
}

#[tokio::test]
async fn one_commit_that_cannot_be_written_is_not_the_failure_of_those_beside_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let unwritable = Envelope { created: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40), ..sample("never", 1) };
    let (a, failed, b) = tokio::join!(
        store.commit(change("a")),
        store.commit(vec![Change::Put(Box::new(unwritable))]),
        store.commit(change("b")),
    );
    assert_eq!((a.unwrap()[0].resource_version, b.unwrap()[0].resource_version), (1, 2));
    assert!(matches!(failed, Err(StoreError::Medium { .. })), "{failed:?}");
}

#[tokio::test]
async fn commits_that_wait_together_cost_one_sync() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    // What each transaction does once more, whatever is in it: the counter's page goes into the log.
    let log = || std::fs::metadata(dir.path().join(format!("{FILE}-wal"))).unwrap().len();
    let before = log();
    store.commit(change("alone")).await.unwrap();
    let alone = log() - before;
    let before = log();
    let commit = |name: &str| store.commit(change(name));
    let written = tokio::join!(commit("a"), commit("b"), commit("c"), commit("d"), commit("e"), commit("f"));
    assert!(written.0.is_ok() && written.5.is_ok(), "{written:?}");
    let together = log() - before;
    assert!(together < 2 * alone, "{together} bytes for six commits, {alone} for one");
}

#[tokio::test]
async fn nobody_else_can_read_the_data() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("deep/data");
    let store = SqliteStore::open(&data).await.unwrap();
    store.commit(change("hello")).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_commit_nobody_waits_for_is_written_whole_and_told() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let mut watch = store.watch();
    let mut commit = Box::pin(store.commit(change("hello")));
    let waker = std::task::Waker::noop();
    assert!(commit.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    drop(commit);
    assert_eq!(watch.recv().await.unwrap().name, "hello");
    assert_eq!(everything(&store).await.len(), 1);
}

#[tokio::test]
async fn a_database_without_a_format_is_brought_to_the_present_one() {
    let dir = TempDir::new().unwrap();
    let mut database = raw(&dir).await;
    sqlx::raw_sql("CREATE TABLE store_format (id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL) STRICT; INSERT INTO store_format VALUES (1, 0)")
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let store = open(&dir).await;
    store.commit(change("hello")).await.unwrap();
    store.close().await;
    assert_eq!(format(&dir).await, FORMAT);
}

#[tokio::test]
async fn an_older_format_is_migrated_step_by_step_and_keeps_its_data() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    store.commit(change("hello")).await.unwrap();
    store.close().await;

    let mut later = migration::ALL.to_vec();
    later.push("UPDATE envelopes SET owner = 'migrated'");
    later.push("UPDATE envelopes SET owner = owner || ' twice'");
    let store = SqliteStore::open_with(dir.path(), &later).await.unwrap();
    assert_eq!(everything(&store).await[0].owner, "migrated twice");
    store.close().await;
    assert_eq!(format(&dir).await, FORMAT + 2);
    let store = SqliteStore::open_with(dir.path(), &later).await.unwrap();
    assert_eq!(everything(&store).await[0].owner, "migrated twice", "a step is taken once");
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_format_before_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    store.commit(change("hello")).await.unwrap();
    store.close().await;
    let mut broken = migration::ALL.to_vec();
    broken.push("UPDATE envelopes SET owner = 'half'; UPDATE no_such_table SET x = 1");
    let error = SqliteStore::open_with(dir.path(), &broken).await.unwrap_err();
    assert!(error.to_string().starts_with("migrate the data: "), "{error}");
    let store = open(&dir).await;
    assert_eq!(everything(&store).await[0].owner, "");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_touched() {
    let dir = TempDir::new().unwrap();
    open(&dir).await.close().await;
    let mut database = raw(&dir).await;
    sqlx::query("UPDATE store_format SET format = 99").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let before = std::fs::read(dir.path().join(FILE)).unwrap();
    match SqliteStore::open(dir.path()).await {
        Err(StoreError::TooNew { found: 99, known: FORMAT, .. }) => {}
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(FILE), "this is a letter, not a database. ".repeat(100)).unwrap();
    let error = SqliteStore::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Medium { .. }), "{error}");
}

#[tokio::test]
async fn a_peek_changes_nothing_whether_a_server_runs_was_killed_or_was_stopped() {
    let dir = TempDir::new().unwrap();
    let peek = || async { SqliteStore::peek(dir.path(), Kind::Service).await.unwrap() };
    assert_eq!(peek().await, []);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let store = open(&dir).await;
    let key = store.commit(change("hello")).await.unwrap()[0].key.clone();
    assert_eq!(peek().await, std::slice::from_ref(&key), "beside the server that has it open");
    store.close().await;
    let files = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let sum = |path: &Path| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            std::fs::read(path).unwrap().hash(&mut hasher);
            hasher.finish()
        };
        files.into_iter().map(|path| (sum(&path), path)).collect::<Vec<_>>()
    };
    let before = files();
    assert_eq!(peek().await, [key]);
    assert_eq!(files(), before);
    assert!(SqliteStore::peek(dir.path(), Kind::Revision).await.unwrap().is_empty());
}

async fn raw(dir: &TempDir) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.path().join(FILE)).create_if_missing(true);
    options.connect().await.expect("the directory is ours")
}

async fn format(dir: &TempDir) -> u32 {
    sqlx::query_scalar("SELECT format FROM store_format").fetch_one(&mut raw(dir).await).await.expect("it has a format")
}

// === the same as in memory ===

#[derive(Debug, Clone)]
enum Step {
    /// Puts `name`, at the version it has (0), or some versions off.
    Put { name: u8, off: i64, kind: u8, created: u8 },
    /// Deletes `name`, the same way; `None` at any version.
    Delete { name: u8, off: Option<i64>, kind: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let off = prop_oneof![6 => Just(0), 1 => -2..3i64];
    let step = prop_oneof![
        3 => (0..4u8, off.clone(), 0..2u8, 0..3u8).prop_map(|(name, off, kind, created)| Step::Put { name, off, kind, created }),
        1 => (0..4u8, proptest::option::of(off), 0..2u8).prop_map(|(name, off, kind)| Step::Delete { name, off, kind }),
    ];
    proptest::collection::vec(step, 0..5)
}

async fn changes(store: &dyn Store, steps: &[Step]) -> Vec<Change> {
    let mut changes = Vec::new();
    for step in steps {
        let (Step::Put { name, kind, .. } | Step::Delete { name, kind, .. }) = step;
        let mut new = sample(&format!("s{name}"), 0);
        new.key.kind = if *kind == 0 { Kind::Service } else { Kind::Revision };
        let found = store.get(&new.key).await.expect("readable").map_or(0, |found| found.resource_version);
        changes.push(match step {
            Step::Put { off, created, .. } => {
                new.created += Duration::from_nanos(u64::from(*created));
                new.resource_version = found + off;
                Change::Put(Box::new(new))
            }
            Step::Delete { off, .. } => {
                Change::Delete { key: new.key, resource_version: off.map_or(0, |off| found + off) }
            }
        });
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commits_ends_as_it_does_in_memory(commits in proptest::collection::vec(steps(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let (sqlite, memory) = (open(&dir).await, MemoryStore::new());
            let (mut sqlite_watch, mut memory_watch) = (sqlite.watch(), memory.watch());
            for steps in commits {
                let changes = changes(&memory, &steps).await;
                let expected = memory.commit(changes.clone()).await.map_err(|error| error.to_string());
                let got = sqlite.commit(changes).await.map_err(|error| error.to_string());
                assert_eq!(got, expected);
            }
            for kind in [Kind::Service, Kind::Revision] {
                let selection = Selection::of(kind);
                let expected = memory.list(&selection, &Page::default()).await.unwrap();
                assert_eq!(sqlite.list(&selection, &Page::default()).await.unwrap(), expected);
            }
            while let Ok(expected) = memory_watch.try_recv() {
                assert_eq!(sqlite_watch.try_recv(), Ok(expected));
            }
            assert!(sqlite_watch.try_recv().is_err());
            sqlite.close().await;
        });
    }
}

// === no space ===

/// A small file system of the test's own, as far as it may make one.
struct Small(TempDir);

impl Small {
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    fn mount(bytes: u32) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).unwrap();
        let flags = rustix::mount::MountFlags::NODEV;
        match rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, options.as_c_str()) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                assert!(std::env::var_os("UPDRAFT_TEST_NO_SKIP").is_none(), "nothing may be skipped here: {error}");
                eprintln!("skipped: a file system cannot be mounted: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_takes_it_once_there_is_space() {
    let Some(small) = Small::mount(2 << 20) else { return };
    let ballast = small.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let store = SqliteStore::open(small.0.path()).await.unwrap();
    let mut stored = 0;
    let large = |number: u64| {
        let envelope = Envelope { spec: vec![7; 64 << 10], ..sample(&format!("s-{number}"), number) };
        vec![Change::Put(Box::new(envelope))]
    };
    let error = loop {
        match store.commit(large(stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(stored > 0 && error.to_string().contains("no space left"), "{stored}: {error}");
    assert_eq!(everything(&store).await.len() as u64, stored, "what was refused is not there in part");
    // What is too large for any space there is left is refused each time, not answered by a broken connection.
    let huge = vec![Change::Put(Box::new(Envelope { spec: vec![7; 4 << 20], ..sample("huge", 1) }))];
    for _ in 0..3 {
        let error = store.commit(huge.clone()).await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    }
    std::fs::remove_file(&ballast).unwrap();
    store.commit(large(stored)).await.expect("there is space");
    store.close().await;
    let again = SqliteStore::open(small.0.path()).await.unwrap();
    assert_eq!(everything(&again).await.len() as u64, stored + 1);
    again.close().await;
}

// === kill -9 ===

/// Not a test of its own: what the child of the next one does, for ever.
#[tokio::test]
async fn the_child_of_the_crash_test_commits_and_says_so() {
    let Ok(dir) = std::env::var(CRASH_DIR) else { return };
    let store = SqliteStore::open(Path::new(&dir)).await.unwrap();
    for number in 0.. {
        let changes = [sample(&format!("a-{number}"), number), sample(&format!("b-{number}"), number)];
        let stored = store.commit(changes.into_iter().map(|new| Change::Put(Box::new(new))).collect()).await.unwrap();
        // Not captured by the test harness, and one line is one write.
        std::io::stdout().write_all(format!("acknowledged {}\n", stored[1].resource_version).as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged_and_leaves_no_half_commit() {
    for rounds in [1, 40, 150] {
        let dir = TempDir::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::tests::the_child_of_the_crash_test_commits_and_says_so", "--nocapture"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let version =
            |line: &str| line.split_once("acknowledged ").and_then(|(_, version)| version.parse::<i64>().ok());
        for _ in 0..rounds {
            let line = lines.find_map(|line| version(&line.unwrap())).expect("the child goes on for ever");
            acknowledged = line;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it managed to say before it died counts too.
        acknowledged = lines.filter_map(|line| version(&line.ok()?)).last().unwrap_or(acknowledged);

        let store = open(&dir).await;
        let found = everything(&store).await;
        let count = i64::try_from(found.len()).unwrap();
        assert!(count >= acknowledged, "{acknowledged} writes were acknowledged, {count} are there");
        assert_eq!(count % 2, 0, "half a commit is there");
        let mut versions: Vec<i64> = found.iter().map(|envelope| envelope.resource_version).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=count).collect::<Vec<_>>());
        assert_eq!(store.commit(change("next")).await.unwrap()[0].resource_version, count + 1);
    }
}
