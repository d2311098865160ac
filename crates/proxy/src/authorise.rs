//! May the caller?

use http::{HeaderMap, HeaderName, header};
use updraft_identity::Authenticator;
use updraft_model::iam::InvokerAccess;

use crate::{respond::Rejection, route::Routed, screen::Screened};

/// Cloud Run looks here before `Authorization`, which then belongs to the application.
const SERVERLESS_AUTHORIZATION: HeaderName = HeaderName::from_static("x-serverless-authorization");
/// Where credentials may be, the first that is there counts.
const CREDENTIALS: [HeaderName; 2] = [SERVERLESS_AUTHORIZATION, header::AUTHORIZATION];

/// What a caller has shown of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nothing.
    Anybody,
    /// A proof that does not hold.
    Unknown,
    /// The admin token.
    Admin,
}

/// A request that may be made.
#[derive(Debug)]
pub(crate) struct Permitted {
    screened: Screened,
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
        let caller = match CREDENTIALS.iter().find_map(|name| headers.get(name)) {
            None => return Self::Anybody,
            Some(shown) if auth.is_token(shown) => Self::Admin,
            Some(shown) if is_bearer(shown.as_bytes()) => Self::Unknown,
            Some(_) => Self::Anybody,
        };
        for name in &CREDENTIALS {
            if headers.get_all(name).iter().any(|shown| auth.is_token(shown)) {
                headers.remove(name);
            }
        }
        caller
    }
}

/// The invoker check. Who holds the admin token may call everything. Nobody else can prove who they are yet: whoever
/// tries is told that the proof does not hold (401), whoever does not is told that one is needed (403).
pub(crate) fn authorise(screened: Screened, caller: Caller) -> Result<Permitted, Rejection> {
    match (screened.routed().route().invoker, caller) {
        (InvokerAccess::Open, _) | (InvokerAccess::Restricted, Caller::Admin) => Ok(Permitted { screened }),
        (InvokerAccess::Restricted, Caller::Unknown) => Err(Rejection::Unauthorized),
        (InvokerAccess::Restricted, Caller::Anybody) => Err(Rejection::Forbidden),
    }
}

fn is_bearer(value: &[u8]) -> bool {
    value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}
