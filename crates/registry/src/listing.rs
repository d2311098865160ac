//! `/v2/_catalog` and `/v2/<name>/tags/list`, a page at a time.

use http::{Method, StatusCode, header};
use serde_json::json;
use updraft_oci::ContentStore;

use crate::{
    error::Refusal,
    respond::{self, Reply},
    route::Query,
};

/// How many repositories a page has when the client does not say.
const CATALOG_PAGE: usize = 1000;

pub(crate) async fn catalog(content: &ContentStore, method: &Method, query: &Query) -> Result<Reply, Refusal> {
    only_get(method)?;
    let (page, next) = page(content.repositories().await?, query, Some(CATALOG_PAGE))?;
    let reply = respond::json(StatusCode::OK, &json!({"repositories": page}));
    Ok(with_next(reply, "/v2/_catalog", next))
}

pub(crate) async fn tags(content: &ContentStore, method: &Method, name: &str, query: &Query) -> Result<Reply, Refusal> {
    only_get(method)?;
    let (page, next) = page(content.tags(name).await?, query, None)?;
    let reply = respond::json(StatusCode::OK, &json!({"name": name, "tags": page}));
    Ok(with_next(reply, &format!("/v2/{name}/tags/list"), next))
}

fn only_get(method: &Method) -> Result<(), Refusal> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(Refusal::method()) }
}

/// The names after `last`, at most `n`, and the query for the next page if there is one.
fn page(names: Vec<String>, query: &Query, usual: Option<usize>) -> Result<(Vec<String>, Option<String>), Refusal> {
    let n = match query.get("n") {
        Some(n) => Some(n.parse::<usize>().map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", format!("'{n}' is not a number"))
        })?),
        None => usual,
    };
    let last = query.get("last").unwrap_or_default();
    let mut rest: Vec<String> = names.into_iter().filter(|name| name.as_str() > last).collect();
    let Some(n) = n.filter(|n| *n < rest.len()) else { return Ok((rest, None)) };
    rest.truncate(n);
    let next = rest.last().map(|last| format!("n={n}&last={last}"));
    Ok((rest, next))
}

fn with_next(mut reply: Reply, path: &str, next: Option<String>) -> Reply {
    if let Some(next) = next {
        // Names and tags have no character that a URL would need to escape.
        respond::set(&mut reply, header::LINK, &format!("<{path}?{next}>; rel=\"next\""));
    }
    reply
}
