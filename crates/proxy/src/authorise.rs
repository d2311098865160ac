//! May the caller?

use std::{fmt, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use updraft_identity::{Authenticator, TokenError};
use updraft_model::{
    iam::{InvokerAccess, Invokers, Principal},
    route::RouteTable,
};
use updraft_plan::iam::{Decision, may_invoke};

use crate::{respond::Rejection, route::Routed, screen::Screened};

/// Cloud Run looks here before `Authorization`, which then belongs to the application.
const SERVERLESS_AUTHORIZATION: HeaderName = HeaderName::from_static("x-serverless-authorization");
/// Where credentials may be, the first that is there counts.
const CREDENTIALS: [HeaderName; 2] = [SERVERLESS_AUTHORIZATION, header::AUTHORIZATION];
/// What containers see in the place of a signature, so that nobody can go on with the token.
const NO_SIGNATURE: &str = "SIGNATURE_REMOVED_BY_GOOGLE";
/// Whom gcloud's tokens are for when it is not told (`gcloud auth print-identity-token`).
const GCLOUD: &str = "32555940559.apps.googleusercontent.com";

/// What a caller has shown of themselves.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nothing that is for the front door.
    Anybody,
    /// A token, not looked at yet: most services are open, and then it is for the application.
    Bearer(Shown),
    /// The admin token.
    Admin,
}

/// A token as it was sent, and where.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    name: HeaderName,
    value: HeaderValue,
}

/// By what callers are measured.
#[derive(Clone, Copy)]
pub(crate) struct Measure<'a> {
    pub(crate) auth: &'a Authenticator,
    pub(crate) table: &'a RouteTable,
    pub(crate) now: SystemTime,
}

/// A request that may be made.
#[derive(Debug)]
pub(crate) struct Permitted {
    screened: Screened,
}

/// A request that may not be made, and why, for the log: the caller is told less.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) rejection: Rejection,
    pub(crate) detail: Option<Box<str>>,
}

// === impl Permitted ===

impl Permitted {
    pub(crate) fn routed(&self) -> &Routed {
        self.screened.routed()
    }
}

// === impl Caller ===

impl Caller {
    /// Looks at the credentials, and takes the admin token out of them: whoever wrote the container could do
    /// everything with it. What is not ours is the application's.
    pub(crate) fn recognise(headers: &mut HeaderMap, auth: &Authenticator) -> Self {
        let names = CREDENTIALS;
        let shown = names.iter().find_map(|name| Some((name, headers.get(name)?)));
        let caller = match shown {
            None => return Self::Anybody,
            Some((_, shown)) if auth.is_token(shown) => Self::Admin,
            Some((name, shown)) if is_bearer(shown.as_bytes()) => {
                Self::Bearer(Shown { name: name.clone(), value: shown.clone() })
            }
            Some(_) => Self::Anybody,
        };
        for name in &names {
            if headers.get_all(name).iter().any(|shown| auth.is_token(shown)) {
                headers.remove(name);
            }
        }
        caller
    }

    /// Takes the signature off a token that was for the front door of a service with this access, and off every one
    /// that the API would take: whoever wrote the container could act as the caller with it. All others are the
    /// application's, and pass as they are.
    pub(crate) fn cover(&self, headers: &mut HeaderMap, access: &InvokerAccess, auth: &Authenticator) {
        if let (Self::Bearer(shown), InvokerAccess::Restricted(_)) = (self, access)
            && let Some(value) = unsigned(&shown.value)
        {
            headers.insert(&shown.name, value);
        }
        for name in &CREDENTIALS {
            if headers.get_all(name).iter().any(|shown| auth.is_for_the_api(shown)) {
                disarm(headers, name, auth);
            }
        }
    }

    /// Who it is.
    fn principal(&self, auth: &Authenticator, invokers: &Invokers) -> Result<Principal, TokenError> {
        match self {
            Self::Anybody => Ok(Principal::Anonymous),
            Self::Admin => Ok(Principal::AdminToken),
            Self::Bearer(shown) => {
                let token = shown.value.to_str().ok().and_then(|value| value.get(SCHEME..)).unwrap_or_default();
                let expected = invokers.hosts.first().map(|host| format!("https://{host}")).unwrap_or_default();
                auth.identify(token.trim_ascii(), |audience| is_for(audience, invokers), &expected)
            }
        }
    }
}

/// Takes the signatures off what the API would take, and leaves the rest of this name as it is. What is no bearer goes
/// as a whole: its user has a token for a password, and there is no use for half of one.
fn disarm(headers: &mut HeaderMap, name: &HeaderName, auth: &Authenticator) {
    let shown: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    for value in shown {
        let kept = match auth.is_for_the_api(&value) {
            true if is_bearer(value.as_bytes()) => unsigned(&value),
            true => None,
            false => Some(value),
        };
        if let Some(kept) = kept {
            headers.append(name, kept);
        }
    }
}

/// The same with another text where the signature was.
fn unsigned(value: &HeaderValue) -> Option<HeaderValue> {
    let (signed, _) = value.to_str().ok()?.rsplit_once('.')?;
    HeaderValue::from_str(&format!("{signed}.{NO_SIGNATURE}")).ok()
}

/// Is a token with this audience for the service? It names one of its URLs, whatever the scheme and port that it is
/// reached by, or a custom audience, or nothing in particular, as gcloud's own do.
fn is_for(audience: &str, invokers: &Invokers) -> bool {
    if audience == GCLOUD || invokers.audiences.iter().any(|custom| custom == audience) {
        return true;
    }
    let Ok(url) = audience.parse::<Uri>() else { return false };
    let is_web = matches!(url.scheme_str(), Some("https" | "http"));
    let is_whole = url.path() == "/" && url.query().is_none();
    let host = url.authority().filter(|authority| !authority.as_str().contains('@')).map(|authority| authority.host());
    is_web && is_whole && host.is_some_and(|host| invokers.hosts.iter().any(|own| own.eq_ignore_ascii_case(host)))
}

/// The invoker check: 401 for a proof that does not hold; 403 for who shows none where one is needed, and for who has
/// shown who they are and may not.
pub(crate) fn authorise(screened: Screened, caller: &Caller, measure: Measure<'_>) -> Result<Permitted, Denied> {
    let route = screened.routed().route();
    let InvokerAccess::Restricted(invokers) = &route.invoker else { return Ok(Permitted { screened }) };
    let principal = caller
        .principal(measure.auth, invokers)
        .map_err(|cause| Denied { rejection: Rejection::Unauthorized, detail: Some(cause.to_string().into()) })?;
    let project = measure.table.projects.get(&*route.service.parent.project);
    let decision = may_invoke(&principal, &route.service, invokers, project.map(|said| &**said), measure.now);
    match (decision, principal) {
        (Decision::Allowed(_), _) => Ok(Permitted { screened }),
        (Decision::Denied(_), Principal::Anonymous) => {
            Err(Denied { rejection: Rejection::Unauthenticated, detail: None })
        }
        (Decision::Denied(why), _) => Err(Denied { rejection: Rejection::Forbidden, detail: Some(why.into()) }),
    }
}

/// The length of `Bearer `.
const SCHEME: usize = 7;

fn is_bearer(value: &[u8]) -> bool {
    value.get(..SCHEME).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}

/// Without what was shown.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anybody => "Anybody",
            Self::Bearer(_) => "Bearer",
            Self::Admin => "Admin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_a_service_if_it_names_one_of_its_urls_or_a_custom_audience() {
        let hosts = vec!["app-1.us-central1.run.localhost".into(), "app-x-uc.run.localhost".into()];
        let invokers = Invokers { hosts, audiences: vec!["my-app".to_owned()], ..Invokers::default() };
        for (audience, expected) in [
            ("https://app-1.us-central1.run.localhost", true),
            ("https://app-1.us-central1.run.localhost/", true),
            ("http://app-1.us-central1.run.localhost:8080", true),
            ("https://APP-x-uc.run.localhost", true),
            ("my-app", true),
            (GCLOUD, true),
            ("app-1.us-central1.run.localhost", false),
            ("https://v1---app-1.us-central1.run.localhost", false),
            ("https://app-1.us-central1.run.localhost/path", false),
            ("https://app-1.us-central1.run.localhost?x", false),
            ("https://me@app-1.us-central1.run.localhost", false),
            ("https://app-1.us-central1.run.localhost.evil.example", false),
            ("ftp://app-1.us-central1.run.localhost", false),
            ("https://", false),
            ("", false),
        ] {
            assert_eq!(is_for(audience, &invokers), expected, "{audience}");
        }
    }
}
