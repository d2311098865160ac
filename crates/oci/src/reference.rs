//! Image references: `[registry/]repository[:tag][@digest]`.
//!
//! The grammar and the defaults are those of the distribution project's `reference` package, which
//! Docker, Podman and Cloud Run share: a first component is a registry when it has a dot, a port or
//! a capital letter or is `localhost`; without one, Docker Hub is meant, and there a name without a
//! slash is an official image below `library/`.

use std::{fmt, str::FromStr};

use crate::{
    digest::Digest,
    error::{ContentError, ImageError},
};

/// Docker Hub, as references name it.
pub const DOCKER_HUB: &str = "docker.io";
/// The tag that is meant when there is neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// The longest repository name, in bytes.
const MAX_REPOSITORY: usize = 255;

/// A parsed reference, defaults written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

// === impl Reference ===

impl Reference {
    /// The registry, `host[:port]`; Docker Hub is `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository, such as `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` when the reference had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest. When there is one it decides, whatever the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same image fixed to `digest`: `registry/repository@sha256:…`, without a tag.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Does the registry live on this machine's loopback, so that plain HTTP is meant?
    pub fn is_loopback(&self) -> bool {
        let host = host_of(&self.registry);
        host == "localhost"
            || host.ends_with(".localhost")
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|rule| ImageError::Invalid { image: text.chars().take(300).collect(), rule })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Checks a repository name: what a registry calls `<name>`.
///
/// # Errors
/// [`ContentError::NameInvalid`] with the broken rule.
pub fn check_repository(name: &str) -> Result<(), ContentError> {
    repository_rule(name).map_err(|rule| ContentError::NameInvalid { name: name.chars().take(300).collect(), rule })
}

/// Checks a tag.
///
/// # Errors
/// [`ContentError::TagInvalid`].
pub fn check_tag(tag: &str) -> Result<(), ContentError> {
    if is_tag(tag) { Ok(()) } else { Err(ContentError::TagInvalid(tag.chars().take(300).collect())) }
}

fn parse(text: &str) -> Result<Reference, String> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?)),
        None => (text, None),
    };
    let path_start = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[path_start..].split_once(':') {
        Some((last, tag)) => (&name[..path_start + last.len()], Some(tag)),
        None => (name, None),
    };
    if let Some(tag) = tag {
        check_tag(tag).map_err(|error| error.to_string())?;
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DOCKER_HUB, name),
    };
    check_registry(registry)?;
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    let repository = match registry {
        DOCKER_HUB if !path.contains('/') => format!("library/{path}"),
        _ => path.to_owned(),
    };
    // The rule is about what was written: `library/` alone would pass for an empty name.
    repository_rule(path)?;
    repository_rule(&repository)?;
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), String> {
    let host = host_of(registry);
    if let Some(port) = registry[host.len()..].strip_prefix(':') {
        let valid = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        if !valid {
            return Err(format!("'{port}' is not a port"));
        }
    } else if registry.len() != host.len() {
        return Err(format!("'{registry}' is not a host name"));
    }
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_host_label),
    };
    if valid { Ok(()) } else { Err(format!("'{host}' is not a host name")) }
}

/// `registry` without its port; brackets of an IPv6 address stay.
fn host_of(registry: &str) -> &str {
    if registry.starts_with('[') {
        return registry.find(']').map_or(registry, |end| &registry[..=end]);
    }
    registry.split_once(':').map_or(registry, |(host, _)| host)
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn repository_rule(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the repository name is empty");
    }
    if name.len() > MAX_REPOSITORY {
        return Err("the repository name is longer than 255 characters");
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    if !name.split('/').all(is_component) {
        return Err(
            "each part of the repository name is lower-case letters and digits, joined by '.', '_', '__' or dashes",
        );
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let mut separator = String::new();
    let mut seen = false;
    for c in component.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            let joined = match separator.as_str() {
                "" | "." | "_" | "__" => true,
                dashes => dashes.bytes().all(|b| b == b'-'),
            };
            if !joined || (!seen && !separator.is_empty()) {
                return false;
            }
            separator.clear();
            seen = true;
        } else if matches!(c, '.' | '_' | '-') {
            separator.push(c);
        } else {
            return false;
        }
    }
    seen && separator.is_empty()
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`: never `.` or `..`, so it is a safe file name.
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_mean_docker_hub() {
        for (text, whole) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("me/app", "docker.io/me/app:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/me/app:v1", "docker.io/me/app:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("us-docker.pkg.dev/cloudrun/container/hello", "us-docker.pkg.dev/cloudrun/container/hello:latest"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().expect(text).to_string(), whole);
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_default_tag() {
        let pinned: Reference = format!("gcr.io/p/app@{DIGEST}").parse().expect("valid");
        assert_eq!((pinned.tag(), pinned.digest().map(Digest::as_str)), (None, Some(DIGEST)));
        let both: Reference = format!("gcr.io/p/app:v1@{DIGEST}").parse().expect("valid");
        assert_eq!(both.tag(), Some("v1"));
        assert_eq!(both.pinned(DIGEST.parse().expect("valid")), pinned);
    }

    #[test]
    fn a_broken_reference_says_which_rule_it_breaks() {
        let long = format!("gcr.io/{}", "a".repeat(256));
        for (text, word) in [
            ("", "empty"),
            ("App", "lower case"),
            ("gcr.io/App", "lower case"),
            ("gcr.io/", "empty"),
            ("app:", "tag"),
            ("app:.x", "tag"),
            ("app@sha256:12", "64"),
            ("app@md5:12", "sha256"),
            ("gcr.io:x/app", "port"),
            ("gcr.io:99999/app", "port"),
            ("-bad.io/app", "host"),
            ("a..b/c", "host"),
            ("gcr.io/../../etc/passwd", "part"),
            ("gcr.io/a//b", "part"),
            ("gcr.io/a/b_", "part"),
            ("gcr.io/a b", "part"),
            ("[::1/app", "host"),
            (&long, "255"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn plain_http_is_only_for_loopback() {
        for (text, loopback) in [
            ("localhost:5000/a", true),
            ("127.1.2.3:5000/a", true),
            ("[::1]:5000/a", true),
            ("registry.localhost:80/a", true),
            ("10.0.0.1:5000/a", false),
            ("localhost.example.com/a", false),
            ("a", false),
        ] {
            assert_eq!(text.parse::<Reference>().expect(text).is_loopback(), loopback, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_names_stay_inside_a_directory(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert!(reference.repository().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                prop_assert!(!reference.repository().starts_with('_'));
            }
        }

        #[test]
        fn a_reference_survives_printing(
            registry in prop::option::of("[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?"),
            // A dot in the first part would make it a host.
            repository in "[a-z0-9]{1,6}([_-][a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}([._-][a-z0-9]{1,6}){0,2}){0,2}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
            digest in prop::option::of("[0-9a-f]{64}"),
        ) {
            let mut text = registry.map(|registry| registry + "/").unwrap_or_default() + &repository;
            if let Some(tag) = &tag {
                text = text + ":" + tag;
            }
            if let Some(digest) = &digest {
                text = text + "@sha256:" + digest;
            }
            let parsed: Reference = text.parse().expect("generated by the grammar");
            let again: Reference = parsed.to_string().parse().expect("printed");
            prop_assert_eq!(&again, &parsed);
            prop_assert!(parsed.repository().ends_with(&repository) || parsed.registry() != DOCKER_HUB);
        }
    }
}
