//! What came of attempts of scheduled jobs, written down on behalf of the platform.

use updraft_model::{Error, schedule::AttemptReport};
use updraft_store::{Change, Key};

use super::PLATFORM;
use crate::{
    Control, Inner,
    scheduler::{ATTEMPTS, Found, job_key},
};

// === impl Control ===

impl Control {
    /// Writes down what came of an attempt. Only when this succeeds has the job come so far: whoever is killed before makes
    /// the attempt again. Of a job that is gone nothing is kept.
    ///
    /// # Errors
    /// When it cannot be written now.
    pub async fn scheduled_job_attempted(&self, report: &AttemptReport) -> Result<(), Error> {
        let (inner, key) = (&*self.inner, job_key(&report.name));
        for _ in 0..ATTEMPTS {
            let Some(envelope) = inner.get(&PLATFORM, &key).await?.filter(|there| there.uid == report.uid) else {
                // Who deletes it may not have come to publishing that, and it would be requested again meanwhile.
                return inner.schedules.publish(inner.store.open(&PLATFORM), &key).await;
            };
            let found = Found::of(envelope)?;
            let record = found.record.clone().after(report);
            let change = Change::Put(Box::new(found.with(&record)));
            if inner.committed(&PLATFORM, vec![change]).await?.is_some() {
                return inner.schedules.publish(inner.store.open(&PLATFORM), &key).await;
            }
        }
        Err(Error::new(updraft_model::ErrorKind::Aborted, format!("{} is being changed all the time", report.name)))
    }
}

// === impl Inner ===

impl Inner {
    /// Publishes a job that was changed. The call that changed it does the same before it answers, unless its client left.
    pub(super) async fn publish_scheduled_job(&self, key: &Key) {
        if let Err(error) = self.schedules.publish(self.store.open(&PLATFORM), key).await {
            tracing::error!(%error, cause = error.cause(), %key, "scheduled job could not be read");
        }
    }

    /// Publishes all of them, when changes were missed.
    pub(super) async fn publish_scheduled_jobs(&self) {
        if let Err(error) = self.schedules.reload(self.store.open(&PLATFORM)).await {
            tracing::error!(%error, cause = error.cause(), "scheduled jobs could not be read");
        }
    }
}
