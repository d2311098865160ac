//! The reconcilers: `wake(key) → observe → plan → apply → report`.
//!
//! A pass takes a key and looks at everything anew; it never gets a message of what happened. Keys are
//! woken by use cases, by changes of the store, by news from the fleet and by a slow timer. What goes
//! wrong comes back with backoff; nothing else retries.

mod execution;
mod images;
mod instance;
mod job;
mod operation;
mod pool;
mod project;
mod revision;
mod rollout;
mod schedules;
mod secrets;
mod service;
mod values;

use std::{sync::Arc, sync::PoisonError, time::Duration};

use tokio::sync::{broadcast::error::RecvError, mpsc};
use updraft_base::{Backoff, OnFailure, boxed};
use updraft_model::{
    Error, ErrorKind, RevisionName,
    channel::{CheckOutcome, Health, RevisionHealth, TaskEnd},
    name::Collection,
};
use updraft_store::{Envelope, Key, Kind};

use crate::{
    Inner,
    access::Proof,
    failure::of_store,
    guard,
    jobs::keys,
    queue::Work,
    record::{self, ExecutionRecord, JobRecord},
    view,
};

/// How many keys are worked on at a time. A pass waits for the store, never for a registry.
const WORKERS: usize = 8;
/// How often everything is looked at without a cause.
const RESYNC: Duration = Duration::from_secs(600);
/// How long nothing may have been published before what is missing is not waited for any more: revisions that take long
/// to prepare.
const OPENING_MAX: Duration = Duration::from_secs(5);
/// How long that may go on, once every service was looked at.
const OPENING_CAP: Duration = Duration::from_secs(60);
/// How many services are looked at together when all are: so many keys wait then, and so many revisions to be prepared.
const PAGE: usize = 500;
/// How long the next services wait for revisions of those before, which may take long.
const PAGE_WAIT: Duration = Duration::from_secs(1);
/// How many ends of attempts are taken in together.
const ENDS: usize = 1024;
/// How long it takes until the services are listed again that could not be at the start.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Proof of a reconciler: it acts for the platform, on nobody's behalf. Only reconcilers can make one.
struct Platform(());

const PLATFORM: Platform = Platform(());

impl Proof for Platform {}

/// How a pass ended that went well.
enum Passed {
    /// Nothing to do until something changes.
    Done,
    /// To be repeated after this time, if nothing changes before.
    Later(Duration),
    /// It waits for a pull: how often it went wrong before is not forgotten.
    Pulling,
}

/// Starts the tasks, which look at everything that is stored first.
pub(crate) fn start(inner: &Arc<Inner>, mut task_ends: mpsc::Receiver<TaskEnd>) {
    let mut changes = inner.store.open(&PLATFORM).watch();
    for _ in 0..WORKERS {
        inner.spawn("reconcile", |inner| async move {
            loop {
                let work = inner.queue.next().await;
                inner.wake(work).await;
            }
        });
    }
    inner.spawn("store-watch", |inner| async move {
        loop {
            match changes.recv().await {
                Ok(key) => inner.wake_key(&key).await,
                Err(RecvError::Lagged(_)) => {
                    inner.resync.notify_one();
                    if let Err(error) = inner.accounts.reload(inner.store.open(&PLATFORM)).await {
                        tracing::error!(%error, cause = error.cause(), "service accounts could not be read");
                    }
                    inner.publish_scheduled_jobs().await;
                    inner.publish_projects_or_log().await;
                }
                Err(RecvError::Closed) => return,
            }
        }
    });
    inner.spawn("health-watch", |inner| async move {
        let mut health = inner.health.clone();
        health.mark_changed();
        while health.changed().await.is_ok() {
            let latest = health.borrow_and_update().clone();
            inner.take_in(latest);
        }
    });
    inner.spawn("task-ends", |inner| async move {
        let mut ends = Vec::new();
        while task_ends.recv_many(&mut ends, ENDS).await > 0 {
            for name in inner.executions.told(std::mem::take(&mut ends)) {
                inner.queue.wake(Work::Execution(name));
            }
        }
    });
    inner.spawn("resync", |inner| async move {
        // Until they could be listed nothing is known of any: to open then would tell their clients that they are gone.
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        inner.publish_projects_or_log().await;
        while inner.wake_all_or_log().await.is_err() {
            inner.clock.sleep(backoff.next_delay()).await;
        }
        let _ = inner.clock.timeout(OPENING_CAP, inner.looked_at_all()).await;
        inner.board.open();
        loop {
            inner.collect_operations_or_log().await;
            inner.wake_for_all_secrets();
            let _ = inner.clock.timeout(RESYNC, inner.resync.notified()).await;
            // If not, then the next time: what changes meanwhile is looked at all the same.
            let _ = inner.wake_all_or_log().await;
            inner.publish_projects_or_log().await;
        }
    });
    inner.spawn("images", |inner| async move { inner.collect_images().await });
    inner.spawn("secrets", |inner| async move { inner.tend_secrets().await });
}

/// What is left to be done about an execution or a job.
fn unfinished(envelope: &Envelope) -> Result<Option<Work>, Error> {
    Ok(match envelope.key.kind {
        Kind::Execution => {
            let record: ExecutionRecord = record::read(envelope)?;
            (!record.is_over || record.deleting.is_some()).then(|| Work::Execution(keys::execution_name(envelope)))
        }
        Kind::Job => {
            let record: JobRecord = record::read(envelope)?;
            record.deleting.is_some().then(|| Work::Job(keys::job_name(envelope)))
        }
        _ => None,
    })
}

// === impl Inner ===

impl Inner {
    fn spawn<F>(self: &Arc<Self>, name: &'static str, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.tasks.shutdown().clone();
        let work = work(self.clone());
        self.tasks.spawn(name, OnFailure::Stop, async move {
            tokio::select! {
                () = work => {}
                () = shutdown.asked() => {}
            }
        });
    }

    /// One pass over a key.
    async fn wake(self: &Arc<Self>, work: Work) {
        let pass = async {
            match &work {
                Work::Service(name) => match name.collection {
                    Collection::WorkerPools => boxed(|| pool::pass(self, name)).await,
                    Collection::Services | Collection::Jobs => boxed(|| service::pass(self, name)).await,
                },
                Work::Revision(name) => boxed(|| revision::pass(self, name)).await,
                Work::Job(name) => boxed(|| job::pass(self, name)).await,
                Work::Execution(name) => boxed(|| execution::pass(self, name)).await,
            }
        };
        let passed = guard::caught(pass).await.unwrap_or_else(|panic| {
            tracing::error!(?work, panic, "a pass panicked");
            Err(Error::internal(format!("panic: {panic}")))
        });
        if let Work::Execution(name) = &work {
            self.begin_if_all_seen(name);
        }
        match passed {
            Ok(Passed::Done) => self.queue.finish(&work),
            Ok(Passed::Later(later)) => {
                self.queue.finish(&work);
                self.wake_after(later, work);
            }
            Ok(Passed::Pulling) => self.queue.leave(&work),
            Err(error) => {
                let delay = self.queue.fail(&work);
                match error.kind() {
                    // Somebody else wrote first, or a registry is away: nothing is wrong here.
                    ErrorKind::Aborted | ErrorKind::Unavailable => {
                        tracing::debug!(?work, %error, cause = error.cause(), ?delay, "pass will be repeated");
                    }
                    _ => tracing::warn!(?work, %error, cause = error.cause(), ?delay, "pass failed"),
                }
                self.wake_after(delay, work);
            }
        }
    }

    fn wake_after(self: &Arc<Self>, delay: Duration, work: Work) {
        let (inner, shutdown) = (self.clone(), self.tasks.shutdown().clone());
        self.tasks.spawn("reconcile-later", OnFailure::Log, async move {
            tokio::select! {
                () = inner.clock.sleep(delay) => inner.queue.wake(work),
                () = shutdown.asked() => {}
            }
        });
    }

    /// Wakes everything that is to be looked at, but not all services at the same time: they would all be in memory.
    /// Executions come first. What runs of them after a restart is ended if nobody asks for it in time.
    async fn wake_all(&self) -> Result<(), Error> {
        self.wake_all_jobs().await?;
        for kind in [Kind::Service, Kind::WorkerPool] {
            self.wake_all_of(kind).await?;
        }
        Ok(())
    }

    async fn wake_all_of(&self, kind: Kind) -> Result<(), Error> {
        let mut last = None;
        loop {
            let page = self.store.open(&PLATFORM).scan(kind, last.as_ref(), PAGE).await.map_err(of_store)?;
            for name in page.iter().filter_map(|envelope| envelope.key.resource()) {
                self.queue.wake(Work::Service(name));
            }
            let Some(envelope) = page.into_iter().next_back() else { return Ok(()) };
            last = Some(envelope.key);
            self.queue.has_room(PAGE).await;
            let _ = self.clock.timeout(PAGE_WAIT, self.pulls.has_room(PAGE)).await;
        }
    }

    /// The same for executions that are not over, and what is being deleted.
    async fn wake_all_jobs(&self) -> Result<(), Error> {
        for kind in [Kind::Execution, Kind::Job] {
            let mut last = None;
            loop {
                let page = self.store.open(&PLATFORM).scan(kind, last.as_ref(), PAGE).await.map_err(of_store)?;
                for envelope in &page {
                    match unfinished(envelope) {
                        Ok(Some(work)) => {
                            if let Work::Execution(name) = &work {
                                self.executions.expect(name.clone());
                            }
                            self.queue.wake(work);
                        }
                        Ok(None) => {}
                        // It is no reason not to look at the others.
                        Err(error) => {
                            tracing::error!(%error, cause = error.cause(), key = %envelope.key, "it could not be read");
                        }
                    }
                }
                let Some(envelope) = page.into_iter().next_back() else { break };
                last = Some(envelope.key);
                self.queue.has_room(PAGE).await;
            }
            if kind == Kind::Execution && self.executions.expected_all() {
                self.wake_waiting(None);
            }
        }
        Ok(())
    }

    /// Ends when nothing is left to be looked at, or when nothing has come of it for a while: the routes that are missing
    /// then come one by one.
    async fn looked_at_all(&self) {
        loop {
            let before = self.board.version();
            let is_idle = self.clock.timeout(OPENING_MAX, self.idle()).await.is_ok();
            if is_idle || self.board.version() == before {
                return;
            }
        }
    }

    async fn wake_all_or_log(&self) -> Result<(), Error> {
        let woken = self.wake_all().await;
        if let Err(error) = &woken {
            tracing::error!(%error, cause = error.cause(), "services and worker pools could not be listed");
        }
        woken
    }

    async fn publish_projects_or_log(&self) {
        if let Err(error) = self.publish_projects().await {
            tracing::error!(%error, cause = error.cause(), "projects could not be listed");
        }
    }

    async fn wake_key(&self, key: &Key) {
        match key.kind {
            Kind::Service | Kind::WorkerPool => {
                key.resource().into_iter().for_each(|name| self.queue.wake(Work::Service(name)));
            }
            Kind::Revision => match self.get(&PLATFORM, key).await {
                // The key alone does not say whose revision it is. One that is gone was the doing of its
                // service's or its own pass.
                Ok(Some(envelope)) => self.queue.wake(Work::Revision(view::revision_name(&envelope))),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, cause = error.cause(), %key, "revision could not be read"),
            },
            // The call that changed it does the same before it answers, unless its client left.
            Kind::ServiceAccount => {
                if let Err(error) = self.accounts.publish(self.store.open(&PLATFORM), key).await {
                    tracing::error!(%error, cause = error.cause(), %key, "service account could not be read");
                }
                self.wake_for_secrets(key);
            }
            Kind::Project => {
                if let Err(error) = self.publish_project(key).await {
                    tracing::error!(%error, cause = error.cause(), %key, "project could not be read");
                }
                self.wake_for_secrets(key);
            }
            Kind::Secret | Kind::SecretVersion => self.wake_for_secrets(key),
            Kind::ScheduledJob => self.publish_scheduled_job(key).await,
            // Who writes one of a job's wakes what it is about: a pass over an execution writes all the time.
            Kind::Operation | Kind::DomainMapping | Kind::SecretValue | Kind::Job | Kind::Execution | Kind::Task => {}
        }
    }

    /// Wakes the revisions whose check has news; and the worker pools that have others of whose instances it hangs when
    /// revisions go.
    fn take_in(&self, latest: Arc<RevisionHealth>) {
        let mut seen = self.health_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |now: &Health, before: &Health| now.check == before.check && now.ready == before.ready;
        for (name, health) in latest.entries.changes(&seen.entries, is_same) {
            let before = seen.entries.get(name).map(|before| &before.check);
            if health.is_some_and(|health| health.check != CheckOutcome::Pending && Some(&health.check) != before) {
                self.queue.wake(Work::Revision(RevisionName::clone(name)));
            }
            if name.service.collection == Collection::WorkerPools && self.board.is_leaving(&name.service) {
                self.queue.wake(Work::Service(name.service.clone()));
            }
        }
        *seen = latest;
    }
}
