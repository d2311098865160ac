//! Redirects: whether an answer is one, and what goes along to where it leads.

use reqwest::{
    Method, StatusCode, Url,
    header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION},
};

/// How many redirects one request follows.
pub const MOST: usize = 5;
/// What is shown to the server that was asked, and to no other.
const CREDENTIALS: &[HeaderName] = &[AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// What the answer to a request with `method` says of where to ask instead; only `GET` and `HEAD` do.
pub fn location<'a>(method: &Method, status: StatusCode, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let is_safe = matches!(*method, Method::GET | Method::HEAD);
    headers.get(LOCATION).filter(|_| is_redirect && is_safe)
}

/// Where `location` leads from `url`, and of the request's `headers` only those that whoever is there may see; `None` when it
/// is no URL.
pub fn follow(url: &Url, location: &HeaderValue, headers: &mut HeaderMap) -> Option<Url> {
    let next = url.join(location.to_str().ok()?).ok()?;
    if next.origin() != url.origin() {
        CREDENTIALS.iter().for_each(|name| drop(headers.remove(name)));
    }
    Some(next)
}
