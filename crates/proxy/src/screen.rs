//! Is the request one that a container may get at all?

use http::{HeaderMap, Request, header};

use crate::{config::ReservedPaths, respond::Rejection, route::Routed};

/// The paths below this one belong to App Engine, whose front end Cloud Run shares.
const RESERVED_BELOW: &str = "/_ah/";
/// Paths that are reserved as they stand. Of "some paths ending with z" this is the one that is known for certain, and
/// the only one that Cloud Run's documents and users name; others, such as `/readyz`, reach the container.
const RESERVED: [&str; 2] = ["/eventlog", "/healthz"];

/// A request that a container may get.
#[derive(Debug)]
pub(crate) struct Screened {
    routed: Routed,
}

// === impl Screened ===

impl Screened {
    pub(crate) fn routed(&self) -> &Routed {
        &self.routed
    }
}

/// Refuses reserved paths, and headers outside the contract.
///
/// The path is looked at as it was sent. One that is written in another way (`/%68ealthz`) is the container's: the list
/// keeps nobody out of anything.
pub(crate) fn screen<B>(routed: Routed, request: &Request<B>, paths: ReservedPaths) -> Result<Screened, Rejection> {
    if paths == ReservedPaths::Refused && is_reserved(request.uri().path()) {
        return Err(Rejection::ReservedPath);
    }
    if !are_legal(request.headers()) || !has_one_length(request.headers()) {
        return Err(Rejection::Header);
    }
    Ok(Screened { routed })
}

fn is_reserved(path: &str) -> bool {
    RESERVED.contains(&path) || path.starts_with(RESERVED_BELOW)
}

/// Values are visible ASCII, space and tab (Cloud Run's contract). HTTP allows any byte above 127 as well, and what
/// those mean is for everybody to guess. Names are seen to by the parsers, a token or there is no request, but for one
/// thing: both take a quotation mark in a name, which RFC 9110 (5.6.2) does not.
fn are_legal(headers: &HeaderMap) -> bool {
    headers.iter().all(|(name, value)| {
        value.as_bytes().iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) && !name.as_str().contains('"')
    })
}

/// Is a length, if one is said, said once and as a number? What two readers could read in two ways is passed on to none
/// (RFC 9110, 8.6). The parser of HTTP/1.1 sees to it; that of HTTP/2 takes an empty value for 0, and the same number
/// twice, and in a container's HTTP/1.1 either could hide a request.
fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(|length| length.as_bytes());
    let is_number = |length: &[u8]| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    lengths.next().is_none_or(is_number) && lengths.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_quotation_mark_is_none() {
        let headers = |name: &'static str| -> HeaderMap {
            [(http::HeaderName::from_static(name), http::HeaderValue::from_static("x"))].into_iter().collect()
        };
        assert!(are_legal(&headers("x-a!#$%&'*+-.^_`|~0")));
        assert!(!are_legal(&headers("%\"%")), "the library takes it");
    }

    #[test]
    fn the_reserved_paths_are_these_and_no_others() {
        for path in ["/eventlog", "/healthz", "/_ah/", "/_ah/health", "/_ah/a/b"] {
            assert!(is_reserved(path), "{path}");
        }
        for path in
            ["/", "/eventlogs", "/eventlog/", "/a/eventlog", "/_ah", "/_ahead", "/a/_ah/", "/healthz/", "/a/healthz"]
        {
            assert!(!is_reserved(path), "{path}");
        }
        for path in ["/readyz", "/livez", "/statusz", "/quiz", "/HEALTHZ", "/%68ealthz"] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
