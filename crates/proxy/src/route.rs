//! Where does the request lead?

use std::{borrow::Cow, sync::Arc};

use http::{Method, Request, Version, header, uri::Authority};
use updraft_model::{
    route::{Route, RouteTable},
    service::Ingress,
};

use crate::{client::OnBehalfOf, respond::Rejection};

/// A request whose service is known.
#[derive(Debug)]
pub(crate) struct Routed {
    route: Arc<Route>,
}

// === impl Routed ===

impl Routed {
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    pub(crate) fn shared(&self) -> Arc<Route> {
        self.route.clone()
    }
}

/// Finds the route by host; there is nothing else to find it by.
pub(crate) fn route<B>(table: &RouteTable, request: &Request<B>) -> Result<Routed, Rejection> {
    // Cloud Run rejects both; TRACE would show a client the headers that were added on the way.
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return Err(Rejection::Method);
    }
    let host = host(request).ok_or(Rejection::NotFound)?;
    let route = table.hosts.get(&*host).ok_or(Rejection::NotFound)?;
    // Source: "Restrict network ingress for Cloud Run": Cloud Scheduler in the project of the service is internal.
    let is_internal = || {
        let errand = request.extensions().get::<OnBehalfOf>();
        errand.is_some_and(|OnBehalfOf(project)| **project == *route.service.parent.project)
    };
    let is_let_in = match route.ingress {
        Ingress::All => true,
        Ingress::Internal | Ingress::InternalAndLoadBalancing => is_internal(),
        Ingress::None => false,
    };
    // What is not for the public looks like nothing.
    is_let_in.then(|| Routed { route: route.clone() }).ok_or(Rejection::NotFound)
}

/// The host a request is for: that of an absolute target or of `:authority`, else `Host`; without
/// port and final dot, lower case.
pub(crate) fn host<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST)?.to_str().ok()?,
    };
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

/// Does a request say once, and in a form that means one thing, for which host it is? Two parts of a system that read
/// two hosts out of one request can be played off against each other (RFC 9112, 3.2; RFC 9113, 8.3.1).
pub(crate) fn is_addressed_once<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority();
    // A name before the host is for other schemes (RFC 9113, 8.3.1): one reader may take it for the host.
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    let Some(first) = first else {
        return authority.is_some() || request.version() < Version::HTTP_11;
    };
    let is_host =
        first.is_empty() || Authority::try_from(first.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'));
    // HTTP/1.1 lets a whole URI stand in the first line; what `Host` says is then to be ignored.
    let is_same = request.version() < Version::HTTP_2
        || authority.is_none_or(|authority| authority.as_str().as_bytes().eq_ignore_ascii_case(first.as_bytes()));
    second.is_none() && is_host && is_same
}

/// Is `host` the service domain or below it?
pub(crate) fn is_under(host: &str, domain: &str) -> bool {
    match host.strip_suffix(domain) {
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(uri: &str, header: Option<&str>) -> Option<String> {
        let mut request = Request::get(uri);
        if let Some(host) = header {
            request = request.header("host", host);
        }
        let request = request.body(()).expect("well formed");
        host(&request).map(Cow::into_owned)
    }

    #[test]
    fn the_host_is_read_from_the_target_or_the_header() {
        assert_eq!(host_of("/", Some("A.run.localhost:8080")).as_deref(), Some("a.run.localhost"));
        assert_eq!(host_of("/", Some("a.run.localhost.")).as_deref(), Some("a.run.localhost"));
        assert_eq!(host_of("http://b.run.localhost:1/x", Some("a")).as_deref(), Some("b.run.localhost"));
        assert_eq!(host_of("/", Some("[::1]:8080")).as_deref(), Some("::1"));
        assert_eq!(host_of("/", None), None);
    }

    #[test]
    fn a_request_has_one_host() {
        use Version as V;
        for (version, uri, hosts, fine) in [
            (V::HTTP_11, "/", &["a.localhost:80"][..], true),
            (V::HTTP_11, "/", &["[::1]:80"], true),
            (V::HTTP_11, "/", &[""], true),
            (V::HTTP_10, "/", &[], true),
            (V::HTTP_11, "/", &[], false),
            (V::HTTP_11, "/", &["a", "a"], false),
            (V::HTTP_11, "/", &["a, b"], false),
            (V::HTTP_11, "/", &["a/b"], false),
            (V::HTTP_11, "/", &["user@a"], false),
            (V::HTTP_11, "/", &["a b"], false),
            (V::HTTP_11, "http://a/", &["b"], true),
            (V::HTTP_2, "http://a/", &[], true),
            (V::HTTP_2, "http://a/", &["A"], true),
            (V::HTTP_2, "http://a/", &["b"], false),
            (V::HTTP_2, "http://me@a/", &[], false),
            (V::HTTP_11, "http://me@a/", &["a"], false),
        ] {
            let mut request = Request::get(uri).version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            let request = request.body(()).expect("well formed");
            assert_eq!(is_addressed_once(&request), fine, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn only_whole_labels_are_under_the_domain() {
        assert!(is_under("run.localhost", "run.localhost") && is_under("a.b.run.localhost", "run.localhost"));
        assert!(!is_under("brun.localhost", "run.localhost") && !is_under("localhost", "run.localhost"));
    }
}
