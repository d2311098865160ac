//! Bodies and answers.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use updraft_model::{Error, ErrorKind};

use crate::audit;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

/// The type of JSON, as Google's servers spell it.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// Any body, boxed.
pub(crate) fn boxed<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An answer of this type and text.
pub(crate) fn text(status: StatusCode, kind: HeaderValue, text: impl Into<Bytes>) -> Response<BoxBody> {
    let mut answer = Response::new(boxed(Full::new(text.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Response<BoxBody> {
    text(status, JSON, body)
}

/// Logs what the caller must not see, and tells the audit log what the caller is told. The one place: every error of a
/// call passes here once.
pub(crate) fn note(error: &Error) {
    audit::failed(error);
    if error.kind() == ErrorKind::Internal {
        tracing::error!(cause = error.cause().unwrap_or_default(), "call failed");
    }
}
