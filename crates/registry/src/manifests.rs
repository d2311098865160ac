//! `/v2/<name>/manifests/<reference>`

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use updraft_oci::{ContentError, ContentStore, MAX_MANIFEST, ManifestName, ManifestPush, media_type};

use crate::{
    Registry,
    error::Refusal,
    inbound::Inbound,
    respond::{self, CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, Reply},
    route::Query,
};

/// How many `tag` parameters a push may have.
const MAX_TAGS: usize = 32;
/// Content types that say nothing; the manifest speaks for itself then.
const GENERIC: [&str; 3] = ["application/json", "application/octet-stream", "application/x-www-form-urlencoded"];

/// Which manifest a request speaks of.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// A tag or a digest.
    pub(crate) reference: String,
    pub(crate) query: Query,
}

pub(crate) async fn handle(
    registry: &Registry,
    head: &Parts,
    body: &mut Incoming,
    place: &Place,
) -> Result<Reply, Refusal> {
    let (content, name) = (&registry.content, place.name.as_str());
    match head.method {
        Method::GET | Method::HEAD => get(content, name, &known(&place.reference)?).await,
        Method::PUT => put(registry, head, body, place).await,
        Method::DELETE => {
            content.delete_manifest(name, &known(&place.reference)?).await?;
            Ok(respond::empty(StatusCode::ACCEPTED))
        }
        _ => Err(Refusal::method()),
    }
}

async fn put(registry: &Registry, head: &Parts, body: &mut Incoming, place: &Place) -> Result<Reply, Refusal> {
    let name = parse(&place.reference)?;
    let tags: Vec<String> = place.query.all("tag").map(str::to_owned).collect();
    if tags.len() > MAX_TAGS {
        let message = format!("a push may have {MAX_TAGS} tags");
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", message));
    }
    if let (ManifestName::Tag(tag), false) = (&name, tags.is_empty()) {
        let message = format!("tag parameters are for a push by digest, not by the tag {tag}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message));
    }
    let declared = content_type(&head.headers)?;
    let bytes = read(Inbound::new(body, &registry.clock)).await?;
    let push = ManifestPush { name, tags: tags.clone(), declared, bytes };
    let pushed = registry.content.put_manifest(&place.name, push).await?;
    let mut reply = respond::empty(StatusCode::CREATED);
    respond::set(&mut reply, header::LOCATION, &format!("/v2/{}/manifests/{}", place.name, pushed.digest));
    respond::set(&mut reply, CONTENT_DIGEST, pushed.digest.as_str());
    if let Some(subject) = pushed.subject {
        respond::set(&mut reply, OCI_SUBJECT, subject.as_str());
    }
    for tag in tags.iter().filter_map(|tag| HeaderValue::from_str(tag).ok()) {
        reply.headers_mut().append(OCI_TAG, tag);
    }
    Ok(reply)
}

/// The media type that a push says it has, without parameters; `None` when that says nothing.
fn content_type(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind.is_empty() || GENERIC.contains(&kind.as_str()) {
        return Ok(None);
    }
    if media_type::ALL.contains(&kind.as_str()) {
        return Ok(Some(kind));
    }
    let message = format!("Content-Type '{kind}' is not that of a manifest; these are: {}", media_type::ALL.join(", "));
    Err(Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message))
}

async fn get(content: &ContentStore, name: &str, reference: &ManifestName) -> Result<Reply, Refusal> {
    let manifest = content.manifest(name, reference).await?;
    let mut reply = respond::bytes(StatusCode::OK, &manifest.media_type, manifest.bytes);
    respond::set(&mut reply, CONTENT_DIGEST, manifest.digest.as_str());
    respond::set(&mut reply, header::ETAG, &format!("\"{}\"", manifest.digest));
    Ok(reply)
}

async fn read(mut body: Inbound<'_>) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(data) = body.next().await.map_err(|broken| broken.refusal("MANIFEST_INVALID"))? {
        if bytes.len() + data.len() > MAX_MANIFEST {
            let message = format!("a manifest may have {MAX_MANIFEST} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// A reference with a colon can only be a digest, and then its form is what is wrong with it.
fn parse(reference: &str) -> Result<ManifestName, Refusal> {
    if reference.contains(':') {
        return Ok(ManifestName::Digest(reference.parse()?));
    }
    Ok(ManifestName::parse(reference)?)
}

/// The same for what should be there already: under a name that cannot be, nothing is.
fn known(reference: &str) -> Result<ManifestName, Refusal> {
    if !reference.contains(':') && ManifestName::parse(reference).is_err() {
        return Err(ContentError::ManifestUnknown(reference.chars().take(300).collect()).into());
    }
    parse(reference)
}
