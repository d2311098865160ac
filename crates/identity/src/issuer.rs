//! An issuer elsewhere and its keys, fetched and kept fresh.
//!
//! One task fetches ([`Issuer::keep_fresh`]); whoever verifies looks at what is there, and wakes the task when a token names
//! a key that is not. Source: OpenID Connect Discovery 1.0, sections 4 and 7.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;
use updraft_base::{Backoff, Clock};
use updraft_outbound::{Client, Document, FetchError, Request};

use crate::{
    TokenError, Verified,
    jwt::Claims,
    oidc::{ExternalIssuer, OidcError, OidcSettings},
};

/// What a document may be, in bytes; they have some kilobytes.
const DOCUMENT_MAX: usize = 256 << 10;
/// How long keys are kept, whatever the issuer says, at least and at most.
const AGE_MIN: Duration = Duration::from_secs(300);
const AGE_MAX: Duration = Duration::from_secs(3600);
/// Unknown keys make us ask at most so often: anybody can name one.
const PAUSE: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// An issuer of ID tokens that is trusted about who people are.
#[derive(Debug)]
pub struct Issuer {
    settings: OidcSettings,
    keys: RwLock<Option<Arc<ExternalIssuer>>>,
    /// Told when a token names a key that is not here.
    wanted: Notify,
    clock: Clock,
}

/// Why its keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keys(#[from] OidcError),
    /// Somebody answers there who is somebody else (section 4.3).
    #[error("the document there is of the issuer '{0}'")]
    Other(String),
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

// === impl Issuer ===

impl Issuer {
    /// An issuer whose keys are not known yet.
    pub fn new(settings: OidcSettings, clock: Clock) -> Arc<Self> {
        Arc::new(Self { settings, keys: RwLock::default(), wanted: Notify::new(), clock })
    }

    /// Its URL, as its tokens have it.
    pub fn url(&self) -> &str {
        &self.settings.issuer
    }

    /// Does a token with these claims say that it is one of its, and for us? Nothing of it is proved.
    pub(crate) fn is_claimed_by(&self, claims: &Claims) -> bool {
        let ours = |audience: &&str| self.settings.audiences.iter().any(|own| own == audience);
        claims.text("iss").is_ok_and(|issuer| issuer == self.settings.issuer)
            && claims.audiences().is_some_and(|named| named.iter().any(ours))
    }

    /// Whose ID token this is.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks.
    pub fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(keys) = keys else { return Err(TokenError::NoKeys(self.settings.issuer.clone())) };
        let verified = keys.verify(token, self.clock.now());
        if let Err(TokenError::UnknownKey(_)) = &verified {
            self.wanted.notify_one();
        }
        verified
    }

    /// Fetches the keys, now and whenever they are too old or one is missing; never ends. Keys that are here stay while
    /// others cannot be had: that an issuer is away is no reason to keep its users out.
    pub async fn keep_fresh(self: Arc<Self>, client: Client) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        loop {
            let asked = self.clock.instant();
            let next = match self.fetch(&client).await {
                Ok(age) => {
                    backoff.reset();
                    age.unwrap_or(AGE_MAX).clamp(AGE_MIN, AGE_MAX)
                }
                Err(error) => {
                    let delay = backoff.next_delay();
                    tracing::warn!(issuer = self.settings.issuer, %error, ?delay, "no keys of the issuer");
                    delay
                }
            };
            let _ = self.clock.timeout(next, self.missed(asked)).await;
        }
    }

    /// Ends when a key is missing, but not at once after `asked`.
    async fn missed(&self, asked: Instant) {
        self.wanted.notified().await;
        self.clock.sleep_until(asked + PAUSE).await;
    }

    /// Fetches the keys; says how long they may be kept.
    async fn fetch(&self, client: &Client) -> Result<Option<Duration>, Fault> {
        let at = format!("{}/.well-known/openid-configuration", self.settings.issuer.trim_end_matches('/'));
        let Document { value: found, peer, .. } = client.get_json::<Discovered>(Request::get(at), DOCUMENT_MAX).await?;
        if found.issuer != self.settings.issuer {
            return Err(Fault::Other(found.issuer));
        }
        let keys = client.get_json::<Value>(Request::get(found.jwks_uri).sent_by(&peer), DOCUMENT_MAX).await?;
        let fresh = ExternalIssuer::new(self.settings.clone(), &keys.value.to_string())?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(fresh));
        tracing::debug!(issuer = self.settings.issuer, "has the keys of the issuer");
        Ok(keys.max_age)
    }
}
