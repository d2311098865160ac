//! Users of an issuer elsewhere: ID tokens of OpenID Connect, checked against a list of keys that somebody fetched.
//!
//! Nothing is fetched here and nothing is waited for: settings, keys and the time go in, and who it is comes out.
//! Source: OpenID Connect Core 1.0, section 3.1.3.7.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use updraft_model::iam::{Principal, User};

use crate::{
    Verified,
    jwt::{self, Claims, Rules, TokenError, Unverified},
    key::PublicKey,
};

/// The most keys of one issuer that are looked at.
const KEYS_MAX: usize = 64;

/// What is known of an issuer and expected of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// Its URL, as its tokens have it in `iss`, character by character.
    pub issuer: String,
    /// Whom its tokens must be meant for: the client ids of this installation there. At least one.
    pub audiences: Vec<String>,
    /// The claims that say what we want to know.
    pub claims: ClaimMapping,
    /// Whose word an address is.
    pub trust: EmailTrust,
    /// Only users whose account is of one of these domains, by the claim for it; empty: all. The address does not count:
    /// an issuer may have accounts of anybody under addresses of any domain.
    pub domains: Vec<String>,
}

/// When an address is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmailTrust {
    /// When the issuer says that it verified it (`email_verified`).
    #[default]
    Verified,
    /// Also when the issuer says nothing about that: for issuers that write only addresses of their own into tokens.
    AsTold,
}

/// Which claim says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// Their address: `email` unless the issuer has it elsewhere.
    pub email: String,
    /// Their groups, a list or a single one: `groups`.
    pub groups: String,
    /// The domain that their account is of: `hd`.
    pub hosted_domain: String,
}

/// An issuer and its keys.
#[derive(Debug, Clone)]
pub struct ExternalIssuer {
    settings: OidcSettings,
    keys: Vec<(String, PublicKey)>,
}

/// Why an issuer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// Its list of keys is none.
    #[error("not a JWK Set: {0}")]
    Keys(String),
    /// There is no key in it that a token could be signed with.
    #[error("no key of RSA or on P-256 with a 'kid' among {0} keys")]
    NoKeys(usize),
    /// Anybody's tokens would do.
    #[error("at least one audience must be named")]
    NoAudience,
}

// === impl ClaimMapping ===

impl Default for ClaimMapping {
    fn default() -> Self {
        Self { email: "email".to_owned(), groups: "groups".to_owned(), hosted_domain: "hd".to_owned() }
    }
}

// === impl ExternalIssuer ===

impl ExternalIssuer {
    /// An issuer with the keys of a JWK Set (RFC 7517, section 5). Keys of kinds that are not known are left out, as the
    /// RFC has it, and so are those for encryption.
    ///
    /// # Errors
    /// When no key is left, or no audience is named.
    pub fn new(settings: OidcSettings, jwks: &str) -> Result<Self, OidcError> {
        if settings.audiences.iter().all(String::is_empty) {
            return Err(OidcError::NoAudience);
        }
        let set: Value = serde_json::from_str(jwks).map_err(|error| OidcError::Keys(error.to_string()))?;
        let listed = set["keys"].as_array().ok_or_else(|| OidcError::Keys("it has no 'keys'".to_owned()))?;
        let usable = |jwk: &Value| {
            let kid = jwk["kid"].as_str().filter(|kid| !kid.is_empty())?;
            let is_for_signatures = jwk["use"].as_str().is_none_or(|usage| usage == "sig");
            let key = PublicKey::from_jwk(jwk).ok().filter(|_| is_for_signatures)?;
            let is_its_algorithm = jwk["alg"].as_str().is_none_or(|alg| alg == key.algorithm().name());
            is_its_algorithm.then(|| (kid.to_owned(), key))
        };
        let keys: Vec<_> = listed.iter().take(KEYS_MAX).filter_map(usable).collect();
        if keys.is_empty() {
            return Err(OidcError::NoKeys(listed.len()));
        }
        Ok(Self { settings, keys })
    }

    /// Whose ID token this is.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, TokenError> {
        let settings = &self.settings;
        let token = Unverified::parse(token)?;
        // Some issuers leave the type out; one that is named must not be that of another kind of token.
        if !token.kind().is_empty() {
            token.is_kind("jwt")?;
        }
        let claims = token.verify(|kid| {
            let found = self.keys.iter().find(|(id, _)| id == kid);
            found.map(|(_, key)| key).ok_or_else(|| TokenError::UnknownKey(jwt::shown(kid)))
        })?;
        let audiences: Vec<&str> =
            settings.audiences.iter().map(String::as_str).filter(|audience| !audience.is_empty()).collect();
        claims.check(Rules { issuer: &settings.issuer, audiences: &audiences, now })?;
        check_party(&claims, &audiences)?;
        claims.text("sub")?;
        let email = text(&claims, &settings.claims.email).ok_or(TokenError::Claim("email"))?;
        if !is_believed(&claims, settings.trust) {
            return Err(TokenError::EmailUnverified(jwt::shown(&email)));
        }
        let hosted_domain = text(&claims, &settings.claims.hosted_domain);
        self.check_domain(hosted_domain.as_deref().unwrap_or_default())?;
        let audience = audiences.iter().find(|audience| claims.check_audience(&[audience]).is_ok());
        Ok(Verified {
            who: Principal::User(User {
                email,
                issuer: settings.issuer.clone(),
                groups: texts(&claims, &settings.claims.groups),
                domain: hosted_domain,
            }),
            audience: audience.copied().unwrap_or_default().to_owned(),
            scopes: Vec::new(),
            expires: UNIX_EPOCH + Duration::from_secs(claims.seconds("exp")?),
        })
    }

    fn check_domain(&self, domain: &str) -> Result<(), TokenError> {
        let allowed = &self.settings.domains;
        if allowed.is_empty()
            || allowed.iter().any(|allowed| !allowed.is_empty() && allowed.eq_ignore_ascii_case(domain))
        {
            return Ok(());
        }
        Err(TokenError::Domain { found: jwt::shown(domain), allowed: allowed.join(", ") })
    }
}

/// A token that is meant for several says for which of them it was made; that must be us.
fn check_party(claims: &Claims, audiences: &[&str]) -> Result<(), TokenError> {
    match claims.0.get("azp") {
        None => Ok(()),
        Some(Value::String(party)) if audiences.contains(&party.as_str()) => Ok(()),
        Some(party) => Err(TokenError::Audience {
            found: jwt::shown(party.as_str().unwrap_or_default()),
            expected: audiences.first().copied().unwrap_or_default().to_owned(),
        }),
    }
}

/// Some issuers write whether they verified an address as a text.
fn is_believed(claims: &Claims, trust: EmailTrust) -> bool {
    match claims.0.get("email_verified") {
        None => trust == EmailTrust::AsTold,
        Some(Value::Bool(verified)) => *verified,
        Some(value) => value == "true",
    }
}

fn text(claims: &Claims, name: &str) -> Option<String> {
    claims.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn texts(claims: &Claims, name: &str) -> Vec<String> {
    match claims.0.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::key::PrivateKey;

    const NOW: u64 = 1_700_000_000;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn settings() -> OidcSettings {
        OidcSettings {
            issuer: "https://login.example.com/".to_owned(),
            audiences: vec!["updraft".to_owned()],
            claims: ClaimMapping::default(),
            trust: EmailTrust::Verified,
            domains: Vec::new(),
        }
    }

    fn claims(changes: Value) -> Map<String, Value> {
        let mut claims = json!({
            "iss": "https://login.example.com/", "aud": "updraft", "sub": "u-1", "email": "ann@example.com",
            "email_verified": true, "groups": ["dev", "ops"], "iat": NOW, "exp": NOW + 600,
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        claims
            .as_object()
            .expect("an object")
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn user(verified: &Verified) -> User {
        match &verified.who {
            Principal::User(user) => user.clone(),
            other => panic!("not a user: {other}"),
        }
    }

    #[test]
    fn a_users_token_says_who_they_are_or_why_not() {
        let key = PrivateKey::generate().unwrap();
        let jwks = json!({"keys": [{"kty": "oct", "kid": "o", "k": "AAAA"}, key.public().to_jwk("k")]}).to_string();
        let issuer = ExternalIssuer::new(settings(), &jwks).unwrap();
        let verify =
            |changes: Value| issuer.verify(&jwt::sign(("k", &key), "JWT", &claims(changes)).unwrap(), at(NOW + 1));
        let found = verify(json!({})).unwrap();
        let ann = user(&found);
        assert_eq!((ann.email.as_str(), ann.issuer.as_str()), ("ann@example.com", settings().issuer.as_str()));
        assert_eq!((ann.groups, ann.domain), (vec!["dev".to_owned(), "ops".to_owned()], None));
        assert_eq!((found.audience.as_str(), found.expires), ("updraft", at(NOW + 600)));
        assert!(verify(json!({"aud": ["x", "updraft"], "azp": "updraft", "email_verified": "true"})).is_ok());
        let hosted = verify(json!({"groups": "dev", "hd": "example.org"})).unwrap();
        assert_eq!(user(&hosted).domain.as_deref(), Some("example.org"));
        for (changes, cause) in [
            (json!({"iss": "https://login.example.com"}), "issuer is 'https://login.example.com'"),
            (json!({"aud": "other"}), "audience is 'other', expected 'updraft'"),
            (json!({"azp": "other"}), "audience is 'other'"),
            (json!({"sub": null}), "'sub'"),
            (json!({"email": null}), "'email'"),
            (json!({"exp": null}), "'exp'"),
            (json!({"email_verified": null}), "'ann@example.com' is not verified"),
            (json!({"email_verified": false}), "'ann@example.com' is not verified"),
            (json!({"exp": NOW - 100}), "expired"),
            (json!({"nbf": NOW + 100}), "valid only in"),
        ] {
            let error = verify(changes.clone()).unwrap_err().to_string();
            assert!(error.contains(cause), "{changes}: {error}");
        }
    }

    #[test]
    fn claims_have_the_names_of_the_issuer_and_domains_are_kept_out() {
        let key = PrivateKey::generate().unwrap();
        let jwks = json!({"keys": [key.public().to_jwk("k")]}).to_string();
        let mapping =
            ClaimMapping { email: "upn".to_owned(), groups: "roles".to_owned(), hosted_domain: "tenant".to_owned() };
        let settings = OidcSettings {
            claims: mapping,
            trust: EmailTrust::AsTold,
            domains: vec!["example.org".to_owned()],
            ..settings()
        };
        let issuer = ExternalIssuer::new(settings, &jwks).unwrap();
        let verify =
            |changes: Value| issuer.verify(&jwt::sign(("k", &key), "JWT", &claims(changes)).unwrap(), at(NOW + 1));
        let found =
            verify(json!({"upn": "ann@x.example", "roles": ["a"], "tenant": "example.org", "email_verified": null}))
                .unwrap();
        let ann = user(&found);
        assert_eq!((ann.email.as_str(), ann.groups), ("ann@x.example", vec!["a".to_owned()]));
        let error = verify(json!({"upn": "ann@example.org"})).unwrap_err();
        assert_eq!(error.to_string(), "the token's domain '' is not among those allowed: example.org");
    }

    #[test]
    fn an_issuer_without_keys_or_audience_is_refused() {
        let key = PrivateKey::generate().unwrap();
        let jwks = json!({"keys": [key.public().to_jwk("k")]}).to_string();
        let nobody = OidcSettings { audiences: vec![String::new()], ..settings() };
        assert_eq!(ExternalIssuer::new(nobody, &jwks).unwrap_err(), OidcError::NoAudience);
        let mut encrypts = key.public().to_jwk("k");
        encrypts["use"] = "enc".into();
        let mut other = key.public().to_jwk("k");
        other["alg"] = "PS256".into();
        let none = json!({"keys": [encrypts, other, {"kty": "RSA"}]}).to_string();
        assert_eq!(ExternalIssuer::new(settings(), &none).unwrap_err(), OidcError::NoKeys(3));
        assert!(matches!(ExternalIssuer::new(settings(), "{}").unwrap_err(), OidcError::Keys(_)));
        assert!(matches!(ExternalIssuer::new(settings(), "no").unwrap_err(), OidcError::Keys(_)));
    }
}
