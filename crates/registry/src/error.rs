//! Refusals, and the one place where they become bytes.
//!
//! Codes and their status are those of the OCI distribution specification, section "Error codes".

use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use updraft_model::ErrorKind;
use updraft_oci::{ContentError, DigestError};

use crate::respond::{self, Reply};

/// Why a request was not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// For the log, when the client does not see it.
    internal: Option<String>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), internal: None, headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    pub(crate) fn no_such_url() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is nothing at this URL")
    }

    pub(crate) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the method is not supported here")
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            .with(header::WWW_AUTHENTICATE, r#"Basic realm="updraft""#)
    }

    pub(crate) fn denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", "only the owner of the server may use its registry")
    }

    pub(crate) fn upload_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
    }

    /// Our fault, not the client's?
    pub(crate) fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    /// What happened, for the log.
    pub(crate) fn cause(&self) -> &str {
        self.internal.as_deref().unwrap_or(&self.message)
    }

    pub(crate) fn into_reply(self) -> Reply {
        let body = json!({"errors": [{"code": self.code, "message": self.message, "detail": null}]});
        let mut reply = respond::json(self.status, &body);
        for (name, value) in self.headers {
            reply.headers_mut().append(name, value);
        }
        reply
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        use ContentError as E;
        let (status, code) = match &error {
            E::NameInvalid { .. } => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            E::TagInvalid(_) => (StatusCode::BAD_REQUEST, "TAG_INVALID"),
            E::RepositoryUnknown(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            E::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            E::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            E::ManifestBlobUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
            E::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            E::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            E::Held => {
                let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", error.to_string());
                return refusal.with(header::RETRY_AFTER, "10");
            }
            E::UploadUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            E::UploadsTooMany(_) => {
                let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", error.to_string());
                return refusal.with(header::RETRY_AFTER, "60");
            }
            error if error.is_full() => {
                let message = "the disk of the registry is full; nothing of this request was kept";
                let refusal = Self::new(StatusCode::INSUFFICIENT_STORAGE, "UNAVAILABLE", message);
                return Self { internal: Some(chain(error)), ..refusal };
            }
            E::UploadBroken => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            _ => {
                let refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "an internal error has occurred");
                return Self { internal: Some(chain(&error)), ..refusal };
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<DigestError> for Refusal {
    fn from(error: DigestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", error.to_string())
    }
}

impl From<updraft_model::Error> for Refusal {
    fn from(error: updraft_model::Error) -> Self {
        match error.kind() {
            ErrorKind::Unauthenticated => Self::unauthorized(error.message()),
            _ => Self::new(StatusCode::FORBIDDEN, "DENIED", error.message()),
        }
    }
}

/// What happened with why, for the log.
fn chain(error: &ContentError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
