//! What a service account shows to get a token: a JWT that it signed with a key of its own (RFC 7523, section 2.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use updraft_model::account::HeldKey;

use super::{ACCESS, Account, CLOUD_PLATFORM, Tokens, Verified, account, unknown};
use crate::{
    jwt::{self, CLOCK_SKEW, Claims, TokenError, Unverified},
    key::PublicKey,
};

/// The longest that an assertion may be valid: Google's rule.
const ASSERTION_MAX: Duration = Duration::from_secs(3600);

/// The audiences that Google's clients write into an assertion, whatever address they send it to.
pub const GOOGLE_AUDIENCES: [&str; 4] = [
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
    "https://oauth2.googleapis.com/",
];

/// The hosts of Google's whose APIs are served here: what an account signs itself for another one is shown elsewhere, and
/// whoever gets it there must not be able to act as the account here.
pub const API_HOSTS: [&str; 8] = [
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com",
];

/// An account that shows an assertion, and the keys that it has.
#[derive(Debug, Clone)]
pub struct Asserter {
    /// The account.
    pub account: Account,
    /// The keys that others hold.
    pub keys: Vec<HeldKey>,
}

/// What an assertion asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Scopes of an access token, separated by spaces; empty when none is asked for.
    pub scope: String,
    /// The audience of an ID token; empty when none is asked for.
    pub target_audience: String,
}

// === impl Assertion ===

impl Assertion {
    /// Who an assertion says it is of: an address or a unique id. Nothing is proved by that.
    ///
    /// # Errors
    /// [`TokenError`] when it is no token, or says nothing.
    pub fn issuer(assertion: &str) -> Result<String, TokenError> {
        let claims = Unverified::parse(assertion)?.unproved()?;
        claims.text("iss").map(str::to_owned)
    }
}

// === impl Tokens ===

impl Tokens {
    /// What `assertion` asks for, if `who` signed it. A delegation to somebody else (`sub`) is refused: there is nobody
    /// else here.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks.
    pub fn verify_assertion(&self, assertion: &str, who: &Asserter) -> Result<Assertion, TokenError> {
        let now = self.0.clock.now();
        let token = Unverified::parse(assertion)?;
        let claims = token.verify(|kid| self.key_of(who, kid, now))?;
        let (email, unique_id) = (who.account.email.as_str(), who.account.unique_id.as_str());
        let is_theirs = |name: &str| name == email || name == unique_id;
        let issuer = claims.text("iss")?;
        if !is_theirs(issuer) {
            return Err(TokenError::Issuer { found: jwt::shown(issuer), expected: email.to_owned() });
        }
        if let Ok(subject) = claims.text("sub")
            && !is_theirs(subject)
        {
            return Err(TokenError::Subject { found: jwt::shown(subject), expected: email.to_owned() });
        }
        let (issuer, token_uri) = (self.issuer(), self.token_uri());
        let mut audiences = vec![token_uri.as_str(), issuer];
        audiences.extend(GOOGLE_AUDIENCES);
        claims.check_audience(&audiences)?;
        check_short(&claims, now)?;
        let text = |name| claims.text(name).map(str::to_owned).unwrap_or_default();
        Ok(Assertion { scope: text("scope"), target_audience: text("target_audience") })
    }

    /// Whose token this is, if a service account signed it with a key that somebody holds of it: what Google's libraries
    /// send to an API in the place of an access token, to save the exchange. It names the API as its audience, or the
    /// scopes it is for (AIP-4111).
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks.
    pub fn verify_self_signed(&self, token: &str) -> Result<Verified, TokenError> {
        let now = self.0.clock.now();
        let token = Unverified::parse(token)?;
        token.is_kind("jwt")?;
        let issuer = token.unproved()?.text("iss")?.to_owned();
        let book = self.0.accounts.borrow().clone();
        let Some((unique_id, entry)) = book.find(&issuer) else {
            return Err(TokenError::AccountGone(jwt::shown(&issuer)));
        };
        let claims = token.verify(|kid| held(&entry.keys, kid, now).unwrap_or_else(|| Err(unknown(kid))))?;
        let subject = claims.text("sub")?;
        if subject != issuer {
            return Err(TokenError::Subject { found: jwt::shown(subject), expected: issuer });
        }
        check_short(&claims, now)?;
        let scopes = match claims.0.get("aud") {
            // Scopes say what it is for, where no audience does.
            None => claims.text("scope")?.split(' ').map(str::to_owned).collect(),
            Some(Value::String(audience)) if self.is_of_ours(audience) => vec![CLOUD_PLATFORM.to_owned()],
            Some(_) => {
                return Err(claims
                    .check_audience(&[&format!("{}/", self.issuer())])
                    .err()
                    .unwrap_or(TokenError::Claim("aud")));
            }
        };
        self.check_standing(&unique_id, &entry.email, &entry.project)?;
        Ok(Verified {
            who: account(&entry.email, &unique_id, &entry.project),
            audience: claims.text("aud").unwrap_or_default().to_owned(),
            scopes,
            expires: UNIX_EPOCH + Duration::from_secs(claims.seconds("exp")?),
        })
    }

    /// Does a token say of itself that the API takes it: an access token of ours, one that an account signed, or what
    /// the account gets one of those for? Nothing of it is proved.
    pub(crate) fn is_claimed_by(&self, token: &Unverified<'_>, claims: &Claims) -> bool {
        let Ok(issuer) = claims.text("iss") else { return false };
        if token.kind() == ACCESS {
            return issuer == self.issuer();
        }
        let is_account = self.0.accounts.borrow().find(issuer).is_some();
        let is_for_us = |audience: &&str| {
            let is_exchanged = GOOGLE_AUDIENCES.contains(audience) || *audience == self.issuer();
            is_exchanged || *audience == self.token_uri() || self.is_of_ours(audience)
        };
        // Where scopes say what it is for, no audience does.
        is_account && claims.audiences().is_none_or(|named| named.iter().any(is_for_us))
    }

    /// Is it an API of this server, under our name or Google's? Not the token endpoint: an assertion is no token.
    fn is_of_ours(&self, audience: &str) -> bool {
        let Some(origin) = audience.strip_suffix('/') else { return false };
        origin == self.issuer() || origin.strip_prefix("https://").is_some_and(is_api_host)
    }

    /// The key of this id, among those that others hold of the account and those that sign for it here.
    fn key_of(&self, who: &Asserter, kid: &str, now: SystemTime) -> Result<PublicKey, TokenError> {
        held(&who.keys, kid, now).unwrap_or_else(|| {
            let robot = self.robot(&who.account.unique_id).ok();
            robot.and_then(|robot| robot.find(kid)).map(|key| key.key.public().clone()).ok_or_else(|| unknown(kid))
        })
    }
}

/// Is it one of [`API_HOSTS`], or that of a region: `REGION-run.googleapis.com`, `secretmanager.REGION.rep.googleapis.com`?
fn is_api_host(host: &str) -> bool {
    let run = || host.strip_suffix("-run.googleapis.com");
    let secrets = || host.strip_prefix("secretmanager.")?.strip_suffix(".rep.googleapis.com");
    API_HOSTS.contains(&host) || run().or_else(secrets).is_some_and(updraft_model::name::is_label)
}

/// The key of this id among `keys`, or why it may not be used; `None` when it is not among them.
fn held(keys: &[HeldKey], kid: &str, now: SystemTime) -> Option<Result<PublicKey, TokenError>> {
    let found = keys.iter().find(|key| key.id == kid)?;
    let from = found.valid_after.checked_sub(CLOCK_SKEW).unwrap_or(UNIX_EPOCH);
    let is_over = found.valid_before.is_some_and(|end| now > end);
    Some(match found.is_enabled {
        false => Err(TokenError::KeyDisabled(jwt::shown(kid))),
        true if now < from || is_over => Err(TokenError::KeyOutOfTime(jwt::shown(kid))),
        true => PublicKey::from_certificate(&found.certificate).map_err(|_| unknown(kid)),
    })
}

/// What an account signs itself is valid for an hour at most.
fn check_short(claims: &Claims, now: SystemTime) -> Result<(), TokenError> {
    claims.check_times(now)?;
    let lifetime = claims.seconds("exp")?.saturating_sub(claims.seconds("iat")?);
    let max = ASSERTION_MAX.as_secs();
    if lifetime > max + CLOCK_SKEW.as_secs() {
        return Err(TokenError::LongLived { found: lifetime, max });
    }
    Ok(())
}
