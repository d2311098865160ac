//! May the caller?

use http::{HeaderMap, HeaderName, header};
use updraft_model::iam::InvokerAccess;

use crate::{respond::Rejection, route::Routed};

/// Cloud Run looks here before `Authorization`, which then belongs to the application.
const SERVERLESS_AUTHORIZATION: HeaderName = HeaderName::from_static("x-serverless-authorization");

/// A request that may be made.
#[derive(Debug)]
pub(crate) struct Permitted {
    routed: Routed,
}

// === impl Permitted ===

impl Permitted {
    pub(crate) fn routed(&self) -> &Routed {
        &self.routed
    }
}

/// The invoker check. Nobody can prove who they are yet: whoever tries is told that the proof does
/// not hold (401), whoever does not is told that one is needed (403).
pub(crate) fn authorise(routed: Routed, headers: &HeaderMap) -> Result<Permitted, Rejection> {
    match routed.route().invoker {
        InvokerAccess::Open => Ok(Permitted { routed }),
        InvokerAccess::Restricted if shows_bearer(headers) => Err(Rejection::Unauthorized),
        InvokerAccess::Restricted => Err(Rejection::Forbidden),
    }
}

fn shows_bearer(headers: &HeaderMap) -> bool {
    [SERVERLESS_AUTHORIZATION, header::AUTHORIZATION].iter().filter_map(|name| headers.get(name)).any(|value| {
        let scheme = value.as_bytes().get(..7);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    })
}
