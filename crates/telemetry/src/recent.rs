//! The newest entries of all services, in memory, and those who listen for more.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::broadcast;
use updraft_model::name::ServiceName;

use crate::{disk, entry::LogEntry};

/// The end of all logs: every entry since some moment is here, as it is on disk. Most are never read again, so they are
/// not taken apart before somebody asks.
#[derive(Debug)]
pub(crate) struct Recent {
    batches: VecDeque<Batch>,
    bytes: usize,
    bytes_max: usize,
    followers: HashMap<ServiceName, broadcast::Sender<Arc<LogEntry>>>,
}

/// What was written for one service in one go.
#[derive(Debug)]
struct Batch {
    service: ServiceName,
    lines: Box<[u8]>,
}

/// How many entries a follower may be behind before it loses some.
const FOLLOWER_BUFFER: usize = 1024;

// === impl Recent ===

impl Recent {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max, followers: HashMap::new() }
    }

    /// Adds the lines of entries, and tells the followers.
    pub(crate) fn push(&mut self, service: ServiceName, lines: Vec<u8>) {
        if let Some(followers) = self.followers.get(&service) {
            let is_followed = disk::entries(&lines).all(|entry| followers.send(Arc::new(entry)).is_ok());
            if !is_followed {
                self.followers.remove(&service);
            }
        }
        self.bytes += lines.len();
        self.batches.push_back(Batch { service, lines: lines.into_boxed_slice() });
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.bytes -= oldest.lines.len();
        }
    }

    /// The newest `limit` entries of a service that `matches`, newest first; `None` when there may
    /// be more of them on disk.
    pub(crate) fn newest(
        &self,
        service: &ServiceName,
        limit: usize,
        matches: impl Fn(&LogEntry) -> bool,
    ) -> Option<Vec<LogEntry>> {
        let own = self.batches.iter().rev().filter(|batch| batch.service == *service);
        let entries = own.flat_map(|batch| disk::entries(&batch.lines).rev()).filter(matches);
        let found: Vec<LogEntry> = entries.take(limit).collect();
        (found.len() == limit).then_some(found)
    }

    pub(crate) fn follow(&mut self, service: &ServiceName) -> broadcast::Receiver<Arc<LogEntry>> {
        self.followers.retain(|_, sender| sender.receiver_count() > 0);
        let sender = self.followers.entry(service.clone()).or_insert_with(|| broadcast::channel(FOLLOWER_BUFFER).0);
        sender.subscribe()
    }

    pub(crate) fn remove(&mut self, service: &ServiceName) {
        self.batches.retain(|batch| batch.service != *service);
        self.bytes = self.batches.iter().map(|batch| batch.lines.len()).sum();
    }
}
