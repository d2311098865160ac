//! A proxy, where the way to the internet leads through one.

use std::fmt;

use reqwest::Url;

use crate::{kind::Kind, origin::Origin, policy::Policy};

/// An HTTP proxy, and who is reached without it.
#[derive(Clone)]
pub struct Proxy {
    url: Url,
    /// Names, lower case: they and all below them are reached directly.
    direct: Vec<String>,
}

// === impl Proxy ===

impl Proxy {
    /// The proxy at `url`; the hosts of `direct`, separated by commas as in `NO_PROXY`, are reached without it. `None`
    /// when `url` is not one of http or https.
    pub fn new(url: &str, direct: &str) -> Option<Self> {
        // `proxy:3128` would be a URL of the scheme `proxy`.
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed = Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        parsed.host_str()?;
        let name = |part: &str| part.trim().trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let direct = direct.split(',').map(name).filter(|name| !name.is_empty()).collect();
        Some(Self { url: parsed, direct })
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Does the way to `origin` lead through it? Not to our own networks, nor to what is asked in the clear.
    pub(crate) fn serves(&self, origin: &Origin, policy: &Policy) -> bool {
        let host = origin.bare_host();
        let is_below =
            |name: &String| host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let is_local = host == "localhost" || host.ends_with(".localhost");
        let is_direct = self.direct.iter().any(|name| name == "*" || is_below(name));
        let is_inside = origin.literal().is_some_and(|address| Kind::of(address) != Kind::Public);
        origin.is_secure && !is_local && !is_direct && !is_inside && !policy.names(host, origin.port)
    }
}

impl fmt::Debug for Proxy {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("host", &self.url.host_str()).field("direct", &self.direct).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_used_for_the_internet_and_not_for_our_own_networks() {
        let policy = Policy { allow: vec!["registry.lan".parse().expect("a name")], ..Policy::default() };
        let proxy = Proxy::new("proxy.lan:3128", ".corp.example, other.example").expect("a proxy");
        for (url, through) in [
            ("https://registry.example/", true),
            ("https://8.8.8.8/", true),
            ("https://notcorp.example/", true),
            ("https://a.corp.example/", false),
            ("https://corp.example/", false),
            ("https://other.example/", false),
            ("https://registry.lan/", false),
            ("https://localhost/", false),
            ("https://a.localhost/", false),
            ("https://10.0.0.1/", false),
            ("https://169.254.169.254/", false),
            ("http://registry.example/", false),
        ] {
            let origin = Origin::of(&Url::parse(url).expect(url)).expect(url);
            assert_eq!(proxy.serves(&origin, &policy), through, "{url}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host_and_does_not_print_its_password() {
        for (text, host) in [("http://a:1", "a"), ("https://a.b", "a.b"), ("a.b:3128", "a.b"), ("a", "a")] {
            assert_eq!(Proxy::new(text, "").expect(text).url.host_str(), Some(host), "{text}");
        }
        for text in ["", "socks5://a:1", "ftp://a", "http://"] {
            assert!(Proxy::new(text, "").is_none(), "{text}");
        }
        let proxy = Proxy::new("http://me:hunter2@proxy.lan", "").expect("a proxy");
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
