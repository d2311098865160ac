//! Until when a token is good, as it says itself. Nothing is verified: it is told to people, and decides nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::output;

/// When a token ends, in seconds since 1970; `None` when it is no JWT or does not say.
pub(super) fn of(token: &str) -> Option<i64> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let exp = &claims["exp"];
    // A number of JSON may have a fraction (RFC 7519, "NumericDate"); a second more or less is nothing to people.
    #[expect(clippy::cast_possible_truncation, reason = "a number that is too large is shown as no time at all")]
    exp.as_i64().or_else(|| exp.as_f64().map(|seconds| seconds as i64))
}

/// Such a time, for people.
pub(super) fn shown(seconds: i64) -> String {
    output::seconds(Some(&prost_types::Timestamp { seconds, nanos: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_when_it_ends_or_it_does_not() {
        let token = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        for (token, expected) in [
            (token(r#"{"exp": 1795800225}"#), Some(1_795_800_225)),
            (token(r#"{"exp": 1795800225.9}"#), Some(1_795_800_225)),
            (token(r#"{"sub": "me"}"#), None),
            (token(r#"{"exp": "soon"}"#), None),
            (token("no JSON"), None),
            ("0123456789abcdef".to_owned(), None),
            ("a.!.c".to_owned(), None),
            (token(r#"{"exp": 1}"#) + ".more", None),
        ] {
            assert_eq!(of(&token), expected, "{token}");
        }
        assert_eq!(shown(1_795_800_225), "2026-11-27 17:23:45 UTC");
    }
}
