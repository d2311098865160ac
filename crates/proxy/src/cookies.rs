//! Cookies on their way from HTTP/2 to HTTP/1.

use http::{HeaderMap, HeaderValue, header};

/// Puts the crumbs of a cookie together again. Clients of HTTP/2 may send each pair in a header of its own, and browsers
/// do; over HTTP/1.1 there is one header (RFC 9113, 8.2.3), and applications read the first one only, or join several
/// with a comma.
pub(crate) fn join(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else { return };
    let mut whole = first.as_bytes().to_vec();
    for crumb in headers.get_all(header::COOKIE).iter().skip(1) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    // All of it was a header's value before.
    if let Ok(whole) = HeaderValue::from_bytes(&whole) {
        headers.insert(header::COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_become_one_cookie_in_their_order() {
        for (crumbs, expected) in
            [(&[][..], None), (&["a=1"], Some("a=1")), (&["a=1", "b=2; c", "d=\u{e4}"], Some("a=1; b=2; c; d=\u{e4}"))]
        {
            let mut headers = HeaderMap::new();
            for crumb in crumbs {
                headers.append(header::COOKIE, HeaderValue::from_bytes(crumb.as_bytes()).expect("valid"));
            }
            join(&mut headers);
            let joined: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(joined, expected.map(str::as_bytes).into_iter().collect::<Vec<_>>());
        }
    }
}
