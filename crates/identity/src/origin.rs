//! Where a browser says a request comes from.
//!
//! Without a token, the only thing that keeps a web page the user happens to look at from deploying
//! on their machine is the `Origin` that browsers add to such requests.

use std::net::IpAddr;

use http::{HeaderMap, header};

/// Does the request come from a page of another site? False when it does not come from a page.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
            // `null`, or nothing we understand: sandboxed frames and files send that.
            return true;
        };
        let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_own = own.is_some_and(|own| {
            let bare = |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
            bare(own) == bare(authority)
        });
        !is_own && !is_loopback(host_of(authority))
    })
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_other_sites_are_foreign() {
        for (host, origin, foreign) in [
            ("127.0.0.1:8080", None, false),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080"), false),
            ("127.0.0.1:8080", Some("http://127.0.0.2:3000"), false),
            ("127.0.0.1:8080", Some("http://localhost:3000"), false),
            ("127.0.0.1:8080", Some("http://LOCALHOST"), false),
            ("127.0.0.1:8080", Some("http://console.localhost:8080"), false),
            ("127.0.0.1:8080", Some("http://[::1]:8080"), false),
            ("run.local:8080", Some("http://run.local:8080"), false),
            ("run.local", Some("https://run.local:443"), false),
            ("run.local:8080", Some("http://run.local:9090"), true),
            ("run.local:8080", Some("http://run.local"), true),
            ("127.0.0.1:8080", Some("https://example.com"), true),
            ("127.0.0.1:8080", Some("https://localhost.example.com"), true),
            ("127.0.0.1:8080", Some("https://notlocalhost"), true),
            ("127.0.0.1:8080", Some("https://127.0.0.1.example.com"), true),
            ("127.0.0.1:8080", Some("null"), true),
            ("127.0.0.1:8080", Some(""), true),
            ("null", Some("null"), true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_foreign(&headers), foreign, "origin {origin:?} at host {host}");
        }
    }

    #[test]
    fn one_foreign_origin_among_several_is_enough() {
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, "http://localhost".parse().unwrap());
        headers.append(header::ORIGIN, "https://example.com".parse().unwrap());
        assert!(is_foreign(&headers));
    }
}
