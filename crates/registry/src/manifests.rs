//! `/v2/<name>/manifests/<reference>`

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use updraft_oci::{ContentStore, MAX_MANIFEST, ManifestName};

use crate::{
    error::Refusal,
    respond::{self, CONTENT_DIGEST, Reply},
};

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

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_MANIFEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("a manifest may have {MAX_MANIFEST} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message))
        }
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", error.to_string())),
    }
}

/// A reference with a colon can only be a digest, and then its form is what is wrong with it.
fn parse(reference: &str) -> Result<ManifestName, Refusal> {
    if reference.contains(':') {
        return Ok(ManifestName::Digest(reference.parse()?));
    }
    Ok(ManifestName::parse(reference)?)
}
