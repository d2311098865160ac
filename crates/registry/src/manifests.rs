//! `/v2/<name>/manifests/<reference>`

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use updraft_oci::{ContentStore, MAX_MANIFEST, ManifestName};

use crate::{
    error::Refusal,
    respond::{self, CONTENT_DIGEST, Reply},
};

/// Which manifest a request speaks of.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// A tag or a digest.
    pub(crate) reference: String,
}

pub(crate) async fn handle(
    content: &ContentStore,
    head: &Parts,
    body: &mut Incoming,
    place: &Place,
) -> Result<Reply, Refusal> {
    let (name, reference) = (place.name.as_str(), parse(&place.reference)?);
    match head.method {
        Method::GET => get(content, name, &reference).await,
        Method::HEAD => {
            let mut reply = get(content, name, &reference).await?;
            let length = http_body::Body::size_hint(reply.body()).exact().unwrap_or(0);
            respond::set(&mut reply, header::CONTENT_LENGTH, &length.to_string());
            Ok(reply)
        }
        Method::PUT => {
            let declared = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let declared = declared.map(|value| value.split(';').next().unwrap_or_default().trim());
            let digest = content.put_manifest(name, &reference, declared, read(body).await?).await?;
            let mut reply = respond::empty(StatusCode::CREATED);
            respond::set(&mut reply, header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
            respond::set(&mut reply, CONTENT_DIGEST, digest.as_str());
            Ok(reply)
        }
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

async fn read(body: &mut Incoming) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
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
