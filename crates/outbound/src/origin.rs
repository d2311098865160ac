//! Where a URL leads: scheme, host and port, after all spellings of addresses have become one.

use std::{fmt, net::IpAddr};

use reqwest::Url;

use crate::policy::Refusal;

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) is_secure: bool,
    /// As URLs write it: an IPv6 address has brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

// === impl Origin ===

impl Origin {
    /// Whom `url` means.
    pub(crate) fn of(url: &Url) -> Result<Self, Refusal> {
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(Refusal::Scheme(other.to_owned())),
        };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Refusal::NotUrl(url.scheme().to_owned()));
        };
        let origin = Self { is_secure, host: host.to_owned(), port };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo(origin.to_string()));
        }
        Ok(origin)
    }

    /// The host without brackets and without the dot that ends an absolute name.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches([']', '.'])
    }

    /// The address, if the host is one. The parser of URLs has read every spelling that programs read: decimal, octal,
    /// hexadecimal, with fewer parts.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.bare_host().parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_secure { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Result<Origin, Refusal> {
        Origin::of(&Url::parse(url).map_err(|_| Refusal::NotUrl(url.to_owned()))?)
    }

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0x7f.0.0.0x1", "127.0.0.1"),
            ("0X7F.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("%31%32%37.0.0.1", "127.0.0.1"),
            ("１２７.0.0.1", "127.0.0.1"),
            ("127。0。0。1", "127.0.0.1"),
            ("①②⑦.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
            ("[::FFFF:7F00:1]", "::ffff:127.0.0.1"),
        ] {
            let found = origin(&format!("https://{host}/x")).expect(host).literal();
            assert_eq!(found, Some(address.parse().expect(address)), "{host}");
        }
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused() {
        for url in [
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_x",
            "data:text/plain,x",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://:password@example.com/",
            // Zone ids, numbers that are too large, nothing.
            "https://[fe80::1%25eth0]/",
            "https://[fe80::1%eth0]/",
            "https://256.0.0.1/",
            "https://4294967296/",
            "https://",
            "//example.com/",
        ] {
            let refusal = origin(url).expect_err(url);
            assert!(!refusal.to_string().contains("password"), "{refusal}");
        }
    }

    #[test]
    fn an_origin_prints_without_its_usual_port() {
        for (url, shown) in [
            ("https://Example.com:443/a", "https://example.com"),
            ("https://example.com:80/a", "https://example.com:80"),
            ("http://[::1]:80/a", "http://[::1]"),
        ] {
            assert_eq!(origin(url).expect(url).to_string(), shown);
        }
    }
}
