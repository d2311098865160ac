//! `/v2/<name>/blobs/uploads/…`: blobs on their way in.
//!
//! An upload is a file of the content store, not a thing of this process: its client may go on after
//! a broken connection and after a restart of the server. One that nobody touches for an hour is
//! removed with what it had.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use updraft_base::{Clock, Shutdown};
use updraft_oci::{ContentStore, Digest, Upload};

use crate::{
    Registry,
    error::Refusal,
    inbound::Inbound,
    respond::{self, CONTENT_DIGEST, Reply, UPLOAD_UUID},
    route::Query,
};

/// How often idle uploads are looked for.
const SWEEP: Duration = Duration::from_secs(5 * 60);

/// Which upload a request speaks of.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) query: Query,
}

/// Where a new upload is to go, and how.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) query: Query,
}

/// `POST`: a mount, a whole blob, or the start of an upload.
pub(crate) async fn start(
    registry: &Registry,
    method: &Method,
    body: &mut Incoming,
    wish: &Wish,
) -> Result<Reply, Refusal> {
    if *method != Method::POST {
        return Err(Refusal::method());
    }
    let Wish { name, query } = wish;
    let content = &registry.content;
    if let Some(algorithm) = query.get("digest-algorithm").filter(|algorithm| *algorithm != "sha256") {
        let message = format!("the digest algorithm '{algorithm}' is not supported; sha256 is");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
    }
    if let Some(digest) = query.get("mount") {
        let digest: Digest = digest.parse()?;
        if content.mount_blob(name, &digest, query.get("from")).await? {
            return Ok(created(name, &digest));
        }
        // A mount that cannot be is no error: the client then uploads.
    } else if let Some(digest) = query.get("digest") {
        let digest: Digest = digest.parse()?;
        let mut upload = content.upload().await?;
        receive(&mut upload, Inbound::new(body, &registry.clock), None).await?;
        upload.finish_into(name, &digest).await?;
        return Ok(created(name, &digest));
    }
    let id = content.begin_upload(name).await?;
    Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
}

/// What may be done with an upload under way.
pub(crate) async fn handle(
    registry: &Registry,
    head: &Parts,
    body: &mut Incoming,
    session: &Session,
) -> Result<Reply, Refusal> {
    let Session { name, id, query } = session;
    let content = &registry.content;
    match head.method {
        Method::GET | Method::HEAD => {
            let size = content.upload_size(name, id)?;
            Ok(progress(StatusCode::NO_CONTENT, name, id, size))
        }
        Method::PATCH => {
            let mut upload = content.resume_upload(name, id).await?;
            let length = chunk_length(&head.headers, session, upload.size())?;
            receive(&mut upload, Inbound::new(body, &registry.clock), length).await?;
            Ok(progress(StatusCode::ACCEPTED, name, id, upload.size()))
        }
        Method::PUT => {
            let digest: Digest = query.get("digest").unwrap_or_default().parse()?;
            let mut upload = content.resume_upload(name, id).await?;
            let length = chunk_length(&head.headers, session, upload.size())?;
            receive(&mut upload, Inbound::new(body, &registry.clock), length).await?;
            upload.finish_into(name, &digest).await?;
            Ok(created(name, &digest))
        }
        Method::DELETE => {
            content.cancel_upload(name, id).await?;
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method()),
    }
}

/// Removes idle uploads until the end is asked for.
pub(crate) async fn expire(content: ContentStore, clock: Clock, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = clock.sleep(SWEEP) => {}
            () = shutdown.asked() => return,
        }
        if let Err(error) = content.expire_uploads().await {
            tracing::error!(%error, "idle uploads could not be removed");
        }
    }
}

/// Takes in a body of `length` bytes, if that is said. What came before a break stays: the client may
/// ask how much that is and go on from there.
async fn receive(upload: &mut Upload, mut body: Inbound<'_>, length: Option<u64>) -> Result<(), Refusal> {
    let mut left = length;
    loop {
        let bytes = match body.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(broken) => {
                upload.flush().await?;
                return Err(broken.refusal("BLOB_UPLOAD_INVALID"));
            }
        };
        match &mut left {
            Some(left) if *left < bytes.len() as u64 => return Err(wrong_size(upload, &bytes, *left).await?),
            Some(left) => *left -= bytes.len() as u64,
            None => {}
        }
        upload.write(&bytes).await?;
    }
    upload.flush().await?;
    match left {
        Some(left) if left > 0 => Err(size_invalid(&format!("{left} bytes fewer came than the range has"))),
        _ => Ok(()),
    }
}

/// Takes in what is of the range, and refuses the rest.
async fn wrong_size(upload: &mut Upload, bytes: &Bytes, left: u64) -> Result<Refusal, Refusal> {
    let end = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    upload.write(&bytes[..end]).await?;
    upload.flush().await?;
    Ok(size_invalid("more bytes came than the range has"))
}

fn size_invalid(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message)
}

/// A chunk that says where it belongs must belong at the end of what is here; how long it is then.
fn chunk_length(headers: &HeaderMap, session: &Session, size: u64) -> Result<Option<u64>, Refusal> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let Some((first, last)) = range.to_str().ok().and_then(range_of) else {
        return Err(Refusal::upload_invalid("Content-Range has the form <first>-<last>"));
    };
    if first != size {
        let message = format!("the upload has {size} bytes; the chunk begins at {first}");
        let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
        return Err(refusal
            .with(header::RANGE, &received(size))
            .with(header::LOCATION, &location(&session.name, &session.id)));
    }
    let length = last - first + 1;
    let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match said {
        Some(said) if said != length => Err(size_invalid("Content-Length is not that of the range")),
        _ => Ok(Some(length)),
    }
}

/// `0-99`, as the specification has it; `bytes 0-99/*`, as RFC 9110 has it, is understood too.
fn range_of(text: &str) -> Option<(u64, u64)> {
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let (first, last) = text.split('/').next()?.split_once('-')?;
    // `parse` would take a sign.
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

fn progress(status: StatusCode, name: &str, id: &str, size: u64) -> Reply {
    let mut reply = respond::empty(status);
    respond::set(&mut reply, header::LOCATION, &location(name, id));
    respond::set(&mut reply, header::RANGE, &received(size));
    respond::set(&mut reply, UPLOAD_UUID, id);
    reply
}

fn created(name: &str, digest: &Digest) -> Reply {
    let mut reply = respond::empty(StatusCode::CREATED);
    respond::set(&mut reply, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    respond::set(&mut reply, CONTENT_DIGEST, digest.as_str());
    reply
}

fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The bytes that are here; of none, `0-0` is said by everybody.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends_in_order() {
        for (text, expected) in [
            ("0-0", Some((0, 0))),
            ("5-99", Some((5, 99))),
            ("bytes 5-99/*", Some((5, 99))),
            ("bytes 5-99/1000", Some((5, 99))),
            ("99-5", None),
            ("-5", None),
            ("5-", None),
            ("", None),
            ("+1-+2", None),
            ("1 - 2", None),
            ("0-18446744073709551615", None),
            ("0-18446744073709551616", None),
            ("a-b", None),
        ] {
            assert_eq!(range_of(text), expected, "{text}");
        }
    }
}
