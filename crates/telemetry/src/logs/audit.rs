//! The audit log's way onto the disk: no queue, and nothing that could overflow.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::runtime::Handle;
use updraft_model::audit::AuditRecord;

use super::{LogStore, blocking};
use crate::audit;

/// Records that were not written because there were too many like them.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    count: Counter,
    /// Has somebody been told? Once: whoever floods the log with refusals must not flood this one instead.
    is_told: AtomicBool,
}

// === impl Withheld ===

impl Withheld {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let withheld = Self::default();
        let help = "Audit records of refused calls that were not written, because their caller had too many of them";
        registry.register("updraft_audit_records_withheld", help, withheld.count.clone());
        withheld
    }
}

// === impl LogStore ===

impl LogStore {
    /// Writes a record down. Once this returns, killing the process does not lose it; what the disk refuses is counted as
    /// lines are. Whoever answers a call waits for it, so that no change is acknowledged that is not on record.
    pub async fn audit(&self, record: AuditRecord) {
        let store = self.clone();
        if blocking(move || store.enter(&record)).await.is_none() {
            tracing::warn!("the server ends: an audit record is not written");
        }
    }

    /// The same for whoever cannot wait.
    pub fn audit_unattended(&self, record: AuditRecord) {
        let store = self.clone();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || store.enter(&record))),
            Err(_) => store.enter(&record),
        }
    }

    /// Counts a record that is not written.
    pub fn withhold_audit(&self) {
        let withheld = &self.inner.withheld;
        withheld.count.inc();
        if !withheld.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("too many calls are refused: not all of them are in the audit log, the rest is counted");
        }
    }

    fn enter(&self, record: &AuditRecord) {
        self.inner.lines.get_or_create(&[("source", "audit")]).inc();
        let mut writing = self.disk();
        writing.sequence += 1;
        let line = audit::line(record, writing.sequence, self.inner.clock.now());
        let result = writing.disk.append(&audit::shelf(record), record.time, &line);
        self.note(&mut writing.health, result, 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        time::{Duration, SystemTime},
    };

    use tempfile::TempDir;
    use updraft_base::Clock;
    use updraft_model::{
        audit::{AccessCheck, AuditLog},
        name::Parent,
    };

    use super::*;
    use crate::{LogConfig, Metrics, Order, Search, filter::Filter};

    fn open(dir: &TempDir, config: LogConfig) -> (LogStore, Metrics) {
        let (clock, _hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let mut metrics = Metrics::new(&clock);
        let store = LogStore::open(dir.path(), config, &mut metrics, clock).expect("opened");
        (store, metrics)
    }

    fn check(is_granted: bool) -> AccessCheck {
        AccessCheck {
            permission: "run.services.create".to_owned(),
            resource: "projects/demo-project".to_owned(),
            is_granted,
            project: Some("demo-project".to_owned()),
        }
    }

    fn record(log: AuditLog, method: &str) -> AuditRecord {
        AuditRecord {
            time: SystemTime::UNIX_EPOCH,
            project: "demo-project".to_owned(),
            log,
            service: "run.googleapis.com",
            method: method.to_owned(),
            resource: "projects/demo-project/locations/l/services/hello".to_owned(),
            principal: None,
            checks: vec![check(true)],
            caller: None,
            user_agent: None,
            deltas: Vec::new(),
            failure: None,
        }
    }

    async fn found(store: &LogStore, private: &[&str], filter: &str) -> Vec<String> {
        let search = Search {
            projects: vec!["demo-project".to_owned()],
            private: private.iter().map(|&project| project.to_owned()).collect(),
            filter: Filter::parse(filter).expect("sound"),
            since: None,
            order: Order::OldestFirst,
            limit: 1000,
            after: None,
        };
        let entries = store.search(search).await.entries;
        entries.iter().map(|entry| entry["protoPayload"]["methodName"].as_str().expect("a name").to_owned()).collect()
    }

    #[tokio::test]
    async fn records_outlive_the_services_that_they_are_about_and_the_process() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _metrics) = open(&dir, LogConfig::default());
        store.audit(record(AuditLog::Activity, "create")).await;
        store.remove(&Parent::new("demo-project", "l").service("hello")).await.expect("removed");
        assert_eq!(store.keep(HashSet::new()).await.expect("kept"), 0, "they are no strays");
        store.audit(record(AuditLog::Activity, "delete")).await;
        drop(store);
        let (store, _metrics) = open(&dir, LogConfig::default());
        for filter in [
            "",
            "logName=\"projects/demo-project/logs/cloudaudit.googleapis.com%2Factivity\"",
            "resource.labels.service_name=hello AND resource.labels.location=l",
            "protoPayload.serviceName=\"run.googleapis.com\" severity=NOTICE",
        ] {
            assert_eq!(found(&store, &[], filter).await, ["create", "delete"], "{filter}");
        }
        assert_eq!(found(&store, &[], "protoPayload.methodName=create").await, ["create"]);
        assert_eq!(found(&store, &[], "resource.labels.service_name=other").await, [] as [&str; 0]);
    }

    #[tokio::test]
    async fn what_was_read_is_seen_only_where_the_search_may() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _metrics) = open(&dir, LogConfig::default());
        store.audit(record(AuditLog::DataAccess, "access")).await;
        assert_eq!(found(&store, &[], "").await, [] as [&str; 0]);
        assert_eq!(found(&store, &["other-project"], "").await, [] as [&str; 0]);
        assert_eq!(found(&store, &["demo-project"], "").await, ["access"]);
    }

    #[tokio::test]
    async fn each_audit_log_has_room_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = LogConfig { segment_bytes: 2000, audit_bytes: 8000, ..LogConfig::default() };
        let (store, _metrics) = open(&dir, config);
        store.audit(record(AuditLog::Activity, "first")).await;
        for number in 0..100 {
            store.audit(record(AuditLog::DataAccess, &number.to_string())).await;
        }
        assert_eq!(found(&store, &[], "").await, ["first"], "what is read does not crowd out what is changed");
        let kept = found(&store, &["demo-project"], "protoPayload.methodName!=first").await;
        assert!((5..30).contains(&kept.len()) && kept.last().is_some_and(|last| last == "99"), "{kept:?}");
    }

    #[tokio::test]
    async fn who_may_nothing_cannot_push_out_what_was_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = LogConfig { segment_bytes: 2000, audit_bytes: 8000, ..LogConfig::default() };
        let (store, _metrics) = open(&dir, config);
        for log in AuditLog::ALL {
            store.audit(record(log, "granted")).await;
        }
        for (method, checks) in [("refused", vec![check(true), check(false)]), ("unread", Vec::new())] {
            for log in [AuditLog::Activity, AuditLog::DataAccess].repeat(50) {
                let failure = Some((7, "no".to_owned()));
                store.audit(AuditRecord { failure, checks: checks.clone(), ..record(log, method) }).await;
            }
        }
        assert_eq!(found(&store, &["demo-project"], "protoPayload.methodName=granted").await.len(), 2);
        let all = found(&store, &[], "logName:activity").await;
        assert_eq!(all.first().map(String::as_str), Some("granted"));
        let refused = all.iter().filter(|method| *method == "unread").count();
        assert!((5..30).contains(&refused), "they have a bound, too: {all:?}");
    }

    #[tokio::test]
    async fn records_have_an_age_of_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _metrics) = open(&dir, LogConfig::default());
        store.audit(record(AuditLog::Activity, "create")).await;
        drop(store);
        for (days, kept) in [(399, 1), (401, 0)] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 3600);
            let (clock, _hand) = Clock::stopped_at(now);
            let store = LogStore::open(dir.path(), LogConfig::default(), &mut Metrics::new(&clock), clock);
            let store = store.expect("opened");
            assert_eq!(found(&store, &[], "").await.len(), kept, "after {days} days");
            store.expire();
            let files = store.freeze(tempfile::tempdir_in(dir.path()).expect("a directory").path()).await;
            assert_eq!(files.expect("listed").len(), kept, "after {days} days");
        }
    }

    #[tokio::test]
    async fn what_is_withheld_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, metrics) = open(&dir, LogConfig::default());
        store.withhold_audit();
        store.withhold_audit();
        store.audit_unattended(record(AuditLog::Activity, "cut off"));
        let shown = metrics.encode();
        assert!(shown.contains("updraft_audit_records_withheld_total 2"), "{shown}");
    }
}
