//! `/v2/<name>/manifests/<reference>`

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use updraft_oci::{ContentStore, MAX_MANIFEST, ManifestName};

use crate::{
    error::Refusal,
    respond::{self, CONTENT_DIGEST, Reply},
};

/// How much of a manifest that is too large is read and dropped: a client that is cut off while it
/// sends sees a broken connection, not the reason.
const MAX_DRAINED: usize = 4 * MAX_MANIFEST;

pub(crate) async fn handle(
    content: &ContentStore,
    request: Request<Incoming>,
    name: &str,
    reference: &str,
) -> Result<Reply, Refusal> {
    let reference = parse(reference)?;
    match *request.method() {
        Method::GET => get(content, name, &reference).await,
        Method::HEAD => {
            let mut reply = get(content, name, &reference).await?;
            let length = http_body::Body::size_hint(reply.body()).exact().unwrap_or(0);
            respond::set(&mut reply, header::CONTENT_LENGTH, &length.to_string());
            Ok(reply)
        }
        Method::PUT => put(content, request, name, &reference).await,
        Method::DELETE => {
            content.delete_manifest(name, &reference).await?;
            Ok(respond::empty(StatusCode::ACCEPTED))
        }
        _ => Err(Refusal::method()),
    }
}

async fn get(content: &ContentStore, name: &str, reference: &ManifestName) -> Result<Reply, Refusal> {
    let manifest = content.manifest(name, reference).await?;
    let mut reply = respond::bytes(StatusCode::OK, &manifest.media_type, manifest.bytes);
    respond::set(&mut reply, CONTENT_DIGEST, manifest.digest.as_str());
    respond::set(&mut reply, header::ETAG, &format!("\"{}\"", manifest.digest));
    Ok(reply)
}

async fn put(
    content: &ContentStore,
    request: Request<Incoming>,
    name: &str,
    reference: &ManifestName,
) -> Result<Reply, Refusal> {
    let declared = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let declared = declared.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
    let bytes = read(request.into_body()).await?;
    let digest = content.put_manifest(name, reference, declared.as_deref(), bytes).await?;
    let mut reply = respond::empty(StatusCode::CREATED);
    respond::set(&mut reply, header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    respond::set(&mut reply, CONTENT_DIGEST, digest.as_str());
    Ok(reply)
}

async fn read(mut body: Incoming) -> Result<Bytes, Refusal> {
    let (mut bytes, mut size) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size <= MAX_MANIFEST {
            bytes.extend_from_slice(&data);
        } else if size > MAX_DRAINED {
            break;
        }
    }
    if size <= MAX_MANIFEST {
        return Ok(bytes.freeze());
    }
    let message = format!("a manifest may have {MAX_MANIFEST} bytes");
    Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message))
}

/// A reference with a colon can only be a digest, and then its form is what is wrong with it.
fn parse(reference: &str) -> Result<ManifestName, Refusal> {
    if reference.contains(':') {
        return Ok(ManifestName::Digest(reference.parse()?));
    }
    Ok(ManifestName::parse(reference)?)
}
