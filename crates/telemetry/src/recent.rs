//! The newest entries of all services, in memory, and those who listen for more.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::broadcast;
use updraft_model::name::ServiceName;

use crate::entry::LogEntry;

/// The end of all logs: every entry since some moment is here.
#[derive(Debug)]
pub(crate) struct Recent {
    entries: VecDeque<Kept>,
    bytes: usize,
    bytes_max: usize,
    followers: HashMap<ServiceName, broadcast::Sender<Arc<LogEntry>>>,
}

#[derive(Debug)]
struct Kept {
    service: ServiceName,
    entry: Arc<LogEntry>,
    bytes: usize,
}

/// How many entries a follower may be behind before it loses some.
const FOLLOWER_BUFFER: usize = 1024;

// === impl Recent ===

impl Recent {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, followers: HashMap::new() }
    }

    /// Adds an entry that takes about `bytes`, and tells the followers.
    pub(crate) fn push(&mut self, service: &ServiceName, entry: LogEntry, bytes: usize) {
        let entry = Arc::new(entry);
        if let Some(followers) = self.followers.get(service)
            && followers.send(entry.clone()).is_err()
        {
            self.followers.remove(service);
        }
        self.bytes += bytes;
        self.entries.push_back(Kept { service: service.clone(), entry, bytes });
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
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
        let own = self.entries.iter().rev().filter(|kept| kept.service == *service && matches(&kept.entry));
        let found: Vec<LogEntry> = own.take(limit).map(|kept| LogEntry::clone(&kept.entry)).collect();
        (found.len() == limit).then_some(found)
    }

    pub(crate) fn follow(&mut self, service: &ServiceName) -> broadcast::Receiver<Arc<LogEntry>> {
        self.followers.retain(|_, sender| sender.receiver_count() > 0);
        let sender = self.followers.entry(service.clone()).or_insert_with(|| broadcast::channel(FOLLOWER_BUFFER).0);
        sender.subscribe()
    }

    pub(crate) fn remove(&mut self, service: &ServiceName) {
        self.entries.retain(|kept| kept.service != *service);
        self.bytes = self.entries.iter().map(|kept| kept.bytes).sum();
    }
}
