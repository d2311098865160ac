//! Replies.

use std::{fs::File, io};

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::error::Refusal;

/// A reply; its body may stream from the disk.
pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The digest of what is sent or was stored.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The manifest that a pushed one refers to: a sign that referrers are kept here.
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Which filters a list has gone through.
pub(crate) const OCI_FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// A tag that was set.
pub(crate) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The name of an upload.
pub(crate) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// How clients tell a registry from something else.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// How much of a file is read at a time, in bytes.
const CHUNK: usize = 256 << 10;

/// `GET /v2/`: there is a registry here, and the credentials are good.
pub(crate) fn ping(method: &Method) -> Result<Reply, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(json(StatusCode::OK, &serde_json::json!({}))),
        _ => Err(Refusal::method()),
    }
}

pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    bytes(status, "application/json", body.to_string().into())
}

pub(crate) fn bytes(status: StatusCode, media_type: &str, body: Bytes) -> Reply {
    let mut reply = reply(status, Full::new(body).map_err(|never| match never {}).boxed_unsync());
    set(&mut reply, header::CONTENT_TYPE, media_type);
    reply
}

/// A reply without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = reply(status, Full::default().map_err(|never| match never {}).boxed_unsync());
    if status != StatusCode::NO_CONTENT {
        set(&mut reply, header::CONTENT_LENGTH, "0");
    }
    reply
}

/// The head of a reply alone, which says how long its body would be (RFC 9110, section 9.3.2).
pub(crate) fn without_body(reply: Reply) -> Reply {
    let (mut head, body) = reply.into_parts();
    let length = http_body::Body::size_hint(&body).exact();
    if let (Some(length), http::header::Entry::Vacant(place)) = (length, head.headers.entry(header::CONTENT_LENGTH)) {
        place.insert(HeaderValue::from(length));
    }
    Response::from_parts(head, Full::default().map_err(|never| match never {}).boxed_unsync())
}

/// `length` bytes of `file`, from where it stands.
pub(crate) fn stream(status: StatusCode, file: File, length: u64) -> Reply {
    let file = tokio::fs::File::from_std(file).take(length);
    let frames = ReaderStream::with_capacity(file, CHUNK).map_ok(Frame::data);
    let mut reply = reply(status, BodyExt::boxed_unsync(StreamBody::new(frames)));
    set(&mut reply, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut reply, header::CONTENT_LENGTH, &length.to_string());
    reply
}

/// Sets a header. Values are made of names and numbers that have been checked; one that is no header
/// value after all is left out.
pub(crate) fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn reply(status: StatusCode, body: UnsyncBoxBody<Bytes, io::Error>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    reply
}
