//! Signed tokens in the compact form of RFC 7515, with claims of RFC 7519.
//!
//! The order of the checks is the point of this file: size, shape, algorithm, key, signature; only what is signed by a
//! known key is looked into. A header chooses neither algorithm nor key: it names what must agree with the key that we
//! have under its id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::key::{Algorithm, KeyError, PrivateKey, PublicKey};

/// The most bytes of a token that is looked at.
pub const TOKEN_MAX: usize = 16 << 10;
/// By how much clocks may differ: for so long a token is still, or already, valid.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The most characters of a foreign text in an error.
const SHOWN: usize = 100;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is larger than any of ours.
    #[error("the token has {0} bytes, and the most are {TOKEN_MAX}")]
    TooLarge(usize),
    /// It is not three parts of base64url with JSON in the first two (RFC 7515, section 7.1).
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its algorithm is not that of the key; `none` never is.
    #[error("the token's algorithm is '{found}', expected {expected}")]
    Algorithm {
        /// What the header says.
        found: String,
        /// What the key is for.
        expected: &'static str,
    },
    /// It demands that extensions be understood (RFC 7515, section 4.1.11).
    #[error("the token's header has 'crit', and no extension is understood")]
    Critical,
    /// It is another kind of token (RFC 8725, section 3.11).
    #[error("the token's type is '{found}', expected '{expected}'")]
    Type {
        /// What the header says.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// Its header names no key.
    #[error("the token's header has no 'kid'")]
    NoKey,
    /// Nobody here has that key.
    #[error("the token's key '{0}' is not known")]
    UnknownKey(String),
    /// Its issuer's keys could not be had yet.
    #[error("the keys of the issuer '{0}' are not here yet")]
    NoKeys(String),
    /// The key is switched off.
    #[error("the token's key '{0}' is disabled")]
    KeyDisabled(String),
    /// The key's time has not come, or is over.
    #[error("the token's key '{0}' is not valid at this time")]
    KeyOutOfTime(String),
    /// It was altered, or signed by another key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim that must be there is not, or is of another kind.
    #[error("the token's claim '{0}' is missing or malformed")]
    Claim(&'static str),
    /// Somebody else made it.
    #[error("the token's issuer is '{found}', expected '{expected}'")]
    Issuer {
        /// What it says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// It is meant for somebody else.
    #[error("the token's audience is '{found}', expected '{expected}'")]
    Audience {
        /// What it says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// Its time is over.
    #[error("the token expired {0} seconds ago")]
    Expired(u64),
    /// Its time has not come.
    #[error("the token is valid only in {0} seconds")]
    NotYetValid(u64),
    /// It is valid for longer than such a token may be.
    #[error("the token is valid for {found} seconds, and the most are {max}")]
    LongLived {
        /// From `iat` to `exp`.
        found: u64,
        /// The most.
        max: u64,
    },
    /// It speaks of somebody else than who signed it.
    #[error("the token's subject is '{found}', expected '{expected}'")]
    Subject {
        /// What it says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The account that it is for is deleted.
    #[error("the account {0} does not exist")]
    AccountGone(String),
    /// The account that it is for is switched off.
    #[error("the account {0} is disabled")]
    AccountDisabled(String),
    /// The e-mail in it was not verified by its issuer.
    #[error("the token's e-mail '{0}' is not verified")]
    EmailUnverified(String),
    /// Users of that domain are not let in.
    #[error("the token's domain '{found}' is not among those allowed: {allowed}")]
    Domain {
        /// What it says.
        found: String,
        /// Who is let in.
        allowed: String,
    },
}

/// A token whose shape is right; nothing in it is proved.
pub(crate) struct Unverified<'a> {
    header: Header,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims(pub(crate) Map<String, Value>);

/// What claims are compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) issuer: &'a str,
    /// One of them must be among the token's; the first is the one that is told.
    pub(crate) audiences: &'a [&'a str],
    pub(crate) now: SystemTime,
}

// === impl Unverified ===

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_MAX {
            return Err(TokenError::TooLarge(token.len()));
        }
        let malformed = TokenError::Malformed;
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("it has no dots"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("it has one dot, not two"))?;
        let decode = |text: &str, fault| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed(fault));
        let header = decode(header, "its header is not base64url")?;
        // A payload with a dot is the five parts of an encrypted one.
        let payload = decode(payload, "its payload is not base64url")?;
        let signature = decode(signature, "its signature is not base64url")?;
        let header = serde_json::from_slice(&header).map_err(|_| malformed("its header is not that of a signature"))?;
        Ok(Self { header, signed, payload, signature })
    }

    /// The claims, for those who have yet to find the key. To be trusted by nobody.
    pub(crate) fn unproved(&self) -> Result<Claims, TokenError> {
        let claims =
            serde_json::from_slice(&self.payload).map_err(|_| TokenError::Malformed("its claims are not JSON"))?;
        Ok(Claims(claims))
    }

    /// The type in the header, in small letters and without `application/` (RFC 7515, section 4.1.9).
    pub(crate) fn kind(&self) -> String {
        let kind = self.header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        kind.strip_prefix("application/").unwrap_or(&kind).to_owned()
    }

    /// Refuses every type but this one.
    pub(crate) fn is_kind(&self, expected: &'static str) -> Result<(), TokenError> {
        let found = self.kind();
        if found == expected { Ok(()) } else { Err(TokenError::Type { found: shown(&found), expected }) }
    }

    /// The claims, if the key that `find` has under the token's id signed them.
    pub(crate) fn verify<K: AsRef<PublicKey>>(
        &self,
        find: impl FnOnce(&str) -> Result<K, TokenError>,
    ) -> Result<Claims, TokenError> {
        if self.header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        // Before a key is looked for: a token that claims to need none, or a secret, is not looked at any further.
        if ![Algorithm::Rs256, Algorithm::Es256].map(Algorithm::name).contains(&self.header.alg.as_str()) {
            return Err(TokenError::Algorithm { found: shown(&self.header.alg), expected: Algorithm::Rs256.name() });
        }
        let kid = self.header.kid.as_deref().filter(|kid| !kid.is_empty()).ok_or(TokenError::NoKey)?;
        let key = find(kid)?;
        let expected = key.as_ref().algorithm().name();
        if self.header.alg != expected {
            return Err(TokenError::Algorithm { found: shown(&self.header.alg), expected });
        }
        if !key.as_ref().verifies(self.signed.as_bytes(), &self.signature) {
            return Err(TokenError::Signature);
        }
        self.unproved()
    }
}

impl AsRef<PublicKey> for PublicKey {
    fn as_ref(&self) -> &PublicKey {
        self
    }
}

// === impl Claims ===

impl Claims {
    /// A claim that is a text and not empty.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, TokenError> {
        let text = self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.ok_or(TokenError::Claim(name))
    }

    /// A time, in whole seconds since 1970 (RFC 7519, section 2: it may have a fraction).
    pub(crate) fn seconds(&self, name: &'static str) -> Result<u64, TokenError> {
        let value = self.0.get(name).ok_or(TokenError::Claim(name))?;
        let whole = value.as_u64().or_else(|| {
            let fraction = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
            format!("{fraction:.0}").parse().ok()
        });
        whole.ok_or(TokenError::Claim(name))
    }

    /// Issuer, audience and times against what is expected.
    pub(crate) fn check(&self, rules: Rules<'_>) -> Result<(), TokenError> {
        let issuer = self.text("iss")?;
        if issuer != rules.issuer {
            return Err(TokenError::Issuer { found: shown(issuer), expected: rules.issuer.to_owned() });
        }
        self.check_audience(rules.audiences)?;
        self.check_times(rules.now)
    }

    /// Whom it is meant for; `None` where it does not say so.
    pub(crate) fn audiences(&self) -> Option<Vec<&str>> {
        match self.0.get("aud") {
            Some(Value::String(one)) => Some(vec![one]),
            Some(Value::Array(many)) => Some(many.iter().filter_map(Value::as_str).collect()),
            _ => None,
        }
    }

    /// One of `expected` must be the token's audience, or among them (RFC 7519, section 4.1.3).
    pub(crate) fn check_audience(&self, expected: &[&str]) -> Result<(), TokenError> {
        let named = self.audiences().ok_or(TokenError::Claim("aud"))?;
        if named.iter().any(|audience| expected.contains(audience)) {
            return Ok(());
        }
        let expected = expected.first().copied().unwrap_or_default().to_owned();
        Err(TokenError::Audience { found: shown(&named.join(" ")), expected })
    }

    /// `exp` must be there and not be over, `iat` and `nbf` must not lie ahead, by more than [`CLOCK_SKEW`].
    pub(crate) fn check_times(&self, now: SystemTime) -> Result<(), TokenError> {
        let (now, skew) = (seconds(now), CLOCK_SKEW.as_secs());
        let expires = self.seconds("exp")?;
        if now >= expires.saturating_add(skew) {
            return Err(TokenError::Expired(now - expires));
        }
        for name in ["iat", "nbf"] {
            if !self.0.contains_key(name) {
                continue;
            }
            let from = self.seconds(name)?;
            if from > now + skew {
                return Err(TokenError::NotYetValid(from - now));
            }
        }
        Ok(())
    }
}

/// Signs claims. `kind` is the type in the header.
pub(crate) fn sign(
    (kid, key): (&str, &PrivateKey),
    kind: &'static str,
    claims: &Map<String, Value>,
) -> Result<String, KeyError> {
    let header = serde_json::json!({"alg": Algorithm::Rs256.name(), "kid": kid, "typ": kind});
    let payload = Value::Object(claims.clone()).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whole seconds since 1970; 0 before.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What may be told of a text that a stranger sent.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
