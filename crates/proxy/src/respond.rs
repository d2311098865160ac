//! The only place where a refusal becomes bytes.
//!
//! The pages and sentences are those that Cloud Run's front end answers with.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, uri::PathAndQuery};

use crate::body::Body;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC: &str = "application/grpc";
/// What a message repeats of the client's own path, in bytes: clients bound the head of an answer, some to 8 KiB.
const PATH_MAX: usize = 1 << 10;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No such host, or not for the public.
    NotFound,
    /// A path that the front door keeps from containers.
    ReservedPath,
    /// No host, several, or one that is none.
    Host,
    /// A header with a value that containers are spared.
    Header,
    /// TRACE or CONNECT.
    Method,
    /// Credentials are needed, and none were shown.
    Unauthenticated,
    /// The caller has shown who they are, and may not call.
    Forbidden,
    /// Credentials were shown, and cannot be verified.
    Unauthorized,
    /// The body is larger than one to an HTTP/1 container may be.
    RequestTooLarge,
    /// The body broke off, or was not what it said.
    Body,
    /// The answer of an HTTP/1 container says that it is larger than it may be.
    ResponseTooLarge,
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

/// What a refusal has to know of the request that it answers.
#[derive(Debug)]
pub(crate) struct Asked {
    path: Option<PathAndQuery>,
    form: Form,
}

/// What the client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Grpc,
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
const NOT_AUTHORIZED: &str = "The request was not authorized to invoke this service.";
const NOT_VERIFIED: &str =
    "The request was not authorized to invoke this service. The access token could not be verified.";
const TIMEOUT: &str = "The request has been terminated because it has reached the maximum request timeout.";
const RESPONSE_TOO_LARGE: &str = "Response size was too large. Please consider reducing response size.";
/// Ours: Cloud Run's log says nothing about these.
const RESERVED: &str = "The path is reserved: the front end answers it, and it never reaches a container.";
const ILLEGAL_HEADER: &str = "A header of the request has a value with other characters than visible ASCII, space and tab, a quotation mark in its name, or is a length that is no number or said twice.";
const REQUEST_TOO_LARGE: &str =
    "The request was aborted because its body is larger than 32 MiB, the limit of HTTP/1 containers.";
const BAD_BODY: &str = "The request failed because its body broke off or was malformed.";
/// Sources: the pages of Google's front end.
const MALFORMED: &str = "Your client has issued a malformed or illegal request.";
const NO_SUCH_URL: &str = "The requested URL was not found on this server.";

// === impl Rejection ===

impl Rejection {
    /// What the log of the service says about it.
    pub(crate) fn note(self) -> Option<&'static str> {
        match self {
            Self::NotFound | Self::Host | Self::Method => None,
            Self::ReservedPath => Some(RESERVED),
            Self::Header => Some(ILLEGAL_HEADER),
            Self::Unauthenticated => Some(NOT_AUTHENTICATED),
            Self::Forbidden => Some(NOT_AUTHORIZED),
            Self::Unauthorized => Some(NOT_VERIFIED),
            Self::RequestTooLarge => Some(REQUEST_TOO_LARGE),
            Self::Body => Some(BAD_BODY),
            Self::ResponseTooLarge => Some(RESPONSE_TOO_LARGE),
            Self::NoRevision | Self::NoInstance | Self::NotInTime | Self::ShuttingDown => Some(NO_INSTANCE),
            Self::StartFailed => Some(NOT_STARTED),
            Self::Broken => Some(BROKEN),
            Self::OutOfMemory => Some(OUT_OF_MEMORY),
            Self::Timeout => Some(TIMEOUT),
        }
    }

    /// The status of HTTP. That of a gRPC answer is always 200; the log and the metrics keep this one.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::Header | Self::Body => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unauthenticated | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::ReservedPath => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoInstance => StatusCode::TOO_MANY_REQUESTS,
            Self::StartFailed | Self::OutOfMemory | Self::ResponseTooLarge => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoRevision | Self::NotInTime | Self::ShuttingDown | Self::Broken => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The answer, in the form that the client can read.
    pub(crate) fn respond(self, asked: &Asked) -> Response<Body> {
        let path = asked.path.as_ref().map_or("/", PathAndQuery::as_str);
        match asked.form {
            Form::Page => self.page(path),
            Form::Grpc => self.trailers_only(path),
        }
    }

    fn page(self, path: &str) -> Response<Body> {
        let status = self.status();
        match self {
            Self::NotFound | Self::ReservedPath => page(status, "404 Page not found", NO_SUCH_URL),
            Self::Host | Self::Header | Self::Body => page(status, "400 Bad Request", MALFORMED),
            Self::Method => page(status, "405 Method Not Allowed", "The request method is inappropriate."),
            Self::Unauthenticated | Self::Forbidden => {
                page(status, "403 Forbidden", &no_permission("to get URL", path))
            }
            Self::Unauthorized => {
                let mut response = page(status, "401 Unauthorized", &no_permission("to the requested URL", path));
                let challenge = HeaderValue::from_static(
                    "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"",
                );
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
            Self::RequestTooLarge => {
                page(status, "413 Request Entity Too Large", "Your client issued a request that was too large.")
            }
            Self::ResponseTooLarge => page(status, "500 Server Error", RESPONSE_TOO_LARGE),
            Self::NoInstance => text(status, "Rate exceeded."),
            Self::StartFailed => page(status, "500 Server Error", NOT_STARTED),
            Self::NoRevision | Self::NotInTime | Self::ShuttingDown => {
                page(status, "503 Service Unavailable", NO_INSTANCE)
            }
            Self::Broken => page(status, "503 Service Unavailable", BROKEN),
            Self::OutOfMemory => page(status, "500 Server Error", OUT_OF_MEMORY),
            Self::Timeout => text(status, "upstream request timeout"),
        }
    }

    /// The answer of gRPC that has a head and nothing else (its HTTP/2 protocol, `Trailers-Only`). A client of gRPC that
    /// gets a page instead reports that the content type is wrong, and its caller learns nothing.
    fn trailers_only(self, path: &str) -> Response<Body> {
        let message = match self {
            Self::NotFound | Self::ReservedPath => encoded(NO_SUCH_URL),
            Self::Host | Self::Header | Self::Body => encoded(MALFORMED),
            Self::Method => encoded("The request method is inappropriate."),
            Self::Unauthenticated | Self::Forbidden | Self::Unauthorized => {
                let path = &path[..path.floor_char_boundary(PATH_MAX)];
                encoded(&format!("Your client does not have permission to call {path} on this server."))
            }
            _ => encoded(self.note().unwrap_or_default()),
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(GRPC));
        headers.insert(GRPC_STATUS, HeaderValue::from_static(grpc_code(self.status())));
        // Encoded, so that every character may stand in a header.
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }
}

// === impl Asked ===

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(is_grpc);
        let form = if is_grpc { Form::Grpc } else { Form::Page };
        Self { path: request.uri().path_and_query().cloned(), form }
    }
}

/// `application/grpc`, alone or with a format as `+proto`. Not `application/grpc-web`, whose clients read the status of
/// HTTP.
fn is_grpc(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes();
    kind.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC.as_bytes()))
        && matches!(kind.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// The code of gRPC for a status of HTTP.
///
/// It is the code that a client makes by itself of an answer that is not gRPC (gRPC's `http-grpc-status-mapping`), with
/// the exceptions that `google.rpc.Code` has for what the table throws together:
/// - 429 is `RESOURCE_EXHAUSTED`: the table's `UNAVAILABLE` invites to try again at once, into a queue that is full.
/// - 504 is `DEADLINE_EXCEEDED`: `UNAVAILABLE` means that nothing was done, and the handler may be running still.
/// - 500 is `INTERNAL` rather than `UNKNOWN`.
///
/// 405 is `UNIMPLEMENTED` like 404; 413 is `RESOURCE_EXHAUSTED`, as gRPC says of messages above a limit.
fn grpc_code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 500 => "13",
        401 => "16",
        403 => "7",
        404 | 405 => "12",
        413 | 429 => "8",
        502 | 503 => "14",
        504 => "4",
        _ => "2",
    }
}

/// A message as gRPC wants it in a header: the bytes of UTF-8, and `%` and two digits for what is not printable ASCII and
/// for `%` itself.
fn encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
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

    fn asked(kind: &str, path: &str) -> Asked {
        Asked::of(&Request::post(path).header("content-type", kind).body(()).expect("well formed"))
    }

    async fn shown(rejection: Rejection, path: &str) -> String {
        let response = rejection.respond(&asked("text/plain", path));
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
            <html><head><meta http-equiv="content-type" content="text/html;charset=utf-8"><title>403 Forbidden</title></head><body text=#000000 bgcolor=#ffffff><h1>Error: Forbidden</h1><h2>Your client does not have permission to get URL <code>/&quot;a&quot;&amp;b</code> from this server.</h2><h2></h2></body></html>
        "#]]
        .assert_eq(&shown(Rejection::Forbidden, r#"/"a"&b"#).await);
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
    #[test]
    fn a_grpc_client_gets_a_code_and_a_sentence_and_the_log_the_status() {
        use Rejection as R;
        let table: String = [
            R::Host,
            R::Header,
            R::Body,
            R::Unauthorized,
            R::Unauthenticated,
            R::Forbidden,
            R::NotFound,
            R::ReservedPath,
            R::Method,
            R::RequestTooLarge,
            R::ResponseTooLarge,
            R::NoInstance,
            R::StartFailed,
            R::OutOfMemory,
            R::NoRevision,
            R::NotInTime,
            R::Broken,
            R::Timeout,
        ]
        .into_iter()
        .map(|rejection| {
            let response = rejection.respond(&asked("application/grpc+proto", "/a.B/C"));
            assert_eq!(
                (response.status(), &response.headers()["content-type"]),
                (StatusCode::OK, &GRPC.parse().unwrap())
            );
            let header = |name| response.headers()[name].to_str().expect("ASCII");
            format!("{} {} {}\n", rejection.status().as_u16(), header("grpc-status"), header("grpc-message"))
        })
        .collect();
        expect![[r#"
            400 13 Your client has issued a malformed or illegal request.
            400 13 Your client has issued a malformed or illegal request.
            400 13 Your client has issued a malformed or illegal request.
            401 16 Your client does not have permission to call /a.B/C on this server.
            403 7 Your client does not have permission to call /a.B/C on this server.
            403 7 Your client does not have permission to call /a.B/C on this server.
            404 12 The requested URL was not found on this server.
            404 12 The requested URL was not found on this server.
            405 12 The request method is inappropriate.
            413 8 The request was aborted because its body is larger than 32 MiB, the limit of HTTP/1 containers.
            500 13 Response size was too large. Please consider reducing response size.
            429 8 The request was aborted because there was no available instance.
            500 13 The request failed because the instance could not start successfully.
            500 13 While handling this request, the container instance was found to be using too much memory and was terminated.
            503 14 The request was aborted because there was no available instance.
            503 14 The request was aborted because there was no available instance.
            503 14 The request failed because either the HTTP response was malformed or connection to the instance had an error.
            504 4 The request has been terminated because it has reached the maximum request timeout.
        "#]].assert_eq(&table);
    }

    #[test]
    fn only_grpc_itself_is_answered_as_grpc() {
        for (kind, form) in [
            ("application/grpc", Form::Grpc),
            ("Application/GRPC", Form::Grpc),
            ("application/grpc+proto", Form::Grpc),
            ("application/grpc; charset=x", Form::Grpc),
            ("application/grpc-web", Form::Page),
            ("application/grpc-web+proto", Form::Page),
            ("application/json", Form::Page),
            ("application", Form::Page),
        ] {
            assert_eq!(asked(kind, "/").form, form, "{kind}");
        }
    }

    #[test]
    fn a_message_of_grpc_is_encoded_and_does_not_grow_with_the_path() {
        assert_eq!(encoded("50 % of \u{fc}\n~"), "50 %25 of %C3%BC%0A~");
        let response = Rejection::Forbidden.respond(&asked(GRPC, &format!("/{}", "%".repeat(10_000))));
        assert!(response.headers()["grpc-message"].len() < 4 * PATH_MAX);
    }
}
