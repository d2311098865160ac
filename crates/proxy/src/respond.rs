//! The only place where a refusal becomes bytes.
//!
//! The pages and sentences are those that Cloud Run's front end answers with.

use http::{HeaderValue, Response, StatusCode, header};

use crate::body::Body;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No such host, or not for the public.
    NotFound,
    /// No host, several, or one that is none.
    Host,
    /// TRACE or CONNECT.
    Method,
    /// Credentials are needed, and none were shown.
    Forbidden,
    /// Credentials were shown, and cannot be verified.
    Unauthorized,
    /// Nothing can take the traffic.
    NoRevision,
    /// All instances that may be are busy, and too many requests wait.
    NoInstance,
    /// No instance had a place within the time that a request may wait, though there may be more of them.
    NotInTime,
    /// No instance came up.
    StartFailed,
    /// The instance broke off or did not speak HTTP.
    Broken,
    /// The instance was ended for its memory while it worked on the request.
    OutOfMemory,
    /// The request took longer than it may.
    Timeout,
    /// The server ends.
    ShuttingDown,
}

/// Source: the request log of Cloud Run for an instance over its memory limit.
const OUT_OF_MEMORY: &str =
    "While handling this request, the container instance was found to be using too much memory and was terminated.";
const BROKEN: &str =
    "The request failed because either the HTTP response was malformed or connection to the instance had an error.";
const NOT_STARTED: &str = "The request failed because the instance could not start successfully.";
const NO_INSTANCE: &str = "The request was aborted because there was no available instance.";
/// Sources: the same log, for requests that were refused or cut off.
const NOT_AUTHENTICATED: &str = "The request was not authenticated. Either allow unauthenticated invocations or set the proper Authorization header.";
const NOT_AUTHORIZED: &str =
    "The request was not authorized to invoke this service. The access token could not be verified.";
const TIMEOUT: &str = "The request has been terminated because it has reached the maximum request timeout.";

// === impl Rejection ===

impl Rejection {
    /// What the log of the service says about it.
    pub(crate) fn note(self) -> Option<&'static str> {
        match self {
            Self::NotFound | Self::Host | Self::Method => None,
            Self::Forbidden => Some(NOT_AUTHENTICATED),
            Self::Unauthorized => Some(NOT_AUTHORIZED),
            Self::NoRevision | Self::NoInstance | Self::NotInTime | Self::ShuttingDown => Some(NO_INSTANCE),
            Self::StartFailed => Some(NOT_STARTED),
            Self::Broken => Some(BROKEN),
            Self::OutOfMemory => Some(OUT_OF_MEMORY),
            Self::Timeout => Some(TIMEOUT),
        }
    }

    /// The answer; `path` is what was asked for.
    pub(crate) fn respond(self, path: &str) -> Response<Body> {
        use StatusCode as S;
        match self {
            Self::NotFound => {
                page(S::NOT_FOUND, "404 Page not found", "The requested URL was not found on this server.")
            }
            Self::Host => {
                page(S::BAD_REQUEST, "400 Bad Request", "Your client has issued a malformed or illegal request.")
            }
            Self::Method => {
                page(S::METHOD_NOT_ALLOWED, "405 Method Not Allowed", "The request method is inappropriate.")
            }
            Self::Forbidden => page(S::FORBIDDEN, "403 Forbidden", &no_permission("to get URL", path)),
            Self::Unauthorized => {
                let mut response =
                    page(S::UNAUTHORIZED, "401 Unauthorized", &no_permission("to the requested URL", path));
                let challenge = HeaderValue::from_static(
                    "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"",
                );
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
            Self::NoInstance => text(S::TOO_MANY_REQUESTS, "Rate exceeded."),
            Self::StartFailed => page(S::INTERNAL_SERVER_ERROR, "500 Server Error", NOT_STARTED),
            Self::NoRevision | Self::NotInTime | Self::ShuttingDown => {
                page(S::SERVICE_UNAVAILABLE, "503 Service Unavailable", NO_INSTANCE)
            }
            Self::Broken => page(S::SERVICE_UNAVAILABLE, "503 Service Unavailable", BROKEN),
            Self::OutOfMemory => page(S::INTERNAL_SERVER_ERROR, "500 Server Error", OUT_OF_MEMORY),
            Self::Timeout => text(S::GATEWAY_TIMEOUT, "upstream request timeout"),
        }
    }
}

fn no_permission(what: &str, path: &str) -> String {
    let path = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    format!("Your client does not have permission {what} <code>{path}</code> from this server.")
}

/// `title` is the status with its phrase; the heading repeats the phrase.
fn page(status: StatusCode, title: &str, sentence: &str) -> Response<Body> {
    let phrase = title.split_once(' ').map_or(title, |(_, phrase)| phrase);
    let html = format!(
        "<html><head><meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\"><title>{title}</title></head>\
         <body text=#000000 bgcolor=#ffffff><h1>Error: {phrase}</h1><h2>{sentence}</h2><h2></h2></body></html>"
    );
    answer(status, "text/html; charset=UTF-8", html)
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    answer(status, "text/plain; charset=UTF-8", text.to_owned())
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn shown(rejection: Rejection, path: &str) -> String {
        let response = rejection.respond(path);
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("it is whole").to_bytes();
        format!("{status}\n{}\n", String::from_utf8_lossy(&bytes))
    }

    #[tokio::test]
    async fn the_pages_are_those_of_cloud_run() {
        expect![[r#"
            404 Not Found
            <html><head><meta http-equiv="content-type" content="text/html;charset=utf-8"><title>404 Page not found</title></head><body text=#000000 bgcolor=#ffffff><h1>Error: Page not found</h1><h2>The requested URL was not found on this server.</h2><h2></h2></body></html>
        "#]]
        .assert_eq(&shown(Rejection::NotFound, "/").await);
        expect![[r#"
            403 Forbidden
            <html><head><meta http-equiv="content-type" content="text/html;charset=utf-8"><title>403 Forbidden</title></head><body text=#000000 bgcolor=#ffffff><h1>Error: Forbidden</h1><h2>Your client does not have permission to get URL <code>/&lt;a&gt;</code> from this server.</h2><h2></h2></body></html>
        "#]]
        .assert_eq(&shown(Rejection::Forbidden, "/<a>").await);
        expect![[r#"
            429 Too Many Requests
            Rate exceeded.
        "#]]
        .assert_eq(&shown(Rejection::NoInstance, "/").await);
        expect![[r#"
            504 Gateway Timeout
            upstream request timeout
        "#]]
        .assert_eq(&shown(Rejection::Timeout, "/").await);
    }
}
