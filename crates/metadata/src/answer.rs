//! Answers, as bytes.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use updraft_model::name::fnv1a;

use crate::ask::{FLAVOR, Form, GOOGLE};

/// What the server calls itself, by which libraries tell Cloud Run from other places.
const SERVER: &str = "Metadata Server for Serverless";
const TEXT: &str = "application/text";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";
/// Where redirects lead: the name that every instance has for us.
const SELF: &str = "http://metadata.google.internal";

/// An answer's bytes are all there from the beginning.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was not said that the metadata server is meant. The path.
    NoFlavor(String),
    /// It was passed on by somebody. The path.
    Forwarded(String),
    /// Nothing can be changed here.
    Method,
    /// There is nothing. The path.
    Unknown(String),
    /// A parameter is not what it must be.
    Invalid(String),
    /// The account is gone, or there never was one. Its address.
    NoAccount(String),
    /// The account is switched off. Its address.
    AccountDisabled(String),
    /// Too many tokens; in so many seconds there may be another.
    TooMany(u64),
    /// It is not known yet what the instance is.
    NotYet,
    /// A token could not be made. The log has the cause.
    Internal,
}

/// A value.
pub(crate) fn value(form: Form, body: String) -> Reply {
    // What does not change has a name, by which who waits for a change says what it knows.
    let etag = etag(&body);
    let mut reply = reply(StatusCode::OK, if form == Form::Json { JSON } else { TEXT }, body);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        reply.headers_mut().insert(header::ETAG, etag);
    }
    reply
}

/// The name of a value.
pub(crate) fn etag(body: &str) -> String {
    format!("{:016x}", fnv1a(body.as_bytes()))
}

/// What was made for this one question.
pub(crate) fn made(form: Form, body: String) -> Reply {
    let mut reply = reply(StatusCode::OK, if form == Form::Json { JSON } else { TEXT }, body);
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A directory's path ends with a slash.
pub(crate) fn moved(path: &str, query: Option<&str>) -> Reply {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{SELF}{path}/{query}");
    let mut reply = reply(StatusCode::MOVED_PERMANENTLY, TEXT, format!("{location}\n"));
    // It came as a part of a request, so it can be one of an answer.
    if let Ok(location) = HeaderValue::from_str(&location) {
        reply.headers_mut().insert(header::LOCATION, location);
    }
    reply
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(FLAVOR, HeaderValue::from_static(GOOGLE));
    headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
    headers.insert("x-xss-protection", HeaderValue::from_static("0"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    reply
}

// === impl Refusal ===

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoFlavor(_) | Self::Forwarded(_) | Self::AccountDisabled(_) => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown(_) | Self::NoAccount(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotYet => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As bytes.
    pub(crate) fn reply(&self) -> Reply {
        let status = self.status();
        let (kind, body) = match self {
            Self::NoFlavor(path) => (HTML, page(status, &permission(path, "Missing Metadata-Flavor:Google header."))),
            Self::Forwarded(path) => (HTML, page(status, &permission(path, "X-Forwarded-For header is not allowed."))),
            Self::Method => {
                (HTML, page(status, "The request method is inappropriate for the URL: only GET and HEAD are."))
            }
            Self::Unknown(path) => {
                let path = escaped(path);
                (HTML, page(status, &format!("The requested URL <code>{path}</code> was not found on this server.")))
            }
            Self::Invalid(what) => (TEXT, format!("{what}\n")),
            Self::NoAccount(email) => {
                let why = "Not Found: Not found; Gaia id not found for email";
                (TEXT, format!("Unable to generate access token; IAM returned 404 {why} {email}\n"))
            }
            Self::AccountDisabled(email) => {
                let why = format!("Forbidden: Service account {email} is disabled.");
                (TEXT, format!("Unable to generate access token; IAM returned 403 {why}\n"))
            }
            Self::TooMany(_) => (TEXT, "Too many new tokens were asked for by this instance.\n".to_owned()),
            Self::NotYet => (TEXT, "The server was restarted and does not know this instance yet.\n".to_owned()),
            Self::Internal => (TEXT, "The token could not be made.\n".to_owned()),
        };
        let mut reply = reply(status, kind, body);
        let headers = reply.headers_mut();
        match self {
            Self::Method => drop(headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"))),
            Self::TooMany(seconds) => drop(headers.insert(header::RETRY_AFTER, (*seconds).into())),
            Self::NotYet => drop(headers.insert(header::RETRY_AFTER, 1.into())),
            _ => {}
        }
        reply
    }
}

fn permission(path: &str, why: &str) -> String {
    format!("Your client does not have permission to get URL <code>{}</code> from this server. {why}", escaped(path))
}

fn page(status: StatusCode, text: &str) -> String {
    let title = format!("Error {} ({})", status.as_u16(), status.canonical_reason().unwrap_or_default());
    format!("<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}</title>\n<p>{text}\n")
}

/// A path may be anything, also a script.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
