//! A scheduler between a book and a door that the test has.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::watch};
use updraft_base::{Clock, OnFailure, Tasks, VirtualClock};
use updraft_model::{
    Error, Parent,
    schedule::{
        AttemptEntry, AttemptEvent, AttemptReport, Authorization, HttpMethod, HttpTarget, Progress, Retry,
        ScheduleBook, ScheduleEntry, ScheduledJobName, State,
    },
};
use updraft_plan::delivery::Ours;

use super::super::{Limits, SchedulerDeps, Scheme, start};

/// What a test says of a job.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) schedule: String,
    pub(super) target: HttpTarget,
    pub(super) retry: Retry,
    pub(super) state: State,
    pub(super) progress: Progress,
}

/// A request as the door saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
    pub(super) is_secure: bool,
}

/// What the door answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Status(u16),
    /// Where to, by the path; 200 for those that lead nowhere.
    Redirects(fn(&str) -> Option<&'static str>),
    Never,
}

/// What the test and the functions that the scheduler has share.
struct Shared {
    book: watch::Sender<Arc<ScheduleBook>>,
    answer: Mutex<Answer>,
    seen: Mutex<Vec<Seen>>,
    reports: Mutex<Vec<AttemptReport>>,
    log: Mutex<Vec<AttemptEntry>>,
    minted: Mutex<Vec<(String, Authorization)>>,
    tokens: Mutex<Result<(), String>>,
    /// So many reports are not taken.
    refused: Mutex<usize>,
}

pub(super) struct World {
    shared: Arc<Shared>,
    hand: Arc<VirtualClock>,
    clock: Clock,
    tasks: Tasks,
    limits: Limits,
}

/// A job that begins when the world does.
pub(super) fn job(schedule: &str) -> Wanted {
    Wanted {
        schedule: schedule.to_owned(),
        target: HttpTarget {
            uri: "http://hello.run.localhost:8080/x?y=z".to_owned(),
            method: HttpMethod::Post,
            headers: BTreeMap::from([
                ("User-Agent".to_owned(), "Google-Cloud-Scheduler".to_owned()),
                ("Content-Type".to_owned(), "application/octet-stream".to_owned()),
            ]),
            body: b"hi".to_vec(),
            authorization: None,
        },
        retry: Retry::default(),
        state: State::Enabled,
        progress: Progress::starting(1, UNIX_EPOCH),
    }
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn entry(self, now: SystemTime) -> ScheduleEntry {
        let Self { schedule, target, retry, state, progress } = self;
        ScheduleEntry {
            uid: "u".to_owned(),
            schedule,
            zone: "UTC".to_owned(),
            target: Arc::new(target),
            retry,
            deadline: Duration::from_secs(180),
            state,
            progress: Progress { last: now, ..progress },
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(project: &str, id: &str) -> ScheduledJobName {
    ScheduledJobName::new(Parent::new(project, "us-central1"), id)
}

// === impl Shared ===

impl Shared {
    /// Writes a report down, as the control plane does.
    fn take(&self, report: AttemptReport) -> Result<(), Error> {
        let mut refused = lock(&self.refused);
        if *refused > 0 {
            *refused -= 1;
            return Err(Error::internal("the disk is full"));
        }
        let mut book = ScheduleBook::clone(&self.book.borrow());
        if let Some(entry) = book.entries.get(&report.name) {
            let entry = ScheduleEntry { progress: report.progress, ..ScheduleEntry::clone(entry) };
            book.entries.insert(Arc::new(report.name.clone()), Arc::new(entry));
            self.book.send_replace(Arc::new(book));
        }
        lock(&self.reports).push(report);
        Ok(())
    }

    async fn serve(self: Arc<Self>, stream: DuplexStream, scheme: Scheme) {
        let service = service_fn(|request: Request<Incoming>| {
            let shared = self.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
                let seen = Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.to_string(),
                    headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                    body: String::from_utf8_lossy(&body).into_owned(),
                    is_secure: scheme == Scheme::Https,
                };
                let path = seen.path.clone();
                lock(&shared.seen).push(seen);
                let answer = *lock(&shared.answer);
                match answer {
                    Answer::Redirects(to) => {
                        let answer = match to(&path) {
                            Some(location) => Response::builder().status(302).header("location", location),
                            None => Response::builder(),
                        };
                        Ok(answer.body(Full::new(Bytes::new())).expect("a location"))
                    }
                    Answer::Status(status) => {
                        let answer = Response::builder().status(status).body(Full::new(Bytes::new()));
                        Ok::<_, Infallible>(answer.expect("a status"))
                    }
                    Answer::Never => std::future::pending().await,
                }
            }
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

// === impl World ===

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let (clock, hand) = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(1_767_225_600));
        let shared = Arc::new(Shared {
            book: watch::channel(Arc::default()).0,
            answer: Mutex::new(Answer::Status(200)),
            seen: Mutex::default(),
            reports: Mutex::default(),
            log: Mutex::default(),
            minted: Mutex::default(),
            tokens: Mutex::new(Ok(())),
            refused: Mutex::default(),
        });
        let world = Self { shared, hand, clock, tasks: Tasks::new(), limits };
        world.begin().await;
        world
    }

    async fn begin(&self) {
        let (report, mint, door, log) =
            (self.shared.clone(), self.shared.clone(), self.shared.clone(), self.shared.clone());
        let tasks = self.tasks.clone();
        start(SchedulerDeps {
            book: self.shared.book.subscribe(),
            report: Arc::new(move |sent| {
                let taken = report.take(sent);
                Box::pin(async move { taken })
            }),
            log: Arc::new(move |entry| lock(&log.log).push(entry)),
            mint: Arc::new(move |project, authorization| {
                let said = lock(&mint.tokens).clone();
                lock(&mint.minted).push((project, authorization));
                Box::pin(async move { said.map(|()| "token-of-a".to_owned()) })
            }),
            doorway: Arc::new(move |scheme, _project| {
                let (near, far) = tokio::io::duplex(1 << 16);
                let (door, shutdown) = (door.clone(), tasks.shutdown().clone());
                tasks.spawn("door", OnFailure::Log, async move {
                    tokio::select! {
                        () = door.serve(far, scheme) => {}
                        () = shutdown.asked() => {}
                    }
                });
                Box::pin(async move { Some(near) })
            }),
            outbound: updraft_outbound::Client::default(),
            ours: Ours { domain: "run.localhost".to_owned(), ports: vec![8080] },
            limits: self.limits,
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
        });
        self.settle().await;
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(super) fn put(&self, id: &str, wanted: Wanted) {
        self.put_in("demo-project", id, wanted);
    }

    pub(super) fn put_in(&self, project: &str, id: &str, wanted: Wanted) {
        self.change(|book| drop(book.entries.insert(Arc::new(name(project, id)), Arc::new(wanted.entry(self.now())))));
    }

    pub(super) fn take(&self, id: &str) {
        self.change(|book| drop(book.entries.remove(&name("demo-project", id))));
    }

    fn change(&self, change: impl FnOnce(&mut ScheduleBook)) {
        let mut book = ScheduleBook::clone(&self.shared.book.borrow());
        change(&mut book);
        self.shared.book.send_replace(Arc::new(book));
    }

    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.shared.answer) = answer;
    }

    pub(super) fn refuse_tokens(&self) {
        *lock(&self.shared.tokens) = Err("it is disabled".to_owned());
    }

    pub(super) fn refuse_reports(&self, count: usize) {
        *lock(&self.shared.refused) = count;
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    pub(super) fn reports(&self) -> Vec<AttemptReport> {
        lock(&self.shared.reports).clone()
    }

    pub(super) fn events(&self) -> Vec<AttemptEvent> {
        lock(&self.shared.log).iter().map(|entry| entry.event.clone()).collect()
    }

    pub(super) fn minted(&self) -> Vec<(String, Authorization)> {
        lock(&self.shared.minted).clone()
    }

    /// Lets everything happen that needs no time.
    pub(super) async fn settle(&self) {
        for _ in 0..400 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass, no further at once than to the next thing that waits for it.
    pub(super) async fn pass(&self, time: Duration) {
        let mut left = time;
        self.settle().await;
        while !left.is_zero() {
            let step = self.hand.next_timer().map_or(left, |next| next.min(left)).max(Duration::from_millis(1));
            self.hand.advance(step);
            left = left.saturating_sub(step);
            self.settle().await;
        }
    }

    /// The server is gone without a word, and another one starts.
    pub(super) async fn killed(self) -> Self {
        self.down(Duration::ZERO).await
    }

    /// The same, some time later.
    pub(super) async fn down(self, time: Duration) -> Self {
        self.tasks.shutdown().ask();
        self.settle().await;
        self.hand.advance(Duration::from_secs(5));
        self.tasks.drain().await;
        self.hand.advance(time.saturating_sub(Duration::from_secs(5)));
        self.refuse_reports(0);
        let world = Self { tasks: Tasks::new(), ..self };
        world.begin().await;
        world
    }

    pub(super) async fn end(self) {
        self.tasks.shutdown().ask();
        self.settle().await;
        self.hand.advance(Duration::from_secs(5));
        self.tasks.drain().await;
    }
}
