//! What a service account shows to get a token: a JWT that it signed with a key of its own (RFC 7523, section 2.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Account, Tokens, unknown};
use crate::{
    jwt::{self, CLOCK_SKEW, TokenError, Unverified},
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

/// An account that shows an assertion, and the keys that it has.
#[derive(Debug, Clone)]
pub struct Asserter {
    /// The account.
    pub account: Account,
    /// The keys that others hold.
    pub keys: Vec<AssertionKey>,
}

/// A key that somebody holds for an account.
#[derive(Debug, Clone)]
pub struct AssertionKey {
    /// Its id.
    pub id: String,
    /// The certificate that holds it, in PEM.
    pub certificate: String,
    /// From when on it may be used.
    pub valid_after: SystemTime,
    /// Until when; `None`: always.
    pub valid_before: Option<SystemTime>,
    /// May it be used?
    pub is_enabled: bool,
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
        claims.check_times(now)?;
        let lifetime = claims.seconds("exp")?.saturating_sub(claims.seconds("iat")?);
        let max = ASSERTION_MAX.as_secs();
        if lifetime > max + CLOCK_SKEW.as_secs() {
            return Err(TokenError::LongLived { found: lifetime, max });
        }
        let text = |name| claims.text(name).map(str::to_owned).unwrap_or_default();
        Ok(Assertion { scope: text("scope"), target_audience: text("target_audience") })
    }

    /// The key of this id, among those that others hold of the account and those that sign for it here.
    fn key_of(&self, who: &Asserter, kid: &str, now: SystemTime) -> Result<PublicKey, TokenError> {
        let Some(found) = who.keys.iter().find(|key| key.id == kid) else {
            let robot = self.robot(&who.account.unique_id).ok();
            return robot
                .and_then(|robot| robot.find(kid))
                .map(|key| key.key.public().clone())
                .ok_or_else(|| unknown(kid));
        };
        if !found.is_enabled {
            return Err(TokenError::KeyDisabled(jwt::shown(kid)));
        }
        let from = found.valid_after.checked_sub(CLOCK_SKEW).unwrap_or(UNIX_EPOCH);
        if now < from || found.valid_before.is_some_and(|end| now > end) {
            return Err(TokenError::KeyOutOfTime(jwt::shown(kid)));
        }
        PublicKey::from_certificate(&found.certificate).map_err(|_| unknown(kid))
    }
}
