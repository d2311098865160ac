//! Where a URI leads, as far as rules are about it.
//!
//! A library of URLs reads the whole of one before a request is made; here is only what a rule or a decision is about. What
//! is not as plain as this is refused.

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Is it `https`?
    pub is_secure: bool,
    /// In lower case, without the dot that ends an absolute name; an IPv6 address has its brackets.
    pub host: String,
    /// As it is written; `None` is that of the scheme.
    pub port: Option<u16>,
    /// Path and query, beginning with `/`.
    pub path: String,
}

// === impl Endpoint ===

impl Endpoint {
    /// Where `uri` leads.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn of(uri: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = uri.split_once("://").ok_or("must begin with http:// or https://")?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("must begin with http:// or https://"),
        };
        if rest.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err("must have no spaces, control characters or backslashes");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("must not have a user name or password");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port > 0);
                (host, Some(port.ok_or("must have a port between 1 and 65535, if any")?))
            }
            _ => (authority, None),
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_fit = |c: char| c.is_alphanumeric() || "-._~%[]:".contains(c);
        if host.is_empty() || !host.chars().all(is_fit) {
            return Err("must have a host");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_secure, host, port, path })
    }

    /// Host and port as the header `Host` has them.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_as_it_is_written() {
        for (uri, secure, host, port, path) in [
            ("http://a.example", false, "a.example", None, "/"),
            ("HTTPS://A.Example.:443/x/y?z=1#f", true, "a.example", Some(443), "/x/y?z=1"),
            ("http://a?x", false, "a", None, "/?x"),
            ("http://[::1]:8080/", false, "[::1]", Some(8080), "/"),
            ("http://[::1]/", false, "[::1]", None, "/"),
            ("http://a/b@c", false, "a", None, "/b@c"),
        ] {
            let (host, path) = (host.to_owned(), path.to_owned());
            assert_eq!(Endpoint::of(uri), Ok(Endpoint { is_secure: secure, host, port, path }), "{uri}");
        }
        for uri in [
            "",
            "a.example",
            "ftp://a",
            "//a",
            "http://",
            "http:///x",
            "http://u@a",
            "http://u:p@a/",
            "http://a:0/",
            "http://a:99999/",
            "http://a:x/",
            "http://a:/",
            "http://a b/",
            "http://a/\n",
            "http://a\\b/",
            "http://{a}/",
        ] {
            assert!(Endpoint::of(uri).is_err(), "{uri}");
        }
    }
}
