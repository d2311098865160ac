//! Short-lived credentials of service accounts for those who may act as one: IAM Service Account Credentials v1.
//!
//! A chain of delegates is refused: whether each may act as the next is nothing that is decided here yet. An access
//! token lives for an hour at most; Google lets an organisation allow twelve, and there is none here to ask.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use updraft_identity::{EmailClaim, LIFETIME, LIFETIME_MAX, PartyClaim};
use updraft_model::{
    Error, ErrorKind,
    iam::{Account, Principal},
};

use super::Asked;
use crate::{
    Served,
    oauth::{as_account, blocking},
};

/// The most characters of all scopes, of an audience and of a payload.
const SCOPES_MAX: usize = 4096;
const AUDIENCE_MAX: usize = 2048;
/// What a signed token may be, less what the rest of it takes.
const PAYLOAD_MAX: usize = 8 << 10;
/// The most bytes that are signed as they are.
const BLOB_MAX: usize = 1 << 20;

/// A list that gcloud sends as null when it is empty.
type Delegates = Option<Vec<String>>;

/// Claims to be signed, or bytes in base64.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ToSign {
    delegates: Delegates,
    payload: String,
}

pub(super) async fn generate_access_token(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
    struct Body {
        delegates: Delegates,
        scope: Option<Vec<String>>,
        lifetime: Option<String>,
    }
    let body: Body = asked.body()?;
    no_delegates(body.delegates)?;
    let scope = scopes(&body.scope.unwrap_or_default())?;
    let lifetime = lifetime(body.lifetime.as_deref())?;
    let account = account(deps, caller, (asked, "iam.serviceAccounts.getAccessToken")).await?;
    let tokens = deps.tokens.clone();
    let minted = blocking(move || tokens.access_token(&account, &scope, lifetime)).await?;
    Ok(json!({"accessToken": minted.token, "expireTime": rfc3339(minted.expires)}))
}

pub(super) async fn generate_id_token(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
    struct Body {
        delegates: Delegates,
        audience: String,
        include_email: Option<bool>,
        use_email_azp: Option<bool>,
        /// There are no organisations to have a number.
        #[serde(rename = "organizationNumberIncluded")]
        _organization: Option<bool>,
    }
    let body: Body = asked.body()?;
    no_delegates(body.delegates)?;
    if !(1..=AUDIENCE_MAX).contains(&body.audience.len()) {
        let rule = format!("must have 1 to {AUDIENCE_MAX} bytes, got {}", body.audience.len());
        return Err(Error::invalid_field("audience", rule));
    }
    let email = if body.include_email == Some(true) { EmailClaim::Told } else { EmailClaim::Hidden };
    let party = if body.use_email_azp == Some(true) { PartyClaim::Email } else { PartyClaim::UniqueId };
    let account = account(deps, caller, (asked, "iam.serviceAccounts.getOpenIdToken")).await?;
    let tokens = deps.tokens.clone();
    let minted = blocking(move || tokens.id_token_naming(&account, &body.audience, (email, party))).await?;
    Ok(json!({"token": minted.token}))
}

pub(super) async fn sign_jwt(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let body: ToSign = asked.body()?;
    no_delegates(body.delegates)?;
    let claims = claims(&body.payload, deps.clock.now())?;
    let account = account(deps, caller, (asked, "iam.serviceAccounts.signJwt")).await?;
    let tokens = deps.tokens.clone();
    let signed = blocking(move || tokens.sign_jwt(&account, &claims)).await?;
    Ok(json!({"keyId": signed.key_id, "signedJwt": signed.signed}))
}

pub(super) async fn sign_blob(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let body: ToSign = asked.body()?;
    no_delegates(body.delegates)?;
    let blob = STANDARD.decode(&body.payload).ok().filter(|blob| (1..=BLOB_MAX).contains(&blob.len()));
    let blob =
        blob.ok_or_else(|| Error::invalid_field("payload", format!("must be 1 to {BLOB_MAX} bytes in base64")))?;
    let account = account(deps, caller, (asked, "iam.serviceAccounts.signBlob")).await?;
    let tokens = deps.tokens.clone();
    let signed = blocking(move || tokens.sign_blob(&account, &blob)).await?;
    Ok(json!({"keyId": signed.key_id, "signedBlob": STANDARD.encode(signed.signed)}))
}

/// The account that is to be acted as, if the caller may and it may be used.
async fn account(
    deps: &Served,
    caller: &Principal,
    (asked, permission): (&Asked, &'static str),
) -> Result<Account, Error> {
    let identity = deps.control.account_identity(caller, permission, asked.field("name")).await?;
    if !identity.is_enabled {
        let message = format!("Service account {} is disabled.", identity.email);
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    Ok(as_account(identity))
}

fn no_delegates(delegates: Delegates) -> Result<(), Error> {
    match delegates.and_then(|delegates| delegates.into_iter().next()) {
        None => Ok(()),
        Some(first) => {
            let rule = format!("must be empty: chains of delegation are not evaluated here, got '{first}'");
            Err(Error::invalid_field("delegates", rule))
        }
    }
}

fn scopes(scopes: &[String]) -> Result<String, Error> {
    let is_sound = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
    let joined = scopes.join(" ");
    if scopes.is_empty() || !scopes.iter().all(is_sound) || joined.len() > SCOPES_MAX {
        let rule = format!("must be one scope or more without spaces, {SCOPES_MAX} bytes in all");
        return Err(Error::invalid_field("scope", format!("{rule}, got '{joined}'")));
    }
    Ok(joined)
}

/// `3600s`, with up to nine digits after a point as durations in JSON have them.
fn lifetime(text: Option<&str>) -> Result<Duration, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(LIFETIME) };
    let refused = || {
        let max = LIFETIME.as_secs();
        Error::invalid_field("lifetime", format!("must be more than 0s and at most {max}s, got '{text}'"))
    };
    let seconds = text.strip_suffix('s').ok_or_else(refused)?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return Err(refused());
    }
    // Tokens count whole seconds.
    let lifetime = whole.parse().ok().map(Duration::from_secs).ok_or_else(refused)?;
    if lifetime.is_zero() || lifetime > LIFETIME { Err(refused()) } else { Ok(lifetime) }
}

/// The claims of a payload: a JSON object whose `exp`, if it has one, is not over and at most twelve hours ahead.
fn claims(payload: &str, now: SystemTime) -> Result<Map<String, Value>, Error> {
    let refused = |rule: String| Error::invalid_field("payload", rule);
    if payload.len() > PAYLOAD_MAX {
        return Err(refused(format!("must have at most {PAYLOAD_MAX} bytes, got {}", payload.len())));
    }
    let claims: Map<String, Value> =
        serde_json::from_str(payload).map_err(|error| refused(format!("must be a JSON object of claims: {error}")))?;
    if let Some(expires) = claims.get("exp") {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let latest = now + LIFETIME_MAX.as_secs();
        if !expires.as_u64().is_some_and(|expires| (now..=latest).contains(&expires)) {
            let rule = format!("exp must be a whole number of seconds from {now} to {latest}, got {expires}");
            return Err(refused(rule));
        }
    }
    Ok(claims)
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_an_hour_at_most() {
        for (text, seconds) in [
            (None, Some(3600)),
            (Some(""), Some(3600)),
            (Some("3600s"), Some(3600)),
            (Some("300s"), Some(300)),
            (Some("1.5s"), Some(1)),
            (Some("0s"), None),
            (Some("0.5s"), None),
            (Some("3601s"), None),
            (Some("-1s"), None),
            (Some("300"), None),
            (Some("5m"), None),
            (Some("1.s"), None),
            (Some("99999999999999999999s"), None),
        ] {
            let got = lifetime(text);
            assert_eq!(got.as_ref().ok().map(Duration::as_secs), seconds, "{text:?}: {got:?}");
        }
    }

    #[test]
    fn what_is_to_be_signed_is_claims_that_end_soon() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (payload, fine) in [
            ("{}", true),
            (r#"{"exp": 1000}"#, true),
            (r#"{"exp": 44200, "sub": "x"}"#, true),
            (r#"{"exp": 44201}"#, false),
            (r#"{"exp": 999}"#, false),
            (r#"{"exp": "soon"}"#, false),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(claims(payload, now).is_ok(), fine, "{payload}");
        }
        assert!(claims(&format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_MAX)), now).is_err());
    }

    #[test]
    fn scopes_are_words() {
        let of =
            |scopes_given: &[&str]| scopes(&scopes_given.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["a", "b"]).expect("sound"), "a b");
        for bad in [&[][..], &[""], &["a b"], &["a\n"], &["ä"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(no_delegates(None).is_ok() && no_delegates(Some(Vec::new())).is_ok());
        assert!(no_delegates(Some(vec!["projects/-/serviceAccounts/a".to_owned()])).is_err());
    }
}
