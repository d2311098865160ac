//! What changes in the head of a request and of an answer on the way.

use std::{fmt::Write as _, net::IpAddr};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use updraft_model::{channel::Waits, revision::Protocol};

use crate::{client::Client, cookies, trace, waits};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SERVER: HeaderValue = HeaderValue::from_static("Updraft");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers of one connection, not of the message (RFC 9110, 7.6.1). `TE` is apart: `trailers` goes
/// on, gRPC servers insist on it.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// Turns a request as it came into one for the container. Returns whether it asks for an upgrade
/// that can be passed on.
pub(crate) fn prepare(parts: &mut Parts, client: Client, protocol: Protocol) -> Upgrade {
    let upgrade = wants_upgrade(parts, protocol);
    let te_trailers = mentions(&parts.headers, &header::TE, "trailers");
    strip(&mut parts.headers);
    parts.headers.remove(header::TE);
    if te_trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // The body is sent without waiting for a 100 from the container; the one for the client is sent
    // when the body is first asked for.
    parts.headers.remove(header::EXPECT);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(header::UPGRADE, protocol.clone());
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    forwarded(&mut parts.headers, client);
    trace::carry(&mut parts.headers);
    address(parts, protocol);
    if upgrade.is_some() { Upgrade::Wanted } else { Upgrade::No }
}

/// Tells where the time went, beside what the container says of it.
pub(crate) fn time(headers: &mut HeaderMap, waits: Waits) {
    // Digits and names.
    if let Ok(value) = HeaderValue::from_str(&waits::server_timing(waits)) {
        headers.append(SERVER_TIMING, value);
    }
}

/// Does a request ask for another protocol on its connection?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    Wanted,
    No,
}

/// Turns an answer as it came into one for the client.
pub(crate) fn clean(headers: &mut HeaderMap, upgrade: Upgrade) {
    let protocol = headers.get(header::UPGRADE).filter(|_| upgrade == Upgrade::Wanted).cloned();
    // Of two lengths the chunks are the one that was read (RFC 9112, 6.3). The library leaves the other one there, and
    // would cut the answer for the client to it.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    strip(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if headers.contains_key(header::SET_COOKIE) {
        keep_private(headers);
    }
}

/// An answer that sets a cookie is for one client: a cache that gave it to another would hand over a session. What the
/// container said stays if it is as strict already (Cloud Run's rule, in the words of App Engine's).
fn keep_private(headers: &mut HeaderMap) {
    let says = |word| mentions(headers, &header::CACHE_CONTROL, word);
    let is_strict = says("private") || says("no-cache") || says("no-store");
    if !is_strict || says("public") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Says who answered. Like Cloud Run's front end it puts its own name in place of the container's, whose versions are
/// nobody's business; the name is ours, because to be told "Google Frontend" would mislead whoever looks for a fault.
pub(crate) fn sign(headers: &mut HeaderMap, trace: Option<HeaderValue>) {
    headers.insert(header::SERVER, SERVER);
    if let Some(trace) = trace {
        trace::tell(headers, trace);
    }
}

fn wants_upgrade(parts: &Parts, protocol: Protocol) -> Option<HeaderValue> {
    let possible = parts.version == Version::HTTP_11 && protocol == Protocol::Http1;
    if !possible || !mentions(&parts.headers, &header::CONNECTION, "upgrade") {
        return None;
    }
    // `h2c` would be between us and the container, and not what its port says.
    parts.headers.get(header::UPGRADE).filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c")).cloned()
}

/// Is `word` in a comma-separated header?
fn mentions(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|item| item.split(';').next().is_some_and(|item| item.trim().eq_ignore_ascii_case(word)))
    })
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A client must not be able to take away what routing and the container rely on.
            .filter(|name| !matches!(*name, header::HOST | header::AUTHORIZATION | header::CONTENT_LENGTH))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Adds the client to what the request says about its way: both lists grow at their end, so that only the last entry is
/// to be trusted. An IPv4 client of a socket of IPv6 is written as what it is.
///
/// `Forwarded` is that of RFC 7239. Its node is quoted in any case, as Google's front end does; for IPv6 it has to be.
fn forwarded(headers: &mut HeaderMap, client: Client) {
    let (address, scheme) = (client.address.ip().to_canonical(), client.scheme.as_str());
    let mut text = String::with_capacity(128);
    join(&mut text, headers, &FORWARDED_FOR);
    // Writing to a String does not fail.
    let _ = write!(text, "{address}");
    let end = text.len();
    join(&mut text, headers, &header::FORWARDED);
    let _ = match address {
        IpAddr::V4(address) => write!(text, "for=\"{address}\";proto={scheme}"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\";proto={scheme}"),
    };
    // All of it was header values or an address before.
    if let Some((chain, elements)) = two_values(text, end) {
        headers.insert(FORWARDED_FOR, chain);
        headers.insert(header::FORWARDED, elements);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
}

/// Appends all values of a header that is a list, each with the comma after it.
fn join(text: &mut String, headers: &HeaderMap, name: &HeaderName) {
    for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    {
        text.push_str(value);
        text.push_str(", ");
    }
}

/// Makes two values of a text that was cut at `end`: they share the buffer, which saves a request two copies.
pub(crate) fn two_values(text: String, end: usize) -> Option<(HeaderValue, HeaderValue)> {
    let mut first = Bytes::from(text);
    let second = first.split_off(end);
    Some((HeaderValue::from_maybe_shared(first).ok()?, HeaderValue::from_maybe_shared(second).ok()?))
}

/// Turns a request that was prepared for one protocol into one for another. An upgrade that was
/// wanted is not any more.
pub(crate) fn retarget(parts: &mut Parts, protocol: Protocol) {
    strip(&mut parts.headers);
    address(parts, protocol);
}

/// HTTP/1.1 wants the path in the target and the host in a header, HTTP/2 both in the target.
fn address(parts: &mut Parts, protocol: Protocol) {
    let uri = std::mem::take(&mut parts.uri).into_parts();
    let path = uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let host = match uri.authority {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => parts.headers.get(header::HOST).cloned(),
    };
    let mut target = http::uri::Parts::default();
    target.path_and_query = Some(path);
    match protocol {
        Protocol::Http1 => {
            parts.version = Version::HTTP_11;
            cookies::join(&mut parts.headers);
            if let Some(host) = host {
                parts.headers.insert(header::HOST, host);
            }
        }
        Protocol::H2c => {
            parts.version = Version::HTTP_2;
            parts.headers.remove(header::HOST);
            target.scheme = Some(Scheme::HTTP);
            let authority = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
            target.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
        }
    }
    // A path alone, or scheme, authority and path: both are whole.
    parts.uri = Uri::from_parts(target).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use http::Request;
    use updraft_identity::Entrance;

    use super::*;
    use crate::client::Scheme as Spoken;

    fn client(scheme: Spoken) -> Client {
        Client { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)), scheme, entrance: Entrance::Outside }
    }

    #[test]
    fn the_container_learns_how_the_client_spoke() {
        for (scheme, word) in [(Spoken::Http, "http"), (Spoken::Https, "https")] {
            let request = Request::get("/").header("host", "a.test").header("x-forwarded-proto", "gopher");
            let (mut parts, ()) = request.body(()).expect("well formed").into_parts();
            prepare(&mut parts, client(scheme), Protocol::Http1);
            assert_eq!(parts.headers.get_all("x-forwarded-proto").iter().collect::<Vec<_>>(), [word]);
        }
    }

    fn prepared(request: http::request::Builder, protocol: Protocol) -> (Parts, Upgrade) {
        let (mut parts, ()) = request.body(()).expect("well formed").into_parts();
        let upgrade = prepare(&mut parts, client(Spoken::Http), protocol);
        (parts, upgrade)
    }

    #[test]
    fn headers_of_the_connection_end_with_it() {
        let request = Request::get("/x")
            .header("host", "a.test")
            .header("connection", "close, X-Mine, Host")
            .header("x-mine", "1")
            .header("keep-alive", "5")
            .header("te", "gzip, trailers;q=1")
            .header("expect", "100-continue")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-for", "10.0.0.2");
        let (parts, upgrade) = prepared(request, Protocol::Http1);
        assert_eq!(upgrade, Upgrade::No);
        for gone in ["connection", "x-mine", "keep-alive", "expect"] {
            assert!(!parts.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(parts.headers["host"], "a.test");
        assert_eq!(parts.headers["te"], "trailers");
        assert_eq!(parts.headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 127.0.0.1");
        assert_eq!(parts.headers["x-forwarded-proto"], "http");
    }

    #[test]
    fn the_way_of_a_request_is_told_in_both_lists() {
        for (address, chain, element) in [
            ("192.0.2.7:1", "192.0.2.7", "for=\"192.0.2.7\";proto=https"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7", "for=\"192.0.2.7\";proto=https"),
            ("[2001:db8::7]:1", "2001:db8::7", "for=\"[2001:db8::7]\";proto=https"),
        ] {
            let address = address.parse().expect("an address");
            let client = Client { address, ..client(Spoken::Https) };
            let mut headers = HeaderMap::new();
            forwarded(&mut headers, client);
            assert_eq!(
                (&headers["x-forwarded-for"], &headers["forwarded"]),
                (&chain.parse().unwrap(), &element.parse().unwrap())
            );
            forwarded(&mut headers, client);
            assert_eq!(headers["x-forwarded-for"], format!("{chain}, {chain}"));
            assert_eq!(headers["forwarded"], format!("{element}, {element}"));
        }
    }

    #[test]
    fn an_answer_with_a_cookie_is_for_one_client() {
        for (said, kept) in [
            (&[][..], &["private"][..]),
            (&["public, max-age=60"], &["private"]),
            (&["max-age=60"], &["private"]),
            (&["max-age=60", "public"], &["private"]),
            (&["Private, max-age=60"], &["Private, max-age=60"]),
            (&["no-store"], &["no-store"]),
            (&["no-cache"], &["no-cache"]),
            (&["private, public"], &["private"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append("cache-control", HeaderValue::from_static(value));
            }
            clean(&mut headers, Upgrade::No);
            assert_eq!(headers.get_all("cache-control").iter().collect::<Vec<_>>(), said, "without a cookie");
            headers.insert("set-cookie", HeaderValue::from_static("a=b"));
            clean(&mut headers, Upgrade::No);
            assert_eq!(headers.get_all("cache-control").iter().collect::<Vec<_>>(), kept, "{said:?}");
        }
    }

    #[test]
    fn an_upgrade_is_kept_on_http1_and_only_there() {
        let request =
            || Request::get("/").header("host", "a").header("connection", "Upgrade").header("upgrade", "websocket");
        let (parts, upgrade) = prepared(request(), Protocol::Http1);
        assert_eq!((upgrade, &parts.headers["upgrade"]), (Upgrade::Wanted, &HeaderValue::from_static("websocket")));
        let (parts, upgrade) = prepared(request(), Protocol::H2c);
        assert_eq!((upgrade, parts.headers.get("upgrade")), (Upgrade::No, None));
        let h2c = Request::get("/").header("connection", "upgrade, http2-settings").header("upgrade", "h2c");
        assert_eq!(prepared(h2c, Protocol::Http1).1, Upgrade::No);
    }

    #[test]
    fn the_target_has_the_form_of_its_protocol() {
        let absolute = || Request::get("http://A.test:8080/x?y").header("host", "other");
        let (parts, _) = prepared(absolute(), Protocol::Http1);
        assert_eq!(
            (parts.uri.to_string().as_str(), &parts.headers["host"]),
            ("/x?y", &HeaderValue::from_static("A.test:8080"))
        );
        let (parts, _) = prepared(Request::get("/x").header("host", "a.test"), Protocol::H2c);
        assert_eq!(parts.uri.to_string(), "http://a.test/x");
        assert!(!parts.headers.contains_key("host"));
    }
}
