//! The installation's own tokens: access tokens and ID tokens of service accounts, what they sign themselves, and the
//! keys that others verify all that with.
//!
//! Both kinds of token are JWTs signed with RS256 by a key of the installation, told apart by their type (RFC 9068 for
//! access tokens), so that neither passes for the other. An access token says who, not what they may; whether its
//! account is still there and may be used is looked up in the [`AccountBook`] at each use, in memory.
//!
//! What an account signs by `signJwt` and `signBlob` is signed with a key of that account: its payload is the caller's,
//! and under a key of the installation it could be any token.
//!
//! Whatever signs or lists keys may make one, which blocks for a moment ([`Tokens`] says which).

mod assertion;
mod keyring;
mod plan;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{TryRngCore, rngs::OsRng};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use updraft_base::Clock;
use updraft_model::{
    account::{AccountBook, Standing},
    iam::{Account, Principal},
};

use crate::{
    IdentityError, Purpose, durable,
    jwt::{self, Rules, TokenError, Unverified, seconds},
    key::PublicKey,
};

pub use assertion::{API_HOSTS, Asserter, Assertion, GOOGLE_AUDIENCES};
use keyring::Keyring;

/// How long a token is valid unless another time is asked for.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// The longest that any token of ours can be valid: Google's bound where an organisation allows it.
pub const LIFETIME_MAX: Duration = Duration::from_secs(12 * 3600);
/// How long others may keep a list of keys; less than a new key is published ahead.
pub const KEYS_MAX_AGE: Duration = Duration::from_secs(3600);
const _: () = assert!(KEYS_MAX_AGE.as_secs() < plan::AHEAD, "whoever keeps a list must know a key before it signs");

/// The scope that stands for all of the API.
pub const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The scope that stands for acting as service accounts.
const IAM: &str = "https://www.googleapis.com/auth/iam";
/// The type of an access token (RFC 9068, section 2.1).
const ACCESS: &str = "at+jwt";
/// The type of all others.
const JWT: &str = "JWT";
/// Bytes of a token's own id.
const ID_BYTES: usize = 16;

/// Mints and verifies. Clones are the same one.
///
/// `access_token`, `id_token`, `sign_*` and `keys*` may make a key and write a file: they are for threads that may block.
/// `verify_*` are not: they compute for some tens of microseconds.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    issuer: String,
    dir: PathBuf,
    ring: Keyring,
    /// The keys of accounts, opened when they were first asked for, by unique id.
    robots: Mutex<HashMap<String, Arc<Keyring>>>,
    accounts: watch::Receiver<Arc<AccountBook>>,
    clock: Clock,
}

/// Is the account's address told in an ID token? Its unique id always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailClaim {
    /// It is.
    Told,
    /// It is not.
    Hidden,
}

/// By what an ID token calls the account it was issued to, in `azp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartyClaim {
    /// Its unique id.
    UniqueId,
    /// Its address (`useEmailAzp` of IAM Service Account Credentials).
    Email,
}

/// A token that was just made. Never printed: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// The token.
    pub token: String,
    /// When it expires, in whole seconds.
    pub expires: SystemTime,
}

/// Something that an account signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed<T> {
    /// The key it was signed with, one of those that are published of the account.
    pub key_id: String,
    /// The token, or the signature.
    pub signed: T,
}

/// A key that signs for an account and is kept here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemKey {
    /// Its id.
    pub id: String,
    /// Its public half.
    pub public: PublicKey,
    /// From when on it signs.
    pub valid_after: SystemTime,
    /// Until when it is published, if the next one is made in time.
    pub valid_before: SystemTime,
}

/// Who a verified token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whom policies know: a service account of this installation, or a person known to an issuer elsewhere.
    pub who: Principal,
    /// Whom the token was meant for.
    pub audience: String,
    /// What the token may be used for; empty for ID tokens.
    pub scopes: Vec<String>,
    /// When the token expires.
    pub expires: SystemTime,
}

// === impl Tokens ===

impl Tokens {
    /// The tokens of `issuer`, a URL without a slash at its end under which clients reach this server. Keys are in
    /// `data_dir`/identity, made when they are first needed.
    ///
    /// # Errors
    /// When keys that are there cannot be read, or others can read them.
    pub fn open(
        data_dir: &std::path::Path,
        issuer: impl Into<String>,
        accounts: watch::Receiver<Arc<AccountBook>>,
        clock: Clock,
    ) -> Result<Self, IdentityError> {
        let dir = data_dir.join("identity");
        let ring = Keyring::open(dir.join("keys.json"))?;
        let issuer = issuer.into().trim_end_matches('/').to_owned();
        Ok(Self(Arc::new(Inner { issuer, dir, ring, robots: Mutex::default(), accounts, clock })))
    }

    /// Who makes these tokens.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Where keys of service accounts are exchanged for tokens.
    pub fn token_uri(&self) -> String {
        format!("{}/token", self.0.issuer)
    }

    /// An access token for `account`, with these scopes separated by spaces, valid for `lifetime`, at most
    /// [`LIFETIME_MAX`].
    ///
    /// # Errors
    /// When a key has to be made and cannot.
    pub fn access_token(&self, account: &Account, scope: &str, lifetime: Duration) -> Result<Minted, IdentityError> {
        let mut claims = self.claims(account, &self.0.issuer, lifetime);
        claims.insert("client_id".to_owned(), account.unique_id.clone().into());
        claims.insert("email".to_owned(), account.email.clone().into());
        claims.insert("project".to_owned(), account.project.clone().into());
        claims.insert("scope".to_owned(), scope.into());
        claims.insert("jti".to_owned(), random_id()?.into());
        self.minted(ACCESS, &claims)
    }

    /// An ID token for `account`, meant for `audience`, valid for [`LIFETIME`] (OpenID Connect Core, section 2).
    ///
    /// # Errors
    /// When a key has to be made and cannot.
    pub fn id_token(&self, account: &Account, audience: &str, email: EmailClaim) -> Result<Minted, IdentityError> {
        self.id_token_naming(account, audience, (email, PartyClaim::UniqueId))
    }

    /// As [`Tokens::id_token`], and it is said by what `azp` names the account.
    ///
    /// # Errors
    /// As for [`Tokens::id_token`].
    pub fn id_token_naming(
        &self,
        account: &Account,
        audience: &str,
        (email, party): (EmailClaim, PartyClaim),
    ) -> Result<Minted, IdentityError> {
        let mut claims = self.claims(account, audience, LIFETIME);
        let party = match party {
            PartyClaim::UniqueId => account.unique_id.clone(),
            PartyClaim::Email => account.email.clone(),
        };
        claims.insert("azp".to_owned(), party.into());
        if email == EmailClaim::Told {
            claims.insert("email".to_owned(), account.email.clone().into());
            claims.insert("email_verified".to_owned(), true.into());
        }
        self.minted(JWT, &claims)
    }

    /// What both kinds of token say.
    fn claims(&self, account: &Account, audience: &str, lifetime: Duration) -> Map<String, Value> {
        let now = seconds(self.0.clock.now());
        let claims: [(&str, Value); 5] = [
            ("iss", self.issuer().into()),
            ("aud", audience.into()),
            ("sub", account.unique_id.clone().into()),
            ("iat", now.into()),
            ("exp", (now + lifetime.min(LIFETIME_MAX).as_secs()).into()),
        ];
        claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn minted(&self, kind: &'static str, claims: &Map<String, Value>) -> Result<Minted, IdentityError> {
        let signer = self.0.ring.signer(self.0.clock.now())?;
        let token = jwt::sign((&signer.kid, &signer.key), kind, claims)?;
        let expires = claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
        Ok(Minted { token, expires: UNIX_EPOCH + Duration::from_secs(expires) })
    }

    /// Whose token this is: an access token of ours, or one that an account signed itself.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks.
    pub fn verify_bearer(&self, token: &str) -> Result<Verified, TokenError> {
        match Unverified::parse(token)?.kind().as_str() {
            ACCESS => self.verify_access(token),
            _ => self.verify_self_signed(token),
        }
    }

    /// Whose access token this is.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks; a token whose account is disabled or gone breaks one.
    pub fn verify_access(&self, token: &str) -> Result<Verified, TokenError> {
        let token = Unverified::parse(token)?;
        token.is_kind(ACCESS)?;
        let claims = self.proved(&token, &[&self.0.issuer])?;
        let scopes = claims.text("scope")?.split(' ').map(str::to_owned).collect();
        let (email, project) = (claims.text("email")?, claims.text("project")?);
        let subject = claims.text("sub")?;
        self.check_standing(subject, email, project)?;
        Ok(Verified {
            who: account(email, subject, project),
            audience: self.0.issuer.clone(),
            scopes,
            expires: UNIX_EPOCH + Duration::from_secs(claims.seconds("exp")?),
        })
    }

    /// Whose ID token this is, if it is one of ours and meant for one of `audiences`. The address is empty where the
    /// token does not tell it and the account is not in the book.
    ///
    /// # Errors
    /// As [`Tokens::verify_access`].
    pub fn verify_id(&self, token: &str, audiences: &[&str]) -> Result<Verified, TokenError> {
        let token = Unverified::parse(token)?;
        token.is_kind("jwt")?;
        let claims = self.proved(&token, audiences)?;
        let subject = claims.text("sub")?;
        let book = self.0.accounts.borrow().clone();
        let entry = book.entries.get(subject);
        let email = claims.text("email").ok().or_else(|| entry.map(|entry| entry.email.as_str())).unwrap_or_default();
        let project = match entry {
            Some(entry) => {
                self.check_standing(subject, &entry.email, &entry.project)?;
                entry.project.as_str()
            }
            // Only the default account of a project is not in the book, and its id says nothing of the project.
            None if updraft_model::account::unique_id_of(email) == subject => {
                let number = email.strip_suffix("-compute@developer.gserviceaccount.com");
                number.ok_or_else(|| TokenError::AccountGone(jwt::shown(subject)))?
            }
            None => return Err(TokenError::AccountGone(jwt::shown(subject))),
        };
        Ok(Verified {
            who: account(email, subject, project),
            audience: claims.text("aud")?.to_owned(),
            scopes: Vec::new(),
            expires: UNIX_EPOCH + Duration::from_secs(claims.seconds("exp")?),
        })
    }

    /// The same, if `accepts` its audience; `expected` is what a refusal says should have been there.
    ///
    /// # Errors
    /// As [`Tokens::verify_id`].
    pub fn verify_id_for(
        &self,
        token: &str,
        accepts: impl Fn(&str) -> bool,
        expected: &str,
    ) -> Result<Verified, TokenError> {
        let claims = Unverified::parse(token)?.unproved()?;
        let audience = claims.text("aud").ok().filter(|audience| accepts(audience)).unwrap_or(expected);
        self.verify_id(token, &[audience])
    }

    fn proved(&self, token: &Unverified<'_>, audiences: &[&str]) -> Result<jwt::Claims, TokenError> {
        let claims = token
            .verify(|kid| self.0.ring.find(kid).map(|key| key.key.public().clone()).ok_or_else(|| unknown(kid)))?;
        claims.check(Rules { issuer: &self.0.issuer, audiences, now: self.0.clock.now() })?;
        Ok(claims)
    }

    /// May this account still be used?
    pub(crate) fn stands(&self, account: &Account) -> Result<(), TokenError> {
        self.check_standing(&account.unique_id, &account.email, &account.project)
    }

    fn check_standing(&self, unique_id: &str, email: &str, project: &str) -> Result<(), TokenError> {
        match self.0.accounts.borrow().standing(unique_id, project) {
            Standing::Active => Ok(()),
            Standing::Disabled => Err(TokenError::AccountDisabled(email.to_owned())),
            Standing::Gone => Err(TokenError::AccountGone(email.to_owned())),
        }
    }

    /// Signs claims, a JSON object, with a key of `account`.
    ///
    /// # Errors
    /// When a key has to be made and cannot.
    pub fn sign_jwt(&self, account: &Account, claims: &Map<String, Value>) -> Result<Signed<String>, IdentityError> {
        let signer = self.robot(&account.unique_id)?.signer(self.0.clock.now())?;
        let signed = jwt::sign((&signer.kid, &signer.key), JWT, claims)?;
        Ok(Signed { key_id: signer.kid.clone(), signed })
    }

    /// Signs bytes with a key of `account`: RSASSA-PKCS1-v1_5 with SHA-256.
    ///
    /// # Errors
    /// As [`Tokens::sign_jwt`].
    pub fn sign_blob(&self, account: &Account, blob: &[u8]) -> Result<Signed<Vec<u8>>, IdentityError> {
        let signer = self.robot(&account.unique_id)?.signer(self.0.clock.now())?;
        Ok(Signed { key_id: signer.kid.clone(), signed: signer.key.sign(blob)? })
    }

    /// The keys of the installation, as a JWK Set (RFC 7517, section 5).
    ///
    /// # Errors
    /// As [`Tokens::access_token`].
    pub fn keys(&self) -> Result<Value, IdentityError> {
        let keys = self.0.ring.published(self.0.clock.now())?;
        Ok(json!({"keys": keys.iter().map(|key| key.key.public().to_jwk(&key.kid)).collect::<Vec<_>>()}))
    }

    /// The keys that sign for an account and are kept here, by their ids; none, if it never signed anything.
    ///
    /// # Errors
    /// When they are there and cannot be read.
    pub fn keys_of(&self, account: &Account) -> Result<Vec<SystemKey>, IdentityError> {
        let robot = self.robot(&account.unique_id)?;
        let time = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let shown = |key: &Arc<keyring::RingKey>| SystemKey {
            id: key.kid.clone(),
            public: key.key.public().clone(),
            valid_after: time(key.from),
            valid_before: time(key.from + plan::TERM + plan::TRAIL),
        };
        Ok(robot.known().iter().map(shown).collect())
    }

    /// Forgets the keys of an account that is deleted.
    ///
    /// # Errors
    /// When their file cannot be removed.
    pub fn forget(&self, unique_id: &str) -> Result<(), IdentityError> {
        let path = self.robot_path(unique_id);
        self.0.robots.lock().unwrap_or_else(PoisonError::into_inner).remove(unique_id);
        let failed = |source| IdentityError::KeyFile { operation: "remove", path: path.clone(), source };
        durable::remove(&path).map_err(failed)
    }

    fn robot(&self, unique_id: &str) -> Result<Arc<Keyring>, IdentityError> {
        let mut robots = self.0.robots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = robots.get(unique_id) {
            return Ok(found.clone());
        }
        let opened = Arc::new(Keyring::open(self.robot_path(unique_id))?);
        robots.insert(unique_id.to_owned(), opened.clone());
        Ok(opened)
    }

    /// Unique ids are digits.
    fn robot_path(&self, unique_id: &str) -> PathBuf {
        self.0.dir.join("accounts").join(format!("{unique_id}.json"))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}

// === impl Minted ===

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

// === impl Verified ===

impl Verified {
    /// May the token be used for this?
    pub fn is_for(&self, purpose: Purpose) -> bool {
        let fits = |scope: &str| match purpose {
            Purpose::Platform => scope == CLOUD_PLATFORM,
            Purpose::Impersonation => scope == CLOUD_PLATFORM || scope == IAM,
        };
        self.scopes.iter().any(|scope| fits(scope))
    }
}

fn account(email: &str, unique_id: &str, project: &str) -> Principal {
    let (email, unique_id, project) = (email.to_owned(), unique_id.to_owned(), project.to_owned());
    Principal::ServiceAccount(Account { email, unique_id, project })
}

fn unknown(kid: &str) -> TokenError {
    TokenError::UnknownKey(jwt::shown(kid))
}

fn random_id() -> Result<String, IdentityError> {
    let mut random = [0; ID_BYTES];
    OsRng.try_fill_bytes(&mut random).map_err(|_| IdentityError::NoSigner)?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests;
