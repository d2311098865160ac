//! What containers wrote: opened without what nobody needs, removed with its service.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_engine::Adopted;
use updraft_model::{
    ServiceName,
    channel::{LogLine, RequestRecord},
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

/// How many services are in memory at a time when all are looked at.
const PAGE: usize = 500;

/// Writes down what comes in, until nobody is left who could send anything.
pub(super) fn keep(logs: &LogStore, inbox: Inbox, store: &Arc<dyn Store>, (tasks, clock): (&Tasks, &Clock)) {
    tasks.spawn("log writer", OnFailure::Stop, logs.clone().run(inbox.lines));
    tasks.spawn("request log writer", OnFailure::Stop, logs.clone().run_requests(inbox.requests));
    let remover = remove(logs.clone(), store.clone(), clock.clone(), inbox.deleted);
    tasks.spawn("log remover", OnFailure::Log, remover);
}

/// What a service wrote goes with it: at once, and once more when its instances, which may write to their last moment,
/// are gone. Ends with the control plane, which has the other end of the channel.
async fn remove(logs: LogStore, store: Arc<dyn Store>, clock: Clock, mut deleted: mpsc::Receiver<ServiceName>) {
    let mut again: VecDeque<(Instant, ServiceName)> = VecDeque::new();
    loop {
        let due = again.front().map(|(due, _)| due.saturating_duration_since(clock.instant()));
        let service = tokio::select! {
            service = deleted.recv() => match service {
                Some(service) => {
                    again.push_back((clock.instant() + LAST_WORDS, service.clone()));
                    service
                }
                // What is left to be done the next start does.
                None => return,
            },
            () = clock.sleep(due.unwrap_or_default()), if due.is_some() => {
                let Some((_, service)) = again.pop_front() else { continue };
                let key = Key::new(Kind::Service, service.parent.clone(), &service.service);
                // One of the same name may have been made since; its log is its own.
                match store.get(&key).await {
                    Ok(None) => service,
                    _ => continue,
                }
            }
        };
        if let Err(error) = logs.remove(&service).await {
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
    let (mut names, mut last) = (HashSet::new(), None);
    loop {
        let page = store.scan(Kind::Service, last.as_ref(), PAGE).await?;
        names.extend(page.iter().map(|service| service.key.parent.service(&service.key.name)));
        let Some(service) = page.into_iter().next_back() else { break };
        last = Some(service.key);
    }
    // What they write on until they are ended would be a log of nothing.
    let orphans =
        adopted.iter().map(|instance| &instance.revision).filter(|revision| !names.contains(&revision.service));
    orphans.for_each(|revision| logs.disregard(revision.clone()));
    let gone = logs.keep(names).await?;
    if gone > 0 {
        tracing::info!(gone, "logs of services that were deleted are removed");
    }
    Ok(logs)
}

/// Segments small enough that what is removed at a time is a part of the whole.
fn settings(config: &Config) -> LogConfig {
    let default = LogConfig::default();
    let segment_bytes = default.segment_bytes.min(config.log_max_size / 4);
    LogConfig { segment_bytes, service_bytes: config.log_max_size, retention: config.log_retention, ..default }
}
