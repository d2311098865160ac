//! What containers wrote: opened without what nobody needs, removed with its service, worker pool or job.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::sync::mpsc;
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_engine::Adopted;
use updraft_model::{
    ServiceName,
    channel::{LogLine, RequestRecord},
    name::Collection,
};
use updraft_store::{Key, Kind, Store};
use updraft_telemetry::{LogConfig, LogStore, Metrics};

use super::StartError;
use crate::config::Config;

/// What comes in for the logs.
pub(super) struct Inbox {
    pub(super) lines: mpsc::Receiver<LogLine>,
    pub(super) requests: mpsc::Receiver<RequestRecord>,
    pub(super) deleted: mpsc::Receiver<ServiceName>,
}

/// How long after the deletion of a service its instances may still write.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// How many services, worker pools or jobs are in memory at a time when all are looked at.
const PAGE: usize = 500;

/// Writes down what comes in, until nobody is left who could send anything.
pub(super) fn keep(logs: &LogStore, inbox: Inbox, store: &Arc<dyn Store>, (tasks, clock): (&Tasks, &Clock)) {
    let (writes, mut written) = mpsc::channel::<Infallible>(1);
    for (name, writer) in [
        ("log writer", logs.clone().run(inbox.lines).boxed()),
        ("request log writer", logs.clone().run_requests(inbox.requests).boxed()),
    ] {
        let writes = writes.clone();
        tasks.spawn(name, OnFailure::Stop, async move {
            writer.await;
            drop(writes);
        });
    }
    let remover = Remover { logs: logs.clone(), store: store.clone(), clock: clock.clone() };
    tasks.spawn("log remover", OnFailure::Log, async move {
        let again = remover.run(inbox.deleted).await;
        // Instances write while the server ends, too: once all of that is on disk.
        let _ = written.recv().await;
        for (_, service) in again {
            remover.remove_again(&service).await;
        }
    });
}

/// Removes the logs of what is deleted.
struct Remover {
    logs: LogStore,
    store: Arc<dyn Store>,
    clock: Clock,
}

// === impl Remover ===

impl Remover {
    /// What a service wrote goes with it: at once, and once more when its instances, which may write to their last moment,
    /// are gone. Ends with the control plane, which has the other end of the channel; returns what is to be removed again.
    async fn run(&self, mut deleted: mpsc::Receiver<ServiceName>) -> VecDeque<(Instant, ServiceName)> {
        let mut again: VecDeque<(Instant, ServiceName)> = VecDeque::new();
        loop {
            let due = again.front().map(|(due, _)| due.saturating_duration_since(self.clock.instant()));
            tokio::select! {
                service = deleted.recv() => {
                    let Some(service) = service else { return again };
                    self.remove(&service).await;
                    again.push_back((self.clock.instant() + LAST_WORDS, service));
                }
                () = self.clock.sleep(due.unwrap_or_default()), if due.is_some() => {
                    if let Some((_, service)) = again.pop_front() {
                        self.remove_again(&service).await;
                    }
                }
            }
        }
    }

    /// One of the same name may have been made since; its log is its own.
    async fn remove_again(&self, service: &ServiceName) {
        if let Ok(None) = self.store.get(&Key::of(service)).await {
            self.remove(service).await;
        }
    }

    async fn remove(&self, service: &ServiceName) {
        if let Err(error) = self.logs.remove(service).await {
            tracing::warn!(%service, %error, "the logs of a deleted service stay on disk");
        }
    }
}

/// The logs, without those of services that are gone: a server may have been killed between the deletion of the two.
pub(super) async fn open(
    config: &Config,
    (store, adopted): (&dyn Store, &[Adopted]),
    metrics: &mut Metrics,
    clock: &Clock,
) -> Result<LogStore, StartError> {
    let logs = LogStore::open(&config.data_dir.join("logs"), settings(config), metrics, clock.clone())?;
    let mut names = HashSet::new();
    for collection in Collection::EVERY {
        let mut last = None;
        loop {
            let page = store.scan(Kind::of(collection), last.as_ref(), PAGE).await?;
            names.extend(page.iter().filter_map(|envelope| envelope.key.resource()));
            let Some(envelope) = page.into_iter().next_back() else { break };
            last = Some(envelope.key);
        }
    }
    // What they write on until they are ended would be a log of nothing.
    let orphans = adopted.iter().map(|instance| &instance.owner).filter(|owner| !names.contains(&owner.resource()));
    orphans.for_each(|owner| logs.disregard(owner.clone()));
    let gone = logs.keep(names).await?;
    if gone > 0 {
        tracing::info!(gone, "logs of services that were deleted are removed");
    }
    Ok(logs)
}

/// Segments small enough that what is removed at a time is a part of the whole.
fn settings(config: &Config) -> LogConfig {
    let default = LogConfig::default();
    LogConfig {
        segment_bytes: default.segment_bytes.min(config.log_max_size / 4),
        service_bytes: config.log_max_size,
        audit_bytes: config.audit_max_size,
        retention: config.log_retention,
        audit_retention: config.audit_retention,
        ..default
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use updraft_model::{Parent, channel::LogSource, receipt::Receipt};
    use updraft_store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn what_a_deleted_service_writes_to_the_end_of_the_server_goes_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (clock, _hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let mut metrics = Metrics::new(&clock);
        let logs = LogStore::open(dir.path(), LogConfig::default(), &mut metrics, clock.clone()).expect("opened");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (tasks, service) = (Tasks::new(), Parent::new("demo-project", "here").service("gone"));
        let (line, lines) = mpsc::channel(1);
        let (request, requests) = mpsc::channel(1);
        let (delete, deleted) = mpsc::channel(1);
        keep(&logs, Inbox { lines, requests, deleted }, &store, (&tasks, &clock));
        delete.send(service.clone()).await.expect("somebody listens");
        drop(delete);
        let last = LogLine {
            time: SystemTime::UNIX_EPOCH,
            owner: service.revision("gone-1").into(),
            instance: None,
            container: None,
            source: LogSource::System,
            text: "the last words".to_owned(),
            receipt: Receipt::default(),
        };
        let mut follower = logs.follow(&service, None, updraft_telemetry::Which::default());
        line.send(last).await.expect("somebody listens");
        assert!(follower.next().await.is_some(), "it is written");
        drop((line, request));
        tasks.drain().await;
        assert_eq!(
            updraft_telemetry::strays(dir.path(), &HashSet::new()).expect("listed"),
            [] as [std::path::PathBuf; 0]
        );
    }
}
