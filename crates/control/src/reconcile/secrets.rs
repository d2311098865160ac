//! What becomes of secrets by themselves: their end, the end of versions, and values under older keys.

use std::time::{Duration, SystemTime};

use updraft_base::Backoff;
use updraft_model::{
    Error, Parent,
    secret::{SecretName, State, is_expired},
};
use updraft_store::{Envelope, Kind};

use super::PLATFORM;
use crate::{
    Inner,
    failure::of_store,
    record,
    secrets::{Found, VersionRecord},
};

/// How often it is looked for what is over. Nobody can read it from its moment on, whenever that is.
const SWEEP: Duration = Duration::from_secs(60);
/// How many are read together.
const PAGE: usize = 100;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(600);

// === impl Inner ===

impl Inner {
    /// Goes on with a change of keys that was cut off, and removes what is over, for ever.
    pub(super) async fn tend_secrets(&self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut is_resealed = false;
        loop {
            if let Err(error) = self.sweep_secrets().await {
                tracing::error!(%error, cause = error.cause(), "secrets whose time is over could not be removed");
            }
            let mut wait = SWEEP;
            if !is_resealed {
                match self.reseal(&PLATFORM).await {
                    Ok(0) => is_resealed = true,
                    Ok(resealed) => {
                        tracing::info!(resealed, "values of secrets that had older keys have the current one");
                        is_resealed = true;
                    }
                    Err(error) => {
                        tracing::error!(%error, cause = error.cause(), "values of secrets could not be sealed anew");
                        wait = backoff.next_delay();
                    }
                }
            }
            self.clock.sleep(wait).await;
        }
    }

    async fn sweep_secrets(&self) -> Result<(), Error> {
        let now = self.clock.now();
        for kind in [Kind::Secret, Kind::SecretVersion] {
            let mut last = None;
            loop {
                let page = self.store.open(&PLATFORM).scan(kind, last.as_ref(), PAGE).await.map_err(of_store)?;
                let Some(end) = page.last().map(|envelope| envelope.key.clone()) else { break };
                last = Some(end);
                for envelope in page {
                    let key = envelope.key.clone();
                    let swept = match kind {
                        Kind::Secret => self.sweep_secret(envelope, now).await,
                        _ => self.sweep_version(envelope, now).await,
                    };
                    // One that cannot be read is no reason to keep the others.
                    if let Err(error) = swept {
                        tracing::error!(%error, cause = error.cause(), %key, "secret could not be looked at");
                    }
                }
            }
        }
        Ok(())
    }

    async fn sweep_secret(&self, envelope: Envelope, now: SystemTime) -> Result<(), Error> {
        let found = Found::of(envelope)?;
        if is_expired(found.expires(now)?, now) && self.removed(&PLATFORM, &found).await?.is_some() {
            tracing::info!(secret = %found.name, "a secret whose time was over is removed");
        }
        Ok(())
    }

    async fn sweep_version(&self, envelope: Envelope, now: SystemTime) -> Result<(), Error> {
        let stored = record::read::<VersionRecord>(&envelope)?.version();
        let version = stored.at(now);
        if version.state == State::Destroyed && stored.state != State::Destroyed {
            let Parent { project, location } = &envelope.key.parent;
            let name = SecretName { parent: Parent::new(project, location), secret: envelope.owner.clone() };
            // Whoever was faster has enabled it, or destroyed it: either is told by the next sweep.
            self.write_version(&PLATFORM, (&name, envelope), version).await?;
        }
        Ok(())
    }
}
