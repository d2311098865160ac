//! Tokens, kept until shortly before they expire.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Semaphore;
use updraft_base::Clock;
use updraft_identity::{CLOUD_PLATFORM, EmailClaim, IdentityError, LIFETIME, Minted, Tokens};
use updraft_model::{
    account::{AccountBook, Standing, default_email, default_unique_id},
    channel::Workload,
    iam::Account,
    instance::InstanceId,
};
use updraft_plan::rate::{Bucket, Rate};

use crate::{
    answer::Refusal,
    ask::{Ask, shown},
};

/// A token that is valid for less is not given out any more. Google's libraries ask again 3:45 before the end, and
/// must get another one then.
const RESERVE: Duration = Duration::from_secs(300);
/// Tokens of one account that are kept; what was asked for first goes first.
const KEPT: usize = 64;
/// Tokens that are signed at once, each by a thread of its own.
const SIGNERS: usize = 2;
/// New tokens for one instance: libraries ask for one an hour and audience. Each costs a millisecond of CPU, which is the
/// platform's and not the instance's.
const RATE: Rate = Rate { burst: 60, interval: Duration::from_millis(200) };
/// The longest list of scopes, and the longest audience, in bytes.
const TEXT_MAX: usize = 2048;

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// An access token with these scopes, separated by spaces.
    Access(String),
    /// An ID token for this audience.
    Identity(String, Format),
}

/// How much an ID token tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// Who, by unique id.
    Standard,
    /// The address as well.
    Full,
}

/// Makes tokens and keeps them.
pub(crate) struct Mint {
    tokens: Tokens,
    clock: Clock,
    signers: Semaphore,
    /// By unique id of the account; the oldest first.
    kept: Mutex<HashMap<String, Vec<(Want, Minted)>>>,
    /// Instances that had new tokens lately.
    buckets: Mutex<HashMap<InstanceId, Bucket>>,
}

// === impl Want ===

impl Want {
    /// The access token that is asked for.
    pub(crate) fn access(ask: &Ask) -> Result<Self, Refusal> {
        let listed = ask.parameter("scopes").unwrap_or_default();
        let scopes: Vec<&str> = listed.split([',', ' ']).filter(|scope| !scope.is_empty()).collect();
        if scopes.is_empty() {
            return Ok(Self::Access(CLOUD_PLATFORM.to_owned()));
        }
        // RFC 6749, section 3.3.
        let is_scope = |scope: &&str| scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if let Some(wrong) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(Refusal::Invalid(format!("'{}' is not a scope", shown(wrong))));
        }
        bounded("scopes", scopes.join(" ")).map(Self::Access)
    }

    /// The ID token that is asked for.
    pub(crate) fn identity(ask: &Ask) -> Result<Self, Refusal> {
        let audience = ask.parameter("audience").unwrap_or_default();
        if audience.is_empty() {
            return Err(Refusal::Invalid("non-empty audience parameter required".to_owned()));
        }
        if audience.chars().any(char::is_control) {
            return Err(Refusal::Invalid("audience must not have control characters".to_owned()));
        }
        let format = match ask.parameter("format") {
            None | Some("" | "standard") => Format::Standard,
            Some("full") => Format::Full,
            Some(other) => {
                let other = shown(other);
                return Err(Refusal::Invalid(format!("format must be 'standard' or 'full', not '{other}'")));
            }
        };
        Ok(Self::Identity(bounded("audience", audience.to_owned())?, format))
    }
}

fn bounded(name: &str, text: String) -> Result<String, Refusal> {
    match text.len() {
        0..=TEXT_MAX => Ok(text),
        length => Err(Refusal::Invalid(format!("{name} may have {TEXT_MAX} bytes and has {length}"))),
    }
}

/// As whom an instance acts, if that account may be used now.
pub(crate) fn account(book: &AccountBook, workload: &Workload) -> Result<Account, Refusal> {
    let email = workload.account.clone();
    let project = &workload.owner.parent().project;
    match book.find(&email) {
        Some((unique_id, entry)) => match entry.standing {
            Standing::Active => Ok(Account { email, unique_id: unique_id.to_string(), project: entry.project.clone() }),
            Standing::Disabled => Err(Refusal::AccountDisabled(email)),
            Standing::Gone => Err(Refusal::NoAccount(email)),
        },
        // That of the project is there before anything is written down of it.
        None if email == default_email(project) => {
            Ok(Account { email, unique_id: default_unique_id(project), project: project.clone() })
        }
        None => Err(Refusal::NoAccount(email)),
    }
}

// === impl Mint ===

impl Mint {
    pub(crate) fn new(tokens: Tokens, clock: Clock) -> Self {
        let (kept, buckets) = (Mutex::default(), Mutex::default());
        Self { tokens, clock, signers: Semaphore::new(SIGNERS), kept, buckets }
    }

    /// A token of `account` for the instance `id`, and how many seconds it is valid.
    pub(crate) async fn token(&self, id: &InstanceId, account: Account, want: Want) -> Result<(String, u64), Refusal> {
        let found = self.find(&account.unique_id, &want);
        let minted = match found {
            Some(minted) => minted,
            None => {
                self.admit(id)?;
                self.make(account, want).await?
            }
        };
        let left = minted.expires.duration_since(self.clock.now()).unwrap_or_default();
        Ok((minted.token, left.as_secs()))
    }

    fn find(&self, unique_id: &str, want: &Want) -> Option<Minted> {
        let until = self.clock.now() + RESERVE;
        let kept = self.kept();
        let (_, minted) = kept.get(unique_id)?.iter().find(|(kind, minted)| kind == want && minted.expires > until)?;
        Some(minted.clone())
    }

    fn admit(&self, id: &InstanceId) -> Result<(), Refusal> {
        let now = self.clock.instant();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // A full one is as good as none, and instances come and go.
        buckets.retain(|_, bucket| !bucket.is_full(now));
        take(&mut buckets, id, now).map_err(|wait| Refusal::TooMany(wait.as_secs() + 1))
    }

    /// Signing takes a millisecond, and tens of them when a key has to be made: not for the threads that serve others.
    async fn make(&self, account: Account, want: Want) -> Result<Minted, Refusal> {
        let Ok(_turn) = self.signers.acquire().await else { return Err(Refusal::Internal) };
        let (tokens, unique_id, kind) = (self.tokens.clone(), account.unique_id.clone(), want.clone());
        let signed = tokio::task::spawn_blocking(move || sign(&tokens, &account, &kind)).await;
        let minted = match signed {
            Ok(Ok(minted)) => minted,
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a token for an instance could not be made");
                return Err(Refusal::Internal);
            }
            Err(error) => {
                tracing::error!(%error, "a token for an instance could not be made");
                return Err(Refusal::Internal);
            }
        };
        self.keep(unique_id, want, minted.clone());
        Ok(minted)
    }

    fn keep(&self, unique_id: String, want: Want, minted: Minted) {
        let now = self.clock.now();
        let mut kept = self.kept();
        let is_worth_it = |expires: SystemTime| expires > now + RESERVE;
        kept.retain(|_, tokens| {
            tokens.retain(|(_, minted)| is_worth_it(minted.expires));
            !tokens.is_empty()
        });
        let tokens = kept.entry(unique_id).or_default();
        tokens.retain(|(kind, _)| *kind != want);
        if tokens.len() == KEPT {
            tokens.remove(0);
        }
        tokens.push((want, minted));
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Vec<(Want, Minted)>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(buckets: &mut HashMap<InstanceId, Bucket>, id: &InstanceId, now: Instant) -> Result<(), Duration> {
    let bucket = buckets.get(id).copied().unwrap_or_else(|| Bucket::new(now));
    buckets.insert(id.clone(), bucket.take(RATE, now)?);
    Ok(())
}

fn sign(tokens: &Tokens, account: &Account, want: &Want) -> Result<Minted, IdentityError> {
    match want {
        Want::Access(scopes) => tokens.access_token(account, scopes, LIFETIME),
        Want::Identity(audience, Format::Standard) => tokens.id_token(account, audience, EmailClaim::Hidden),
        Want::Identity(audience, Format::Full) => tokens.id_token(account, audience, EmailClaim::Told),
    }
}
