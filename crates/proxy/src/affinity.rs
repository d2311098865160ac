//! Session affinity: requests of one client go to one instance, as long as that has room.
//!
//! The client keeps a cookie. Its value is a number that the instance was given by chance when it was started: it says
//! nothing about the instance, cannot be guessed, and means nothing any more once the instance has ended. Where traffic
//! is split, it keeps the client with the revision as well.
//!
//! Source: "Session affinity" of Cloud Run's documentation: best effort; broken when the instance ends or has no room.
//! The name of the cookie is that of App Engine's; Cloud Run's and its lifetime are documented nowhere.

use http::{HeaderMap, HeaderValue, header};
use updraft_fleet::Affinity;

use crate::client::Scheme;

const COOKIE: &str = "GAESA";
/// 30 days, in seconds.
const LIFETIME: u32 = 30 * 24 * 3600;

/// With which instance the client wants to stay, if it says so in a way that we said it in.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Affinity> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if name.trim() == COOKIE { value.trim().parse().ok() } else { None }
    })
}

/// Tells the client with which instance it is to stay from now on.
pub(crate) fn tell(headers: &mut HeaderMap, affinity: Affinity, scheme: Scheme) {
    let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={affinity}; Max-Age={LIFETIME}; Path=/; HttpOnly{secure}");
    // Letters, digits and punctuation.
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        headers.append(header::SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_what_is_not_ours_is_none() {
        let value = "0123456789abcdef0123456789abcdef";
        let asked = |cookies: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::COOKIE, HeaderValue::from_static(cookie));
            }
            wanted(&headers).map(|found| found.to_string())
        };
        assert_eq!(asked(&["a=b; GAESA=0123456789abcdef0123456789abcdef"]).as_deref(), Some(value));
        assert_eq!(asked(&["a=b", "GAESA=0123456789abcdef0123456789abcdef;c=d"]).as_deref(), Some(value));
        for other in ["", "GAESA", "GAESA=", "GAESA=12", "gaesa=0123456789abcdef0123456789abcdef", "XGAESA=0"] {
            assert_eq!(asked(&[other]), None, "{other:?}");
        }
        assert_eq!(asked(&["GAESA=+123456789abcdef0123456789abcdef"]), None);
    }

    #[test]
    fn the_cookie_is_for_the_whole_service_and_for_no_script() {
        let affinity: Affinity = "0123456789abcdef0123456789abcdef".parse().expect("a number");
        let told = |scheme| {
            let mut headers = HeaderMap::new();
            tell(&mut headers, affinity, scheme);
            headers[header::SET_COOKIE].to_str().expect("ASCII").to_owned()
        };
        let plain = "GAESA=0123456789abcdef0123456789abcdef; Max-Age=2592000; Path=/; HttpOnly";
        assert_eq!((told(Scheme::Http), told(Scheme::Https)), (plain.to_owned(), format!("{plain}; Secure")));
    }
}
