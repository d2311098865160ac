//! `/v2/_catalog` and `/v2/<name>/tags/list`, a page at a time.

use http::{Method, StatusCode, header};
use serde_json::json;
use updraft_oci::ContentStore;

use crate::{
    error::Refusal,
    respond::{self, Reply},
    route::Query,
};

/// How many names a page has at most, and when the client does not say.
const PAGE: usize = 10_000;

pub(crate) async fn catalog(content: &ContentStore, method: &Method, query: &Query) -> Result<Reply, Refusal> {
    only_get(method)?;
    let (page, next) = page(content.repositories().await?, query)?;
    let reply = respond::json(StatusCode::OK, &json!({"repositories": page}));
    Ok(with_next(reply, "/v2/_catalog", next))
}

pub(crate) async fn tags(content: &ContentStore, method: &Method, name: &str, query: &Query) -> Result<Reply, Refusal> {
    only_get(method)?;
    let (page, next) = page(content.tags(name).await?, query)?;
    let reply = respond::json(StatusCode::OK, &json!({"name": name, "tags": page}));
    Ok(with_next(reply, &format!("/v2/{name}/tags/list"), next))
}

fn only_get(method: &Method) -> Result<(), Refusal> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(Refusal::method()) }
}

/// The names after `last`, at most `n`, and the query for the next page if there is one.
fn page(names: Vec<String>, query: &Query) -> Result<(Vec<String>, Option<String>), Refusal> {
    let n = match query.get("n") {
        Some(n) => n.parse::<usize>().map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", format!("n is the length of a page, not '{n}'"))
        })?,
        None => PAGE,
    };
    let last = query.get("last").unwrap_or_default();
    let mut rest: Vec<String> = names.into_iter().filter(|name| name.as_str() > last).collect();
    let n = n.min(PAGE);
    if n >= rest.len() {
        return Ok((rest, None));
    }
    rest.truncate(n);
    // An empty page has no last name, and so none after it.
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
