//! Where a browser says a request comes from.
//!
//! Without a token, the only thing that keeps a web page the user happens to look at from deploying
//! on their machine is the `Origin` that browsers add to such requests.

use std::net::IpAddr;

use http::{HeaderMap, header};

/// Does the request come from a page of another site? False when it does not come from a page.
///
/// Only addresses of this machine and `localhost` itself are its own. The request's own host does not count: a page
/// whose name was pointed here after it was loaded (DNS rebinding) has the same. Neither do names below `localhost`:
/// the services that run here have them, and what they serve may be anybody's.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        match origin.to_str().ok().and_then(|origin| origin.split_once("://")) {
            Some((_, authority)) => !is_loopback(host_of(authority)),
            // `null`, or nothing we understand: sandboxed frames and files send that.
            None => true,
        }
    })
}

/// Is the request addressed to this machine by a name that no stranger can point here? A browser that was made to
/// believe that `example.com` is 127.0.0.1 sends no `Origin` with a plain GET, but it does send that name.
pub(crate) fn is_called_locally(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        let host = host.to_str().map(host_of).unwrap_or_default();
        is_loopback(host) || host.trim_end_matches('.').to_ascii_lowercase().ends_with(".localhost")
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
        Err(_) => host == "localhost",
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
            ("127.0.0.1:8080", Some("http://evil-1.us-central1.run.localhost:8080"), true),
            ("127.0.0.1:8080", Some("http://[::1]:8080"), false),
            ("rebound.example:8080", Some("http://rebound.example:8080"), true),
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
    fn only_names_of_this_machine_are_local() {
        for (host, local) in [
            (Some("127.0.0.1:8080"), true),
            (Some("[::1]:8080"), true),
            (Some("localhost"), true),
            (Some("us-central1-run.localhost:8080"), true),
            (Some("LOCALHOST."), true),
            (None, true),
            (Some("rebound.example:8080"), false),
            (Some("192.0.2.1:8080"), false),
            (Some("notlocalhost"), false),
            (Some("localhost.example"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, host.parse().unwrap());
            }
            assert_eq!(is_called_locally(&headers), local, "{host:?}");
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
