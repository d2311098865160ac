//! `/v2/<name>/referrers/<digest>`: what has a manifest as its subject.

use http::{Method, StatusCode, header};
use serde_json::json;
use updraft_oci::{ContentStore, Digest, ReferrersQuery, media_type};

use crate::{
    error::Refusal,
    respond::{self, OCI_FILTERS, Reply},
    route::{self, Query},
};

/// Whose referrers are asked for.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) query: Query,
}

pub(crate) async fn list(content: &ContentStore, method: &Method, subject: &Subject) -> Result<Reply, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::method());
    }
    let Subject { name, digest, query } = subject;
    let digest: Digest = digest.parse()?;
    let filter = query.get("artifactType").filter(|kind| !kind.is_empty()).map(str::to_owned);
    let last = query.get("last").map(str::to_owned);
    let page = content.referrers(name, &digest, ReferrersQuery { artifact_type: filter.clone(), last }).await?;
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": page.descriptors});
    let mut reply = respond::bytes(StatusCode::OK, media_type::OCI_INDEX, index.to_string().into());
    if filter.is_some() {
        respond::set(&mut reply, OCI_FILTERS, "artifactType");
    }
    if let Some(next) = page.next {
        let filter = filter.map(|kind| format!("&artifactType={}", route::encode(&kind))).unwrap_or_default();
        let link = format!("</v2/{name}/referrers/{digest}?last={next}{filter}>; rel=\"next\"");
        respond::set(&mut reply, header::LINK, &link);
    }
    Ok(reply)
}
