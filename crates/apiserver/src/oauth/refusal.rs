//! Why the token endpoint gives no token: the form of RFC 6749, section 5.2, and Google's sentences, each followed by
//! what exactly is wrong.

use http::StatusCode;
use updraft_identity::TokenError;
use updraft_model::{Error, ErrorKind};

/// Google's sentences, which its tools and the answers that people find match on.
const SHORT_LIVED: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
const SIGNATURE: &str = "Invalid JWT Signature.";
const AUDIENCE: &str = "Invalid JWT: Failed audience check.";
const NO_ACCOUNT: &str = "Invalid grant: account not found";
const DISABLED: &str = "The OAuth client was disabled.";
const UNAUTHORIZED: &str = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.";
/// For neither a scope nor an audience, or both.
pub(super) const SCOPE: &str = "Invalid OAuth scope or ID token audience provided.";

/// Why there is no token.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The word of the RFC, or of Google's.
    pub(super) code: &'static str,
    pub(super) description: String,
    /// What the operator may see.
    pub(super) fault: Option<Box<Error>>,
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, description: description.into(), fault: None }
    }

    pub(super) fn no_account() -> Self {
        Self::new("invalid_grant", NO_ACCOUNT)
    }
}

impl From<TokenError> for Refusal {
    fn from(cause: TokenError) -> Self {
        use TokenError as E;
        let (code, sentence) = match &cause {
            E::AccountGone(_) | E::AccountDisabled(_) => return Self::no_account(),
            E::KeyDisabled(_) => ("disabled_client", DISABLED),
            E::Subject { .. } => ("unauthorized_client", UNAUTHORIZED),
            E::Audience { .. } | E::Claim("aud") => ("invalid_grant", AUDIENCE),
            E::Expired(_) | E::NotYetValid(_) | E::LongLived { .. } | E::Claim("exp" | "iat") => {
                ("invalid_grant", SHORT_LIVED)
            }
            E::Signature | E::UnknownKey(_) | E::KeyOutOfTime(_) => ("invalid_grant", SIGNATURE),
            _ => ("invalid_grant", "Invalid JWT."),
        };
        Self::new(code, format!("{sentence} ({cause}.)"))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_failure"),
            _ => (StatusCode::BAD_REQUEST, "invalid_request"),
        };
        Self { status, code, description: error.message().to_owned(), fault: Some(Box::new(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_googles_words_and_its_own() {
        let key = || "k1".to_owned();
        let audience = TokenError::Audience { found: "x".to_owned(), expected: "y".to_owned() };
        let subject = TokenError::Subject { found: "x".to_owned(), expected: "y".to_owned() };
        for (cause, code, begins) in [
            (TokenError::Signature, "invalid_grant", "Invalid JWT Signature. ("),
            (TokenError::UnknownKey(key()), "invalid_grant", "Invalid JWT Signature. (the token's key 'k1'"),
            (TokenError::KeyDisabled(key()), "disabled_client", "The OAuth client was disabled. ("),
            (TokenError::Expired(5), "invalid_grant", "Invalid JWT: Token must be a short-lived token"),
            (TokenError::Claim("exp"), "invalid_grant", "Invalid JWT: Token must be a short-lived token"),
            (TokenError::Claim("iss"), "invalid_grant", "Invalid JWT. (the token's claim 'iss'"),
            (audience, "invalid_grant", "Invalid JWT: Failed audience check. ("),
            (subject, "unauthorized_client", "Client is unauthorized to retrieve access tokens"),
            (TokenError::AccountGone(key()), "invalid_grant", "Invalid grant: account not found"),
            (TokenError::NoKey, "invalid_grant", "Invalid JWT. (the token's header has no 'kid'.)"),
        ] {
            let shown = cause.to_string();
            let refusal = Refusal::from(cause);
            assert_eq!((refusal.code, refusal.status), (code, StatusCode::BAD_REQUEST), "{shown}");
            assert!(refusal.description.starts_with(begins), "{shown}: {}", refusal.description);
        }
        let refusal = Refusal::from(Error::internal("a secret path"));
        assert_eq!((refusal.code, refusal.status.as_u16()), ("internal_failure", 500));
        assert!(!refusal.description.contains("secret"));
    }
}
