//! The log store: lines in, entries out.

mod attempts;
mod audit;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::{counter::Counter, family::Family};
use tokio::sync::{Semaphore, mpsc};
use updraft_base::Clock;
use updraft_model::{
    channel::{LogLine, LogSource, RequestRecord},
    instance::Stream,
    name::ServiceName,
    owner::Owner,
    receipt::Receipt,
};

use crate::{
    config::LogConfig,
    disk::{self, Disk, FrozenLog, LogError},
    entry::{LogEntry, request::RequestLine},
    follow::Follower,
    metrics::Metrics,
    recent::Recent,
    requests::RequestMetrics,
    search::{self, Bounds, Found, Search},
    which::Which,
};

/// Keeps and finds log entries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    config: LogConfig,
    clock: Clock,
    disk: Mutex<Writing>,
    recent: Mutex<Recent>,
    searches: Arc<Semaphore>,
    lines: Family<[(&'static str, &'static str); 1], Counter>,
    dropped: Counter,
    requests: RequestMetrics,
    withheld: audit::Withheld,
}

#[derive(Debug)]
struct Writing {
    disk: Disk,
    sequence: u64,
    health: Health,
    /// Of whose lines nothing is kept.
    gone: HashSet<Owner>,
}

/// What is to be written.
#[derive(Debug)]
enum Incoming {
    Line(LogLine),
    Request(RequestRecord),
}

/// What a batch has for one service.
#[derive(Debug)]
struct Share {
    lines: Vec<u8>,
    count: u64,
    /// Of the first of them.
    time: SystemTime,
}

/// Did the last write succeed? One warning per failure, not one per line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Failing,
}

/// Which entries are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Of which service.
    pub service: ServiceName,
    /// Of which revision of it, or execution of a job, by id; `None` for all.
    pub revision: Option<String>,
    /// Of which task of a job, by its index; `None` for all.
    pub task: Option<u32>,
    /// Of which of its logs.
    pub which: Which,
    /// Not older than this.
    pub since: Option<SystemTime>,
    /// At most so many.
    pub limit: usize,
    /// From which end.
    pub order: Order,
}

/// From which end of the log entries are taken, and in which order they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// The newest, the newest first.
    #[default]
    NewestFirst,
    /// The oldest, the oldest first.
    OldestFirst,
}

/// How many searches go on at once; others wait. Each takes a processor and some memory.
const SEARCHES: usize = 4;
/// What one page of a search may cost.
const BOUNDS: Bounds = Bounds { scan: 256 << 20, page: 8 << 20 };
/// How many lines are written in one go.
const BATCH: usize = 1024;
/// What comes so soon after the last write is written in one go. A write for each request would cost more than the
/// request; nobody who reads a log sees the difference.
const PACE: Duration = Duration::from_millis(10);
/// How often entries that are too old are looked for.
const EXPIRY: Duration = Duration::from_secs(3600);
/// Entries do not come in order of time: instances are read side by side, and a request is entered when it is over,
/// with the time at which it began, which is up to an hour before (the longest timeout of a service).
pub(crate) const DISORDER: Duration = Duration::from_secs(3600 + 60);

// === impl LogQuery ===

impl LogQuery {
    /// The newest 100 entries of a service, the newest first.
    pub fn of(service: ServiceName) -> Self {
        Self {
            service,
            revision: None,
            task: None,
            which: Which::default(),
            since: None,
            limit: 100,
            order: Order::default(),
        }
    }

    fn matches(&self, entry: &LogEntry) -> bool {
        let revision = self.revision.as_deref().is_none_or(|revision| entry.revision() == Some(revision));
        let task = self.task.is_none_or(|task| entry.task() == Some(task));
        revision && task && self.which.holds(entry) && self.since.is_none_or(|since| entry.timestamp >= since)
    }
}

// === impl LogStore ===

impl LogStore {
    /// Opens the store in `dir`, which is made when it is missing.
    ///
    /// # Errors
    /// [`LogError`] when the directory cannot be made.
    pub fn open(dir: &Path, config: LogConfig, metrics: &mut Metrics, clock: Clock) -> Result<Self, LogError> {
        let (lines, dropped) = (Family::default(), Counter::default());
        let registry = metrics.registry();
        registry.register("updraft_log_lines", "Log lines taken, by source", lines.clone());
        let help = "Log lines that could not be written to disk; they were shown to followers";
        registry.register("updraft_log_lines_lost", help, dropped.clone());
        let disk = Writing { disk: Disk::open(dir, config)?, sequence: 0, health: Health::Well, gone: HashSet::new() };
        let recent = Mutex::new(Recent::new(config.recent_bytes));
        let (disk, searches) = (Mutex::new(disk), Arc::new(Semaphore::new(SEARCHES)));
        let withheld = audit::Withheld::new(registry);
        let requests = RequestMetrics::new(registry, clock.instant());
        let dir = dir.to_owned();
        let inner = Inner { dir, config, clock, disk, recent, searches, lines, dropped, requests, withheld };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes lines until the channel closes and everything in it is written.
    pub async fn run(self, lines: mpsc::Receiver<LogLine>) {
        let expiry = async {
            loop {
                let store = self.clone();
                blocking(move || store.expire()).await;
                self.inner.clock.sleep(EXPIRY).await;
            }
        };
        tokio::select! {
            () = self.take(lines, Incoming::Line, Duration::ZERO) => {}
            () = expiry => {}
        }
    }

    /// Takes requests until the channel closes and everything in it is written.
    pub async fn run_requests(self, requests: mpsc::Receiver<RequestRecord>) {
        self.take(requests, Incoming::Request, PACE).await;
    }

    async fn take<T>(&self, mut channel: mpsc::Receiver<T>, incoming: fn(T) -> Incoming, pace: Duration) {
        // This is about the work of the machine, however time goes in the world that is logged.
        let clock = Clock::system();
        let mut batch = Vec::new();
        while channel.recv_many(&mut batch, BATCH).await > 0 {
            let has_more = batch.len() == BATCH;
            let (store, batch) = (self.clone(), batch.drain(..).map(incoming).collect());
            blocking(move || store.write(batch)).await;
            if !has_more && !pace.is_zero() && !channel.is_closed() {
                clock.sleep(pace).await;
            }
        }
    }

    /// The entries that a query asks for. Entries that cannot be read are left out.
    pub async fn query(&self, mut query: LogQuery) -> Vec<LogEntry> {
        query.since = query.since.max(Some(self.inner.config.oldest(self.inner.clock.now())));
        if query.limit == 0 {
            return Vec::new();
        }
        if query.order == Order::NewestFirst
            && let Some(found) = self.recent().newest(&query.service, query.limit, |entry| query.matches(entry))
        {
            return found;
        }
        let dir = self.inner.dir.clone();
        blocking(move || read(&dir, &query)).await.unwrap_or_default()
    }

    /// Listens for the entries of a service, of one revision or all, from now on.
    pub fn follow(&self, service: &ServiceName, revision: Option<String>, which: Which) -> Follower {
        Follower { receiver: self.recent().follow(service), revision, task: None, which, known: HashSet::new() }
    }

    /// The entries that a query asks for and, without a gap or a repetition, those that come after.
    pub async fn tail(&self, query: LogQuery) -> (Vec<LogEntry>, Follower) {
        let mut follower = self.follow(&query.service, query.revision.clone(), query.which);
        follower.task = query.task;
        let entries = self.query(query).await;
        follower.known = entries.iter().map(|entry| entry.insert_id.clone()).collect();
        (entries, follower)
    }

    /// Everything that has been written, as it is now, under second names in `into`: a directory on the same file
    /// system that the caller removes. The log goes on, and may forget what is old.
    ///
    /// # Errors
    /// [`LogError`] when a file cannot be linked.
    pub async fn freeze(&self, into: &Path) -> Result<Vec<FrozenLog>, LogError> {
        let (store, into) = (self.clone(), into.to_owned());
        blocking(move || store.disk().disk.freeze(&into)).await.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// From now on nothing is kept of what instances of this revision write: its service was deleted by a server before
    /// this one, and they live still.
    pub fn disregard(&self, owner: Owner) {
        self.disk().gone.insert(owner);
    }

    /// Removes everything that a service has written.
    ///
    /// # Errors
    /// [`LogError`] when a file cannot be removed.
    pub async fn remove(&self, service: &ServiceName) -> Result<(), LogError> {
        let (store, service) = (self.clone(), service.clone());
        let removed = blocking(move || {
            let removed = store.disk().disk.remove(&service);
            store.recent().remove(&service);
            removed
        });
        removed.await.unwrap_or(Ok(()))
    }

    /// Removes everything that was written by services other than these: what a server that was killed between the
    /// deletion of a service and the removal of its log left. Says how many services that were.
    ///
    /// # Errors
    /// [`LogError`] when a directory cannot be listed or removed.
    pub async fn keep(&self, services: HashSet<ServiceName>) -> Result<usize, LogError> {
        let store = self.clone();
        blocking(move || store.disk().disk.keep(&services)).await.unwrap_or(Ok(0))
    }

    /// Writes a batch, service by service, and shows it to those who follow.
    fn write(&self, mut batch: Vec<Incoming>) {
        // Given back when this returns: then all of it is written.
        let _receipts: Vec<Receipt> = batch.iter_mut().map(Incoming::receipt).collect();
        let mut writing = self.disk();
        if !writing.gone.is_empty() {
            batch.retain(|incoming| !matches!(incoming, Incoming::Line(line) if writing.gone.contains(&line.owner)));
        }
        let (now, instant) = (self.inner.clock.now(), self.inner.clock.instant());
        let mut services: HashMap<ServiceName, Share> = HashMap::new();
        let mut sources: HashMap<&'static str, u64> = HashMap::new();
        for incoming in batch {
            if let Incoming::Request(request) = &incoming {
                self.inner.requests.count(request, instant);
            }
            *sources.entry(incoming.source()).or_default() += 1;
            writing.sequence += 1;
            if !services.contains_key(&*incoming.service()) {
                services.insert(
                    incoming.service().into_owned(),
                    Share { lines: Vec::new(), count: 0, time: incoming.time() },
                );
            }
            let Some(share) = services.get_mut(&*incoming.service()) else { continue };
            incoming.write(&mut share.lines, writing.sequence, now);
            share.count += 1;
        }
        for (source, count) in sources {
            self.inner.lines.get_or_create(&[("source", source)]).inc_by(count);
        }
        for (service, Share { lines, count, time }) in services {
            let result = writing.disk.append(&service, time, &lines);
            self.note(&mut writing.health, result, count);
            self.recent().push(service, lines);
        }
    }

    /// Counts what a failed write dropped, and says so once.
    fn note(&self, health: &mut Health, result: Result<(), LogError>, lines: u64) {
        match (result, *health) {
            (Ok(()), Health::Well) => {}
            (Ok(()), Health::Failing) => {
                tracing::info!(dropped = self.inner.dropped.get(), "logs are written to disk again");
                *health = Health::Well;
            }
            (Err(error), before) => {
                self.inner.dropped.inc_by(lines);
                if before == Health::Well {
                    let cause = &error.source;
                    tracing::warn!(%error, %cause, "logs cannot be written to disk: lines are dropped and counted");
                }
                *health = Health::Failing;
            }
        }
    }

    fn expire(&self) {
        if let Err(error) = self.disk().disk.expire(self.inner.clock.now()) {
            tracing::warn!(%error, cause = %error.source, "old logs cannot be removed");
        }
    }

    fn disk(&self) -> MutexGuard<'_, Writing> {
        self.inner.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore {
    /// The entries that `search` asks for, over all services. What cannot be read is left out.
    pub async fn search(&self, search: Search) -> Found {
        let (config, now) = (self.inner.config, self.inner.clock.now());
        let (dir, searches) = (self.inner.dir.clone(), self.inner.searches.clone());
        let Ok(turn) = searches.acquire_owned().await else { return Found::default() };
        let work = move || {
            let found = search::run(&dir, &search, |log| disk::nanos(config.of(log).oldest(now)), BOUNDS);
            // Not before: who no longer waits for a search does not end it.
            drop(turn);
            found
        };
        blocking(work).await.unwrap_or_default()
    }
}

/// Files block; `None` when the runtime is going down.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn read(dir: &Path, query: &LogQuery) -> Vec<LogEntry> {
    let mut segments = disk::service_segments(dir, &query.service).unwrap_or_else(|error| {
        tracing::warn!(%error, cause = %error.source, "logs cannot be read");
        Vec::new()
    });
    if let Some(since) = query.since {
        // A segment ends about where the next one begins.
        let limit = disk::nanos(since.checked_sub(DISORDER).unwrap_or(SystemTime::UNIX_EPOCH));
        let first = segments.partition_point(|segment| segment.start < limit).saturating_sub(1);
        segments.drain(..first);
    }
    if query.order == Order::NewestFirst {
        segments.reverse();
    }
    let mut found = Vec::new();
    for segment in segments {
        let bytes = segment.read().unwrap_or_else(|error| {
            tracing::warn!(path = %segment.path.display(), %error, "a part of the logs cannot be read");
            Vec::new()
        });
        let room = query.limit - found.len();
        let entries = disk::entries(&bytes);
        match query.order {
            Order::NewestFirst => found.extend(entries.rev().filter(|entry| query.matches(entry)).take(room)),
            Order::OldestFirst => found.extend(entries.filter(|entry| query.matches(entry)).take(room)),
        }
        if found.len() == query.limit {
            break;
        }
    }
    found
}

// === impl Incoming ===

impl Incoming {
    /// What is to be dropped once it is written.
    fn receipt(&mut self) -> Receipt {
        match self {
            Self::Line(line) => std::mem::take(&mut line.receipt),
            Self::Request(_) => Receipt::default(),
        }
    }

    fn service(&self) -> Cow<'_, ServiceName> {
        match self {
            Self::Line(line) => Cow::Owned(line.owner.resource()),
            Self::Request(request) => Cow::Borrowed(request.service()),
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Self::Line(line) => match line.source {
                LogSource::Container(Stream::Stdout) => "stdout",
                LogSource::Container(Stream::Stderr) => "stderr",
                LogSource::System => "system",
                LogSource::Scaling => "scaling",
            },
            Self::Request(_) => "request",
        }
    }

    fn time(&self) -> SystemTime {
        match self {
            Self::Line(line) => line.time,
            Self::Request(request) => request.time,
        }
    }

    /// Appends the line of its entry.
    fn write(self, lines: &mut Vec<u8>, sequence: u64, now: SystemTime) {
        // Into memory, and nothing in an entry is without a form in JSON.
        let _ = match self {
            Self::Line(line) => serde_json::to_writer(&mut *lines, &LogEntry::new(line, sequence, now)),
            Self::Request(request) => {
                serde_json::to_writer(&mut *lines, &RequestLine { request: &request, sequence, now })
            }
        };
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod search_tests;
#[cfg(test)]
mod tests;
