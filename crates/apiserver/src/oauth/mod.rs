//! What asks nobody for credentials, because it gives them, or what checks them: the token endpoint, the list of keys,
//! and the document that says where both are.
//!
//! Sources: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 6749 and RFC 7523 (tokens); the paths are Google's.

mod exchange;
mod refusal;

use http::{HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use updraft_identity::{IdentityError, KEYS_MAX_AGE, key::PublicKey};
use updraft_model::{Error, iam::Account};

use crate::{
    Api, Served,
    call::AnyBody,
    respond::{self, BoxBody},
    rest::Format,
};

pub(crate) use exchange::GRANT_TYPE;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const CERTS: &str = "/oauth2/v3/certs";
/// The same endpoint under the names that Google's has had, and below a prefix as the other APIs are.
const TOKEN: [&str; 3] = ["/token", "/oauth2/token", "/oauth2/v4/token"];
/// The keys of one service account; its address follows.
const ACCOUNT_KEYS: &str = "/service_accounts/v1/jwk/";

/// Answers a request to one of these paths; gives back what is none.
pub(crate) async fn serve<B: AnyBody>(api: &Api, request: Request<B>) -> Result<Response<BoxBody>, Request<B>> {
    let path = request.uri().path();
    let (is_token, is_get) = (TOKEN.contains(&path), request.method() == Verb::GET);
    let account = path.strip_prefix(ACCOUNT_KEYS).map(updraft_api::path::percent_decode);
    if !is_token && path != DISCOVERY && path != CERTS && account.is_none() {
        return Err(request);
    }
    Ok(match (path, account) {
        (path, _) if is_token && request.method() != Verb::POST => {
            Format::default().wrong_verb(request.method(), path, &[Verb::POST])
        }
        _ if is_token => exchange::serve(api, request).await,
        (path, _) if !is_get => Format::default().wrong_verb(request.method(), path, &[Verb::GET]),
        (_, Some(account)) => keys(account_keys(api.deps(), &account).await),
        (CERTS, None) => keys(own_keys(api.deps()).await),
        _ => keys(Ok(discovery(api.deps()))),
    })
}

/// What others find out about the installation's tokens (OpenID Connect Discovery 1.0, section 3). There is no page to
/// log in at, so there is no endpoint for it.
fn discovery(deps: &Served) -> Value {
    let issuer = deps.tokens.issuer();
    json!({
        "issuer": issuer,
        "token_endpoint": deps.tokens.token_uri(),
        "jwks_uri": format!("{issuer}{CERTS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "grant_types_supported": [GRANT_TYPE],
        "claims_supported": ["aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"],
    })
}

async fn own_keys(deps: &Served) -> Result<Value, Error> {
    let tokens = deps.tokens.clone();
    blocking(move || tokens.keys()).await
}

/// The keys that an account may have signed something with: those that others hold, and those that are kept for it.
async fn account_keys(deps: &Served, account: &str) -> Result<Value, Error> {
    let Some((identity, held)) = deps.control.account_keys(account).await? else {
        return Err(Error::not_found(format!("serviceAccounts/{account}")));
    };
    let usable = held.iter().map(|key| &key.held).filter(|key| key.is_enabled);
    let mut keys: Vec<Value> =
        usable.filter_map(|key| Some(PublicKey::from_certificate(&key.certificate).ok()?.to_jwk(&key.id))).collect();
    let tokens = deps.tokens.clone();
    let kept = blocking(move || tokens.keys_of(&as_account(identity))).await?;
    keys.extend(kept.iter().map(|key| key.public.to_jwk(&key.id)));
    Ok(json!({"keys": keys}))
}

/// Public, and worth keeping for a while: new keys are published for longer than that before they sign.
fn keys(outcome: Result<Value, Error>) -> Response<BoxBody> {
    let mut answer = match outcome {
        Ok(body) => respond::json(StatusCode::OK, format!("{body:#}\n").into_bytes()),
        Err(error) => return Format::default().error(&error),
    };
    let kept = format!("public, max-age={}", KEYS_MAX_AGE.as_secs());
    if let Ok(kept) = HeaderValue::from_str(&kept) {
        answer.headers_mut().insert(header::CACHE_CONTROL, kept);
    }
    answer
}

/// Does work that makes keys or signs, where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static, E: Into<IdentityError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
    done.map_err(|error| {
        let error: IdentityError = error.into();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::internal(format!("{error}{cause}"))
    })
}

/// An account, as those see it who make tokens.
pub(crate) fn as_account(identity: updraft_control::around::AccountIdentity) -> Account {
    Account { email: identity.email, unique_id: identity.unique_id, project: identity.project }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use updraft_api::{around, method};
    use updraft_identity::API_HOSTS;

    #[test]
    fn what_accounts_sign_themselves_is_taken_for_the_apis_that_are_served_and_no_others() {
        let served = method::methods().map(|method| method.product().domain());
        let served: BTreeSet<&str> = served.chain(around::CALLS.iter().map(|call| call.api.domain())).collect();
        assert_eq!(BTreeSet::from(API_HOSTS), served);
    }
}
