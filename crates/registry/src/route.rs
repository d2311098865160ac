//! From a URL to what it names.

use http::Uri;
use updraft_oci::check_repository;

use crate::error::Refusal;

/// A request's target and its query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) target: Target,
    pub(crate) query: Query,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Ping,
    Catalog,
    Tags { name: String },
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, id: String },
    Referrers { name: String, digest: String },
}

/// The parameters of a query, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

// === impl Route ===

impl Route {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let path = decode(uri.path()).ok_or_else(Refusal::no_such_url)?;
        let target = Target::of(&path)?;
        if let Some(name) = target.name() {
            check_repository(name)?;
        }
        Ok(Self { target, query: Query::of(uri.query().unwrap_or_default()) })
    }
}

// === impl Target ===

impl Target {
    /// Names have slashes, so a path is read from its end.
    fn of(path: &str) -> Result<Self, Refusal> {
        let rest = match path {
            "/v2" | "/v2/" => return Ok(Self::Ping),
            "/v2/_catalog" => return Ok(Self::Catalog),
            path => path.strip_prefix("/v2/").ok_or_else(Refusal::no_such_url)?,
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let name = |end: usize| parts[..end].join("/");
        Ok(match parts.as_slice() {
            [n @ .., "tags", "list"] if !n.is_empty() => Self::Tags { name: name(n.len()) },
            [n @ .., "blobs", "uploads"] if !n.is_empty() => Self::Uploads { name: name(n.len()) },
            [n @ .., "blobs", "uploads", ""] if !n.is_empty() => Self::Uploads { name: name(n.len()) },
            [n @ .., "blobs", "uploads", id] if !n.is_empty() => {
                Self::Upload { name: name(n.len()), id: (*id).to_owned() }
            }
            [n @ .., "referrers", digest] if !n.is_empty() => {
                Self::Referrers { name: name(n.len()), digest: (*digest).to_owned() }
            }
            [n @ .., "manifests", reference] if !n.is_empty() => {
                Self::Manifest { name: name(n.len()), reference: (*reference).to_owned() }
            }
            [n @ .., "blobs", digest] if !n.is_empty() => {
                Self::Blob { name: name(n.len()), digest: (*digest).to_owned() }
            }
            _ => return Err(Refusal::no_such_url()),
        })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Ping | Self::Catalog => None,
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Referrers { name, .. }
            | Self::Upload { name, .. } => Some(name),
        }
    }
}

// === impl Query ===

impl Query {
    fn of(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(&key.replace('+', " "))?, decode(&value.replace('+', " "))?))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Percent-encoding of everything that means something in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Percent-decoding; `None` when that gives no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        // `from_str_radix` would take a sign.
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<Target> {
        Route::of(&path.parse().expect("uri")).ok().map(|route| route.target)
    }

    #[test]
    fn names_may_have_slashes_and_words_of_the_protocol() {
        let name = |name: &str| name.to_owned();
        assert_eq!(target("/v2/"), Some(Target::Ping));
        assert_eq!(target("/v2/a/b/tags/list"), Some(Target::Tags { name: name("a/b") }));
        assert_eq!(target("/v2/a/blobs/uploads/"), Some(Target::Uploads { name: name("a") }));
        assert_eq!(target("/v2/a/blobs/uploads/x"), Some(Target::Upload { name: name("a"), id: name("x") }));
        let manifest = Target::Manifest { name: name("a/manifests/b"), reference: name("sha256:1") };
        assert_eq!(target("/v2/a/manifests/b/manifests/sha256%3A1"), Some(manifest));
        assert_eq!(target("/v2/a/blobs/d"), Some(Target::Blob { name: name("a"), digest: name("d") }));
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for path in [
            "/",
            "/v1/",
            "/v2/x",
            "/v2/tags/list",
            "/v2/../tags/list",
            "/v2/a/..%2f../tags/list",
            "/v2/%2e%2e/manifests/a",
            "/v2//manifests/a",
            "/v2/A/manifests/a",
            "/v2/_blobs/manifests/a",
            "/v2/%ff/manifests/a",
            "/v2/a%/manifests/a",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::of("digest=sha256%3Aab&n=5&flag&x=a+b");
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(
            (query.get("n"), query.get("flag"), query.get("x"), query.get("y")),
            (Some("5"), Some(""), Some("a b"), None)
        );
    }
}
