//! WebSockets over HTTP/2 (RFC 8441), told to the container as over HTTP/1.1 (RFC 6455).
//!
//! A client of HTTP/2 asks for a tunnel in one of its streams (`CONNECT` with `:protocol`); a container of HTTP/1.1
//! knows a connection that changes its protocol. What is inside is the same, so only the handshake is translated: the
//! request before it is routed, the answer before it goes back. In between it is an upgrade like any other.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::ext::Protocol;

use crate::respond::Rejection;

const WEBSOCKET: &str = "websocket";
/// What a server adds to the key, so that nobody agrees who does not know WebSockets (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Headers of the handshake over HTTP/1.1; over HTTP/2 they mean nothing (RFC 8441, 5).
const OF_HTTP1: [HeaderName; 3] = [header::SEC_WEBSOCKET_ACCEPT, header::SEC_WEBSOCKET_KEY, header::CONTENT_LENGTH];

/// The part of the handshake that the client of a tunnel leaves to us. It travels with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// What the container has to answer.
    accept: HeaderValue,
}

/// Turns a request for a WebSocket over HTTP/2 into one over HTTP/1.1. Any other `CONNECT` stays what it is: it is
/// refused where the others are.
pub(crate) fn translate<B>(request: &mut Request<B>) {
    let asked = request.extensions().get::<Protocol>();
    let is_websocket = asked.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET));
    if request.method() != Method::CONNECT || !is_websocket {
        return;
    }
    let key = BASE64.encode(rand::random::<[u8; 16]>());
    let accept = accept(key.as_bytes());
    // Base64 is a header value in any case.
    let (Ok(key), Ok(accept)) = (HeaderValue::try_from(key), HeaderValue::try_from(accept)) else { return };
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    // A tunnel has no body beside its bytes.
    headers.remove(header::CONTENT_LENGTH);
    request.extensions_mut().insert(Tunnel { accept });
}

// === impl Tunnel ===

impl Tunnel {
    /// Turns the container's answer into one for the client, if it may have it.
    ///
    /// # Errors
    /// An agreement that does not answer our key, and a success that is no agreement: to a client of HTTP/2 every 2xx
    /// says that the tunnel is open, and the page that follows would be taken for frames.
    pub(crate) fn answer<B>(&self, response: &mut Response<B>) -> Result<(), Rejection> {
        let (status, headers) = (response.status(), response.headers());
        if status.is_success() {
            return Err(Rejection::Broken);
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        if headers.get(header::SEC_WEBSOCKET_ACCEPT) != Some(&self.accept) || !is_upgrade(headers) {
            return Err(Rejection::Broken);
        }
        *response.status_mut() = StatusCode::OK;
        for name in &OF_HTTP1 {
            response.headers_mut().remove(name);
        }
        Ok(())
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

pub(crate) fn accept(key: &[u8]) -> String {
    // Neither secret nor signature: RFC 6455 asks for just this.
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(method: Method, protocol: Option<&'static str>) -> Request<()> {
        let mut request = Request::builder().method(method).uri("http://a.test/x?y").body(()).expect("well formed");
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
        request.headers_mut().insert("sec-websocket-key", HeaderValue::from_static("of the client"));
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from_static(protocol));
        }
        translate(&mut request);
        request
    }

    #[test]
    fn the_key_is_answered_as_in_the_example_of_rfc_6455() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_tunnel_becomes_an_upgrade_with_a_key_of_its_own() {
        let request = translated(Method::CONNECT, Some("websocket"));
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/x"));
        let headers = request.headers();
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
        ] {
            assert_eq!(headers[name], value);
        }
        let key = BASE64.decode(&headers["sec-websocket-key"]).expect("base64");
        assert_eq!(key.len(), 16);
        let again = translated(Method::CONNECT, Some("websocket"));
        assert_ne!(headers["sec-websocket-key"], again.headers()["sec-websocket-key"]);
    }

    #[test]
    fn no_other_connect_is_touched() {
        for (method, protocol) in
            [(Method::CONNECT, None), (Method::CONNECT, Some("connect-udp")), (Method::POST, Some("websocket"))]
        {
            let request = translated(method.clone(), protocol);
            assert_eq!((request.method(), request.extensions().get::<Tunnel>()), (&method, None), "{protocol:?}");
            assert!(!request.headers().contains_key("upgrade"));
        }
    }

    #[test]
    fn only_an_agreement_that_answers_the_key_opens_the_tunnel() {
        let tunnel = Tunnel { accept: HeaderValue::from_static("right") };
        for (status, accept, upgrade, expected) in [
            (101, "right", "WebSocket", Ok(StatusCode::OK)),
            (101, "wrong", "websocket", Err(Rejection::Broken)),
            (101, "right", "chat", Err(Rejection::Broken)),
            (200, "right", "websocket", Err(Rejection::Broken)),
            (204, "right", "websocket", Err(Rejection::Broken)),
            (302, "none", "none", Ok(StatusCode::FOUND)),
            (403, "none", "none", Ok(StatusCode::FORBIDDEN)),
        ] {
            let mut response = Response::builder().status(status).header("upgrade", upgrade).body(()).expect("valid");
            response.headers_mut().insert("sec-websocket-accept", HeaderValue::from_static(accept));
            let answered = tunnel.answer(&mut response).map(|()| response.status());
            assert_eq!(answered, expected, "{status} {accept} {upgrade}");
            let opened = response.status() == StatusCode::OK && expected.is_ok();
            assert_eq!(response.headers().contains_key("sec-websocket-accept"), !opened);
        }
    }
}
