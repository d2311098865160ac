//! The token endpoint: an assertion that a service account signed, for an access token or an ID token (RFC 7523,
//! section 2.1; RFC 6749, section 5).
//!
//! An assertion may be shown again while it is valid, as at Google: who has it could as well keep what it is exchanged
//! for.

use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use updraft_api::{method::Access, path::query_pairs, status};
use updraft_identity::{Asserter, Assertion, EmailClaim, LIFETIME, Minted};
use updraft_model::iam::Principal;

use super::{
    as_account, blocking,
    refusal::{Refusal, SCOPE},
};
use crate::{
    Api,
    body::Allowance,
    call::AnyBody,
    own::uncached,
    respond::{self, BoxBody, note},
};

/// The one grant that is taken (RFC 7523, section 2.1).
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The largest form, in bytes.
const FORM_MAX: u64 = 64 << 10;
/// What a service account needs of itself to get a token, for the count of calls.
const ACCESS: Access = Access::Permission("iam.serviceAccounts.getAccessToken");

/// The most characters of scopes and of an audience.
const WANTED_MAX: usize = 4096;

/// Answers a POST to the endpoint.
pub(super) async fn serve<B: AnyBody>(api: &Api, request: Request<B>) -> Response<BoxBody> {
    let (parts, body) = request.into_parts();
    let allowance = Allowance { size: FORM_MAX, ..Allowance::REQUEST };
    let mut bounded = api.bound(body, allowance);
    let outcome = match bounded.read().await {
        Ok(body) => exchange(api, &parts.headers, &body).await,
        Err(refusal) => Err(Refusal { status: refusal.http_code(), ..Refusal::from(refusal.to_error()) }),
    };
    let mut answer = match outcome {
        Ok(body) => respond::json(StatusCode::OK, format!("{body:#}\n").into_bytes()),
        Err(refusal) => refused(&refusal),
    };
    // Both headers are the RFC's (section 5.1).
    answer.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    uncached(answer)
}

async fn exchange(api: &Api, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let assertion = assertion(headers, body)?;
    let deps = api.deps();
    let issuer = Assertion::issuer(&assertion)?;
    let Some((identity, keys)) = deps.control.account_keys(&issuer).await? else {
        return Err(Refusal::no_account());
    };
    let is_enabled = identity.is_enabled;
    let who = Asserter { account: as_account(identity), keys: keys.into_iter().map(|key| key.held).collect() };
    let tokens = deps.tokens.clone();
    // Behind a thread of its own: keys that are kept for the account may have to be read.
    let (who, wanted) = blocking(move || {
        let wanted = tokens.verify_assertion(&assertion, &who);
        Ok::<_, updraft_identity::IdentityError>((who, wanted))
    })
    .await?;
    let wanted = wanted?;
    // Only now: whether an account is disabled is told to those who have a key of it.
    if !is_enabled {
        return Err(Refusal::no_account());
    }
    api.buckets().admit(&Principal::Anonymous, ACCESS, &format!("projects/{}", who.account.project))?;
    given(api, who, wanted).await
}

/// The assertion of a form that has what it must, once.
fn assertion(headers: &HeaderMap, body: &[u8]) -> Result<String, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let description = format!("Content-Type must be application/x-www-form-urlencoded, got '{essence}'");
        return Err(Refusal::new("invalid_request", description));
    }
    let text = std::str::from_utf8(body).map_err(|_| Refusal::new("invalid_request", "the form is not UTF-8"))?;
    let (mut grant_type, mut assertion) = (None, None);
    for (name, value) in query_pairs(text) {
        let place = match name.as_str() {
            "grant_type" => &mut grant_type,
            "assertion" => &mut assertion,
            // Others are ignored (RFC 6749, section 3.2).
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(Refusal::new("invalid_request", format!("{name} is given more than once")));
        }
    }
    match grant_type.as_deref() {
        None | Some("") => return Err(Refusal::new("invalid_request", "Missing required parameter: grant_type")),
        Some(GRANT_TYPE) => {}
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            return Err(Refusal::new("unsupported_grant_type", format!("Invalid grant_type: {shown}")));
        }
    }
    let assertion = assertion.filter(|assertion| !assertion.is_empty());
    assertion.ok_or_else(|| Refusal::new("invalid_request", "Missing required parameter: assertion"))
}

async fn given(api: &Api, who: Asserter, wanted: Assertion) -> Result<Value, Refusal> {
    let Assertion { scope, target_audience } = wanted;
    if scope.is_empty() == target_audience.is_empty() || scope.len().max(target_audience.len()) > WANTED_MAX {
        return Err(Refusal::new("invalid_scope", SCOPE));
    }
    let (tokens, clock) = (api.deps().tokens.clone(), &api.deps().clock);
    if scope.is_empty() {
        let minted = blocking(move || tokens.id_token(&who.account, &target_audience, EmailClaim::Told)).await?;
        return Ok(json!({"id_token": minted.token}));
    }
    let now = clock.now();
    let Minted { token, expires } = blocking(move || tokens.access_token(&who.account, &scope, LIFETIME)).await?;
    let whole = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = whole(expires).saturating_sub(whole(now));
    Ok(json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}))
}

fn refused(refusal: &Refusal) -> Response<BoxBody> {
    let body = json!({"error": refusal.code, "error_description": refusal.description});
    let mut answer = respond::json(refusal.status, format!("{body:#}\n").into_bytes());
    if let Some(fault) = &refusal.fault {
        note(fault);
        if let Some(seconds) = status::retry_after(fault) {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &'static str, body: &str) -> Result<String, (&'static str, String)> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        assertion(&headers, body.as_bytes()).map_err(|refusal| (refusal.code, refusal.description))
    }

    #[test]
    fn a_form_has_what_it_must_once() {
        const FORM: &str = "application/x-www-form-urlencoded";
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        for kind in [FORM, "Application/X-WWW-Form-Urlencoded; charset=utf-8"] {
            assert_eq!(read(kind, &format!("{grant}&assertion=a.b.c&other=1&other=2")), Ok("a.b.c".to_owned()));
        }
        for (kind, body, code, description) in [
            ("application/json", "{}".to_owned(), "invalid_request", "application/json"),
            ("", String::new(), "invalid_request", "got ''"),
            (FORM, String::new(), "invalid_request", "grant_type"),
            (FORM, "assertion=a".to_owned(), "invalid_request", "grant_type"),
            (FORM, grant.to_owned(), "invalid_request", "assertion"),
            (FORM, format!("{grant}&assertion="), "invalid_request", "assertion"),
            (FORM, format!("{grant}&assertion=a&assertion=a"), "invalid_request", "more than once"),
            (FORM, format!("{grant}&{grant}&assertion=a"), "invalid_request", "more than once"),
            (
                FORM,
                "grant_type=password&assertion=a".to_owned(),
                "unsupported_grant_type",
                "Invalid grant_type: password",
            ),
        ] {
            let (got, said) = read(kind, &body).expect_err(&body);
            assert!(got == code && said.contains(description), "{body}: {got}: {said}");
        }
    }
}
