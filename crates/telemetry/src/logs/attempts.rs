//! The way of entries about scheduled jobs onto the disk: like that of the audit log, and nobody waits for it.

use tokio::runtime::Handle;
use updraft_model::schedule::AttemptEntry;

use super::LogStore;
use crate::attempts;

// === impl LogStore ===

impl LogStore {
    /// Takes an entry about a scheduled job; it is written down soon after. What the disk refuses is counted as lines are.
    pub fn attempt(&self, entry: AttemptEntry) {
        let store = self.clone();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || store.keep_attempt(&entry))),
            Err(_) => store.keep_attempt(&entry),
        }
    }

    fn keep_attempt(&self, entry: &AttemptEntry) {
        self.inner.lines.get_or_create(&[("source", "scheduler")]).inc();
        let mut writing = self.disk();
        writing.sequence += 1;
        let line = attempts::line(entry, writing.sequence, self.inner.clock.now());
        let result = writing.disk.append(&attempts::shelf(entry), entry.time, &line);
        self.note(&mut writing.health, result, 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        time::{Duration, SystemTime},
    };

    use serde_json::{Value, json};
    use updraft_base::Clock;
    use updraft_model::{
        name::Parent,
        schedule::{AttemptEnd, AttemptEvent, ScheduledJobName},
    };

    use super::*;
    use crate::{LogConfig, Metrics, Order, Search, filter::Filter};

    fn entry(seconds: u64, event: AttemptEvent) -> AttemptEntry {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let name = ScheduledJobName::new(Parent::new("demo-project", "us-central1"), "nightly");
        AttemptEntry { time: at(seconds), name, url: "https://example.com/".to_owned(), due: at(60), event }
    }

    async fn found(store: &LogStore, project: &str, filter: &str) -> Vec<Value> {
        let search = Search {
            projects: vec![project.to_owned()],
            private: Vec::new(),
            filter: Filter::parse(filter).expect("sound"),
            since: None,
            order: Order::OldestFirst,
            limit: 10,
            after: None,
        };
        store.search(search).await.entries
    }

    #[test]
    fn attempts_are_told_as_cloud_scheduler_tells_them_and_outlive_services_that_are_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (clock, _hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let mut metrics = Metrics::new(&clock);
        let store = LogStore::open(dir.path(), LogConfig::default(), &mut metrics, clock).expect("opened");
        // Without a runtime it is written at once.
        store.attempt(entry(61, AttemptEvent::Started { dropped: 0 }));
        let end = AttemptEnd { code: 14, message: "The target answered 503.".to_owned(), status: Some(503) };
        store.attempt(entry(62, AttemptEvent::Finished(end)));
        store.attempt(entry(63, AttemptEvent::Started { dropped: 7 }));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            store.keep(HashSet::new()).await.expect("kept");
            let all = found(&store, "demo-project", "resource.type=\"cloud_scheduler_job\"").await;
            let [started, finished, late] = &all[..] else { panic!("{all:#?}") };
            assert_eq!(started["logName"], "projects/demo-project/logs/cloudscheduler.googleapis.com%2Fexecutions");
            assert_eq!((&started["severity"], &finished["severity"]), (&json!("INFO"), &json!("ERROR")));
            assert_eq!(
                started["jsonPayload"],
                json!({
                    "@type": "type.googleapis.com/google.cloud.scheduler.logging.AttemptStarted",
                    "jobName": "projects/demo-project/locations/us-central1/jobs/nightly",
                    "targetType": "HTTP",
                    "url": "https://example.com/",
                    "scheduledTime": "1970-01-01T00:01:00Z",
                })
            );
            assert_eq!(finished["httpRequest"], json!({"status": 503}));
            assert_eq!(finished["jsonPayload"]["status"], "UNAVAILABLE");
            assert_eq!(finished["jsonPayload"]["debugInfo"], "The target answered 503.");
            assert_eq!(late["jsonPayload"]["droppedTimes"], 7);
            let one = "resource.labels.job_id=\"nightly\" severity=ERROR";
            assert_eq!(found(&store, "demo-project", one).await.len(), 1);
            assert_eq!(found(&store, "other-project", "").await.len(), 0);
        });
    }
}
